// Upkeep of the cache, head by head: ages, compaction, re-basing. Rare next to decode steps, so
// plain loops over slots; bytes of rows move as they are.
#include <algorithm>
#include <array>
#include <cstring>
#include <numeric>

#include "backends/cpu/phases.h"
#include "runtime/base/check.h"
#include "runtime/base/half.h"
#include "runtime/base/units.h"

namespace cormorant::cpu {
namespace {

/// One head of sequence 0.
class HeadRows {
 public:
  HeadRows(const Replay& replay, uint32_t head)
      : kv_(*replay.kv),
        layout_(kv_.geometry),
        sequence_(replay.step.sequence(0)),
        head_(head),
        pages_(PageTable(kv_, sequence_.table, head)),
        count_(replay.step.counts(0)[head]) {}

  uint32_t count() const { return count_; }
  uint8_t* page(uint32_t slot) const { return PageAt(kv_, pages_[slot / kPageRows]); }
  uint32_t& position(uint32_t slot) const { return Word(slot, layout_.positions); }
  uint32_t& last_important(uint32_t slot) const { return Word(slot, layout_.last_important); }

  /// Calls f(position, last_important) for every row.
  template <class F>
  void ForEachRow(F&& f) const {
    for (uint32_t slot = 0; slot < count_; slot += kPageRows) {
      const uint32_t* const positions = &position(slot);
      uint32_t* const marks = &last_important(slot);
      const uint32_t rows = std::min(kPageRows, count_ - slot);
      for (uint32_t i = 0; i < rows; ++i) f(positions[i], marks[i]);
    }
  }
  bool IsEvictable(uint32_t position, uint32_t mark) const {
    return mark != kPinned && position < sequence_.recent_from;
  }
  uint32_t Age(uint32_t position, uint32_t mark) const {
    return AgeOf(sequence_, head_, position, mark);
  }

  /// Two rows change places.
  void Swap(uint32_t a, uint32_t b) const {
    const uint32_t dim = layout_.head_dim;
    const uint32_t k_bytes = dim * KvPageLayout::HalfBytes(layout_.k_type) / 2;
    const uint32_t k_piece = HasScales(layout_.k_type) ? 4 : 2;
    SwapPieces(a, b, layout_.k, k_piece, k_bytes / k_piece);
    if (HasScales(layout_.k_type)) SwapPieces(a, b, layout_.k_scale, 2, dim / kBlock);
    SwapPieces(a, b, layout_.v, dim * KvPageLayout::HalfBytes(layout_.v_type) / 2, 1);
    if (HasScales(layout_.v_type)) SwapPieces(a, b, layout_.v_scale, dim / kBlock * 2, 1);
    std::swap(position(a), position(b));
    std::swap(last_important(a), last_important(b));
  }

  /// The key as the page holds it: of q4_0 rows, rotated.
  void ReadKey(uint32_t slot, float* to) const {
    const uint8_t* at = page(slot);
    const uint32_t in = slot % kPageRows;
    const uint16_t* scales = reinterpret_cast<const uint16_t*>(at + layout_.k_scale);
    for (uint32_t d = 0; d < layout_.head_dim; ++d) {
      const uint32_t index = layout_.KIndex(in, d);
      const uint8_t* k = at + layout_.k;
      switch (layout_.k_type) {
        case DType::kF16: to[d] = F16ToF32(reinterpret_cast<const uint16_t*>(k)[index]); break;
        case DType::kQ8_0:
          to[d] = F16ToF32(scales[layout_.KScaleIndex(in, d)]) *
                  static_cast<float>(reinterpret_cast<const int8_t*>(k)[index]);
          break;
        default:
          to[d] = F16ToF32(scales[layout_.KScaleIndex(in, d)]) *
                  static_cast<float>((k[index] >> KvPageLayout::KShift(d) & 15) - 8);
      }
    }
  }

 private:
  static bool HasScales(DType type) { return type != DType::kF16; }
  uint32_t& Word(uint32_t slot, uint32_t part) const {
    return reinterpret_cast<uint32_t*>(page(slot) + part)[slot % kPageRows];
  }
  /// A part of a page whose rows are `bytes` wide, `count` times, all rows in between.
  void SwapPieces(uint32_t a, uint32_t b, uint32_t part, uint32_t bytes, uint32_t count) const {
    uint8_t* at_a = page(a) + part + a % kPageRows * bytes;
    uint8_t* at_b = page(b) + part + b % kPageRows * bytes;
    for (uint32_t i = 0; i < count; ++i) {
      std::swap_ranges(at_a, at_a + bytes, at_b);
      at_a += kPageRows * bytes;
      at_b += kPageRows * bytes;
    }
  }

