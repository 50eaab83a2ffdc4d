// The kernels of one instruction set as a table of functions over plain pointers.
//
// Kernel files and the walker of tapes both include this header, so it holds plain structs alone
// (simd.h says why). Kernels know neither tapes nor phases nor threads: the walker splits the work.
//
// Quantized activations: a tile holds up to `tile_rows` rows. For each block of 32 columns it
// holds, row by row, two planes of 32 signed bytes (high, low) with x = d * (128 * high + low), 15
// bits; then for each row d and d * sum(128 * high + low) in f32, and in i32 the sums over columns
// 0..15 and 16..31, which undo the bias of DotS8 and that of quants. Two planes cost a second dot
// product, which hides behind memory in decode, and make the product with the weights exact to 3e-5
// of the greatest activation of a block: eviction can then be judged against the full cache without
// the noise that 8 bits put into both.
//
// Packed weights: a panel holds 16 rows, block by block of 32 columns. First the quants of a block:
// 4 columns of row 0, 4 of row 1 .. of row 15 are 64 bytes, a group. Nibbles hold groups 0..3
// (columns 0..15) in the low halves and groups 4..7 in the high halves, as GGUF does; a fifth bit
// of all eight groups is in 64 bytes behind them, bit g that of group g, and two more bits of
// groups 0..3 and of 4..7 in 64 bytes each. Then scales, a run of 16 rows for each 16 or 32
// columns, and minimums alike; those of K types are bytes that multiply f16 factors, of scales and
// minus those of minimums, which stand before each 256 columns. So a matrix is read in one
// sequential stream.
#pragma once
#include <stddef.h>
#include <stdint.h>

namespace cormorant::cpu {

constexpr uint32_t kPanelRows = 16;
constexpr uint32_t kBlock = 32;    // Columns that share a scale.
constexpr uint32_t kRunPages = 8;  // Pages of the cache that one attention run covers.
constexpr uint32_t kRunSlots = kRunPages * 32;
constexpr uint32_t kRunStride = kRunSlots + 16;  // Floats between two queries' scores of a run.
constexpr uint32_t kTileRowsMax = 8;
constexpr uint32_t kRotationMost = 256;  // Dimensions that q4_0 rows rotate together.

/// By the types of files, but kLevels*: nibbles that name 16 levels, for all others.
enum class PanelType : uint8_t {
  kQ4_0,
  kQ4_1,
  kQ5_0,
  kQ5_1,
  kQ8_0,
  kQ2_K,
  kQ3_K,
  kQ4_K,
  kQ5_K,
  kQ6_K,
  kLevels32,
  kLevels16,
};

struct PanelShape {
  uint32_t quants, scales;  // Bytes of 16 rows of 32 columns.
  uint32_t scale_bytes;     // Of one scale: 1 (times a factor), 2 (f16) or 4 (f32).
  uint32_t factors;         // Bytes before each kFactorColumns, or 0.
  uint32_t scaled;          // Columns that share a scale.
  int32_t bias;             // What quants, stored without sign, are too large by.

  // Kernel files call these in constant expressions alone: nothing of them is left to link.
  constexpr uint32_t parts() const { return 32 / scaled; }
  /// Of scales and minimums.
  constexpr uint32_t runs() const { return scales / (16 * scale_bytes); }
  constexpr bool has_minimums() const { return runs() > parts(); }
};
constexpr uint32_t kFactorColumns = 256;
constexpr PanelShape kPanelShapes[] = {
    {256, 32, 2, 0, 32, 8},    // kQ4_0
    {256, 64, 2, 0, 32, 0},    // kQ4_1
    {320, 32, 2, 0, 32, 16},   // kQ5_0
    {320, 64, 2, 0, 32, 0},    // kQ5_1
    {512, 32, 2, 0, 32, 0},    // kQ8_0
    {256, 64, 1, 64, 16, 0},   // kQ2_K
    {256, 32, 1, 32, 16, 4},   // kQ3_K
    {256, 32, 1, 64, 32, 0},   // kQ4_K
    {320, 32, 1, 64, 32, 0},   // kQ5_K
    {384, 32, 1, 32, 16, 32},  // kQ6_K
    {256, 64, 4, 0, 32, 0},    // kLevels32
    {256, 128, 4, 0, 16, 0},   // kLevels16
};
enum class DenseType : uint8_t { kF32, kF16, kBF16 };

/// Rows [first_row, last_row) of y = x * w^T for panels [first_panel, last_panel).
struct PanelTask {
  PanelType type;
  uint32_t blocks;        // Of 32 columns, in a row of x.
  const uint8_t* panels;  // All of w.
  uint64_t panel_bytes;
  const int8_t* levels;  // 16, of kLevels*.
  const uint8_t* tiles;  // All rows of x, quantized.
  uint64_t tile_bytes;
  float* y;
  uint32_t columns;  // Of y: rows of w.
  uint32_t first_panel, last_panel;
  uint32_t first_row, last_row;  // The first at the start of a tile.
  bool accumulate;
};

/// Columns [first_column, last_column) of y = x * w^T for rows [first_row, last_row), w as the file
/// holds it.
struct DenseTask {
  DenseType type;
  const uint8_t* w;
  const float* x;
  float* y;
  uint32_t inner;    // Columns of x and w.
  uint32_t columns;  // Of y: rows of w.
  uint32_t first_column, last_column;
  uint32_t first_row, last_row;
  bool accumulate;
};

enum class RowType : uint8_t { kF16, kQ8, kQ4 };

/// Where parts of a page of the cache begin, in bytes; see runtime/ops/kv_page.h.
struct PageShape {
  uint32_t head_dim;
  uint32_t k, k_scale, v, v_scale, last_important;
  RowType k_type, v_type;
  uint32_t rotation_block;  // Of q4_0 rows; at most kRotationMost.
  float rotation_scale;
};

/// One run of pages of one head, and up to tile_rows queries that look at it.
struct RunTask {
  const PageShape* shape;
  uint8_t* const* pages;
  uint32_t slots;    // Slots of the run that hold rows visible to some query; at least 1.
  uint32_t queries;  // 1..tile_rows
};

struct Kernels {
  uint32_t tile_rows;

