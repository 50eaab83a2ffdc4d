// Attention over pages with CORM's stamps, in two shapes over the same kernels.
//
// The slots of a head are cut into runs of 8 pages. Each run of each tile of queries gives a part:
// the greatest score, the sum of weights relative to it and the weighted sum of values. A row's
// output is its parts merged in the order of runs, so it does not depend on who computed them.
//
//   few rows (decode)     items are (tile, run); parts and weights of all tiles are kept, and a
//                         second phase merges and stamps
//   many rows (prefill)   items are tiles; a thread goes through all runs of its tile, merges and
//                         stamps, with parts and weights in scratch of its own
//
// Weights are kept until the log-sum-exp of the row is known; a row is important where its weight
// is at least c/t of the sum. Two tiles may stamp one page, so a lock is held for each run.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>

#include "backends/cpu/phases.h"
#include "platform/threads.h"
#include "runtime/base/units.h"

namespace cormorant::cpu {
namespace {

// A bucket of at most so many rows is split over runs as well.
constexpr uint32_t kSplitRowsMax = 16;
constexpr uint32_t kStampRuns = 4;  // Runs of an item of the second phase.

/// Where the parts and weights of one tile of queries are, in floats from its start.
class TileLayout {
 public:
  TileLayout(const AttendOp& op, const PhaseBuilder& builder)
      : runs(static_cast<uint32_t>(CeilDiv(builder.geometry.pages_per_head, kRunPages))),
        group(op.q.shape[1] / builder.geometry.kv_heads),
        queries(static_cast<uint32_t>(
            std::min<uint64_t>(builder.kernels->tile_rows, uint64_t{group} * builder.rows))),
        head_dim(op.q.shape[2]) {}

  uint64_t weights(uint32_t run) const { return uint64_t{run} * queries * kRunStride; }
  uint64_t values(uint32_t run) const { return weights(runs) + uint64_t{run} * queries * head_dim; }
  uint64_t greatest(uint32_t run) const { return values(runs) + uint64_t{run} * queries; }
  uint64_t sums(uint32_t run) const { return greatest(runs) + uint64_t{run} * queries; }
  uint64_t factors(uint32_t query) const { return sums(runs) + uint64_t{query} * runs; }
  uint64_t floats() const { return RoundUp(factors(queries), 16); }

  const uint32_t runs;     // Of a full head.
  const uint32_t group;    // Query heads of a KV head.
  const uint32_t queries;  // Of a full tile.
  const uint32_t head_dim;
};

/// Up to tile_rows queries of one KV head of one sequence. Query q of a head is row q / group of
/// the sequence and query head q % group of the group.
struct Tile {
  uint32_t sequence = 0;
  uint32_t kv_head = 0;
  uint32_t first = 0;  // Query.
  uint32_t count = 0;
};

class Attention {
 public:
  Attention(const AttendOp& op, const PhaseBuilder& builder)
      : op_(op),
        layout_(op, builder),
        shape_(ShapeOf(builder.geometry)),
        kernels_(*builder.kernels),
        locks_(size_t{builder.geometry.kv_heads} * layout_.runs) {}

  const TileLayout& layout() const { return layout_; }

  uint32_t TilesOf(const Replay& replay, uint32_t sequence) const {
    const uint64_t queries = uint64_t{replay.step.sequence(sequence).rows} * layout_.group;
    return static_cast<uint32_t>(CeilDiv(queries, layout_.queries)) * replay.kv->geometry.kv_heads;
  }
  uint32_t Tiles(const Replay& replay) const {
    uint32_t tiles = 0;
    for (uint32_t s = 0; s < replay.step.header().sequences; ++s) tiles += TilesOf(replay, s);
    return tiles;
  }
  /// Tiles of one head are apart by the number of heads, so that neighbours in time seldom share
  /// pages; the last rows, which see the most, come first.
  Tile TileAt(const Replay& replay, uint32_t index) const {
    Tile tile;
    while (index >= TilesOf(replay, tile.sequence)) index -= TilesOf(replay, tile.sequence++);
    const uint32_t kv_heads = replay.kv->geometry.kv_heads;
    const uint32_t queries = replay.step.sequence(tile.sequence).rows * layout_.group;
    const uint32_t tiles_of_head = TilesOf(replay, tile.sequence) / kv_heads;
    tile.kv_head = index % kv_heads;
    tile.first = (tiles_of_head - 1 - index / kv_heads) * layout_.queries;
    tile.count = std::min(layout_.queries, queries - tile.first);
    return tile;
  }
  /// Slots that the last query of the tile sees.
  uint32_t Slots(const Replay& replay, const Tile& tile) const {
    return Visible(replay, tile, tile.count - 1);
  }
  uint32_t Runs(const Replay& replay, const Tile& tile) const {
    return static_cast<uint32_t>(CeilDiv(Slots(replay, tile), kRunSlots));
  }

