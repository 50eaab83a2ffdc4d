// Upkeep of the cache, head by head: marks, ages, compaction, re-basing. Rare next to decode steps,
// so plain loops over slots; bytes of rows move as they are.
#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "backends/cpu/head_rows.h"
#include "runtime/base/check.h"
#include "runtime/base/half.h"
#include "runtime/base/units.h"

namespace cormorant::cpu {
namespace {

class KvAges final : public HeadPhase {
 public:
  explicit KvAges(const KvAgesOp& op) : op_(op) {}
  void Run(const Replay& replay, uint32_t head, uint32_t) const override {
    const HeadRows rows(replay, head);
    const uint32_t natural_age = replay.step.sequence(0).natural_age;
    const RankBy rank_by = replay.step.sequence(0).rank_by;
    uint32_t* ages = replay.At<uint32_t>(op_.ages) + uint64_t{head} * (kAgeBins + 1);
    std::fill_n(ages, kAgeBins + 1, 0u);
    rows.ForEachRow([&](uint32_t slot, uint32_t position, uint32_t mark) {
      if (!rows.IsEvictable(position, mark)) return;
      const uint32_t age = rows.Age(slot, position, mark);
      ++ages[AgeBin(rank_by, age)];
      if (age >= natural_age) ++ages[kAgeBins];
    });
  }