  /// Bytes of a full tile with this many blocks of columns.
  uint64_t (*tile_bytes)(uint32_t blocks);
  /// Quantizes scale * rows[0..count) into one tile, laid out for `count` rows.
  void (*quantize_tile)(const float* const* rows, uint32_t count, uint32_t blocks, float scale,
                        uint8_t* tile);
  void (*multiply_panels)(const PanelTask& task);
  void (*multiply_dense)(const DenseTask& task);

  void (*rms_norm)(float* y, const float* x, const float* w, uint32_t width, float eps);
  void (*silu_product)(float* y, const float* gate, const float* up, uint64_t count);
  /// Turns pairs of the first `dims` elements: x[i] * cosines[i] + x[i ^ 1] * sines[i].
  void (*rotate)(float* x, const float* cosines, const float* sines, uint32_t dims);

  /// Rotates a row as q4_0 rows are, which is also the way back.
  void (*hadamard)(const PageShape& shape, float* row);
  /// Stores one row of keys and one of values into a slot of a page; either may be null.
  void (*write_row)(const PageShape& shape, uint8_t* page, uint32_t slot, const float* k,
                    const float* v);

  /// Bytes of tile_rows queries as `scores` wants them, and what packing them needs.
  uint64_t (*query_bytes)(const PageShape& shape);
  /// Packs queries, times `scale`; rotated for q4_0 keys.
  void (*pack_queries)(const PageShape& shape, const float* const* queries, uint32_t count,
                       float scale, uint8_t* packed);
  /// out[j * kRunStride + s] = query j . key s. Slots up to the next multiple of 32 are written.
  void (*scores)(const RunTask& task, const uint8_t* packed, float* out);
  /// Turns the first `visible` scores into exp(score - m), m the greatest of them, and those up to
  /// the next multiple of 16 past `slots` into 0. Returns their sum; *greatest is m, or -infinity
  /// if none is visible.
  float (*softmax)(float* scores, uint32_t visible, uint32_t slots, float* greatest);
  /// o[j * stride + d] = sum_s weights[j * kRunStride + s] * value[s, d]; of q4_0 rows, rotated.
  void (*values)(const RunTask& task, const float* weights, float* o, uint32_t stride);
  /// o[d] = sum_r factors[r] * parts[r * stride + d]
  void (*merge)(const float* parts, const float* factors, uint32_t runs, uint32_t stride,
                uint32_t head_dim, float* o);
  /// Raises last_important to steps[j] + Reach(x, reach) of ops.h where
  /// x = weights[j * kRunStride + s] * factors[j] >= 1.
  void (*stamp)(const RunTask& task, const float* weights, const float* factors,
                const uint32_t* steps, uint32_t reach);
  /// Adds round(weights[j * kRunStride + s] * factors[j]) to sums of attention below 2^31.
  void (*add_attention)(const RunTask& task, const float* weights, const float* factors);
};

namespace portable {
extern const Kernels kKernels;
}
namespace avx2 {
extern const Kernels kKernels;
}
namespace avx512 {
extern const Kernels kKernels;
}
namespace neon {
extern const Kernels kKernels;
}

}  // namespace cormorant::cpu