  const KvBinding& kv_;
  const KvPageLayout layout_;
  const StepSequence& sequence_;
  const uint32_t head_;
  const uint32_t* pages_;
  const uint32_t count_;
};

/// Items are heads.
class HeadPhase : public Phase {
 public:
  uint32_t Items(const Replay& replay) const override { return replay.kv->geometry.heads(); }
};

class KvAges final : public HeadPhase {
 public:
  explicit KvAges(const KvAgesOp& op) : op_(op) {}
  void Run(const Replay& replay, uint32_t head, uint32_t) const override {
    const HeadRows rows(replay, head);
    const uint32_t natural_age = replay.step.sequence(0).natural_age;
    const RankBy rank_by = replay.step.sequence(0).rank_by;
    uint32_t* ages = replay.At<uint32_t>(op_.ages) + uint64_t{head} * (kAgeBins + 1);
    std::fill_n(ages, kAgeBins + 1, 0u);
    rows.ForEachRow([&](uint32_t position, uint32_t mark) {
      if (!rows.IsEvictable(position, mark)) return;
      const uint32_t age = rows.Age(position, mark);
      ++ages[AgeBin(rank_by, age)];
      if (age >= natural_age) ++ages[kAgeBins];
    });
  }

 private:
  const KvAgesOp op_;
};

/// Scratch of one thread: slots in some order, and one key with its turn.
struct HeadScratch {
  HeadScratch(const Replay& replay, uint64_t scratch, uint32_t thread) {
    const KvGeometry& geometry = replay.kv->geometry;
    uint8_t* at = replay.Scratch<uint8_t>(scratch) + thread * HeadScratchBytes(geometry);
    order = reinterpret_cast<uint64_t*>(at);
    frequencies = reinterpret_cast<double*>(order + uint64_t{geometry.pages_per_head} * kPageRows);
    key = reinterpret_cast<float*>(frequencies + geometry.head_dim);
    cosines = key + geometry.head_dim;
    sines = cosines + geometry.head_dim;
  }
  uint64_t* order;
  double* frequencies;           // [E/2]
  float *key, *cosines, *sines;  // [E]
};

class KvCompact final : public HeadPhase {
 public:
  explicit KvCompact(uint64_t scratch) : scratch_(scratch) {}
  void Run(const Replay& replay, uint32_t head, uint32_t thread) const override {
    const HeadRows rows(replay, head);
    const uint32_t evict = replay.step.evict()[head];
    if (evict == 0) return;
    // The greatest age first, then the lowest position, which is looked up on a tie alone.
    uint64_t* order = HeadScratch(replay, scratch_, thread).order;
    uint32_t evictable = 0, slot = 0;
    rows.ForEachRow([&](uint32_t position, uint32_t mark) {
      const uint64_t age = rows.Age(position, mark);
      if (rows.IsEvictable(position, mark)) order[evictable++] = age << 32 | slot;
      ++slot;
    });
    CORM_CHECK(evict <= evictable);
    std::nth_element(order, order + evict - 1, order + evictable, [&](uint64_t a, uint64_t b) {
      if (a >> 32 != b >> 32) return a >> 32 > b >> 32;
      return rows.position(static_cast<uint32_t>(a)) < rows.position(static_cast<uint32_t>(b));
    });
    for (uint32_t i = 0; i < evict; ++i) order[i] &= 0xffffffffu;
    std::sort(order, order + evict);
    Fill(rows, order, evict);
  }

 private:
  /// The rows at or past the new count that stay, in their order, take the places of those below it
  /// that leave.
  static void Fill(const HeadRows& rows, const uint64_t* leaving, uint32_t evict) {
    const uint32_t kept = rows.count() - evict;
    const uint64_t* const end = leaving + evict;
    const uint64_t* gone = std::lower_bound(leaving, end, uint64_t{kept});
    const uint64_t* hole = leaving;
    for (uint32_t s = kept; s < rows.count(); ++s) {
      if (gone != end && *gone == s) {
        ++gone;
      } else {
        rows.Swap(s, static_cast<uint32_t>(*hole++));
      }
    }
  }

