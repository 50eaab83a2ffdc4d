// Scalar dequantization. See dequantize.h; layouts in blocks.h.
#include "runtime/format/dequantize.h"

#include <cstring>

#include "runtime/base/check.h"
#include "runtime/base/half.h"
#include "runtime/format/blocks.h"

namespace cormorant {
namespace {

void WidenHalves(const std::byte* from, uint64_t elements, float (*widen)(uint16_t), float* to) {
  for (uint64_t i = 0; i < elements; ++i) {
    uint16_t half;
    std::memcpy(&half, from + i * sizeof(half), sizeof(half));
    to[i] = widen(half);
  }
}

void Expand(const BlockQ8_0& block, float* to) {
  const float scale = F16ToF32(block.d);
  for (uint32_t i = 0; i < kBlockElements; ++i) to[i] = static_cast<float>(block.q[i]) * scale;
}

void Expand(const BlockQ4_0& block, float* to) {
  const float scale = F16ToF32(block.d);
  constexpr uint32_t kHalf = kBlockElements / 2;
  for (uint32_t i = 0; i < kHalf; ++i) {
    to[i] = static_cast<float>((block.q[i] & 15) - 8) * scale;
    to[i + kHalf] = static_cast<float>((block.q[i] >> 4) - 8) * scale;
  }
}

void Expand(const BlockQ4_1& block, float* to) {
  const float scale = F16ToF32(block.d);
  const float least = F16ToF32(block.m);
  constexpr uint32_t kHalf = kBlockElements / 2;
  for (uint32_t i = 0; i < kHalf; ++i) {
    to[i] = static_cast<float>(block.q[i] & 15) * scale + least;
    to[i + kHalf] = static_cast<float>(block.q[i] >> 4) * scale + least;
  }
}

template <class Block>
void ExpandAll(const std::byte* from, uint64_t elements, float* to) {
  for (uint64_t i = 0; i < elements / kBlockElements; ++i) {
    Block block;
    std::memcpy(&block, from + i * sizeof(Block), sizeof(Block));
    Expand(block, to + i * kBlockElements);
  }
}

}  // namespace

void Dequantize(DType type, const std::byte* from, uint64_t elements, float* to) {
  CORM_CHECK(elements % Info(type).block == 0);
  switch (type) {
    case DType::kF32:
      if (elements > 0) std::memcpy(to, from, elements * sizeof(float));
      return;
    case DType::kF16: return WidenHalves(from, elements, F16ToF32, to);
    case DType::kBF16: return WidenHalves(from, elements, BF16ToF32, to);
    case DType::kQ8_0: return ExpandAll<BlockQ8_0>(from, elements, to);
    case DType::kQ4_0: return ExpandAll<BlockQ4_0>(from, elements, to);
    case DType::kQ4_1: return ExpandAll<BlockQ4_1>(from, elements, to);
    case DType::kU32: break;
  }
  CORM_CHECK(false);  // Ids are no weights.
}

}  // namespace cormorant
