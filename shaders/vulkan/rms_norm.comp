// RMS norm over rows. See RmsNormOp in runtime/ops/ops.h.
//
// One workgroup a row: x is read twice and stays in cache the second time. Partial sums are short
// (columns / invocations) and meet in a tree, so the mean is good to a few ulp.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint kThreads = 64;

layout(push_constant) uniform Arguments {
  Floats y, x, w;
  Words step;
  uint columns, live;  // live: the header's word that counts the rows.
  float eps;
};
shared float sums[kThreads];

void main() {
  const uint row = gl_WorkGroupID.x, thread = gl_LocalInvocationID.x;
  if (row >= step.v[live]) return;
  const uint at = row * columns;
  float sum = 0.0;
  [[dont_unroll]] for (uint c = thread; c < columns; c += kThreads) {
    sum = fma(x.v[at + c], x.v[at + c], sum);
  }
  sums[thread] = sum;
  barrier();
  [[dont_unroll]] for (uint n = kThreads / 2u; n > 0; n /= 2u) {
    if (thread < n) sums[thread] += sums[thread + n];
    barrier();
  }
  const float scale = 1.0 / sqrt(sums[0] / float(columns) + eps);
  [[dont_unroll]] for (uint c = thread; c < columns; c += kThreads) {
    y.v[at + c] = x.v[at + c] * w.v[c] * scale;
  }
}
