// The reference of the ops on the cache. See runtime/ops/ops.h for what each one computes and
// runtime/ops/kv_page.h for the bytes.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "backends/reference/reference.h"
#include "backends/reference/reference_rows.h"
#include "runtime/base/check.h"

namespace cormorant::reference {
namespace {

/// Calls f(head, rows of the head, resident count) for every head of sequence 0.
template <class F>
void ForEachHead(const Replay& replay, F&& f) {
  const uint32_t table = replay.step.sequence(0).table;
  for (uint32_t head = 0; head < replay.kv->geometry.heads(); ++head) {
    f(head, HeadRows(*replay.kv, table, head), replay.step.counts(0)[head]);
  }
}

bool IsEvictable(const StepSequence& sequence, const HeadRows& rows, uint32_t slot) {
  return rows.last_important(slot) != kPinned && rows.position(slot) < sequence.recent_from;
}

uint32_t Age(const StepSequence& sequence, const HeadRows& rows, uint32_t slot) {
  const float value = sequence.value_reach == 0 ? 0.0f : rows.ValueMagnitudes(slot);
  return AgeOf(sequence, rows.head(), rows.position(slot), rows.last_important(slot), value);
}

/// o = sum_s a_s V[s], a = softmax(scale q.K) over the first `visible` of the dequantized rows in
/// scratch. Leaves the scores in scratch and returns their log-sum-exp.
double AttendRow(const float* q, float scale, uint32_t visible, Scratch& scratch, float* o) {
  const size_t head_dim = scratch.sums.size();
  double greatest = -HUGE_VAL;
  for (uint32_t s = 0; s < visible; ++s) {
    const float* k = &scratch.k[s * head_dim];
    scratch.scores[s] = double{scale} * Dot(q, k, static_cast<uint32_t>(head_dim));
    greatest = std::max(greatest, scratch.scores[s]);
  }
  double total = 0.0;
  std::fill(scratch.sums.begin(), scratch.sums.end(), 0.0);
  for (uint32_t s = 0; s < visible; ++s) {
    const float* v = &scratch.v[s * head_dim];
    const double share = std::exp(scratch.scores[s] - greatest);
    total += share;
    for (size_t d = 0; d < head_dim; ++d) scratch.sums[d] += share * double{v[d]};
  }
  for (size_t d = 0; d < head_dim; ++d) o[d] = static_cast<float>(scratch.sums[d] / total);
  return greatest + std::log(total);
}

/// Rows of one sequence that attend to one KV head, and what their stamps need.
struct Group {
  const StepSequence& sequence;
  HeadRows rows;
  uint32_t resident;  // Before the step.
};

/// Row i gives every slot with at least its share of the attention the row's step.
void Stamp(const Group& group, uint32_t i, double log_sum_exp, const Scratch& scratch) {
  const uint32_t step = group.sequence.clock + i + 1, visible = group.resident + i + 1;
  const uint32_t t = BasisOf(group.sequence.basis, step, visible);
  const double least = log_sum_exp + std::log(double{group.sequence.importance_scale} / t);
  for (uint32_t s = 0; s < visible; ++s) {
    const double x = std::exp(scratch.scores[s] - least);
    if (x < 1) continue;
    const uint32_t stamp = step + Reach(static_cast<float>(x), group.sequence.reach);
    uint32_t& last_important = group.rows.last_important(s);
    last_important = std::max(last_important, stamp);
  }
}

/// Adds what a query gave to the sums of the slots it sees.
void AddAttention(const Group& group, uint32_t visible, double log_sum_exp,
                  const Scratch& scratch) {
  for (uint32_t s = 0; s < visible; ++s) {
    uint32_t& sum = group.rows.last_important(s);
    const double share = std::exp(scratch.scores[s] - log_sum_exp);
    if (sum < kAttentionMost) sum += static_cast<uint32_t>(std::lround(share * kAttentionUnits));
  }
}

void AttendGroup(const AttendOp& op, const Group& group, uint32_t kv_head, Replay& replay) {
  Scratch& scratch = *replay.scratch;
  const uint32_t heads = op.q.shape[1], head_dim = op.q.shape[2];
  const uint32_t group_heads = heads / replay.kv->geometry.kv_heads;
  for (uint32_t s = 0; s < group.resident + group.sequence.rows; ++s) {
    group.rows.ReadK(s, &scratch.k[uint64_t{s} * head_dim]);
    group.rows.ReadV(s, &scratch.v[uint64_t{s} * head_dim]);
  }
  for (uint32_t i = 0; i < group.sequence.rows; ++i) {
    const uint64_t row = group.sequence.first_row + i;
    const uint32_t visible = group.resident + i + 1;
    for (uint32_t h = kv_head * group_heads; h < (kv_head + 1) * group_heads; ++h) {
      const uint64_t at = (row * heads + h) * head_dim;
      const double log_sum_exp =
          AttendRow(replay.At(op.q) + at, op.scale, visible, scratch, replay.At(op.o) + at);
      if (i < group.sequence.judged_from) continue;
      if (group.sequence.mark_by == MarkBy::kAttention) {
        AddAttention(group, visible, log_sum_exp, scratch);
      } else {
        Stamp(group, i, log_sum_exp, scratch);
      }
    }
  }
}

/// Marks in scratch the rows of a head that leave: the `count` evictable ones of the greatest age.
void MarkLeaving(const StepSequence& sequence, const HeadRows& rows, uint32_t resident,
                 uint32_t count, Scratch& scratch) {
  uint32_t evictable = 0;
  for (uint32_t s = 0; s < resident; ++s) {
    scratch.leaves[s] = 0;
    if (IsEvictable(sequence, rows, s)) scratch.order[evictable++] = s;
  }
  CORM_CHECK(count <= evictable);
  std::sort(scratch.order.begin(), scratch.order.begin() + evictable, [&](uint32_t a, uint32_t b) {
    const uint32_t age_a = Age(sequence, rows, a), age_b = Age(sequence, rows, b);
    return age_a != age_b ? age_a > age_b : rows.position(a) < rows.position(b);
  });
  for (uint32_t j = 0; j < count; ++j) scratch.leaves[scratch.order[j]] = 1;
}

void PoolMarks(const HeadRows& rows, uint32_t resident, Scratch& scratch) {
  for (uint32_t s = 0; s < resident; ++s) scratch.marks[s] = rows.last_important(s);
  for (uint32_t s = 0; s < resident; ++s) {
    if (scratch.marks[s] == kPinned) continue;
    uint64_t sum = 0;
    for (uint32_t near = 0; near < resident; ++near) {
      const int64_t distance = std::abs(int64_t{rows.position(s)} - rows.position(near));
      if (scratch.marks[near] == kPinned || distance > int64_t{kPoolMost}) continue;
      sum += scratch.marks[near];
    }
    rows.last_important(s) = static_cast<uint32_t>(sum / (2 * kPoolMost + 1));
  }
}

void ScoreKeys(const HeadRows& rows, uint32_t resident, Scratch& scratch) {
  const uint32_t head_dim = static_cast<uint32_t>(scratch.sums.size());
  float* const key = scratch.k.data();
  const auto inverse = [](double square) { return square > 0.0 ? 1.0 / std::sqrt(square) : 0.0; };
  std::fill(scratch.sums.begin(), scratch.sums.end(), 0.0);  // Of unit keys: a multiple of m.
  for (uint32_t s = 0; s < resident; ++s) {
    rows.ReadK(s, key);
    const double factor = inverse(Dot(key, key, head_dim));
    for (uint32_t d = 0; d < head_dim; ++d) scratch.sums[d] += factor * double{key[d]};
  }
  double square = 0.0;
  for (double sum : scratch.sums) square += sum * sum;
  for (uint32_t s = 0; s < resident; ++s) {
    if (rows.last_important(s) == kPinned) continue;
    rows.ReadK(s, key);
    double cosine = 0.0;
    for (uint32_t d = 0; d < head_dim; ++d) cosine += double{key[d]} * scratch.sums[d];
    cosine *= inverse(Dot(key, key, head_dim)) * inverse(square);
    const double difference = std::max(0.0, 1.0 - cosine);
    rows.last_important(s) = static_cast<uint32_t>(std::lround(difference * kAttentionUnits));
  }
}

/// Turns the key of a row by `positions`, through the bytes of its type.
void TurnKey(const RopeSpec& rope, const float* factors, const HeadRows& rows, uint32_t slot,
             double positions, float* key) {
  rows.ReadK(slot, key);
  for (uint32_t pair = 0; pair < rope.dims / 2; ++pair) {
    const Turn turn = TurnOf(rope, factors, positions, pair);
    const double a = key[2 * pair], b = key[2 * pair + 1];
    key[2 * pair] = static_cast<float>(a * turn.cos - b * turn.sin);
    key[2 * pair + 1] = static_cast<float>(a * turn.sin + b * turn.cos);
  }
  rows.WriteK(slot, key);
}

}  // namespace

void Run(const KvWriteOp& op, Replay& replay) {
  const uint32_t kv_heads = op.k.shape[1], head_dim = op.k.shape[2];
  for (uint32_t s = 0; s < replay.step.header().sequences; ++s) {
    const StepSequence& sequence = replay.step.sequence(s);
    for (uint32_t g = 0; g < kv_heads; ++g) {
      const uint32_t head = op.layer * kv_heads + g;
      const HeadRows rows(*replay.kv, sequence.table, head);
      for (uint32_t slot = 0; sequence.forgets != 0 && slot < replay.step.counts(s)[head]; ++slot) {
        if (rows.last_important(slot) != kPinned) rows.last_important(slot) = 0;
      }
      for (uint32_t i = 0; i < sequence.rows; ++i) {
        const uint32_t slot = replay.step.counts(s)[head] + i;
        const uint32_t row = sequence.first_row + i;
        const uint64_t at = (uint64_t{row} * kv_heads + g) * head_dim;
        rows.WriteK(slot, replay.At(op.k) + at);
        rows.WriteV(slot, replay.At(op.v) + at);
        rows.position(slot) = replay.step.positions()[row];
        const uint32_t mark = sequence.mark_by == MarkBy::kStep ? sequence.clock + i + 1 : 0;
        rows.last_important(slot) = i < sequence.pinned_rows ? kPinned : mark;
      }
    }
  }
}

void Run(const AttendOp& op, Replay& replay) {
  const uint32_t kv_heads = replay.kv->geometry.kv_heads;
  for (uint32_t s = 0; s < replay.step.header().sequences; ++s) {
    const StepSequence& sequence = replay.step.sequence(s);
    for (uint32_t g = 0; g < kv_heads; ++g) {
      const uint32_t head = op.layer * kv_heads + g;
      const Group group{sequence, HeadRows(*replay.kv, sequence.table, head),
                        replay.step.counts(s)[head]};
      AttendGroup(op, group, g, replay);
    }
  }
}

void Run(const KvAgesOp& op, Replay& replay) {
  const StepSequence& sequence = replay.step.sequence(0);
  ForEachHead(replay, [&](uint32_t head, const HeadRows& rows, uint32_t resident) {
    uint32_t* ages = replay.At<uint32_t>(op.ages) + uint64_t{head} * (kAgeBins + 1);
    std::fill_n(ages, kAgeBins + 1, 0u);
    for (uint32_t s = 0; s < resident; ++s) {
      if (!IsEvictable(sequence, rows, s)) continue;
      const uint32_t age = Age(sequence, rows, s);
      ++ages[AgeBin(sequence.rank_by, age)];
      if (age >= sequence.natural_age) ++ages[kAgeBins];
    }
  });
}

void Run(const KvCompactOp&, Replay& replay) {
  Scratch& scratch = *replay.scratch;
  ForEachHead(replay, [&](uint32_t head, const HeadRows& rows, uint32_t resident) {
    const uint32_t count = replay.step.evict()[head];
    MarkLeaving(replay.step.sequence(0), rows, resident, count, scratch);
    uint32_t hole = 0;
    for (uint32_t s = resident - count; s < resident; ++s) {
      if (scratch.leaves[s] != 0) continue;
      while (scratch.leaves[hole] == 0) ++hole;
      rows.Swap(s, hole++);
    }
  });
}

void Run(const KvRebaseOp& op, Replay& replay) {
  Scratch& scratch = *replay.scratch;
  const float* factors = FactorsOf(op.rope, replay);
  const StepSequence& sequence = replay.step.sequence(0);
  ForEachHead(replay, [&](uint32_t, const HeadRows& rows, uint32_t resident) {
    const auto end = scratch.order.begin() + resident;
    std::iota(scratch.order.begin(), end, 0u);
    std::sort(scratch.order.begin(), end,
              [&](uint32_t a, uint32_t b) { return rows.position(a) < rows.position(b); });
    const auto before =
        static_cast<uint32_t>(std::count_if(scratch.order.begin(), end, [&](uint32_t slot) {
          return rows.position(slot) < sequence.window_from;
        }));
    for (uint32_t j = 0; j < resident; ++j) {
      uint32_t& position = rows.position(scratch.order[j]);
      const uint32_t moved_to = j < before ? sequence.window_at - before + j
                                           : sequence.window_at + (position - sequence.window_from);
      const int64_t positions = int64_t{moved_to} - position;
      if (positions == 0) continue;
      position = moved_to;
      TurnKey(op.rope, factors, rows, scratch.order[j], static_cast<double>(positions),
              scratch.k.data());
    }
  });
}

void Run(const KvScoreOp& op, Replay& replay) {
  const ScoreBy score_by = replay.step.sequence(0).score_by;
  ForEachHead(replay, [&](uint32_t, const HeadRows& rows, uint32_t resident) {
    if (score_by == ScoreBy::kPooledAttention) PoolMarks(rows, resident, *replay.scratch);
    if (score_by == ScoreBy::kKeyDifference) ScoreKeys(rows, resident, *replay.scratch);
    if (score_by == ScoreBy::kExpectedAttention) ScoreExpected(op, rows, resident, replay);
  });
}

void Run(const KvSpreadOp&, Replay& replay) {
  const uint32_t fade = replay.step.sequence(0).fade;
  if (fade == 0) return;
  Scratch& scratch = *replay.scratch;
  ForEachHead(replay, [&](uint32_t, const HeadRows& rows, uint32_t resident) {
    for (uint32_t s = 0; s < resident; ++s) scratch.marks[s] = rows.last_important(s);
    for (uint32_t s = 0; s < resident; ++s) {
      if (scratch.marks[s] == kPinned) continue;
      for (uint32_t near = 0; near < resident; ++near) {
        const int64_t distance = std::abs(int64_t{rows.position(s)} - rows.position(near));
        if (scratch.marks[near] == kPinned || distance > int64_t{kSpreadMost}) continue;
        const int64_t mark = int64_t{scratch.marks[near]} - distance * fade;
        if (mark > int64_t{rows.last_important(s)}) {
          rows.last_important(s) = static_cast<uint32_t>(mark);
        }
      }
    }
  });
}

}  // namespace cormorant::reference
