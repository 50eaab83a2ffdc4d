// Counts queries into the statistics of their session. See QueryStatsOp in runtime/ops/ops.h.
//
// A block a query head, a thread a pair of dimensions: its five sums stay in registers while it
// walks the rows of a sequence, in their order, so there are no atomics and nothing to combine.
#pragma once
#include "shaders/gpu/kv.cuh"

namespace cormorant::GPU_NAMESPACE::kernels {

constexpr uint32_t kStatsThreads = 64;
constexpr uint32_t kPairSums = 5;

/// The statistics of a query head of a layer.
GPU_FN float* StatisticsOf(const StatisticsArguments& statistics, const CacheArguments& cache,
                           uint32_t table, uint32_t layer, uint32_t head) {
  const uint32_t layers = cache.step[kStepHeads] / cache.kv_heads;
  const uint64_t index = (uint64_t{table} * layers + layer) * statistics.heads + head;
  return statistics.sums + index * (1 + cache.head_dim / 2 * kPairSums);
}

/// Grid: query heads. Blocks have kStatsThreads threads.
GPU_KERNEL(kStatsThreads) QueryStats(const QueryStatsArguments a) {
  const uint32_t* const step = a.cache.step;
  const uint32_t head = gpu::Block(), heads = a.statistics.heads, dims = a.cache.head_dim;
  for (uint32_t s = 0; s < step[kStepSequences]; ++s) {
    if (Sequence(step, s, kObserves) == 0) continue;
    const uint32_t first = Sequence(step, s, kFirstRow), rows = Sequence(step, s, kRows);
    const uint32_t counted = gpu::Min(Sequence(step, s, kPinnedRows), rows);
    const bool is_new = Sequence(step, s, kClock) == 0;
    float* const sums =
        StatisticsOf(a.statistics, a.cache, Sequence(step, s, kTable), a.cache.layer, head);
    const float* const q = a.q + (uint64_t{first} * heads + head) * dims;
    for (uint32_t pair = gpu::Thread(); pair < dims / 2; pair += gpu::BlockThreads()) {
      float* const own = sums + 1 + pair * kPairSums;
      float sum[kPairSums];
      for (uint32_t t = 0; t < kPairSums; ++t) sum[t] = is_new ? 0.0f : own[t];
      for (uint32_t i = counted; i < rows; ++i) {
        const float* const at = q + uint64_t{i} * heads * dims + 2 * pair;
        const float x = at[0], y = at[1];
        sum[0] += x;
        sum[1] += y;
        sum[2] += x * x;
        sum[3] += y * y;
        sum[4] += x * y;
      }
      for (uint32_t t = 0; t < kPairSums; ++t) own[t] = sum[t];
    }
    if (gpu::Thread() == 0) {
      float count = is_new ? 0.0f : sums[0];
      for (uint32_t i = counted; i < rows; ++i) count += 1.0f;
      sums[0] = count;
    }
  }
}

}  // namespace cormorant::GPU_NAMESPACE::kernels
