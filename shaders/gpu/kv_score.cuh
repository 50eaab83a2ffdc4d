// Marks to rank rows by. See KvScoreOp in runtime/ops/ops.h.
//
// A block a head. Keys are read twice, a thread a row: for their lengths, as parts of the mean,
// and for their cosines with it. The mean itself has a thread for four dimensions.
#pragma once
#include "shaders/gpu/kv_expected.cuh"
#include "shaders/gpu/mark_window.cuh"

namespace cormorant::GPU_NAMESPACE::kernels {

constexpr uint32_t kScoreDimensions = 256;  // As heads have at most.
constexpr uint32_t kPoolMost = 2;           // Of ops.h.
static_assert(kPoolMost <= kMarksBeside);

GPU_FN float Dot(gpu::Float4 a, gpu::Float4 b) {
  return a.x * b.x + a.y * b.y + a.z * b.z + a.w * b.w;
}
/// 1 / sqrt(square), or 0 of zeros.
GPU_FN float InverseLength(float square) {
  return square > 0.0f ? 1.0f / gpu::Sqrt(square) : 0.0f;
}

GPU_FN void ScoreKeyDifference(const CacheArguments& cache) {
  GPU_SHARED(float, mean, kScoreDimensions);  // Times the number of rows.
  GPU_SHARED(float, inverse, kScoreThreads);  // Lengths of keys, of a row a thread.
  const uint32_t thread = gpu::Thread(), threads = gpu::BlockThreads();
  const uint32_t quads = cache.head_dim / 4;
  const Head head = HeadOf(cache);
  for (uint32_t d = thread; d < cache.head_dim; d += threads) mean[d] = 0.0f;
  for (uint32_t first = 0; first < head.count; first += threads) {
    const uint32_t slot = first + thread;
    float square = 0.0f;
    for (uint32_t i = 0; i < quads && slot < head.count; ++i) {
      const gpu::Float4 key = AnyKey4(cache, PageOfSlot(cache, head, slot), slot % kPageRows, i);
      square += Dot(key, key);
    }
    inverse[thread] = InverseLength(square);
    gpu::Sync();
    const uint32_t rows = gpu::Min(threads, head.count - first);
    for (uint32_t i = thread; i < quads; i += threads) {
      gpu::Float4 sum = {0.0f, 0.0f, 0.0f, 0.0f};
      for (uint32_t r = 0; r < rows; ++r) {
        uint32_t* const page = PageOfSlot(cache, head, first + r);
        const gpu::Float4 key = AnyKey4(cache, page, (first + r) % kPageRows, i);
        const float factor = inverse[r];
        sum.x += key.x * factor;
        sum.y += key.y * factor;
        sum.z += key.z * factor;
        sum.w += key.w * factor;
      }
      mean[4 * i] += sum.x;
      mean[4 * i + 1] += sum.y;
      mean[4 * i + 2] += sum.z;
      mean[4 * i + 3] += sum.w;
    }
    gpu::Sync();
  }
  float own = 0.0f;
  for (uint32_t d = thread; d < cache.head_dim; d += threads) own += mean[d] * mean[d];
  const float mean_inverse = InverseLength(gpu::BlockSum(own));
  for (uint32_t slot = thread; slot < head.count; slot += threads) {
    uint32_t* const page = PageOfSlot(cache, head, slot);
    uint32_t& mark = page[cache.last_important_at + slot % kPageRows];
    if (mark == kPinnedRow) continue;
    float square = 0.0f, product = 0.0f;
    for (uint32_t i = 0; i < quads; ++i) {
      const gpu::Float4 key = AnyKey4(cache, page, slot % kPageRows, i);
      square += Dot(key, key);
      product += Dot(key, gpu::Load4(mean, 4 * i));
    }
    const float cosine = product * InverseLength(square) * mean_inverse;
    mark = static_cast<uint32_t>(gpu::RoundEven(kAttentionUnits * gpu::Max(0.0f, 1.0f - cosine)));
  }
}

/// Grid: heads. Blocks have kScoreThreads threads.
GPU_KERNEL(kScoreThreads) KvScore(const KvScoreArguments a) {
  const uint32_t score_by = Sequence(a.cache.step, 0, kScoreBy);
  if (score_by == kByPooledAttention) {
    RewriteMarks(a.cache, [](const auto& marks, uint32_t place) {
      uint32_t sum = 0, rest = 0;  // Of fifths: the sum itself may not fit a word.
      for (uint32_t p = place - kPoolMost; p <= place + kPoolMost; ++p) {
        const uint32_t mark = marks[p];
        sum += mark / (2 * kPoolMost + 1);
        rest += mark % (2 * kPoolMost + 1);
      }
      return sum + rest / (2 * kPoolMost + 1);
    });
  } else if (score_by == kByKeyDifference) {
    ScoreKeyDifference(a.cache);
  } else if (score_by == kByExpectedAttention) {
    ScoreExpected(a);
  }
}

}  // namespace cormorant::GPU_NAMESPACE::kernels
