// y[r,:] = table[ids[r],:]. See EmbedOp in runtime/ops/ops.h.
//
// One invocation makes eight neighbouring elements of a row. The table may be the output matrix
// too, so it lies in the tiles that matmuls read.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "weights.glsl"
layout(local_size_x_id = 0) in;

layout(push_constant) uniform Arguments {
  Floats y;
  Words quads;
  Words scales;
  Words step;
  uint columns, blocks;
};

void main() {
  const uint row = gl_WorkGroupID.y, piece = gl_GlobalInvocationID.x;
  if (row >= step.v[kStepRows] || piece * 8u >= columns) return;
  const uint id = StepWord(step, kStepIdsAt, row), block = piece / 4u;
  vec4 low, high;
  LoadPiece(quads, id / 32u, block, blocks, id % 32u, piece % 4u, low, high);
  const vec2 scale = Scale(scales, id / 32u, block, blocks, id % 32u);
  [[unroll]] for (uint i = 0; i < 8; ++i) {
    const uint column = piece * 8u + i;
    if (column >= columns) return;
    const float quant = i < 4 ? low[i % 4] : high[i % 4];
    // As the scalar dequantization, for the sign of zero's sake.
    precise float value = scale.x * (kType == kQ4_0 ? quant - 8.0 : quant);
    if (kType == kQ4_1) value = value + scale.y;
    y.v[row * columns + column] = kHasScale ? value : quant;
  }
}
