// Important rows make their neighbours important. See KvSpreadOp in runtime/ops/ops.h.
//
// A workgroup a head. Marks go to a window over positions in shared memory, of which each row takes
// the best; windows follow each other in ascending order, so that marks ahead are still as they
// were, and those behind are carried.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "kv.glsl"
#include "rows.glsl"
layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint kThreads = 64;

layout(push_constant) uniform Arguments {
  Words step;
  Slabs slabs;
  Words tables;
  uint pages_per_slab, pages_per_head;
};
const uint kSpreadMost = 16;
const uint kWindow = 2048;
shared uint marks[kWindow + 2 * kSpreadMost];

/// The best of the mark at `place` and its neighbours'.
uint BestMark(uint place, uint fade) {
  uint best = marks[place];
  [[dont_unroll]] for (uint d = 1; d <= kSpreadMost; ++d) {
    const uint near = max(marks[place - d], marks[place + d]);
    best = max(best, near - min(near, d * fade));
  }
  return best;
}

void main() {
  const uint thread = gl_LocalInvocationID.x;
  const uint fade = Sequence(step, 0, kFade);
  if (fade == 0u) return;
  const uint end = Sequence(step, 0, kPositionClock);
  Head head = HeadOf(step, slabs, tables, pages_per_slab, pages_per_head);
  [[dont_unroll]] for (uint at = 0; at < end; at += kWindow) {
    [[dont_unroll]] for (uint i = thread; i < kSpreadMost; i += kThreads) {
      marks[i] = at == 0u ? 0u : marks[kWindow + i];
    }
    barrier();
    [[dont_unroll]] for (uint i = kSpreadMost + thread; i < kWindow + 2 * kSpreadMost;
                         i += kThreads) {
      marks[i] = 0u;
    }
    barrier();
    [[dont_unroll]] for (uint slot = thread; slot < head.count; slot += kThreads) {
      Page page = PageOfSlot(head, slot);
      const uint position = PageWord(page, kPositionsAt + slot % kPageRows);
      const uint mark = PageWord(page, kLastImportantAt + slot % kPageRows);
      if (position < at || position - at >= kWindow + kSpreadMost) continue;
      if (mark != kPinned) marks[kSpreadMost + position - at] = mark;
    }
    barrier();
    [[dont_unroll]] for (uint slot = thread; slot < head.count; slot += kThreads) {
      Page page = PageOfSlot(head, slot);
      const uint position = PageWord(page, kPositionsAt + slot % kPageRows);
      const uint word = page.at + kLastImportantAt + slot % kPageRows;
      if (position < at || position - at >= kWindow || page.slab.v[word] == kPinned) continue;
      page.slab.v[word] = BestMark(kSpreadMost + position - at, fade);
    }
    barrier();
  }
}
