// Ops on the cache. See dispatch.h.
#include <algorithm>

#include "backends/vulkan/dispatch.h"
#include "gen/vulkan_shaders.h"
#include "runtime/base/units.h"
#include "runtime/format/tiles.h"

namespace cormorant::vulkan {
namespace {

/// Pages of a full head that are worth a split.
constexpr uint32_t kSplitPages = 4;

/// Rows or stamps of layers [first, last).
Range Layers(Resource resource, uint32_t first, uint32_t last, bool is_write) {
  return {resource, first, last, is_write};
}

/// Query heads a workgroup takes, as 32 KiB of shared memory allow: in split attention a head of
/// 256 dimensions has 1 KiB of query and up to 768 bytes of scores and shares; in a tile 32 heads
/// of 128 dimensions or 16 of 256 have 16 KiB of queries, beside 12 KiB of the rest.
constexpr uint32_t kSplitHeads = 16;
uint32_t TileHeads(uint32_t head_dim) {
  return head_dim <= 128 ? 32 : 16;
}
/// Queries a tile of prefill holds: heads of more dimensions have fewer, for
/// shared memory's sake.
uint32_t TileQueries(uint32_t head_dim, uint32_t heads) {
  return head_dim <= 64 || heads > 16 ? 32 : 16;
}

/// The query heads of a KV head in even parts of at most `most`.
struct Parts {
  uint32_t heads, count;
};
Parts SplitGroup(uint32_t group, uint32_t most) {
  uint32_t heads = std::min(group, most);
  while (group % heads != 0) --heads;
  return {heads, group / heads};
}

}  // namespace

absl::string_view WhyUnsupported(const Op& op) {
  const auto* attend = std::get_if<AttendOp>(&op);
  if (attend != nullptr && attend->q.shape[2] > 256) return "heads of more than 256 dimensions";
  return WhyNotTiled(op);
}

Constants DispatchBuilder::CacheConstants(uint32_t threads) const {
  // As shaders/vulkan/kv.glsl numbers them.
  const auto row_type = [](DType type) {
    return type == DType::kF16 ? 0u : type == DType::kQ8_0 ? 1u : 2u;
  };
  return {threads, geometry_.head_dim, row_type(geometry_.k_type), row_type(geometry_.v_type),
          geometry_.kv_heads};
}

void DispatchBuilder::Add(const KvWriteOp& op) {
  const struct {
    VkDeviceAddress k, v, step, slabs, tables;
    uint32_t pages_per_slab, pages_per_head, layer;
  } arguments = {At(op.k),
                 At(op.v),
                 at_.step,
                 at_.slabs,
                 at_.tables,
                 pages_per_slab_,
                 geometry_.pages_per_head,
                 op.layer};
  Emit(kShader_kv_write, CacheConstants(32), {rows_, geometry_.kv_heads, 1}, arguments).ranges = {
      Touch(op.k, false), Touch(op.v, false), Layers(Resource::kRows, op.layer, op.layer + 1, true),
      Layers(Resource::kStamps, op.layer, op.layer + 1, true)};
}

void DispatchBuilder::Add(const AttendOp& op) {
  if (rows_ <= tuning_.few_rows) {
    AddSplitAttend(op);
  } else {
    AddTiledAttend(op);
  }
}

void DispatchBuilder::AddSplitAttend(const AttendOp& op) {
  const uint32_t heads = op.q.shape[1];
  const Parts parts = SplitGroup(heads / geometry_.kv_heads, kSplitHeads);
  const uint32_t splits = std::clamp(geometry_.pages_per_head / kSplitPages, 1u, tuning_.splits);
  const uint64_t slots = uint64_t{geometry_.pages_per_head} * kPageRows;
  const uint64_t scores_bytes = RoundUp(uint64_t{rows_} * heads * slots * 4, 256);
  const uint64_t partials_bytes =
      RoundUp(uint64_t{rows_} * heads * splits * (geometry_.head_dim + 2) * 4, 256);
  const VkDeviceAddress scores = Scratch(scores_bytes + partials_bytes);
  const VkDeviceAddress partials = scores + scores_bytes;

  const struct {
    VkDeviceAddress q, scores, partials, step, slabs, tables;
    uint32_t pages_per_slab, pages_per_head, layer, splits;
    float scale;
  } split = {At(op.q),  scores,     partials,        at_.step,
             at_.slabs, at_.tables, pages_per_slab_, geometry_.pages_per_head,
             op.layer,  splits,     op.scale};
  Constants constants = CacheConstants(tuning_.attend_threads);
  constants.push_back(parts.heads);
  const std::array<uint32_t, 3> grid = {splits, geometry_.kv_heads * parts.count, rows_};
  Emit(kShader_attend_split, constants, grid, split).ranges = {
      Touch(op.q, false), Layers(Resource::kRows, op.layer, op.layer + 1, false), kWriteScratch};
  const struct {
    VkDeviceAddress o, scores, partials, step, slabs, tables;
    uint32_t pages_per_slab, pages_per_head, layer;
  } finish = {At(op.o),  scores,     partials,        at_.step,
              at_.slabs, at_.tables, pages_per_slab_, geometry_.pages_per_head,
              op.layer};
  constants.push_back(splits);
  Emit(kShader_attend_finish, constants, grid, finish).ranges = {
      Touch(op.o, true), kReadScratch, Layers(Resource::kStamps, op.layer, op.layer + 1, true)};
}

void DispatchBuilder::AddTiledAttend(const AttendOp& op) {
  const Parts parts = SplitGroup(op.q.shape[1] / geometry_.kv_heads, TileHeads(geometry_.head_dim));
  const uint32_t queries = TileQueries(geometry_.head_dim, parts.heads);
  const struct {
    VkDeviceAddress q, o, step, slabs, tables;
    uint32_t pages_per_slab, pages_per_head, layer;
    float scale;
  } arguments = {At(op.q),
                 At(op.o),
                 at_.step,
                 at_.slabs,
                 at_.tables,
                 pages_per_slab_,
                 geometry_.pages_per_head,
                 op.layer,
                 op.scale};
  Constants constants = CacheConstants(2 * queries);
  constants.push_back(parts.heads);
  constants.push_back(queries);
  const uint32_t blocks = static_cast<uint32_t>(CeilDiv(rows_, queries / parts.heads));
  Emit(kShader_attend_tile, constants, {blocks, geometry_.kv_heads * parts.count, 1}, arguments)
      .ranges = {Touch(op.q, false), Touch(op.o, true),
                 Layers(Resource::kRows, op.layer, op.layer + 1, false),
                 Layers(Resource::kStamps, op.layer, op.layer + 1, true)};
}

void DispatchBuilder::Add(const KvAgesOp& op) {
  const struct {
    VkDeviceAddress ages, step, slabs, tables;
    uint32_t pages_per_slab, pages_per_head;
  } arguments = {At(op.ages), at_.step,        at_.slabs,
                 at_.tables,  pages_per_slab_, geometry_.pages_per_head};
  Emit(kShader_kv_ages, CacheConstants(tuning_.row_threads), {geometry_.heads(), 1, 1}, arguments)
      .ranges = {Touch(op.ages, true), Layers(Resource::kRows, 0, geometry_.layers, false),
                 Layers(Resource::kStamps, 0, geometry_.layers, false)};
}

std::vector<Range> DispatchBuilder::WholeCache() const {
  return {Layers(Resource::kRows, 0, geometry_.layers, true),
          Layers(Resource::kStamps, 0, geometry_.layers, true), kWriteScratch};
}

void DispatchBuilder::Add(const KvSpreadOp&) {
  const struct {
    VkDeviceAddress step, slabs, tables;
    uint32_t pages_per_slab, pages_per_head;
  } arguments = {at_.step, at_.slabs, at_.tables, pages_per_slab_, geometry_.pages_per_head};
  Emit(kShader_kv_spread, CacheConstants(tuning_.row_threads), {geometry_.heads(), 1, 1}, arguments)
      .ranges = {Layers(Resource::kRows, 0, geometry_.layers, false),
                 Layers(Resource::kStamps, 0, geometry_.layers, true)};
}

void DispatchBuilder::Add(const KvScoreOp& op) {
  const struct {
    VkDeviceAddress statistics, turns, step, slabs, tables;
    uint32_t pages_per_slab, pages_per_head, query_heads, pairs;
    float scale;
  } arguments = {at_.statistics,
                 MeanTurns(op.rope),
                 at_.step,
                 at_.slabs,
                 at_.tables,
                 pages_per_slab_,
                 geometry_.pages_per_head,
                 geometry_.query_heads,
                 op.rope.dims / 2,
                 op.scale};
  Emit(kShader_kv_score, CacheConstants(tuning_.row_threads), {geometry_.heads(), 1, 1}, arguments)
      .ranges = {Layers(Resource::kRows, 0, geometry_.layers, false),
                 Layers(Resource::kStatistics, 0, geometry_.layers, false),
                 Layers(Resource::kStamps, 0, geometry_.layers, true)};
}

void DispatchBuilder::Add(const QueryStatsOp& op) {
  const struct {
    VkDeviceAddress q, statistics, step;
    uint32_t layers, layer, heads, head_dim;
  } arguments = {At(op.q), at_.statistics,        at_.step,          geometry_.layers,
                 op.layer, geometry_.query_heads, geometry_.head_dim};
  Emit(kShader_query_stats, {32}, {geometry_.query_heads, 1, 1}, arguments).ranges = {
      Touch(op.q, false), Layers(Resource::kStatistics, op.layer, op.layer + 1, true)};
}

void DispatchBuilder::Add(const KvCompactOp&) {
  const struct {
    VkDeviceAddress scratch, step, slabs, tables;
    uint32_t pages_per_slab, pages_per_head;
  } arguments = {PageScratch(), at_.step,        at_.slabs,
                 at_.tables,    pages_per_slab_, geometry_.pages_per_head};
  Emit(kShader_kv_compact, CacheConstants(tuning_.row_threads), {geometry_.heads(), 1, 1},
       arguments)
      .ranges = WholeCache();
}

void DispatchBuilder::Add(const KvRebaseOp& op) {
  const struct {
    VkDeviceAddress scratch, frequencies, step, slabs, tables;
    uint32_t pages_per_slab, pages_per_head, pairs;
  } arguments = {PageScratch(),   Frequencies(op.rope),     at_.step,        at_.slabs, at_.tables,
                 pages_per_slab_, geometry_.pages_per_head, op.rope.dims / 2};
  Emit(kShader_kv_rebase, CacheConstants(tuning_.row_threads), {geometry_.heads(), 1, 1}, arguments)
      .ranges = WholeCache();
}

}  // namespace cormorant::vulkan
