// Histograms of age, by head. See KvAgesOp in runtime/ops/ops.h.
#pragma once
#include "shaders/gpu/kv.cuh"

namespace cormorant::GPU_NAMESPACE::kernels {

constexpr uint32_t kAgeBinCount = 64 + 32 * 15;  // kAgeBins of ops.h.

GPU_FN uint32_t AgeBinOf(uint32_t age) {
  if (age < 64) return age;
  const uint32_t octave = gpu::HighestBit(age) - 6;
  return gpu::Min(64 + octave * 32 + (age >> (octave + 1)) - 32, kAgeBinCount - 1);
}

/// AgeBin(rank_by, age) of ops.h.
GPU_FN uint32_t RankBinOf(uint32_t rank_by, uint32_t age) {
  if (rank_by == kByLastImportant || rank_by == kByPosition) return AgeBinOf(age);
  return gpu::Min(age >> (rank_by == kByHash ? 23u : 19u), kAgeBinCount - 1);
}

/// A block a head; bins are counted in shared memory. Grid: heads.
GPU_KERNEL(128) KvAges(const KvAgesArguments a) {
  GPU_SHARED(uint32_t, bins, kAgeBinCount + 1);
  const uint32_t thread = gpu::Thread(), threads = gpu::BlockThreads();
  const Head head = HeadOf(a.cache);
  for (uint32_t b = thread; b <= kAgeBinCount; b += threads) bins[b] = 0;
  gpu::Sync();
  const uint32_t rank_by = Sequence(a.cache.step, 0, kRankBy);
  const uint32_t natural_age = Sequence(a.cache.step, 0, kNaturalAge);
  for (uint32_t slot = thread; slot < head.count; slot += threads) {
    const RowState state =
        StateOf(a.cache, head.index, PageOfSlot(a.cache, head, slot), slot % kPageRows);
    if (!state.is_evictable) continue;
    gpu::AtomicAdd(bins, RankBinOf(rank_by, state.age), 1u);
    if (state.age >= natural_age) gpu::AtomicAdd(bins, kAgeBinCount, 1u);
  }
  gpu::Sync();
  for (uint32_t b = thread; b <= kAgeBinCount; b += threads) {
    a.ages[head.index * (kAgeBinCount + 1) + b] = bins[b];
  }
}

}  // namespace cormorant::GPU_NAMESPACE::kernels
