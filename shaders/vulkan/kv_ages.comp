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
const uint kAgeBins = 64 + 16 * 14;
shared uint bins[kAgeBins + 1];

uint AgeBin(uint age) {
  if (age < 64u) return age;
  const uint octave = uint(findMSB(age)) - 6u;
  return min(64u + octave * 16u + (age >> (octave + 2u)) - 16u, kAgeBins - 1u);
}

void main() {
  const uint thread = gl_LocalInvocationID.x;
  Head head = HeadOf(step, slabs, tables, pages_per_slab, pages_per_head);
  [[dont_unroll]] for (uint b = thread; b <= kAgeBins; b += kThreads) bins[b] = 0u;
  barrier();
  const uint natural_age = Sequence(step, 0, kNaturalAge);
  [[dont_unroll]] for (uint slot = thread; slot < head.count; slot += kThreads) {
    const RowState state = StateOf(step, PageOfSlot(head, slot), slot % kPageRows);
    if (!state.is_evictable) continue;
    atomicAdd(bins[AgeBin(state.age)], 1u);
    if (state.age >= natural_age) atomicAdd(bins[kAgeBins], 1u);
  }
  barrier();
  [[dont_unroll]] for (uint b = thread; b <= kAgeBins; b += kThreads) {
    ages.v[head.index * (kAgeBins + 1u) + b] = bins[b];
  }
}
