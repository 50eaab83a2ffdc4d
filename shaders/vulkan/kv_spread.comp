// Important rows make their neighbours important. See KvSpreadOp in runtime/ops/ops.h.
//
// A workgroup a head.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "kv.glsl"
#include "rows.glsl"
layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint kThreads = 64;
#include "mark_window.glsl"

layout(push_constant) uniform Arguments {
  Words step;
  Slabs slabs;
  Words tables;
  uint pages_per_slab, pages_per_head;
};
const uint kSpreadMost = 16;

/// The best of a row's mark and its neighbours'.
uint NewMark(uint place) {
  const uint fade = Sequence(step, 0, kFade);
  uint best = marks[place];
  [[dont_unroll]] for (uint d = 1; d <= kSpreadMost; ++d) {
    const uint near = max(marks[place - d], marks[place + d]);
    best = max(best, near - min(near, d * fade));
  }
  return best;
}

void main() {
  if (Sequence(step, 0, kFade) == 0u) return;
  RewriteMarks(step, HeadOf(step, slabs, tables, pages_per_slab, pages_per_head));
}
