// The bytes of one KV page: 32 rows of one (layer, KV head).
//
// A page holds K rows, V rows and, for each row, its position and the step at which it was last
// important. K lies transposed, so that one vector register holds the same dimension of 16 rows and
// scores need no horizontal sums; V lies row by row, for the same reason on the way back. One lane
// a row on a GPU reads both coalesced.
//
//   K f16    [E][32]                      K q8_0   [E/4][32][4] i8, then scales [E/32][32] f16
//   V f16    [32][E]                      V q8_0   [32][E] i8,      then scales [32][E/32] f16
//   K q4_0   [E/8][32][4] u8, then scales [E/32][32] f16: byte j of group g has dimension 8 g + j
//                              in its low half and 8 g + 4 + j in the high one
//   V q4_0   [32][E/32][16] u8, then scales [32][E/32] f16: byte j of a block of 32 has its
//                              dimension j in its low half and j + 16 in the high one
//   positions       [32] u32   RoPE position with which the row's key is rotated
//   last_important  [32] u32   step at which some query last gave it at least its share; a pinned
//                              row holds kPinned, which no step exceeds
//
// q8_0 is symmetric: value = scale * i8. Exact to the byte: over 32 neighbouring dimensions
// d = max|x| / 127 in f32; the stored scale is f16(d); the i8 is nearbyint(x * (1.0f / d)) in f32,
// clamped to [-127, 127], or 0 if d == 0. (d itself, not the stored scale; halves to even; max|x|
// is 0 or at least 1e-30.)
//
// q4_0 is symmetric too, with rows rotated first, so that no dimension stands out and makes the
// steps of its neighbours wide: x is the row after the orthonormal Walsh-Hadamard transform of each
// block of neighbouring dimensions, a block being the greatest power of two up to 256 that divides
// E. In f32, for strides 1, 2, 4 .. half a block: (a, b) -> (a + b, a - b) for each two elements of
// a block a stride apart, a at the lower index, whose bit of the stride is 0; then every element
// times f32(1 / sqrt(block)). The transform is its own inverse. Then value = scale * (half - 8).
// Exact to the byte: over 32 neighbouring dimensions g is the x of the greatest magnitude with its
// sign, the positive one of two; d = g / -8 in f32, or 0 if |g| < 2^-20; the stored scale is
// f16(d); the half byte is 8 + nearbyint(x * (1.0f / d)) in f32, clamped to [0, 15], or 8 if
// d == 0. (docs/decisions/0013 has what this rounding saves.)
// Every part starts at a multiple of 64 bytes from the page's start.
#pragma once
#include <cstdint>

#include "runtime/base/units.h"
#include "runtime/ops/dtype.h"

namespace cormorant {

constexpr uint32_t kPageRows = 32;
constexpr uint32_t kPinned = 0xffffffffu;

/// What the KV cache of a model looks like. A "head" below is one (layer, KV head) pair, numbered
/// layer * kv_heads + kv_head.
struct KvGeometry {
  uint32_t layers = 0;
  uint32_t kv_heads = 0;
  uint32_t head_dim = 0;  // E: a multiple of 32 for q8_0 and q4_0 rows, of 4 otherwise.
  DType k_type = DType::kF16;
  DType v_type = DType::kF16;
  uint32_t pages_per_head = 0;  // Length of one head's page table.
  uint32_t query_heads = 0;     // H, where statistics of queries are kept (QueryStatsOp), else 0.

  constexpr uint32_t heads() const { return layers * kv_heads; }
  /// f32 sums of one query head of one layer.
  constexpr uint32_t query_sums() const { return 1 + head_dim / 2 * 5; }
  /// Bytes of one session beside its pages: page tables, and statistics of queries.
  constexpr uint64_t table_bytes() const { return uint64_t{heads()} * pages_per_head * 4; }
  constexpr uint64_t statistics_bytes() const {
    return uint64_t{layers} * query_heads * query_sums() * 4;
  }
  constexpr uint64_t metadata_bytes() const { return table_bytes() + statistics_bytes(); }
};

constexpr uint32_t kRotationMost = 256;

/// Dimensions that q4_0 rows rotate together, and what the sums are multiplied with.
constexpr uint32_t RotationBlock(uint32_t head_dim) {
  const uint32_t greatest = head_dim & (~head_dim + 1);  // Power of two that divides.
  return greatest < kRotationMost ? greatest : kRotationMost;
}
constexpr float RotationScale(uint32_t block) {
  float scale = 1.0f;
  for (; block >= 4; block /= 4) scale /= 2;
  return block == 2 ? scale * 0.70710678118654752440f : scale;
}

/// Byte offsets inside a page.
struct KvPageLayout {
  uint32_t head_dim;
  DType k_type, v_type;
  uint32_t k, k_scale, v, v_scale, positions, last_important, page_bytes;

  constexpr explicit KvPageLayout(const KvGeometry& g)
      : head_dim(g.head_dim), k_type(g.k_type), v_type(g.v_type) {
    uint32_t at = 0;
    const auto take = [&at](uint32_t bytes) {
      const uint32_t start = at;
      at += static_cast<uint32_t>(RoundUp(bytes, 64));
      return start;
    };
    k = take(kPageRows * head_dim * HalfBytes(k_type) / 2);
    k_scale = take(k_type == DType::kF16 ? 0 : kPageRows * (head_dim / 32) * 2);
    v = take(kPageRows * head_dim * HalfBytes(v_type) / 2);
    v_scale = take(v_type == DType::kF16 ? 0 : kPageRows * (head_dim / 32) * 2);
    positions = take(kPageRows * 4);
    last_important = take(kPageRows * 4);
    page_bytes = at;
  }

  /// Half bytes that a dimension takes without its scale.
  static constexpr uint32_t HalfBytes(DType type) {
    return type == DType::kF16 ? 4 : type == DType::kQ8_0 ? 2 : 1;
  }

  /// Index (in elements of its type; of q4_0 in bytes) of dimension `dim` of row `row`.
  constexpr uint32_t KIndex(uint32_t row, uint32_t dim) const {
    if (k_type == DType::kF16) return dim * kPageRows + row;
    return (dim / (k_type == DType::kQ8_0 ? 4 : 8) * kPageRows + row) * 4 + dim % 4;
  }
  constexpr uint32_t VIndex(uint32_t row, uint32_t dim) const {
    if (v_type != DType::kQ4_0) return row * head_dim + dim;
    return row * (head_dim / 2) + dim / 32 * 16 + dim % 16;
  }
  /// Bits of a byte of q4_0 below those of dimension `dim`.
  static constexpr uint32_t KShift(uint32_t dim) { return dim / 4 % 2 * 4; }
  static constexpr uint32_t VShift(uint32_t dim) { return dim / 16 % 2 * 4; }
  constexpr uint32_t KScaleIndex(uint32_t row, uint32_t dim) const {
    return dim / 32 * kPageRows + row;
  }
  constexpr uint32_t VScaleIndex(uint32_t row, uint32_t dim) const {
    return row * (head_dim / 32) + dim / 32;
  }
};

/// Bytes the cache would take for one token of one head with f16 rows and no bookkeeping: the
/// denominator of every "percent of f16 bytes".
constexpr uint64_t F16RowBytes(uint32_t head_dim) {
  return uint64_t{head_dim} * 2 * 2;
}

}  // namespace cormorant