  /// The most runs of any tile of the step.
  uint32_t RunsMax(const Replay& replay) const {
    uint32_t slots = 0;
    for (uint32_t s = 0; s < replay.step.header().sequences; ++s) {
      const uint32_t* counts =
          replay.step.counts(s) + uint64_t{op_.layer} * replay.kv->geometry.kv_heads;
      const uint32_t most = *std::max_element(counts, counts + replay.kv->geometry.kv_heads);
      slots = std::max(slots, most + replay.step.sequence(s).rows);
    }
    return static_cast<uint32_t>(CeilDiv(slots, kRunSlots));
  }

  void Pack(const Replay& replay, const Tile& tile, uint8_t* packed) const {
    const float* queries[kTileRowsMax];
    for (uint32_t j = 0; j < tile.count; ++j) queries[j] = Row(replay, tile, j, op_.q);
    kernels_.pack_queries(shape_, queries, tile.count, op_.scale, packed);
  }

  void RunPart(const Replay& replay, const Tile& tile, uint32_t run, const uint8_t* packed,
               float* work) const {
    uint8_t* pages[kRunPages];
    const RunTask task = TaskOf(replay, tile, run, pages);
    float* weights = work + layout_.weights(run);
    kernels_.scores(task, packed, weights);
    for (uint32_t j = 0; j < tile.count; ++j) {
      const uint32_t visible = Visible(replay, tile, j), first = run * kRunSlots;
      const uint32_t in_run = visible > first ? std::min(visible - first, task.slots) : 0;
      work[layout_.sums(run) + j] = kernels_.softmax(weights + j * kRunStride, in_run, task.slots,
                                                     &work[layout_.greatest(run) + j]);
    }
    kernels_.values(task, weights, work + layout_.values(run), layout_.head_dim);
  }

  /// The greatest score of query j over all runs, and the sum of its weights relative to it.
  struct Total {
    float greatest, sum;
  };
  Total TotalOf(const float* work, uint32_t runs, uint32_t j) const {
    Total total{-std::numeric_limits<float>::infinity(), 0.0f};
    for (uint32_t r = 0; r < runs; ++r) {
      total.greatest = std::max(total.greatest, work[layout_.greatest(r) + j]);
    }
    for (uint32_t r = 0; r < runs; ++r) {
      total.sum +=
          work[layout_.sums(r) + j] * std::exp(work[layout_.greatest(r) + j] - total.greatest);
    }
    return total;
  }

  void Merge(const Replay& replay, const Tile& tile, float* work) const {
    const uint32_t runs = Runs(replay, tile);
    for (uint32_t j = 0; j < tile.count; ++j) {
      const Total total = TotalOf(work, runs, j);
      float* factors = work + layout_.factors(j);
      for (uint32_t r = 0; r < runs; ++r) {
        factors[r] = std::exp(work[layout_.greatest(r) + j] - total.greatest) / total.sum;
      }
      float* o = Row(replay, tile, j, op_.o);
      kernels_.merge(work + layout_.values(0) + j * layout_.head_dim, factors, runs,
                     layout_.queries * layout_.head_dim, layout_.head_dim, o);
      if (shape_.v_type == RowType::kQ4) kernels_.hadamard(shape_, o);
    }
  }

