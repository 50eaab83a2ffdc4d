// Rotates pairs of x by the row's position. See RopeOp in runtime/ops/ops.h.
//
// One invocation a pair of a row, for all heads: they share the angle.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "rope.glsl"
layout(local_size_x_id = 0) in;

layout(push_constant) uniform Arguments {
  Floats x;
  Words frequencies;
  Words step;
  uint heads, head_dim, pairs;
};

void main() {
  const uint row = gl_WorkGroupID.y, pair = gl_GlobalInvocationID.x;
  if (row >= step.v[kStepRows] || pair >= pairs) return;
  const vec2 cos_sin = TurnOf(frequencies, pair, StepWord(step, kStepPositionsAt, row));
  [[dont_unroll]] for (uint h = 0; h < heads; ++h) {
    const uint at = (row * heads + h) * head_dim + 2u * pair;
    const vec2 turned = Turn(vec2(x.v[at], x.v[at + 1u]), cos_sin);
    x.v[at] = turned.x;
    x.v[at + 1u] = turned.y;
  }
}
