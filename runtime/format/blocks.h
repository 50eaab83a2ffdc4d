// The bytes of the quantized blocks that ops compute with, as a GGUF file holds them.
//
// 32 neighbouring elements of a row share a scale `d` (and a minimum `m`), both f16 as stored. In
// the 4-bit types byte j holds element j in its low half and element j + 16 in its high half.
// Source: ggml's ggml-common.h for the layouts; the figures are facts of the format.
#pragma once
#include <cstddef>
#include <cstdint>

#include "runtime/ops/dtype.h"

namespace cormorant {

inline constexpr uint32_t kBlockElements = 32;

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

static_assert(sizeof(BlockQ8_0) == Info(DType::kQ8_0).block_bytes && alignof(BlockQ8_0) == 2);
static_assert(sizeof(BlockQ4_0) == Info(DType::kQ4_0).block_bytes && alignof(BlockQ4_0) == 2);
static_assert(sizeof(BlockQ4_1) == Info(DType::kQ4_1).block_bytes && alignof(BlockQ4_1) == 2);
static_assert(offsetof(BlockQ8_0, q) == 2 && offsetof(BlockQ4_0, q) == 2);
static_assert(offsetof(BlockQ4_1, m) == 2 && offsetof(BlockQ4_1, q) == 4);
static_assert(Info(DType::kQ8_0).block == kBlockElements);
static_assert(Info(DType::kQ4_0).block == kBlockElements);
static_assert(Info(DType::kQ4_1).block == kBlockElements);

}  // namespace cormorant
