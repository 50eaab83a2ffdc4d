// The bytes of the quantized blocks that ops compute with, as a GGUF file holds them.
//
// A block is so many neighbouring elements of a row. `d` scales all of it and `m` or `dmin` its
// minimums, f16 as stored; in blocks of 256, parts of 16 or 32 elements have small integers that
// scale d and dmin further. quants.h turns all of them into the same integers and scales.
//
// Nibbles: byte j of a run of n holds element j of its 2n in the low half and element j + n in the
// high half; n is 16 in blocks of 32. Two-bit fields: byte j of a run of 32 holds elements j,
// j + 32, j + 64 and j + 96 of its 128, from the low bits up.
//
// Source: ggml's ggml-common.h for the layouts; the figures are facts of the format.
#pragma once
#include <cstddef>
#include <cstdint>

#include "runtime/ops/dtype.h"

namespace cormorant {

inline constexpr uint32_t kBlockElements = 32;
inline constexpr uint32_t kBlockElementsMost = 256;

/// x[i] = q[i] * d.
struct BlockQ8_0 {
  uint16_t d;
  int8_t q[kBlockElements];
};

/// x[i] = (q[i] - 8) * d, q in 0..15.
struct BlockQ4_0 {
  uint16_t d;
  uint8_t q[kBlockElements / 2];
};

/// x[i] = q[i] * d + m, q in 0..15.
struct BlockQ4_1 {
  uint16_t d;
  uint16_t m;
  uint8_t q[kBlockElements / 2];
};

/// x[i] = (q[i] - 16) * d, q in 0..31; bit i of `high` is the fifth of element i.
struct BlockQ5_0 {
  uint16_t d;
  uint8_t high[4];
  uint8_t q[16];
};

/// x[i] = q[i] * d + m, q in 0..31.
struct BlockQ5_1 {
  uint16_t d, m;
  uint8_t high[4];
  uint8_t q[16];
};

/// x[i] = q[i] * d * s - dmin * t, q in 0..3; part i/16 has s in the low and t in the high nibble.
struct BlockQ2_K {
  uint8_t scales[16];
  uint8_t q[64];
  uint16_t d, dmin;
};

/// x[i] = (q[i] - 4) * d * (s - 32), q in 0..7, its third bit is bit i/32 of high[i % 32]. s of
/// part i/16 has 6 bits: nibbles (of 8 bytes) below, two-bit fields (of the last 4 bytes) above.
struct BlockQ3_K {
  uint8_t high[32];
  uint8_t q[64];
  uint8_t scales[12];
  uint16_t d;
};

/// x[i] = q[i] * d * s - dmin * t, q in 0..15 in runs of 32 bytes; s and t of part i/32 in 6 bits.
struct BlockQ4_K {
  uint16_t d, dmin;
  uint8_t scales[12];
  uint8_t q[128];
};

/// As Q4_K, q in 0..31: bit i/32 of high[i % 32] is the fifth of element i.
struct BlockQ5_K {
  uint16_t d, dmin;
  uint8_t scales[12];
  uint8_t high[32];
  uint8_t q[128];
};

/// x[i] = (q[i] - 32) * d * s[i/16], q in 0..63: nibbles in runs of 64 bytes and two-bit fields.
struct BlockQ6_K {
  uint8_t low[128];
  uint8_t high[64];
  int8_t scales[16];
  uint16_t d;
};

/// x[i] = (q[i] - 1) * d, q in 0..2: five of them in a byte b of q, the n-th is the leading digit
/// of the fraction 3^n b / 256 in base 3; byte j of a run of 32, then 16, holds elements j, j + 32
/// .. (j + 16 ..) of its run. `rest` holds four each.
struct BlockTQ1_0 {
  uint8_t q[48];
  uint8_t rest[4];
  uint16_t d;
};

/// x[i] = (q[i] - 1) * d, two-bit fields.
struct BlockTQ2_0 {
  uint8_t q[64];
  uint16_t d;
};

/// x[i] = e2m1(q[i]) * 2^(e - 127): twice the 4-bit floats, in q, times half the scale.
struct BlockMXFP4 {
  uint8_t e;
  uint8_t q[16];
};

/// x[i] = e2m1(q[i]) * ue4m3(d[i/16]), in runs of 8 bytes.
struct BlockNVFP4 {
  uint8_t d[4];
  uint8_t q[32];
};

/// x[i] = level(q[i]) * d, of 16 uneven levels.
struct BlockIQ4_NL {
  uint16_t d;
  uint8_t q[16];
};

/// x[i] = level(q[i]) * d * (s - 32) in runs of 16 bytes; s of part i/32 in nibbles and 2 bits.
struct BlockIQ4_XS {
  uint16_t d;
  uint16_t scales_high;
  uint8_t scales_low[4];
  uint8_t q[128];
};

/// A word of signs: four times 7 bits, the eighth makes them even; the top 4 bits are a scale.
/// x[i] = +-grid[i % 8] * d * (s + 1/2) / 4; a grid of eight by each index.
struct BlockIQ2_XXS {
  uint16_t d;
  struct {
    uint8_t index[4];
    uint8_t signs[4];
  } groups[8];
};

/// As IQ2_XXS: 9 bits of index, 7 of sign; a nibble of scale for each 16 elements.
struct BlockIQ2_XS {
  uint16_t d;
  uint16_t q[32];
  uint8_t scales[8];
};

/// As IQ2_XS: 8 + 2 bits of index, 8 of sign.
struct BlockIQ2_S {
  uint16_t d;
  uint8_t q[32];
  uint8_t signs[32];
  uint8_t high[8];
  uint8_t scales[8];
};

/// x[i] = +-grid[i % 4] * d * (s + 1/2) / 2; a grid of four by each index, words of signs.
struct BlockIQ3_XXS {
  uint16_t d;
  uint8_t q[64];
  uint8_t signs[8][4];
};

/// x[i] = +-grid[i % 4] * d * (2 s + 1); 8 + 1 bits of index, a nibble of scale for each 32.
struct BlockIQ3_S {
  uint16_t d;
  uint8_t q[64];
  uint8_t high[8];
  uint8_t signs[32];
  uint8_t scales[4];
};

/// x[i] = (grid[i % 8] +- 1/8) * d * (2 s + 1). For each 32 elements a word: four times 3 bits of
/// index, 3 of s, the sign of 1/8.
struct BlockIQ1_S {
  uint16_t d;
  uint8_t q[32];
  uint16_t high[8];
};

/// As IQ1_S; for each 8 elements a nibble: 3 bits of index, the sign. A word of `scales` has four s
/// of 16 elements each, 3 bits, and a nibble of the block's d above.
struct BlockIQ1_M {
  uint8_t q[32];
  uint8_t high[16];
  uint16_t scales[4];
};

static_assert(sizeof(BlockQ8_0) == Info(DType::kQ8_0).block_bytes && alignof(BlockQ8_0) == 2);
static_assert(sizeof(BlockQ4_0) == Info(DType::kQ4_0).block_bytes && alignof(BlockQ4_0) == 2);
static_assert(sizeof(BlockQ4_1) == Info(DType::kQ4_1).block_bytes && alignof(BlockQ4_1) == 2);
static_assert(offsetof(BlockQ8_0, q) == 2 && offsetof(BlockQ4_0, q) == 2);
static_assert(offsetof(BlockQ4_1, m) == 2 && offsetof(BlockQ4_1, q) == 4);
static_assert(sizeof(BlockQ5_0) == Info(DType::kQ5_0).block_bytes);
static_assert(sizeof(BlockQ5_1) == Info(DType::kQ5_1).block_bytes);
static_assert(sizeof(BlockQ2_K) == Info(DType::kQ2_K).block_bytes);
static_assert(sizeof(BlockQ3_K) == Info(DType::kQ3_K).block_bytes);
static_assert(sizeof(BlockQ4_K) == Info(DType::kQ4_K).block_bytes);
static_assert(sizeof(BlockQ5_K) == Info(DType::kQ5_K).block_bytes);
static_assert(sizeof(BlockQ6_K) == Info(DType::kQ6_K).block_bytes);
static_assert(sizeof(BlockTQ1_0) == Info(DType::kTQ1_0).block_bytes);
static_assert(sizeof(BlockTQ2_0) == Info(DType::kTQ2_0).block_bytes);
static_assert(sizeof(BlockMXFP4) == Info(DType::kMXFP4).block_bytes);
static_assert(sizeof(BlockNVFP4) == Info(DType::kNVFP4).block_bytes);
static_assert(sizeof(BlockIQ4_NL) == Info(DType::kIQ4_NL).block_bytes);
static_assert(sizeof(BlockIQ4_XS) == Info(DType::kIQ4_XS).block_bytes);
static_assert(sizeof(BlockIQ2_XXS) == Info(DType::kIQ2_XXS).block_bytes);
static_assert(sizeof(BlockIQ2_XS) == Info(DType::kIQ2_XS).block_bytes);
static_assert(sizeof(BlockIQ2_S) == Info(DType::kIQ2_S).block_bytes);
static_assert(sizeof(BlockIQ3_XXS) == Info(DType::kIQ3_XXS).block_bytes);
static_assert(sizeof(BlockIQ3_S) == Info(DType::kIQ3_S).block_bytes);
static_assert(sizeof(BlockIQ1_S) == Info(DType::kIQ1_S).block_bytes);
static_assert(sizeof(BlockIQ1_M) == Info(DType::kIQ1_M).block_bytes);

}  // namespace cormorant
