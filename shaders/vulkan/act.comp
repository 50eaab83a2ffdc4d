// y = silu(gate) * up. See ActOp in runtime/ops/ops.h.
//
// One invocation an element.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
layout(local_size_x_id = 0) in;

layout(push_constant) uniform Arguments {
  Floats y, gate, up;
  Words step;
  uint columns, live;
};

void main() {
  const uint row = gl_WorkGroupID.y, column = gl_GlobalInvocationID.x;
  if (row >= step.v[live] || column >= columns) return;
  const uint i = row * columns + column;
  const float a = gate.v[i];
  y.v[i] = (a < -80.0 ? a * Exp(a) : a / (1.0 + Exp(-a))) * up.v[i];
}
