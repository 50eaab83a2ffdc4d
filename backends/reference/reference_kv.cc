// The reference of the ops on the cache. See runtime/ops/ops.h for what each one computes and
// runtime/ops/kv_page.h for the bytes.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "backends/reference/reference.h"
#include "runtime/base/check.h"
#include "runtime/base/half.h"

namespace cormorant::reference {
namespace {

constexpr uint32_t kBlock = 32;  // Dimensions that share a scale.

/// The transform of q4_0 rows.
void Rotate(float* row, uint32_t head_dim) {
  const uint32_t block = RotationBlock(head_dim);
  for (uint32_t stride = 1; stride < block; stride *= 2) {
    for (uint32_t d = 0; d < head_dim; ++d) {
      if ((d & stride) != 0) continue;
      const float a = row[d], b = row[d + stride];
      row[d] = a + b;
      row[d + stride] = a - b;
    }
  }
  for (uint32_t d = 0; d < head_dim; ++d) row[d] *= RotationScale(block);
}

/// The rows of one head of one sequence, by slot.
class HeadRows {
 public:
  HeadRows(const KvBinding& kv, uint32_t table, uint32_t head)
      : kv_(kv), layout_(kv.geometry), head_(head), pages_(Table(kv, table, head)) {}

  uint32_t head() const { return head_; }
  uint32_t& position(uint32_t slot) const {
    return Part<uint32_t>(slot, layout_.positions)[In(slot)];
  }
  uint32_t& last_important(uint32_t slot) const {
    return Part<uint32_t>(slot, layout_.last_important)[In(slot)];
  }
  void ReadK(uint32_t slot, float* to) const { Read(slot, kK, to); }
  void ReadV(uint32_t slot, float* to) const { Read(slot, kV, to); }
  /// The sum of the magnitudes of a value as it is held, in the order of KvAgesOp.
  float ValueMagnitudes(uint32_t slot) const {
    float sums[4] = {};
    for (uint32_t d = 0; d < layout_.head_dim; ++d) sums[d % 4] += std::fabs(Held(slot, kV, d));
    return (sums[0] + sums[1]) + (sums[2] + sums[3]);
  }
  void WriteK(uint32_t slot, const float* from) const { Write(slot, kK, from); }
  void WriteV(uint32_t slot, const float* from) const { Write(slot, kV, from); }

  /// Two rows change places, bit by bit.
  void Swap(uint32_t a, uint32_t b) const {
    for (Side side : {kK, kV}) {
      for (uint32_t d = 0; d < layout_.head_dim; ++d) {
        if (Type(side) == DType::kF16) {
          std::swap(Half(a, side, d), Half(b, side, d));
          continue;
        }
        if (Type(side) == DType::kQ8_0) std::swap(Quant(a, side, d), Quant(b, side, d));
        if (Type(side) == DType::kQ4_0) {
          const uint32_t half = HalfByte(a, side, d);
          SetHalfByte(a, side, d, HalfByte(b, side, d));
          SetHalfByte(b, side, d, half);
        }
        // A scale is its block's: once, with its first dimension.
        if (d % kBlock == 0) std::swap(Scale(a, side, d), Scale(b, side, d));
      }
    }
    std::swap(position(a), position(b));
    std::swap(last_important(a), last_important(b));
  }

 private:
  enum Side { kK, kV };

  static const uint32_t* Table(const KvBinding& kv, uint32_t table, uint32_t head);
  static uint32_t In(uint32_t slot) { return slot % kPageRows; }

  template <class T>
  T* Part(uint32_t slot, uint32_t offset) const;

  DType Type(Side side) const { return side == kK ? layout_.k_type : layout_.v_type; }
  uint32_t Index(uint32_t slot, Side side, uint32_t dim) const {
    return side == kK ? layout_.KIndex(In(slot), dim) : layout_.VIndex(In(slot), dim);
  }
  uint16_t& Half(uint32_t slot, Side side, uint32_t dim) const {
    return Part<uint16_t>(slot, side == kK ? layout_.k : layout_.v)[Index(slot, side, dim)];
  }
  int8_t& Quant(uint32_t slot, Side side, uint32_t dim) const {
    return Part<int8_t>(slot, side == kK ? layout_.k : layout_.v)[Index(slot, side, dim)];
  }
  uint32_t HalfByte(uint32_t slot, Side side, uint32_t dim) const {
    return uint32_t{Byte(slot, side, dim)} >> Shift(side, dim) & 15;
  }
  void SetHalfByte(uint32_t slot, Side side, uint32_t dim, uint32_t bits) const {
    uint8_t& byte = Byte(slot, side, dim);
    byte = static_cast<uint8_t>((byte & 0xf0u >> Shift(side, dim)) | bits << Shift(side, dim));
  }
  uint16_t& Scale(uint32_t slot, Side side, uint32_t dim) const {
    if (side == kK)
      return Part<uint16_t>(slot, layout_.k_scale)[layout_.KScaleIndex(In(slot), dim)];
    return Part<uint16_t>(slot, layout_.v_scale)[layout_.VScaleIndex(In(slot), dim)];
  }
  uint8_t& Byte(uint32_t slot, Side side, uint32_t dim) const {
    return Part<uint8_t>(slot, side == kK ? layout_.k : layout_.v)[Index(slot, side, dim)];
  }
  static uint32_t Shift(Side side, uint32_t dim) {
    return side == kK ? KvPageLayout::KShift(dim) : KvPageLayout::VShift(dim);
  }
  /// A dimension of a row; of q4_0 rows, rotated.
  float Held(uint32_t slot, Side side, uint32_t dim) const;
  void Read(uint32_t slot, Side side, float* to) const;
  void Write(uint32_t slot, Side side, const float* from) const;
  void WriteHalfBytes(uint32_t slot, Side side, const float* from) const;

