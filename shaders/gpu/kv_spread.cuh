// Important rows make their neighbours important. See KvSpreadOp in runtime/ops/ops.h.
#pragma once
#include "shaders/gpu/kv.cuh"

namespace cormorant::GPU_NAMESPACE::kernels {

constexpr uint32_t kSpreadMost = 16;  // Of ops.h.
constexpr uint32_t kSpreadWindow = 2048;

/// The best of the mark at `place` and its neighbours'.
template <class Marks>
GPU_FN uint32_t BestMark(const Marks& marks, uint32_t place, uint32_t fade) {
  uint32_t best = marks[place];
  for (uint32_t d = 1; d <= kSpreadMost; ++d) {
    const uint32_t before = marks[place - d], behind = marks[place + d], cost = d * fade;
    const uint32_t near = gpu::Max(before, behind);
    best = gpu::Max(best, near - gpu::Min(near, cost));
  }
  return best;
}

/// A block a head. Marks go to a window over positions in shared memory, of which each row takes
/// the best; windows follow each other in ascending order, so that marks ahead are still as they
/// were, and those behind are carried. Grid: heads.
GPU_KERNEL(128) KvSpread(const KvSpreadArguments a) {
  GPU_SHARED(uint32_t, marks, kSpreadWindow + 2 * kSpreadMost);
  const uint32_t fade = Sequence(a.cache.step, 0, kFade);
  if (fade == 0) return;
  const uint32_t thread = gpu::Thread(), threads = gpu::BlockThreads();
  const uint32_t end = Sequence(a.cache.step, 0, kPositionClock);
  const Head head = HeadOf(a.cache);
  for (uint32_t at = 0; at < end; at += kSpreadWindow) {
    for (uint32_t i = thread; i < kSpreadMost; i += threads) {
      marks[i] = at == 0 ? 0 : marks[kSpreadWindow + i];
    }
    gpu::Sync();
    for (uint32_t i = kSpreadMost + thread; i < kSpreadWindow + 2 * kSpreadMost; i += threads) {
      marks[i] = 0;
    }
    gpu::Sync();
    for (uint32_t slot = thread; slot < head.count; slot += threads) {
      const uint32_t* const page = PageOfSlot(a.cache, head, slot);
      const uint32_t position = page[a.cache.positions_at + slot % kPageRows];
      const uint32_t mark = page[a.cache.last_important_at + slot % kPageRows];
      if (position < at || position - at >= kSpreadWindow + kSpreadMost) continue;
      if (mark != kPinnedRow) marks[kSpreadMost + position - at] = mark;
    }
    gpu::Sync();
    for (uint32_t slot = thread; slot < head.count; slot += threads) {
      uint32_t* const page = PageOfSlot(a.cache, head, slot);
      const uint32_t position = page[a.cache.positions_at + slot % kPageRows];
      uint32_t& mark = page[a.cache.last_important_at + slot % kPageRows];
      if (position < at || position - at >= kSpreadWindow || mark == kPinnedRow) continue;
      mark = BestMark(marks, kSpreadMost + position - at, fade);
    }
    gpu::Sync();
  }
}

}  // namespace cormorant::GPU_NAMESPACE::kernels
