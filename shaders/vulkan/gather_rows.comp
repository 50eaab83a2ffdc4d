// y[j,:] = x[out_index[j],:]. See GatherRowsOp in runtime/ops/ops.h. One invocation an element.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
layout(local_size_x_id = 0) in;

layout(push_constant) uniform Arguments {
  Words y, x;
  Words step;
  uint columns;
};

void main() {
  const uint j = gl_WorkGroupID.y, column = gl_GlobalInvocationID.x;
  if (j >= step.v[kStepOutRows] || column >= columns) return;
  y.v[j * columns + column] = x.v[StepWord(step, kStepOutIndexAt, j) * columns + column];
}