  const KvBinding& kv_;
  const KvPageLayout layout_;
  const uint32_t head_;
  const uint32_t* pages_;  // Page ids of this head.
};

const uint32_t* HeadRows::Table(const KvBinding& kv, uint32_t table, uint32_t head) {
  const uint64_t row = uint64_t{table} * kv.geometry.heads() + head;
  return reinterpret_cast<const uint32_t*>(HostBytes(kv.tables)) + row * kv.geometry.pages_per_head;
}

template <class T>
T* HeadRows::Part(uint32_t slot, uint32_t offset) const {
  const uint32_t page = pages_[slot / kPageRows];
  std::byte* slab = HostBytes(kv_.slabs[page / kv_.pages_per_slab]);
  const uint64_t in_slab = uint64_t{page % kv_.pages_per_slab} * layout_.page_bytes;
  return reinterpret_cast<T*>(slab + in_slab + offset);
}

float HeadRows::Held(uint32_t slot, Side side, uint32_t dim) const {
  if (Type(side) == DType::kF16) return F16ToF32(Half(slot, side, dim));
  const float quant = Type(side) == DType::kQ8_0
                          ? static_cast<float>(Quant(slot, side, dim))
                          : static_cast<float>(HalfByte(slot, side, dim)) - 8.0f;
  return F16ToF32(Scale(slot, side, dim)) * quant;
}

void HeadRows::Read(uint32_t slot, Side side, float* to) const {
  for (uint32_t d = 0; d < layout_.head_dim; ++d) to[d] = Held(slot, side, d);
  if (Type(side) == DType::kQ4_0) Rotate(to, layout_.head_dim);
}

int8_t Quantize(float x, float d) {
  if (d == 0.0f) return 0;
  const float q = std::nearbyint(x * (1.0f / d));
  return static_cast<int8_t>(q > 127.0f ? 127.0f : q >= -127.0f ? q : -127.0f);
}

void HeadRows::Write(uint32_t slot, Side side, const float* from) const {
  if (Type(side) == DType::kF16) {
    for (uint32_t d = 0; d < layout_.head_dim; ++d) Half(slot, side, d) = F32ToF16(from[d]);
    return;
  }
  if (Type(side) == DType::kQ4_0) return WriteHalfBytes(slot, side, from);
  for (uint32_t block = 0; block < layout_.head_dim; block += kBlock) {
    float greatest = 0.0f;
    for (uint32_t d = block; d < block + kBlock; ++d) {
      greatest = std::max(greatest, std::fabs(from[d]));
    }
    const float scale = greatest / 127.0f;
    Scale(slot, side, block) = F32ToF16(scale);
    for (uint32_t d = block; d < block + kBlock; ++d) {
      Quant(slot, side, d) = Quantize(from[d], scale);
    }
  }
}

uint32_t QuantizeToHalfByte(float x, float d) {
  if (d == 0.0f) return 8;
  const float q = std::nearbyint(x * (1.0f / d));
  return static_cast<uint32_t>(8.0f + (q > 7.0f ? 7.0f : q >= -8.0f ? q : -8.0f));
}

void HeadRows::WriteHalfBytes(uint32_t slot, Side side, const float* from) const {
  float x[kRotationMost];  // Dimensions that are rotated together.
  const uint32_t together = RotationBlock(layout_.head_dim);
  for (uint32_t first = 0; first < layout_.head_dim; first += together) {
    std::copy_n(from + first, together, x);
    Rotate(x, together);
    for (uint32_t block = 0; block < together; block += kBlock) {
      const auto [least, most] = std::minmax_element(x + block, x + block + kBlock);
      const float greatest = *most >= -*least ? *most : *least;
      const float scale = std::fabs(greatest) < 0x1p-20f ? 0.0f : greatest / -8.0f;
      Scale(slot, side, first + block) = F32ToF16(scale);
      for (uint32_t d = block; d < block + kBlock; ++d) {
        SetHalfByte(slot, side, first + d, QuantizeToHalfByte(x[d], scale));
      }
    }
  }
}

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

void Run(const KvScoreOp&, Replay& replay) {
  const ScoreBy score_by = replay.step.sequence(0).score_by;
  ForEachHead(replay, [&](uint32_t, const HeadRows& rows, uint32_t resident) {
    if (score_by == ScoreBy::kPooledAttention) PoolMarks(rows, resident, *replay.scratch);
    if (score_by == ScoreBy::kKeyDifference) ScoreKeys(rows, resident, *replay.scratch);
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