  const uint64_t scratch_;
};

class KvRebase final : public HeadPhase {
 public:
  KvRebase(const KvRebaseOp& op, uint64_t scratch, const KvGeometry& geometry,
           const Kernels& kernels)
      : op_(op), scratch_(scratch), shape_(ShapeOf(geometry)), kernels_(kernels) {}
  void Run(const Replay& replay, uint32_t head, uint32_t thread) const override {
    const HeadRows rows(replay, head);
    const HeadScratch scratch(replay, scratch_, thread);
    for (uint32_t s = 0; s < rows.count(); ++s) {
      scratch.order[s] = uint64_t{rows.position(s)} << 32 | s;
    }
    std::sort(scratch.order, scratch.order + rows.count());
    for (uint32_t pair = 0; pair < op_.rope.dims / 2; ++pair) {
      scratch.frequencies[pair] = Frequency(op_.rope, replay, pair);
    }
    const uint32_t first = replay.step.sequence(0).next_position - rows.count();
    int64_t turned = 0;  // Neighbours in the text mostly turn by the same angles.
    for (uint32_t j = 0; j < rows.count(); ++j) {
      const uint32_t slot = static_cast<uint32_t>(scratch.order[j]);
      const int64_t positions = int64_t{first} + j - rows.position(slot);
      if (positions == 0) continue;
      rows.position(slot) = first + j;
      rows.ReadKey(slot, scratch.key);
      if (shape_.k_type == RowType::kQ4) kernels_.hadamard(shape_, scratch.key);
      if (positions != turned) SetTurn(static_cast<double>(positions), scratch);
      turned = positions;
      kernels_.rotate(scratch.key, scratch.cosines, scratch.sines, op_.rope.dims);
      kernels_.write_row(shape_, rows.page(slot), slot % kPageRows, scratch.key, nullptr);
    }
  }

 private:
  void SetTurn(double positions, const HeadScratch& scratch) const {
    for (uint32_t pair = 0; pair < op_.rope.dims / 2; ++pair) {
      SetAngle(positions * scratch.frequencies[pair], pair, scratch.cosines, scratch.sines);
    }
  }

  const KvRebaseOp op_;
  const uint64_t scratch_;
  const PageShape shape_;
  const Kernels& kernels_;
};

/// Marks go to a window over positions, spread there, and come back to their rows. Windows follow
/// each other in ascending order: marks ahead are still as they were, those behind are carried.
class KvSpread final : public HeadPhase {
 public:
  void Run(const Replay& replay, uint32_t head, uint32_t) const override {
    const uint32_t fade = replay.step.sequence(0).fade;
    if (fade == 0) return;
    const HeadRows rows(replay, head);
    const uint32_t end = replay.step.sequence(0).position_clock;
    Marks before{}, after;
    for (uint32_t at = 0; at < end; at += kWindow) {
      std::copy_n(&before[kWindow], kSpreadMost, before.data());
      std::fill(before.begin() + kSpreadMost, before.end(), 0);
      rows.ForEachRow([&](uint32_t position, uint32_t mark) {
        if (position - at >= kWindow + kSpreadMost || mark == kPinned) return;  // Or below `at`.
        before[kSpreadMost + position - at] = static_cast<int32_t>(mark);
      });
      Spread(before, static_cast<int32_t>(fade), &after);
      rows.ForEachRow([&](uint32_t position, uint32_t& mark) {
        if (position - at >= kWindow || mark == kPinned) return;
        mark = static_cast<uint32_t>(after[kSpreadMost + position - at]);
      });
    }
  }

 private:
  static constexpr uint32_t kWindow = 2048;
  using Marks = std::array<int32_t, kWindow + 2 * kSpreadMost>;  // Below 2^31, as clocks are.

  /// The best of each mark and its neighbours'. A distance is a sum of strides, and so is its cost.
  static void Spread(const Marks& before, int32_t fade, Marks* after) {
    *after = before;
    Marks other = before;
    for (const uint32_t stride : {1u, 2u, 4u, 8u, 1u}) {
      const int32_t cost = static_cast<int32_t>(stride) * fade;
      const int32_t* const from = after->data();
      for (size_t i = stride; i < other.size() - stride; ++i) {
        other[i] = std::max(from[i], std::max(from[i - stride], from[i + stride]) - cost);
      }
      std::swap(other, *after);
    }
  }
};
static_assert(kSpreadMost == 1 + 2 + 4 + 8 + 1);

}  // namespace

uint64_t HeadScratchBytes(const KvGeometry& geometry) {
  return RoundUp(uint64_t{geometry.pages_per_head} * kPageRows * sizeof(uint64_t) +
                     uint64_t{geometry.head_dim} * (sizeof(double) + 3 * sizeof(float)),
                 64);
}

std::unique_ptr<Phase> MakeKvAges(const KvAgesOp& op) {
  return std::make_unique<KvAges>(op);
}
std::unique_ptr<Phase> MakeKvCompact(uint64_t scratch) {
  return std::make_unique<KvCompact>(scratch);
}
std::unique_ptr<Phase> MakeKvSpread() {
  return std::make_unique<KvSpread>();
}
std::unique_ptr<Phase> MakeKvRebase(const KvRebaseOp& op, uint64_t scratch,
                                    const KvGeometry& geometry, const Kernels& kernels) {
  return std::make_unique<KvRebase>(op, scratch, geometry, kernels);
}

}  // namespace cormorant::cpu