  /// Marks runs [first, last) for the judged queries of a tile: stamps, or sums of attention.
  void Mark(const Replay& replay, const Tile& tile, uint32_t first, uint32_t last,
            const float* work) const {
    const StepSequence& sequence = replay.step.sequence(tile.sequence);
    const bool sums = sequence.mark_by == MarkBy::kAttention;
    const uint32_t runs = Runs(replay, tile);
    uint32_t steps[kTileRowsMax];
    Total totals[kTileRowsMax];
    float units[kTileRowsMax];  // Of a weight that is the greatest there is: 0 if not judged.
    bool is_judged = false;
    for (uint32_t j = 0; j < tile.count; ++j) {
      const uint32_t i = (tile.first + j) / layout_.group;
      steps[j] = sequence.clock + i + 1;
      totals[j] = TotalOf(work, runs, j);
      const uint32_t t = BasisOf(sequence.basis, steps[j], Visible(replay, tile, j));
      const float whole = sums ? static_cast<float>(kAttentionUnits)
                               : static_cast<float>(t) / sequence.importance_scale;
      units[j] = i >= sequence.judged_from ? whole / totals[j].sum : 0.0f;
      is_judged |= i >= sequence.judged_from;
    }
    if (!is_judged) return;
    for (uint32_t run = first; run < std::min(last, runs); ++run) {
      float factors[kTileRowsMax];
      for (uint32_t j = 0; j < tile.count; ++j) {
        factors[j] = units[j] * std::exp(work[layout_.greatest(run) + j] - totals[j].greatest);
      }
      uint8_t* pages[kRunPages];
      const RunTask task = TaskOf(replay, tile, run, pages);
      const float* weights = work + layout_.weights(run);
      std::atomic<bool>& lock = locks_[uint64_t{tile.kv_head} * layout_.runs + run];
      SpinWait wait;
      while (lock.exchange(true, std::memory_order_acquire)) wait.Once();
      if (sums) {
        kernels_.add_attention(task, weights, factors);
      } else {
        kernels_.stamp(task, weights, factors, steps, sequence.reach);
      }
      lock.store(false, std::memory_order_release);
    }
  }

 private:
  uint32_t Head(const Replay& replay, const Tile& tile) const {
    return op_.layer * replay.kv->geometry.kv_heads + tile.kv_head;
  }
  uint32_t Visible(const Replay& replay, const Tile& tile, uint32_t j) const {
    return replay.step.counts(tile.sequence)[Head(replay, tile)] +
           (tile.first + j) / layout_.group + 1;
  }
  /// Query j's row of q or o.
  float* Row(const Replay& replay, const Tile& tile, uint32_t j, const Tensor& tensor) const {
    const uint32_t query = tile.first + j;
    const uint64_t row = replay.step.sequence(tile.sequence).first_row + query / layout_.group;
    const uint32_t head = tile.kv_head * layout_.group + query % layout_.group;
    return replay.At(tensor) + (row * tensor.shape[1] + head) * layout_.head_dim;
  }
  RunTask TaskOf(const Replay& replay, const Tile& tile, uint32_t run, uint8_t** pages) const {
    const uint32_t slots = std::min(kRunSlots, Slots(replay, tile) - run * kRunSlots);
    const uint32_t table = replay.step.sequence(tile.sequence).table;
    const uint32_t* ids = PageTable(*replay.kv, table, Head(replay, tile)) + run * kRunPages;
    for (uint32_t p = 0; p * kPageRows < slots; ++p) pages[p] = PageAt(*replay.kv, ids[p]);
    return {&shape_, pages, slots, tile.count};
  }

  const AttendOp op_;
  const TileLayout layout_;
  const PageShape shape_;
  const Kernels& kernels_;
  // By KV head and run. Sequences share them: they never wait long.
  mutable std::vector<std::atomic<bool>> locks_;
};

/// What the phases of one AttendOp share.
struct Shared {
  Shared(const AttendOp& op, uint64_t at, const PhaseBuilder& builder)
      : attention(op, builder),
        scratch(at),
        packed_bytes(PackedBytes(builder)),
        threads(builder.threads) {}

  static uint64_t PackedBytes(const PhaseBuilder& builder) {
    return RoundUp(builder.kernels->query_bytes(ShapeOf(builder.geometry)), 64);
  }
  /// First each thread's packed queries, then tiles.
  uint8_t* Packed(const Replay& replay, uint32_t thread) const {
    return replay.Scratch<uint8_t>(scratch) + thread * packed_bytes;
  }
  float* Work(const Replay& replay, uint32_t index) const {
    return replay.Scratch(scratch + threads * packed_bytes) + index * attention.layout().floats();
  }

