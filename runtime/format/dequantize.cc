// Scalar dequantization. See dequantize.h; blocks are taken apart by quants.h.
#include "runtime/format/dequantize.h"

#include <cstring>

#include "runtime/base/check.h"
#include "runtime/base/half.h"
#include "runtime/format/quants.h"

namespace cormorant {
namespace {

void WidenHalves(const std::byte* from, uint64_t elements, float (*widen)(uint16_t), float* to) {
  for (uint64_t i = 0; i < elements; ++i) {
    uint16_t half;
    std::memcpy(&half, from + i * sizeof(half), sizeof(half));
    to[i] = widen(half);
  }
}

}  // namespace

void Expand(const BlockQuants& block, bool has_minimums, uint32_t elements, float* to) {
  for (uint32_t i = 0; i < elements; ++i) {
    const uint32_t part = i / kPartElements;
    const float product = static_cast<float>(block.q[i]) * block.scale[part];
    to[i] = has_minimums ? product + block.minimum[part] : product;
  }
}

void Dequantize(DType type, const std::byte* from, uint64_t elements, float* to) {
  const DTypeInfo info = Info(type);
  CORM_CHECK(elements % info.block == 0);
  switch (type) {
    case DType::kF32:
      if (elements > 0) std::memcpy(to, from, elements * sizeof(float));
      return;
    case DType::kF16: return WidenHalves(from, elements, F16ToF32, to);
    case DType::kBF16: return WidenHalves(from, elements, BF16ToF32, to);
    default: break;
  }
  BlockQuants block;
  for (uint64_t i = 0; i < elements / info.block; ++i) {
    Unpack(type, from + i * info.block_bytes, &block);
    Expand(block, HasMinimums(type), info.block, to + i * info.block);
  }
}

}  // namespace cormorant
