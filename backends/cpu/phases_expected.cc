// Statistics of queries, and marks by what they let one expect of queries to come. See QueryStatsOp
// and KvScoreOp in runtime/ops/ops.h.
//
// Scores are computed for the 32 rows of a page at a time, so that loops over rows become vectors.
#include <algorithm>
#include <cmath>

#include "backends/cpu/head_rows.h"
#include "runtime/ops/turns.h"

namespace cormorant::cpu {
namespace {

constexpr uint32_t kTerms = 5;  // Sums of a pair, and terms of z that it has.

/// Items are query heads: rows of one are added in order.
class QueryStats final : public Phase {
 public:
  explicit QueryStats(const QueryStatsOp& op) : op_(op) {}
  uint32_t Items(const Replay& replay) const override {
    for (uint32_t s = 0; s < replay.step.header().sequences; ++s) {
      if (replay.step.sequence(s).observes != 0) return op_.q.shape[1];
    }
    return 0;
  }
  void Run(const Replay& replay, uint32_t head, uint32_t) const override {
    const uint32_t heads = op_.q.shape[1], head_dim = op_.q.shape[2];
    for (uint32_t s = 0; s < replay.step.header().sequences; ++s) {
      const StepSequence& sequence = replay.step.sequence(s);
      if (sequence.observes == 0) continue;
      float* const sums = StatisticsOf(*replay.kv, sequence.table, op_.layer * heads + head);
      if (sequence.clock == 0) std::fill_n(sums, replay.kv->geometry.query_sums(), 0.0f);
      for (uint32_t i = sequence.pinned_rows; i < sequence.rows; ++i) {
        const uint64_t row = sequence.first_row + i;
        Add(replay.At(op_.q) + (row * heads + head) * head_dim, head_dim, sums);
      }
    }
  }

 private:
  static void Add(const float* q, uint32_t head_dim, float* sums) {
    *sums++ += 1.0f;
    for (uint32_t d = 0; d < head_dim; d += 2, sums += kTerms) {
      const float a = q[d], b = q[d + 1];
      sums[0] += a;
      sums[1] += b;
      sums[2] += a * a;
      sums[3] += b * b;
      sums[4] += a * b;
    }
  }

