// The one argument of each kernel: addresses and sizes, frozen when a plan is made.
//
// `step` is the step buffer (runtime/ops/step.h) on the device; `live` the word of its header that
// counts the rows the kernel works on. Weights lie in tiles of 32 rows by 32 columns (weights.cuh).
#pragma once
#include <cstdint>

#include "shaders/gpu/kernel.h"

namespace cormorant::GPU_NAMESPACE {

/// Numbers of weight types, as kernels are instantiated by them.
enum WeightType : uint32_t { kF32, kF16, kBF16, kQ8_0, kQ4_0, kQ4_1, kWeightTypes };

/// Types of rows of a cache; the same.
enum RowType : uint32_t { kHalfRows, kByteRows, kHalfByteRows };
constexpr uint32_t kRotationMost = 256;  // Dimensions that rows of half bytes rotate together.

struct EmbedArguments {
  float* y;
  const uint32_t *quads, *scales, *step;
  uint32_t columns, blocks;
};

struct RmsNormArguments {
  float* y;
  const float *x, *w;
  const uint32_t* step;
  uint32_t columns, live;
  float eps;
  // y again for products with block types, as QuantizeX leaves it; or null.
  uint32_t* quants;
  float* scales;
};

struct ActArguments {
  float* y;
  const float *gate, *up;
  const uint32_t* step;
  uint32_t columns, live;
  uint32_t* quants;  // As in RmsNormArguments.
  float* scales;
};

struct RopeArguments {
  float* x;
  const uint32_t *frequencies, *step;
  uint32_t heads, head_dim, pairs;
};

struct GatherRowsArguments {
  float* y;
  const float* x;
  const uint32_t* step;
  uint32_t columns;
};

struct TopKArguments {
  const float* x;              // [rows][count]
  const uint32_t* indices_of;  // Names the numbers of x; null: their places.
  float* values;               // [rows][slices][k]
  uint32_t* indices;
  const uint32_t* step;
  uint32_t count, slice, k, sorted, live;  // sorted: k up to a power of two.
};

struct QuantizeXArguments {
  const float* x;
  uint32_t* quants;  // [rows][blocks][16]: eight words of high bytes, eight of low ones.
  float* scales;     // [rows][blocks][2]: the scale, and the scaled sum of the quants.
  const uint32_t* step;
  uint32_t columns, blocks, live;
};

struct MatMulArguments {
  float* y;
  const float* x;
  const uint32_t *quads, *scales, *step;
  uint32_t rows_of_w, columns, blocks, tiles, live, accumulate;
  const uint32_t* quants;  // Of x, as QuantizeX leaves them, for block types.
  const float* x_scales;
};

/// What a block of a kernel for many rows makes: outputs of rows of x by rows of w.
struct MatMulTile {
  uint32_t rows, columns, threads;
};
constexpr uint32_t kMatMulSizes = 3;
constexpr MatMulTile kMatMulTiles[kMatMulSizes] = {{32, 64, 128}, {64, 64, 128}, {128, 64, 256}};
constexpr MatMulTile kMatMulDotTiles[kMatMulSizes] = {  // Of block types.
    {32, 64, 128},
    {64, 64, 128},
    {128, 128, 256}};
/// Products of one x with up to three weights of one type, made by one launch.
constexpr uint32_t kMatVecParts = 3;
struct MatVecArguments {
  MatMulArguments part[kMatVecParts];
  uint32_t first_tile[kMatVecParts];  // Of the launch; past all of them where there is no part.
};

/// Where the rows of a cache are; offsets in a page are in words (runtime/ops/kv_page.h).
struct CacheArguments {
  const uint32_t* step;
  uint32_t* const* slabs;
  const uint32_t* tables;
  uint32_t pages_per_slab, pages_per_head, kv_heads, head_dim, layer;
  uint32_t key_scales_at, values_at, value_scales_at, positions_at, last_important_at, page_words;
  RowType key_type, value_type;
  uint32_t rotation_block;
  float rotation_scale;
};

struct KvWriteArguments {
  CacheArguments cache;
  float* k;
  const float* v;
  // To rotate the keys first, and the queries that they meet; or null.
  float* q;
  const uint32_t* frequencies;
  uint32_t heads_of_q, pairs;
};

struct KvAgesArguments {
  CacheArguments cache;
  uint32_t* ages;
};

/// Statistics of queries: [tables][layers][heads][1 + 5 E/2].
struct StatisticsArguments {
  float* sums;     // Null where none are kept, ...
  uint32_t heads;  // ... and 0.
};

struct QueryStatsArguments {
  CacheArguments cache;
  StatisticsArguments statistics;
  const float* q;
};

struct KvScoreArguments {
  CacheArguments cache;
  StatisticsArguments statistics;
  const uint32_t* turns;  // As AppendMeanTurns has them.
  uint32_t pairs;
  float scale;
};

struct KvSpreadArguments {
  CacheArguments cache;
};

struct KvCompactArguments {
  CacheArguments cache;
  uint32_t* scratch;  // [heads][pages_per_head][3]: leaving rows, holes before, movers before.
};

struct KvRebaseArguments {
  CacheArguments cache;
  uint32_t* scratch;  // [heads][3][pages_per_head]: the map, set bits before a word, done rows.
  const uint32_t* frequencies;
  uint32_t pairs;
};

struct AttendArguments {
  CacheArguments cache;
  const float* q;
  float *o, *scores, *partials;
  uint32_t heads;   // Query heads of a block's group or part of one.
  uint32_t splits;  // Of the pages of a head.
  float scale;
};

}  // namespace cormorant::GPU_NAMESPACE
