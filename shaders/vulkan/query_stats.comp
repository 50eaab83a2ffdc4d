// Counts queries into the statistics of their session. See QueryStatsOp in runtime/ops/ops.h.
//
// A workgroup a query head, an invocation a pair of dimensions: its five sums stay in registers
// while it walks the rows of a sequence, in their order, so there is nothing to combine.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "statistics.glsl"
layout(local_size_x_id = 0) in;

layout(push_constant) uniform Arguments {
  Floats q, statistics;
  Words step;
  uint layers, layer, heads, head_dim;
};

void Count(uint s, uint counted, uint rows, uint at) {
  const bool is_new = Sequence(step, s, kClock) == 0u;
  const uint thread = gl_LocalInvocationID.x, first = Sequence(step, s, kFirstRow);
  [[dont_unroll]] for (uint pair = thread; pair < head_dim / 2u; pair += gl_WorkGroupSize.x) {
    const uint own = at + 1u + pair * kPairSums;
    float sum[kPairSums];
    [[unroll]] for (uint t = 0; t < kPairSums; ++t) {
      sum[t] = is_new ? 0.0 : statistics.v[own + t];
    }
    [[dont_unroll]] for (uint i = counted; i < rows; ++i) {
      const uint from = ((first + i) * heads + gl_WorkGroupID.x) * head_dim + 2u * pair;
      const float a = q.v[from], b = q.v[from + 1u];
      sum[0] += a;
      sum[1] += b;
      sum[2] += a * a;
      sum[3] += b * b;
      sum[4] += a * b;
    }
    [[unroll]] for (uint t = 0; t < kPairSums; ++t) statistics.v[own + t] = sum[t];
  }
  if (thread != 0u) return;
  float count = is_new ? 0.0 : statistics.v[at];
  [[dont_unroll]] for (uint i = counted; i < rows; ++i) count += 1.0;
  statistics.v[at] = count;
}

void main() {
  [[dont_unroll]] for (uint s = 0; s < step.v[kStepSequences]; ++s) {
    if (Sequence(step, s, kObserves) == 0u) continue;
    const uint table_layer = Sequence(step, s, kTable) * layers + layer;
    const uint rows = Sequence(step, s, kRows);
    Count(s, min(Sequence(step, s, kPinnedRows), rows), rows,
          StatisticsAt(table_layer, gl_WorkGroupID.x, heads, head_dim));
  }
}