  const QueryStatsOp op_;
};

/// Terms of z for each pair (a, b) of a key: what a, b, a^2, b^2 and a b are multiplied with.
void SetTerms(const KvScoreOp& op, const Replay& replay, const float* sums, float* terms) {
  const double count = double{*sums++};
  const double scale = double{op.scale}, square = scale * scale;
  const double middle = replay.step.sequence(0).position_clock + (kExpectedPositions - 1) / 2.0;
  for (uint32_t pair = 0; pair < replay.kv->geometry.head_dim / 2; ++pair) {
    const double a = double{sums[0]} / count, b = double{sums[1]} / count;
    const double aa = std::max(0.0, double{sums[2]} / count - a * a);
    const double bb = std::max(0.0, double{sums[3]} / count - b * b);
    const double ab = double{sums[4]} / count - a * b;
    double c = 1.0, s = 0.0;  // Of the mean rotation.
    if (pair < op.rope.dims / 2) {
      const double radians = Frequency(op.rope, replay, pair), length = MeanTurnLength(radians);
      c = length * std::cos(radians * middle);
      s = length * std::sin(radians * middle);
    }
    terms[0] = static_cast<float>(scale * (c * a - s * b));
    terms[1] = static_cast<float>(scale * (s * a + c * b));
    terms[2] = static_cast<float>(square / 2 * (c * c * aa - 2 * c * s * ab + s * s * bb));
    terms[3] = static_cast<float>(square / 2 * (s * s * aa + 2 * c * s * ab + c * c * bb));
    terms[4] = static_cast<float>(square * (c * s * (aa - bb) + (c * c - s * s) * ab));
    sums += kTerms, terms += kTerms;
  }
}

/// Undoes the rotation of q4_0 keys. [E][32]
void RotateBack(uint32_t head_dim, float* keys) {
  const uint32_t block = RotationBlock(head_dim);
  for (uint32_t stride = 1; stride < block; stride *= 2) {
    for (uint32_t d = 0; d < head_dim; ++d) {
      if ((d & stride) != 0) continue;
      float *const first = keys + d * kPageRows, *const second = first + stride * kPageRows;
      for (uint32_t r = 0; r < kPageRows; ++r) {
        const float a = first[r], b = second[r];
        first[r] = a + b;
        second[r] = a - b;
      }
    }
  }
  for (uint32_t i = 0; i < head_dim * kPageRows; ++i) keys[i] *= RotationScale(block);
}

/// z of the rows of a page.
void ScorePage(const float* keys, const float* terms, uint32_t head_dim, float* z) {
  std::fill_n(z, kPageRows, 0.0f);
  for (uint32_t d = 0; d < head_dim; d += 2, terms += kTerms) {
    const float *const as = keys + d * kPageRows, *const bs = as + kPageRows;
    for (uint32_t r = 0; r < kPageRows; ++r) {
      const float a = as[r], b = bs[r];
      z[r] += (terms[0] + terms[2] * a + terms[4] * b) * a + (terms[1] + terms[3] * b) * b;
    }
  }
}

/// Adds softmax(z) over the rows that are not pinned to theirs.
void AddShares(const HeadRows& rows, const float* z, float* shares) {
  float greatest = -HUGE_VALF;
  rows.ForEachRow([&](uint32_t slot, uint32_t, uint32_t mark) {
    if (mark != kPinned) greatest = std::max(greatest, z[slot]);
  });
  double total = 0.0;
  rows.ForEachRow([&](uint32_t slot, uint32_t, uint32_t mark) {
    if (mark != kPinned) total += double{std::exp(z[slot] - greatest)};
  });
  const float inverse = static_cast<float>(1.0 / total);
  rows.ForEachRow([&](uint32_t slot, uint32_t, uint32_t mark) {
    if (mark != kPinned) shares[slot] += std::exp(z[slot] - greatest) * inverse;
  });
}

}  // namespace

void ScoreExpected(const KvScoreOp& op, const Replay& replay, const HeadRows& rows, uint32_t head,
                   const HeadScratch& scratch) {
  const KvGeometry& g = replay.kv->geometry;
  const uint32_t group = g.query_heads / g.kv_heads;
  float* const z = reinterpret_cast<float*>(scratch.order);
  float* const shares = z + uint64_t{g.pages_per_head} * kPageRows;
  std::fill_n(shares, rows.count(), 0.0f);
  for (uint32_t h = head * group; h < (head + 1) * group; ++h) {
    const float* const sums = StatisticsOf(*replay.kv, replay.step.sequence(0).table, h);
    if (sums[0] == 0.0f) return;  // As for all heads of the sequence.
    SetTerms(op, replay, sums, scratch.terms);
    for (uint32_t slot = 0; slot < rows.count(); slot += kPageRows) {
      rows.ForEachDimension(slot, [&](uint32_t d, const float* keys) {
        std::copy_n(keys, kPageRows, scratch.keys + d * kPageRows);
      });
      if (g.k_type == DType::kQ4_0) RotateBack(g.head_dim, scratch.keys);
      ScorePage(scratch.keys, scratch.terms, g.head_dim, z + slot);
    }
    AddShares(rows, z, shares);
  }
  double sum = 0.0;
  rows.ForEachRow([&](uint32_t slot, uint32_t, uint32_t mark) {
    if (mark == kPinned) return;
    float square = 0.0f;
    rows.ForEachValue(slot, [&](uint32_t, float value) { square += value * value; });
    shares[slot] *= std::sqrt(square);
    sum += double{shares[slot]};
  });
  rows.ForEachRow([&](uint32_t slot, uint32_t, uint32_t& mark) {
    const double share = sum > 0.0 ? double{shares[slot]} / sum : 0.0;
    if (mark != kPinned) mark = static_cast<uint32_t>(std::lrint(share * kExpectedUnits));
  });
}

std::unique_ptr<Phase> MakeQueryStats(const QueryStatsOp& op) {
  return std::make_unique<QueryStats>(op);
}

}  // namespace cormorant::cpu
