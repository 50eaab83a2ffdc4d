// The reference of statistics of queries, and what they let one expect of queries to come. See
// QueryStatsOp and KvScoreOp in runtime/ops/ops.h.
#include <algorithm>
#include <cmath>

#include "backends/reference/reference.h"
#include "backends/reference/reference_rows.h"

namespace cormorant::reference {
namespace {

ExpectedPair PairOf(const float* sums, uint32_t pair) {
  const double count = sums[0];
  const float* const of = sums + 1 + uint64_t{pair} * 5;
  const double a = of[0] / count, b = of[1] / count;
  return {a, b, std::max(0.0, of[2] / count - a * a), of[4] / count - a * b,
          std::max(0.0, of[3] / count - b * b)};
}

/// The pair after the matrix (cos, -sin; sin, cos).
ExpectedPair Turned(const ExpectedPair& p, const Turn& turn) {
  const double c = turn.cos, s = turn.sin;
  return {c * p.mean_a - s * p.mean_b, s * p.mean_a + c * p.mean_b,
          c * c * p.aa - 2 * c * s * p.ab + s * s * p.bb,
          c * s * (p.aa - p.bb) + (c * c - s * s) * p.ab,
          s * s * p.aa + 2 * c * s * p.ab + c * c * p.bb};
}

Turn MeanTurn(const KvScoreOp& op, const float* factors, uint32_t first, uint32_t pair) {
  if (pair >= op.rope.dims / 2) return {1.0, 0.0};
  Turn mean{0.0, 0.0};
  for (uint32_t i = 0; i < kExpectedPositions; ++i) {
    const Turn turn = TurnOf(op.rope, factors, static_cast<double>(first) + i, pair);
    mean.cos += turn.cos / kExpectedPositions;
    mean.sin += turn.sin / kExpectedPositions;
  }
  return mean;
}

/// z of a key.
double Expected(const std::vector<ExpectedPair>& pairs, const float* key, double scale) {
  double z = 0.0;
  for (const ExpectedPair& p : pairs) {
    const double a = scale * double{*key++}, b = scale * double{*key++};
    z += p.mean_a * a + p.mean_b * b + (p.aa * a * a + 2 * p.ab * a * b + p.bb * b * b) / 2;
  }
  return z;
}

}  // namespace

float* StatisticsOf(const KvBinding& kv, uint32_t table, uint32_t head) {
  const KvGeometry& g = kv.geometry;
  const uint64_t index = uint64_t{table} * g.layers * g.query_heads + head;
  return reinterpret_cast<float*>(HostBytes(kv.statistics)) + index * g.query_sums();
}

void ScoreExpected(const KvScoreOp& op, const HeadRows& rows, uint32_t resident, Replay& replay) {
  const KvGeometry& g = replay.kv->geometry;
  Scratch& scratch = *replay.scratch;
  const float* const factors = FactorsOf(op.rope, replay);
  const StepSequence& sequence = replay.step.sequence(0);
  const uint32_t group = g.query_heads / g.kv_heads;
  float* const row = scratch.k.data();
  const auto is_pinned = [&](uint32_t s) { return rows.last_important(s) == kPinned; };
  std::fill_n(scratch.shares.begin(), resident, 0.0);
  for (uint32_t h = rows.head() * group; h < (rows.head() + 1) * group; ++h) {
    const float* const sums = StatisticsOf(*replay.kv, sequence.table, h);
    if (sums[0] == 0.0f) return;
    for (uint32_t pair = 0; pair < g.head_dim / 2; ++pair) {
      const Turn turn = MeanTurn(op, factors, sequence.position_clock, pair);
      scratch.pairs[pair] = Turned(PairOf(sums, pair), turn);
    }
    for (uint32_t s = 0; s < resident; ++s) {
      rows.ReadK(s, row);
      scratch.scores[s] = Expected(scratch.pairs, row, op.scale);
    }
    double greatest = -HUGE_VAL, total = 0.0;
    for (uint32_t s = 0; s < resident; ++s) {
      if (!is_pinned(s)) greatest = std::max(greatest, scratch.scores[s]);
    }
    for (uint32_t s = 0; s < resident; ++s) {
      if (!is_pinned(s)) total += std::exp(scratch.scores[s] - greatest);
    }
    for (uint32_t s = 0; s < resident; ++s) {
      if (!is_pinned(s)) scratch.shares[s] += std::exp(scratch.scores[s] - greatest) / total;
    }
  }
  double sum = 0.0;
  for (uint32_t s = 0; s < resident; ++s) {
    rows.ReadV(s, row);
    scratch.shares[s] *= std::sqrt(Dot(row, row, g.head_dim));
    sum += scratch.shares[s];
  }
  for (uint32_t s = 0; s < resident; ++s) {
    if (is_pinned(s)) continue;
    const double share = sum > 0.0 ? scratch.shares[s] / sum : 0.0;
    rows.last_important(s) = static_cast<uint32_t>(std::lround(share * kExpectedUnits));
  }
}

void Run(const QueryStatsOp& op, Replay& replay) {
  const uint32_t heads = op.q.shape[1], head_dim = op.q.shape[2];
  for (uint32_t s = 0; s < replay.step.header().sequences; ++s) {
    const StepSequence& sequence = replay.step.sequence(s);
    for (uint32_t h = 0; h < heads && sequence.observes != 0; ++h) {
      float* const sums = StatisticsOf(*replay.kv, sequence.table, op.layer * heads + h);
      if (sequence.clock == 0) std::fill_n(sums, 1 + head_dim / 2 * 5, 0.0f);
      for (uint32_t i = sequence.pinned_rows; i < sequence.rows; ++i) {
        const uint64_t row = sequence.first_row + i;
        const float* const q = replay.At(op.q) + (row * heads + h) * head_dim;
        sums[0] += 1.0f;
        for (uint32_t pair = 0; pair < head_dim / 2; ++pair) {
          const float a = q[2 * pair], b = q[2 * pair + 1];
          const float terms[] = {a, b, a * a, b * b, a * b};
          for (uint32_t t = 0; t < 5; ++t) sums[1 + pair * 5 + t] += terms[t];
        }
      }
    }
  }
}

}  // namespace cormorant::reference
