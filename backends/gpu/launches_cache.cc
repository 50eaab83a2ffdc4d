// Ops on the cache. See launches.h.
#include <algorithm>
#include <bit>
#include <cstddef>

#include "backends/gpu/launches.h"
#include "runtime/base/units.h"
#include "runtime/format/tiles.h"
#include "runtime/ops/step.h"
#include "runtime/ops/turns.h"

namespace cormorant::GPU_NAMESPACE {
namespace {

constexpr uint32_t kSplitPages = 4;      // Pages of a full head that are worth a split.
constexpr uint32_t kSplitsMost = 64;     // As attend_finish has room for.
constexpr uint32_t kSplitHeadsMost = 8;  // Query heads of a block.
constexpr uint32_t kHeadThreads = 128;   // Of kernels with a block a head, and of split attention.

// What shaders/gpu/step.cuh has in words.
static_assert(sizeof(StepSequence) == 21 * 4 && offsetof(StepSequence, observes) == 20 * 4);
static_assert(offsetof(StepHeader, evict_at) == 9 * 4 && offsetof(StepHeader, heads) == 3 * 4);

/// The query heads of a KV head in even parts of at most `most`.
struct Parts {
  uint32_t heads, count;
};
Parts SplitGroup(uint32_t group, uint32_t most) {
  uint32_t heads = std::min(group, most);
  while (group % heads != 0) --heads;
  return {heads, group / heads};
}

RowType RowTypeOf(DType type) {
  return type == DType::kF16 ? kHalfRows : type == DType::kQ8_0 ? kByteRows : kHalfByteRows;
}

uint32_t TileQueries(uint32_t head_dim) {
  return head_dim <= 128 ? 32 : 16;
}

}  // namespace

absl::string_view WhyUnsupported(const Op& op) {
  const auto* attend = std::get_if<AttendOp>(&op);
  if (attend != nullptr && attend->q.shape[2] > 256) return "heads of more than 256 dimensions";
  return WhyNotTiled(op);
}

CacheArguments LaunchBuilder::Cache(uint32_t layer) const {
  const KvPageLayout layout(geometry_);
  CacheArguments cache;
  cache.step = Step();
  cache.slabs = reinterpret_cast<uint32_t* const*>(at_.slabs);
  cache.tables = reinterpret_cast<const uint32_t*>(at_.tables);
  cache.pages_per_slab = pages_per_slab_;
  cache.pages_per_head = geometry_.pages_per_head;
  cache.kv_heads = geometry_.kv_heads;
  cache.head_dim = geometry_.head_dim;
  cache.layer = layer;
  cache.key_scales_at = layout.k_scale / 4;
  cache.values_at = layout.v / 4;
  cache.value_scales_at = layout.v_scale / 4;
  cache.positions_at = layout.positions / 4;
  cache.last_important_at = layout.last_important / 4;
  cache.page_words = layout.page_bytes / 4;
  cache.key_type = RowTypeOf(geometry_.k_type);
  cache.value_type = RowTypeOf(geometry_.v_type);
  cache.rotation_block = RotationBlock(geometry_.head_dim);
  cache.rotation_scale = RotationScale(cache.rotation_block);
  return cache;
}

void LaunchBuilder::Add(const KvWriteOp& op) {
  const KvWriteArguments arguments = {Cache(op.layer), At(op.k), At(op.v), nullptr, nullptr, 0, 0};
  Emit(KvWriteKernel(), {rows_, geometry_.kv_heads, 1}, 64, arguments);
}

bool LaunchBuilder::AddRotatedWrite() {
  if (op_index_ + 3 > tape_->ops.size()) return false;
  const auto* const q = std::get_if<RopeOp>(&tape_->ops[op_index_]);
  const auto* const k = std::get_if<RopeOp>(&tape_->ops[op_index_ + 1]);
  const auto* const write = std::get_if<KvWriteOp>(&tape_->ops[op_index_ + 2]);
  if (q == nullptr || k == nullptr || write == nullptr) return false;
  const bool is_its_query = q->x.shape[1] % geometry_.kv_heads == 0 &&
                            q->x.shape[2] == k->x.shape[2] && !Overlap(q->x, k->x) &&
                            !Overlap(q->x, write->v) && !Overlap(k->x, write->v);
  if (!IsSame(k->x, write->k) || !is_its_query || !HasSameTurns(q->rope, k->rope)) return false;
  const KvWriteArguments arguments = {
      Cache(write->layer),  At(k->x),      At(write->v),    At(q->x),
      Frequencies(q->rope), q->x.shape[1], q->rope.dims / 2};
  Emit(KvWriteKernel(), {rows_, geometry_.kv_heads, 1}, 64, arguments);
  op_index_ += 3;
  return true;
}

void LaunchBuilder::Add(const AttendOp& op) {
  if (rows_ <= kFewRows) {
    AddSplitAttend(op);
  } else {
    AddTiledAttend(op);
  }
}

void LaunchBuilder::AddSplitAttend(const AttendOp& op) {
  const uint32_t heads = op.q.shape[1];
  const Parts parts = SplitGroup(heads / geometry_.kv_heads, kSplitHeadsMost);
  const uint32_t splits = std::clamp(geometry_.pages_per_head / kSplitPages, 1u, kSplitsMost);
  const uint64_t slots = uint64_t{geometry_.pages_per_head} * kPageRows;
  const uint64_t scores_bytes = RoundUp(uint64_t{rows_} * heads * slots * 4, 256);
  const uint64_t partials_bytes =
      RoundUp(uint64_t{rows_} * heads * splits * (geometry_.head_dim + 2) * 4, 256);
  const uintptr_t scratch = Scratch(scores_bytes + partials_bytes);
  const AttendArguments arguments = {Cache(op.layer),
                                     At(op.q),
                                     At(op.o),
                                     reinterpret_cast<float*>(scratch),
                                     reinterpret_cast<float*>(scratch + scores_bytes),
                                     parts.heads,
                                     splits,
                                     op.scale};
  const std::array<uint32_t, 3> grid = {splits, geometry_.kv_heads * parts.count, rows_};
  const Kernel& split = AttendSplitKernel(RowTypeOf(geometry_.k_type), RowTypeOf(geometry_.v_type),
                                          std::bit_ceil(parts.heads));
  Emit(split, grid, kHeadThreads, arguments);
  Emit(AttendFinishKernel(), grid, kHeadThreads, arguments);
}

void LaunchBuilder::AddTiledAttend(const AttendOp& op) {
  const uint32_t queries = TileQueries(geometry_.head_dim);
  const Parts parts = SplitGroup(op.q.shape[1] / geometry_.kv_heads, queries);
  const AttendArguments arguments = {Cache(op.layer), At(op.q),    At(op.o),     nullptr,
                                     nullptr,         parts.heads, /*splits=*/1, op.scale};
  const uint32_t blocks = static_cast<uint32_t>(CeilDiv(rows_, queries / parts.heads));
  Emit(AttendTileKernel(RowTypeOf(geometry_.k_type), RowTypeOf(geometry_.v_type),
                        geometry_.head_dim),
       {blocks, geometry_.kv_heads * parts.count, 1}, 2 * queries, arguments);
}

void LaunchBuilder::Add(const KvAgesOp& op) {
  const KvAgesArguments arguments = {Cache(0), At<uint32_t>(op.ages)};
  Emit(KvAgesKernel(), {geometry_.heads(), 1, 1}, kHeadThreads, arguments);
}

void LaunchBuilder::Add(const KvSpreadOp&) {
  const KvSpreadArguments arguments = {Cache(0)};
  Emit(KvSpreadKernel(), {geometry_.heads(), 1, 1}, kHeadThreads, arguments);
}

StatisticsArguments LaunchBuilder::Statistics() const {
  return {reinterpret_cast<float*>(at_.statistics), geometry_.query_heads};
}

void LaunchBuilder::Add(const QueryStatsOp& op) {
  const QueryStatsArguments arguments = {Cache(op.layer), Statistics(), At(op.q)};
  Emit(QueryStatsKernel(), {geometry_.query_heads, 1, 1}, 64, arguments);
}

void LaunchBuilder::Add(const KvScoreOp& op) {
  const KvScoreArguments arguments = {Cache(0), Statistics(), MeanTurns(op.rope), op.rope.dims / 2,
                                      op.scale};
  Emit(KvScoreKernel(), {geometry_.heads(), 1, 1}, kHeadThreads, arguments);
}

void LaunchBuilder::Add(const KvCompactOp&) {
  const KvCompactArguments arguments = {Cache(0), PageScratch()};
  Emit(KvCompactKernel(), {geometry_.heads(), 1, 1}, kHeadThreads, arguments);
}

void LaunchBuilder::Add(const KvRebaseOp& op) {
  const KvRebaseArguments arguments = {Cache(0), PageScratch(), Frequencies(op.rope),
                                       op.rope.dims / 2};
  Emit(KvRebaseKernel(), {geometry_.heads(), 1, 1}, kHeadThreads, arguments);
}

}  // namespace cormorant::GPU_NAMESPACE