 private:
  const KvAgesOp op_;
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
    uint32_t evictable = 0;
    rows.ForEachRow([&](uint32_t slot, uint32_t position, uint32_t mark) {
      if (!rows.IsEvictable(position, mark)) return;
      order[evictable++] = uint64_t{rows.Age(slot, position, mark)} << 32 | slot;
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
    const StepSequence& sequence = replay.step.sequence(0);
    const uint64_t* const window = std::lower_bound(scratch.order, scratch.order + rows.count(),
                                                    uint64_t{sequence.window_from} << 32);
    const auto before = static_cast<uint32_t>(window - scratch.order);
    int64_t turned = 0;  // Neighbours in the text mostly turn by the same angles.
    for (uint32_t j = 0; j < rows.count(); ++j) {
      const uint32_t slot = static_cast<uint32_t>(scratch.order[j]);
      const uint32_t position = rows.position(slot);
      const uint32_t moved_to = j < before ? sequence.window_at - before + j
                                           : sequence.window_at + (position - sequence.window_from);
      const int64_t positions = int64_t{moved_to} - position;
      if (positions == 0) continue;
      rows.position(slot) = moved_to;
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

constexpr uint32_t kMarkWindow = 2048;
constexpr uint32_t kMarksBeside = kSpreadMost;  // Positions seen on either side of a row's own.
static_assert(kPoolMost <= kMarksBeside);
using Marks = std::array<int32_t, kMarkWindow + 2 * kMarksBeside>;  // Words, by position.

/// Gives each row that is not pinned its new mark: change(before, &after) makes those of a window
/// over positions from those before; where there is no row that has one, it is 0. Windows follow
/// each other in ascending order: marks ahead are still as they were, those behind are carried.
template <class F>
void RewriteMarks(const HeadRows& rows, uint32_t end, F&& change) {
  Marks before{}, after;
  for (uint32_t at = 0; at < end; at += kMarkWindow) {
    std::copy_n(&before[kMarkWindow], kMarksBeside, before.data());
    std::fill(before.begin() + kMarksBeside, before.end(), 0);
    rows.ForEachRow([&](uint32_t, uint32_t position, uint32_t mark) {
      if (position - at >= kMarkWindow + kMarksBeside || mark == kPinned) return;  // Or below `at`.
      before[kMarksBeside + position - at] = static_cast<int32_t>(mark);
    });
    change(before, &after);
    rows.ForEachRow([&](uint32_t, uint32_t position, uint32_t& mark) {
      if (position - at >= kMarkWindow || mark == kPinned) return;
      mark = static_cast<uint32_t>(after[kMarksBeside + position - at]);
    });
  }
}

class KvSpread final : public HeadPhase {
 public:
  void Run(const Replay& replay, uint32_t head, uint32_t) const override {
    const StepSequence& sequence = replay.step.sequence(0);
    if (sequence.fade == 0) return;
    RewriteMarks(HeadRows(replay, head), sequence.position_clock,
                 [&](const Marks& before, Marks* after) {
                   Spread(before, static_cast<int32_t>(sequence.fade), after);
                 });
  }

 private:
  /// The best of each mark and its neighbours', which are below 2^31, as clocks are. A distance is
  /// a sum of strides, and so is its cost.
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

class KvScore final : public HeadPhase {
 public:
  KvScore(const KvScoreOp& op, uint64_t scratch) : op_(op), scratch_(scratch) {}
  void Run(const Replay& replay, uint32_t head, uint32_t thread) const override {
    const StepSequence& sequence = replay.step.sequence(0);
    const HeadRows rows(replay, head);
    switch (sequence.score_by) {
      case ScoreBy::kNone: break;
      case ScoreBy::kPooledAttention: RewriteMarks(rows, sequence.position_clock, Pool); break;
      case ScoreBy::kKeyDifference:
        ScoreKeys(rows, replay.kv->geometry.head_dim, HeadScratch(replay, scratch_, thread).key);
        break;
      case ScoreBy::kExpectedAttention:
        ScoreExpected(op_, replay, rows, head, HeadScratch(replay, scratch_, thread));
    }
  }

 private:
  static void Pool(const Marks& before, Marks* after) {
    for (size_t i = kPoolMost; i < before.size() - kPoolMost; ++i) {
      uint64_t sum = 0;
      for (size_t near = i - kPoolMost; near <= i + kPoolMost; ++near) {
        sum += static_cast<uint32_t>(before[near]);
      }
      (*after)[i] = static_cast<int32_t>(sum / (2 * kPoolMost + 1));
    }
  }

  /// `mean` is scratch for the mean of unit keys, times their number. [E]
  static void ScoreKeys(const HeadRows& rows, uint32_t head_dim, float* mean) {
    std::fill_n(mean, head_dim, 0.0f);
    for (uint32_t slot = 0; slot < rows.count(); slot += kPageRows) AddUnitKeys(rows, slot, mean);
    double square = 0.0;
    for (uint32_t d = 0; d < head_dim; ++d) square += double{mean[d]} * double{mean[d]};
    const float mean_inverse = InverseLength(static_cast<float>(square));
    for (uint32_t slot = 0; slot < rows.count(); slot += kPageRows) {
      float squares[kPageRows] = {}, products[kPageRows] = {};
      rows.ForEachDimension(slot, [&](uint32_t d, const float* keys) {
        for (uint32_t r = 0; r < kPageRows; ++r) squares[r] += keys[r] * keys[r];
        for (uint32_t r = 0; r < kPageRows; ++r) products[r] += keys[r] * mean[d];
      });
      for (uint32_t r = 0; r < kPageRows && slot + r < rows.count(); ++r) {
        uint32_t& mark = rows.last_important(slot + r);
        const float cosine = products[r] * InverseLength(squares[r]) * mean_inverse;
        const float difference = std::max(0.0f, 1.0f - cosine) * float{kAttentionUnits};
        if (mark != kPinned) mark = static_cast<uint32_t>(std::lrint(difference));
      }
    }
  }

  static void AddUnitKeys(const HeadRows& rows, uint32_t slot, float* mean) {
    float squares[kPageRows] = {};
    rows.ForEachDimension(slot, [&](uint32_t, const float* keys) {
      for (uint32_t r = 0; r < kPageRows; ++r) squares[r] += keys[r] * keys[r];
    });
    for (float& square : squares) square = InverseLength(square);
    rows.ForEachDimension(slot, [&](uint32_t d, const float* keys) {
      float sums[8] = {};  // That do not wait for each other.
      for (uint32_t r = 0; r < kPageRows; r += 8) {
        for (uint32_t j = 0; j < 8; ++j) sums[j] += keys[r + j] * squares[r + j];
      }
      mean[d] += std::accumulate(sums, sums + 8, 0.0f);
    });
  }

  /// 1 / sqrt(square), or 0 of zeros.
  static float InverseLength(float square) {
    return square > 0.0f ? 1.0f / std::sqrt(square) : 0.0f;
  }

  const KvScoreOp op_;
  const uint64_t scratch_;
};

}  // namespace

uint64_t HeadScratchBytes(const KvGeometry& geometry) {
  const uint64_t order = uint64_t{geometry.pages_per_head} * kPageRows * sizeof(uint64_t);
  const uint64_t key = uint64_t{geometry.head_dim} * (sizeof(double) + 3 * sizeof(float));
  const uint64_t page = (uint64_t{geometry.head_dim} * kPageRows + geometry.query_sums()) * 4;
  return RoundUp(order + key + (geometry.query_heads != 0 ? page : 0), 64);
}

std::unique_ptr<Phase> MakeKvAges(const KvAgesOp& op) {
  return std::make_unique<KvAges>(op);
}
std::unique_ptr<Phase> MakeKvCompact(uint64_t scratch) {
  return std::make_unique<KvCompact>(scratch);
}
std::unique_ptr<Phase> MakeKvScore(const KvScoreOp& op, uint64_t scratch) {
  return std::make_unique<KvScore>(op, scratch);
}
std::unique_ptr<Phase> MakeKvSpread() {
  return std::make_unique<KvSpread>();
}
std::unique_ptr<Phase> MakeKvRebase(const KvRebaseOp& op, uint64_t scratch,
                                    const KvGeometry& geometry, const Kernels& kernels) {
  return std::make_unique<KvRebase>(op, scratch, geometry, kernels);
}

}  // namespace cormorant::cpu
