// Marks by what queries to come are expected to take from rows. See KvScoreOp in
// runtime/ops/ops.h.
//
// A block a head, query head by query head of its group: threads make the terms of z, a pair each,
// and then walk the rows twice, for what the softmax is divided by and for the shares. Until all
// query heads are done, a row's mark holds the bits of its sum of shares.
#pragma once
#include "shaders/gpu/angle.cuh"
#include "shaders/gpu/hadamard.cuh"
#include "shaders/gpu/query_stats.cuh"

namespace cormorant::GPU_NAMESPACE::kernels {

constexpr uint32_t kScoreThreads = 128;
constexpr float kExpectedUnits = 1073741824.0f;
constexpr float kLeastScore = -1e38f;
constexpr uint32_t kExpectedTerms = 128 * kPairSums;  // As heads have at most.

/// Sets what a, b, a^2, b^2 and a b of each pair of a key are multiplied with in z.
GPU_FN void SetTerms(const KvScoreArguments& a, const float* sums,
                     gpu::SharedPointer<float> terms) {
  const uint32_t position = Sequence(a.cache.step, 0, kPositionClock);
  const float count = *sums++, square = a.scale * a.scale;
  for (uint32_t pair = gpu::Thread(); pair < a.cache.head_dim / 2; pair += gpu::BlockThreads()) {
    const float* const of = sums + pair * kPairSums;
    const float x = of[0] / count, y = of[1] / count;
    const float xx = gpu::Max(0.0f, of[2] / count - x * x);
    const float yy = gpu::Max(0.0f, of[3] / count - y * y), xy = of[4] / count - x * y;
    float c = 1.0f, s = 0.0f;  // Of the mean rotation.
    if (pair < a.pairs) {
      const uint32_t* const turns = a.turns + 4 * pair;
      const Angle angle =
          CosSin(turns[1] * position + gpu::MultiplyHigh(turns[0], position) + turns[2]);
      const float length = gpu::AsFloat(turns[3]);
      c = length * angle.cos;
      s = length * angle.sin;
    }
    const uint32_t at = pair * kPairSums;
    terms[at] = a.scale * (c * x - s * y);
    terms[at + 1] = a.scale * (s * x + c * y);
    terms[at + 2] = square / 2 * (c * c * xx - 2 * c * s * xy + s * s * yy);
    terms[at + 3] = square / 2 * (s * s * xx + 2 * c * s * xy + c * c * yy);
    terms[at + 4] = square * (c * s * (xx - yy) + (c * c - s * s) * xy);
  }
}

/// What dimensions 2 pair and 2 pair + 1 of a key add to z.
GPU_FN float Term(gpu::SharedPointer<float> terms, uint32_t pair, float a, float b) {
  const uint32_t at = pair * kPairSums;
  return (terms[at] + terms[at + 2] * a + terms[at + 4] * b) * a +
         (terms[at + 1] + terms[at + 3] * b) * b;
}

/// z of a row.
GPU_FN float ExpectedScore(const CacheArguments& cache, gpu::SharedPointer<float> terms,
                           uint32_t* page, uint32_t row) {
  float z = 0.0f;
  if (cache.key_type != kHalfByteRows) {
    for (uint32_t i = 0; i < cache.head_dim / 4; ++i) {
      const gpu::Float4 key = AnyKey4(cache, page, row, i);
      z += Term(terms, 2 * i, key.x, key.y) + Term(terms, 2 * i + 1, key.z, key.w);
    }
    return z;
  }
  for (uint32_t first = 0; first < cache.head_dim; first += cache.rotation_block) {
    float x[kRotationMost];
    for (uint32_t d = 0; d < cache.rotation_block; d += 4) {
      const gpu::Float4 key = Key4<kHalfByteRows>(cache, page, row, (first + d) / 4);
      x[d] = key.x;
      x[d + 1] = key.y;
      x[d + 2] = key.z;
      x[d + 3] = key.w;
    }
    RotateBlock(x, cache.rotation_block, cache.rotation_scale);
    for (uint32_t d = 0; d < cache.rotation_block; d += 2) {
      z += Term(terms, (first + d) / 2, x[d], x[d + 1]);
    }
  }
  return z;
}

GPU_FN float ValueLength(const CacheArguments& cache, uint32_t* page, uint32_t row) {
  float square = 0.0f;
  for (uint32_t i = 0; i < cache.head_dim / 4; ++i) {
    const gpu::Float4 value = AnyValue4(cache, page, row, i);
    square += value.x * value.x + value.y * value.y + value.z * value.z + value.w * value.w;
  }
  return gpu::Sqrt(square);
}

/// Calls f(page, row, &mark) for the thread's rows that are not pinned.
template <class F>
GPU_FN void ForEachOwnRow(const CacheArguments& cache, const Head& head, const F& f) {
  for (uint32_t slot = gpu::Thread(); slot < head.count; slot += gpu::BlockThreads()) {
    uint32_t* const page = PageOfSlot(cache, head, slot);
    uint32_t* const mark = page + cache.last_important_at + slot % kPageRows;
    if (*mark != kPinnedRow) f(page, slot % kPageRows, mark);
  }
}

GPU_FN void ScoreExpected(const KvScoreArguments& a) {
  GPU_SHARED(float, terms, kExpectedTerms);
  const CacheArguments& cache = a.cache;
  const Head head = HeadOf(cache);
  const uint32_t group = a.statistics.heads / cache.kv_heads;
  const uint32_t layer = head.index / cache.kv_heads, kv_head = head.index % cache.kv_heads;
  if (group == 0) return;
  if (StatisticsOf(a.statistics, cache, head.table, layer, kv_head * group)[0] == 0.0f) return;
  for (uint32_t j = 0; j < group; ++j) {
    gpu::Sync();  // The terms before may still be read.
    SetTerms(a, StatisticsOf(a.statistics, cache, head.table, layer, kv_head * group + j), terms);
    gpu::Sync();
    float greatest = kLeastScore, own = 0.0f;  // own: sum of exp(z - greatest).
    ForEachOwnRow(cache, head, [&](uint32_t* page, uint32_t row, uint32_t*) {
      const float z = ExpectedScore(cache, terms, page, row);
      const float next = gpu::Max(greatest, z);
      own = own * gpu::Exp(greatest - next) + gpu::Exp(z - next);
      greatest = next;
    });
    const float most = gpu::BlockMax(greatest);
    const float inverse = 1.0f / gpu::BlockSum(own * gpu::Exp(greatest - most));
    ForEachOwnRow(cache, head, [&](uint32_t* page, uint32_t row, uint32_t* mark) {
      const float before = j == 0 ? 0.0f : gpu::AsFloat(*mark);
      const float share = gpu::Exp(ExpectedScore(cache, terms, page, row) - most) * inverse;
      *mark = gpu::AsWord(before + share);
    });
  }
  float sum = 0.0f;
  ForEachOwnRow(cache, head, [&](uint32_t* page, uint32_t row, uint32_t* mark) {
    const float taken = gpu::AsFloat(*mark) * ValueLength(cache, page, row);
    *mark = gpu::AsWord(taken);
    sum += taken;
  });
  const float total = gpu::BlockSum(sum), inverse = total > 0.0f ? 1.0f / total : 0.0f;
  ForEachOwnRow(cache, head, [&](uint32_t*, uint32_t, uint32_t* mark) {
    *mark = static_cast<uint32_t>(gpu::RoundEven(gpu::AsFloat(*mark) * inverse * kExpectedUnits));
  });
}

}  // namespace cormorant::GPU_NAMESPACE::kernels