  const Attention attention;
  const uint64_t scratch;
  const uint64_t packed_bytes;
  const uint32_t threads;
};

/// First phase of few rows: items are (tile, run). Heads are ragged, so some have nothing to do.
class AttendRuns final : public Phase {
 public:
  explicit AttendRuns(std::shared_ptr<const Shared> shared) : shared_(std::move(shared)) {}
  uint32_t Items(const Replay& replay) const override {
    return shared_->attention.Tiles(replay) * shared_->attention.RunsMax(replay);
  }
  void Run(const Replay& replay, uint32_t item, uint32_t thread) const override {
    const Attention& attention = shared_->attention;
    const uint32_t tiles = attention.Tiles(replay), index = item % tiles, run = item / tiles;
    const Tile tile = attention.TileAt(replay, index);
    if (run >= attention.Runs(replay, tile)) return;
    // Packed anew for each run: that costs less than a barrier.
    uint8_t* packed = shared_->Packed(replay, thread);
    attention.Pack(replay, tile, packed);
    attention.RunPart(replay, tile, run, packed, shared_->Work(replay, index));
  }

 private:
  const std::shared_ptr<const Shared> shared_;
};

/// Second phase of few rows: items are (tile, some runs to stamp); the first of a tile merges.
class AttendMerge final : public Phase {
 public:
  explicit AttendMerge(std::shared_ptr<const Shared> shared) : shared_(std::move(shared)) {}
  uint32_t Items(const Replay& replay) const override {
    const uint64_t pieces = CeilDiv(shared_->attention.RunsMax(replay), kStampRuns);
    return shared_->attention.Tiles(replay) * static_cast<uint32_t>(pieces);
  }
  void Run(const Replay& replay, uint32_t item, uint32_t) const override {
    const Attention& attention = shared_->attention;
    const uint32_t tiles = attention.Tiles(replay), index = item % tiles;
    const uint32_t first = item / tiles * kStampRuns;
    const Tile tile = attention.TileAt(replay, index);
    float* work = shared_->Work(replay, index);
    if (first == 0) attention.Merge(replay, tile, work);
    attention.Mark(replay, tile, first, first + kStampRuns, work);
  }

 private:
  const std::shared_ptr<const Shared> shared_;
};

/// The one phase of many rows: items are tiles.
class AttendTiles final : public Phase {
 public:
  explicit AttendTiles(std::shared_ptr<const Shared> shared) : shared_(std::move(shared)) {}
  uint32_t Items(const Replay& replay) const override { return shared_->attention.Tiles(replay); }
  void Run(const Replay& replay, uint32_t item, uint32_t thread) const override {
    const Attention& attention = shared_->attention;
    const Tile tile = attention.TileAt(replay, item);
    uint8_t* packed = shared_->Packed(replay, thread);
    float* work = shared_->Work(replay, thread);
    attention.Pack(replay, tile, packed);
    const uint32_t runs = attention.Runs(replay, tile);
    for (uint32_t run = 0; run < runs; ++run) attention.RunPart(replay, tile, run, packed, work);
    attention.Merge(replay, tile, work);
    attention.Mark(replay, tile, 0, runs, work);
  }

 private:
  const std::shared_ptr<const Shared> shared_;
};

bool IsSplit(const PhaseBuilder& builder) {
  return builder.rows <= kSplitRowsMax;
}

}  // namespace

uint64_t AttendScratchBytes(const AttendOp& op, const PhaseBuilder& builder) {
  const TileLayout layout(op, builder);
  // Each row may be a sequence of its own.
  const uint64_t tiles = IsSplit(builder) ? uint64_t{builder.rows} * builder.geometry.kv_heads *
                                                CeilDiv(layout.group, layout.queries)
                                          : builder.threads;
  return builder.threads * Shared::PackedBytes(builder) + tiles * layout.floats() * sizeof(float);
}

void AddAttend(const AttendOp& op, uint64_t scratch, PhaseBuilder& builder) {
  const auto shared = std::make_shared<const Shared>(op, scratch, builder);
  if (IsSplit(builder)) {
    builder.phases.push_back(std::make_unique<AttendRuns>(shared));
    builder.phases.push_back(std::make_unique<AttendMerge>(shared));
  } else {
    builder.phases.push_back(std::make_unique<AttendTiles>(shared));
  }
}

}  // namespace cormorant::cpu
