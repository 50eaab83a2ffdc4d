// Attention of few rows, second half. See AttendOp in runtime/ops/ops.h.
//
// Every workgroup of a row and group of heads (grid: splits, groups, rows) adds up what the splits
// left; the first writes the output, and each stamps the slots of its own split: a slot is
// important when its score is at least log-sum-exp + log(c/t) for some query head of the group.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "kv.glsl"
#include "attend.glsl"
layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint kThreads = 64;
layout(constant_id = 6) const uint kSplits = 1;

layout(push_constant) uniform Arguments {
  Floats o, scores, partials;
  Words step;
  Slabs slabs;
  Words tables;
  uint pages_per_slab, pages_per_head, layer;
};
shared float weights[kGroup * kSplits];  // Of each split's sums in the output.
shared float log_sum_exp[kGroup];
const bool kIsRotated = kValueType == kHalfByteRows;
shared float rotated[kIsRotated ? kGroup * kHeadDim : 1u];  // [head][dimension]
const uint kRotatedStride = 1;
#define ROTATED(i) rotated[i]
#define ROTATED_TYPE float
#include "rotate.glsl"

void Weigh(uint first_head) {
  const uint g = gl_LocalInvocationID.x;
  if (g < kGroup) {
    const uint at = (first_head + g) * kSplits * (kHeadDim + 2u);
    float most = -kInfinity, sum = 0.0;
    [[dont_unroll]] for (uint s = 0; s < kSplits; ++s) {
      const uint split = at + s * (kHeadDim + 2u);
      if (partials.v[split + 1u] > 0.0) most = max(most, partials.v[split]);
    }
    [[dont_unroll]] for (uint s = 0; s < kSplits; ++s) {
      const uint split = at + s * (kHeadDim + 2u);
      const float total = partials.v[split + 1u];
      const float weight = total > 0.0 ? Exp(partials.v[split] - most) : 0.0;
      weights[g * kSplits + s] = weight;
      sum = fma(weight, total, sum);
    }
    [[dont_unroll]] for (uint s = 0; s < kSplits; ++s) weights[g * kSplits + s] /= sum;
    log_sum_exp[g] = most + Log(sum);
  }
  barrier();
}

/// Rotated back where values are rotated.
void WriteOutput(uint first_head) {
  [[dont_unroll]] for (uint i = gl_LocalInvocationID.x; i < kGroup * kHeadDim; i += kThreads) {
    const uint g = i / kHeadDim, d = i % kHeadDim;
    float sum = 0.0;
    [[dont_unroll]] for (uint s = 0; s < kSplits; ++s) {
      const float weight = weights[g * kSplits + s];  // 0 where a split left no sums.
      const uint at = ((first_head + g) * kSplits + s) * (kHeadDim + 2u) + 2u + d;
      if (weight > 0.0) sum = fma(weight, partials.v[at], sum);
    }
    if (kIsRotated) {
      rotated[i] = sum;
    } else {
      o.v[first_head * kHeadDim + i] = sum;
    }
  }
  if (!kIsRotated) return;
  barrier();
  Rotate(1u, kGroup * kHeadDim, kRotation);
  [[dont_unroll]] for (uint i = gl_LocalInvocationID.x; i < kGroup * kHeadDim; i += kThreads) {
    o.v[first_head * kHeadDim + i] = rotated[i];
  }
}

void main() {
  const uint split = gl_WorkGroupID.x, row = gl_WorkGroupID.z;
  if (row >= step.v[kStepRows]) return;
  const uint head = layer * kKvHeads + KvHead(), first_head = FirstHead(row);
  const RowPlace place = PlaceOf(step, row, head);
  const bool is_judged = place.i >= Sequence(step, place.sequence, kJudgedFrom);
  if (split != 0 && !is_judged) return;
  Weigh(first_head);
  if (split == 0) WriteOutput(first_head);
  if (!is_judged) return;

  Cache cache = Cache(slabs, tables, pages_per_slab, pages_per_head, step.v[kStepHeads]);
  const uint table = Sequence(step, place.sequence, kTable);
  const uint now = Sequence(step, place.sequence, kClock) + place.i + 1u;
  const Marking marking = MarkingOf(step, place.sequence);
  const float log_share = LogShare(step, place, marking);
  const uint pages = (place.visible + 31u) / 32u, each = (pages + kSplits - 1u) / kSplits;
  const uint last_slot = min((split + 1u) * each * 32u, place.visible);
  [[dont_unroll]] for (uint slot = split * each * 32u + gl_LocalInvocationID.x; slot < last_slot;
                       slot += kThreads) {
    uint mark = 0u;
    [[dont_unroll]] for (uint g = 0; g < kGroup; ++g) {
      const float score = scores.v[(first_head + g) * pages_per_head * kPageRows + slot];
      mark = MarkWith(marking, mark, now, score, log_sum_exp[g] + log_share);
    }
    LeaveMark(marking, PageOf(cache, table, head, slot / kPageRows), slot % kPageRows, mark);
  }
}
