// y = x * w^T for many rows of x and block types, in 8-bit dot products. See MatMulOp in
// runtime/ops/ops.h.
//
// For devices that multiply four pairs of bytes in one instruction. As matmul.comp, but both sides
// lie in shared memory as words of four columns, x as quantize_x left it: two bytes a number, so
// two dot products. The products of a block of 32 are exact integers; scales, and a minimum times
// the sum of x, come after each block.
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_spirv_intrinsics : require
#include "common.glsl"
#include "weights.glsl"
#include "matmul.glsl"
layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint kThreads = 256;
layout(constant_id = 2) const uint kRowsOfX = 64;
layout(constant_id = 3) const uint kRowsOfW = 64;
layout(constant_id = 4) const uint kM = 1;  // In fours.
layout(constant_id = 5) const uint kN = 1;

// OpSDot of packed bytes: SPV_KHR_integer_dot_product has no GLSL in older compilers.
spirv_instruction(extensions = ["SPV_KHR_integer_dot_product"], capabilities = [6019, 6018],
                  id = 4450)
int Dot4(int a, int b, spirv_literal int format);

const uint kStrideX = kRowsOfX / 4u + 1u, kStrideW = kRowsOfW / 4u + 1u;
shared ivec4 xs[16u * kStrideX];  // [high or low][four columns][row]
shared ivec4 ws[8u * kStrideW];
shared vec2 scale_x[kRowsOfX], scale_w[kRowsOfW];

void LoadX(uint first_row, uint rows, uint block) {
  [[dont_unroll]] for (uint i = gl_LocalInvocationID.x; i < kRowsOfX * 16u; i += kThreads) {
    const uint row = i / 16u, k = i % 16u, at = min(first_row + row, rows - 1u) * blocks + block;
    xs[k * kStrideX + row / 4u][row % 4u] = int(Words(x).v[at * 16u + k]);
    if (k == 0u) scale_x[row] = vec2(x_scales.v[at * 2u], x_scales.v[at * 2u + 1u]);
  }
}

void LoadW(uint first_tile, uint block) {
  [[dont_unroll]] for (uint i = gl_LocalInvocationID.x; i < kRowsOfW * 4u; i += kThreads) {
    const uint row = i % kRowsOfW, piece = i / kRowsOfW;
    const uint tile = min(first_tile + row / 32u, tiles - 1u);
    const uint at = QuadAt(tile, block, blocks, piece * kQuads / 4u, row % 32u) * 4u;
    uint low, high;  // Columns 8 piece .. + 3 and + 4 .. + 7, a byte each.
    if (kIsNibble) {
      const uint word = quads.v[at + piece];
      low = word & 0x0f0f0f0fu;
      high = (word >> 4) & 0x0f0f0f0fu;
    } else {
      low = quads.v[at + (piece & 1u) * 2u];
      high = quads.v[at + (piece & 1u) * 2u + 1u];
    }
    ws[piece * 2u * kStrideW + row / 4u][row % 4u] = int(low);
    ws[(piece * 2u + 1u) * kStrideW + row / 4u][row % 4u] = int(high);
    if (piece == 0u) scale_w[row] = Scale(scales, tile, block, blocks, row % 32u);
  }
}

void main() {
  const uint first_row = gl_WorkGroupID.y * kRowsOfX, rows = step.v[live];
  if (first_row >= rows) return;
  const uint first_w = gl_WorkGroupID.x * kRowsOfW;
  const uint across = kRowsOfW / (4u * kN);
  const uint m0 = gl_LocalInvocationID.x / across * kM, n0 = gl_LocalInvocationID.x % across * kN;
  float total[kM * 4u * kN * 4u];
  [[unroll]] for (uint i = 0; i < kM * 4u * kN * 4u; ++i) total[i] = 0.0;
  [[dont_unroll]] for (uint block = 0; block < blocks; ++block) {
    LoadX(first_row, rows, block);
    LoadW(first_w / 32u, block);
    barrier();
    int sum[kM * 4u * kN * 4u];
    [[unroll]] for (uint i = 0; i < kM * 4u * kN * 4u; ++i) sum[i] = 0;
    [[dont_unroll]] for (uint k = 0; k < 16u; ++k) {
      if (k == 8u) {  // The high bytes are done.
        [[unroll]] for (uint i = 0; i < kM * 4u * kN * 4u; ++i) sum[i] *= 128;
      }
      [[unroll]] for (uint n = 0; n < kN * 4u; ++n) {
        const int b = ws[k % 8u * kStrideW + n0 + n / 4u][n % 4u];
        [[unroll]] for (uint m = 0; m < kM * 4u; ++m) {
          sum[m * kN * 4u + n] += Dot4(xs[k * kStrideX + m0 + m / 4u][m % 4u], b, 0);
        }
      }
    }
    [[unroll]] for (uint m = 0; m < kM * 4u; ++m) {
      const vec2 a = scale_x[m0 * 4u + m];
      [[unroll]] for (uint n = 0; n < kN * 4u; ++n) {
        const vec2 b = scale_w[n0 * 4u + n];
        const uint i = m * kN * 4u + n;
        total[i] = fma(a.x * b.x, float(sum[i]), total[i]);
        if (kIsNibble) total[i] = fma(a.y, b.y, total[i]);
      }
    }
    barrier();
  }
  [[unroll]] for (uint m = 0; m < kM * 4u; ++m) {
    const uint row = first_row + m0 * 4u + m;
    [[unroll]] for (uint n = 0; n < kN * 4u; ++n) {
      Store(rows, row, first_w + n0 * 4u + n, total[m * kN * 4u + n]);
    }
  }
}
