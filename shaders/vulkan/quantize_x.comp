// Rows of x to 15 bits in blocks of 32, for matmul_dot. See MatMulOp in runtime/ops/ops.h.
//
// quant = 128 * high + low, a byte each: 8 bits alone change one first choice in twenty of a small
// model (docs/decisions/0004). One invocation a block: eight words of high bytes, eight of low
// ones; the scale and the scaled sum of the quants.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
layout(local_size_x_id = 0) in;

layout(push_constant) uniform Arguments {
  Floats x;
  Words quants;   // [rows][blocks][16]
  Floats scales;  // [rows][blocks][2]
  Words step;
  uint columns, blocks, live;
};

void main() {
  const uint row = gl_WorkGroupID.y, block = gl_GlobalInvocationID.x;
  if (row >= step.v[live] || block >= blocks) return;
  const uint at = row * columns + block * 32u, to = row * blocks + block;
  float greatest = 0.0;
  [[dont_unroll]] for (uint k = 0; k < 32u; ++k) greatest = max(greatest, abs(x.v[at + k]));
  const float inverse = greatest > 0.0 ? 16256.0 / greatest : 0.0;
  int sum = 0;
  [[dont_unroll]] for (uint k = 0; k < 32u; k += 4u) {
    uint high_word = 0u, low_word = 0u;
    [[unroll]] for (uint j = 0; j < 4u; ++j) {
      const int quant = int(roundEven(x.v[at + k + j] * inverse));
      const int high = (quant + 64) >> 7;
      high_word |= (uint(high) & 0xffu) << (8u * j);
      low_word |= (uint(quant - 128 * high) & 0xffu) << (8u * j);
      sum += quant;
    }
    quants.v[to * 16u + k / 4u] = high_word;
    quants.v[to * 16u + 8u + k / 4u] = low_word;
  }
  const float scale = greatest / 16256.0;
  scales.v[to * 2u] = scale;
  scales.v[to * 2u + 1u] = scale * float(sum);
}
