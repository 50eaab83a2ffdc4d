// Histograms of age, by head. See KvAgesOp in runtime/ops/ops.h.
//
// A workgroup a head; bins are counted in shared memory.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "kv.glsl"
#include "rows.glsl"
layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint kThreads = 64;

layout(push_constant) uniform Arguments {
  Words ages, step;
  Slabs slabs;
  Words tables;
  uint pages_per_slab, pages_per_head;
};
const uint kAgeBins = 64 + 32 * 15;
shared uint bins[kAgeBins + 1];

uint AgeBin(uint age) {
  if (age < 64u) return age;
  const uint octave = uint(findMSB(age)) - 6u;
  return min(64u + octave * 32u + (age >> (octave + 1u)) - 32u, kAgeBins - 1u);
}

/// AgeBin(rank_by, age) of runtime/ops/ops.h.
uint RankBin(uint rank_by, uint age) {
  if (rank_by == kByLastImportant || rank_by == kByPosition) return AgeBin(age);
  return min(age >> (rank_by == kByHash ? 23 : 19), kAgeBins - 1u);
}

void main() {
  const uint thread = gl_LocalInvocationID.x;
  Head head = HeadOf(step, slabs, tables, pages_per_slab, pages_per_head);
  [[dont_unroll]] for (uint b = thread; b <= kAgeBins; b += kThreads) bins[b] = 0u;
  barrier();
  const uint rank_by = Sequence(step, 0, kRankBy);
  const uint natural_age = Sequence(step, 0, kNaturalAge);
  [[dont_unroll]] for (uint slot = thread; slot < head.count; slot += kThreads) {
    const RowState state = StateOf(step, head.index, PageOfSlot(head, slot), slot % kPageRows);
    if (!state.is_evictable) continue;
    atomicAdd(bins[RankBin(rank_by, state.age)], 1u);
    if (state.age >= natural_age) atomicAdd(bins[kAgeBins], 1u);
  }
  barrier();
  [[dont_unroll]] for (uint b = thread; b <= kAgeBins; b += kThreads) {
    ages.v[head.index * (kAgeBins + 1u) + b] = bins[b];
  }
}
