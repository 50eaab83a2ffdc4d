// Scales in place. See random_blocks.h; layouts in runtime/format/blocks.h.
#include "tests/golden/random_blocks.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "runtime/base/half.h"
#include "runtime/format/blocks.h"
#include "runtime/format/dequantize.h"

namespace cormorant::testing {
namespace {

/// Where the f16 scale is, for types that have one in one piece.
size_t ScaleAt(DType type) {
  switch (type) {
    case DType::kQ2_K: return offsetof(BlockQ2_K, d);
    case DType::kQ3_K: return offsetof(BlockQ3_K, d);
    case DType::kQ6_K: return offsetof(BlockQ6_K, d);
    case DType::kTQ1_0: return offsetof(BlockTQ1_0, d);
    case DType::kTQ2_0: return offsetof(BlockTQ2_0, d);
    default: return 0;
  }
}

/// The exponent of a power of two near d.
int ExponentOf(float d) {
  return static_cast<int>(std::lround(std::log2(std::fabs(d))));
}

void SetScaleOfIQ1_M(uint16_t half, std::byte* block) {
  BlockIQ1_M iq1_m;
  std::memcpy(&iq1_m, block, sizeof(iq1_m));
  for (uint32_t i = 0; i < 4; ++i) {
    const uint32_t nibble = half >> (4 * i) & 15;
    iq1_m.scales[i] = static_cast<uint16_t>((iq1_m.scales[i] & 0x0fff) | nibble << 12);
  }
  std::memcpy(block, &iq1_m, sizeof(iq1_m));
}

}  // namespace

std::vector<DType> BlockTypes() {
  std::vector<DType> types;
  for (uint32_t i = 0; i < kDTypes; ++i) {
    if (IsBlockType(static_cast<DType>(i))) types.push_back(static_cast<DType>(i));
  }
  return types;
}

void SetBlockScale(DType type, float d, float m, std::byte* block) {
  if (type == DType::kMXFP4) {
    block[0] = d == 0.0f ? std::byte{0} : static_cast<std::byte>(ExponentOf(d) + 128);
    return;
  }
  if (type == DType::kNVFP4) {
    const int exponent = d == 0.0f ? 0 : std::clamp(ExponentOf(d) + 8, 1, 15);
    std::fill_n(block, 4, static_cast<std::byte>(exponent << 3));
    return;
  }
  const uint16_t halves[] = {F32ToF16(d), F32ToF16(m)};
  if (type == DType::kIQ1_M) return SetScaleOfIQ1_M(halves[0], block);
  std::memcpy(block + ScaleAt(type), halves, HasMinimums(type) ? 4 : 2);
}

void RandomBlock(DType type, float deviation, std::mt19937& random, std::byte* block) {
  const DTypeInfo info = Info(type);
  for (uint32_t i = 0; i < info.block_bytes; ++i) block[i] = static_cast<std::byte>(random());
  // The minimum that makes the mean of all quants 0: K types scale and subtract it alike.
  const float m = type == DType::kQ4_1   ? -7.5f
                  : type == DType::kQ5_1 ? -15.5f
                  : type == DType::kQ2_K ? 1.5f
                  : type == DType::kQ4_K ? 7.5f
                                         : 15.5f;
  SetBlockScale(type, 1.0f, m, block);
  float values[kBlockElementsMost];
  Dequantize(type, block, info.block, values);
  float squares = 0.0f;
  for (uint32_t i = 0; i < info.block; ++i) squares += values[i] * values[i];
  const float rms = std::sqrt(squares / static_cast<float>(info.block));
  const float d = rms > 0.0f ? deviation / rms : 0.0f;
  SetBlockScale(type, d, m * d, block);
}

}  // namespace cormorant::testing
