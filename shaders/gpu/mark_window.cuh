// Marks by position: what KvSpread and KvScore look at around each row.
#pragma once
#include "shaders/gpu/kv.cuh"

namespace cormorant::GPU_NAMESPACE::kernels {

constexpr uint32_t kMarkWindow = 2048;
constexpr uint32_t kMarksBeside = 16;  // Positions seen on either side of a row's own.

/// Gives each row of the block's head that is not pinned the mark new_mark(marks, place), where
/// marks[place + d] is the mark of the row d positions behind it, as it was; 0 where there is none.
/// Marks go to a window over positions in shared memory; windows follow each other in ascending
/// order, so that marks ahead are still as they were, and those behind are carried.
template <class NewMark>
GPU_FN void RewriteMarks(const CacheArguments& cache, NewMark&& new_mark) {
  GPU_SHARED(uint32_t, marks, kMarkWindow + 2 * kMarksBeside);
  const uint32_t thread = gpu::Thread(), threads = gpu::BlockThreads();
  const uint32_t end = Sequence(cache.step, 0, kPositionClock);
  const Head head = HeadOf(cache);
  for (uint32_t at = 0; at < end; at += kMarkWindow) {
    for (uint32_t i = thread; i < kMarksBeside; i += threads) {
      marks[i] = at == 0 ? 0 : marks[kMarkWindow + i];
    }
    gpu::Sync();
    for (uint32_t i = kMarksBeside + thread; i < kMarkWindow + 2 * kMarksBeside; i += threads) {
      marks[i] = 0;
    }
    gpu::Sync();
    for (uint32_t slot = thread; slot < head.count; slot += threads) {
      const uint32_t* const page = PageOfSlot(cache, head, slot);
      const uint32_t position = page[cache.positions_at + slot % kPageRows];
      const uint32_t mark = page[cache.last_important_at + slot % kPageRows];
      if (position < at || position - at >= kMarkWindow + kMarksBeside) continue;
      if (mark != kPinnedRow) marks[kMarksBeside + position - at] = mark;
    }
    gpu::Sync();
    for (uint32_t slot = thread; slot < head.count; slot += threads) {
      uint32_t* const page = PageOfSlot(cache, head, slot);
      const uint32_t position = page[cache.positions_at + slot % kPageRows];
      uint32_t& mark = page[cache.last_important_at + slot % kPageRows];
      if (position < at || position - at >= kMarkWindow || mark == kPinnedRow) continue;
      mark = new_mark(marks, kMarksBeside + position - at);
    }
    gpu::Sync();
  }
}

}  // namespace cormorant::GPU_NAMESPACE::kernels
