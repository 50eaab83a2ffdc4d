// Numbers in 15 bits, in blocks of 32, for products with block types. See MatMulOp in
// runtime/ops/ops.h.
//
// quant = 128 * high + low, a byte each: 8 bits alone change one first choice in twenty of a small
// model (docs/decisions/0004).
#pragma once
#include "shaders/gpu/gpu.h"

namespace cormorant::GPU_NAMESPACE::kernels {

constexpr float kQuantMost = 16256.0f;  // 127 * 128

/// Where the blocks of x go, as numbers of 15 bits.
struct QuantizedX {
  uint32_t* quants;
  float* scales;
};

/// Stores 32 numbers as block `to` of all.
GPU_FN void QuantizeBlock(const float* x, const QuantizedX& out, uint64_t to) {
  float greatest = 0.0f;
  for (uint32_t k = 0; k < 32; ++k) greatest = gpu::Max(greatest, gpu::Abs(x[k]));
  const float inverse = greatest > 0.0f ? kQuantMost / greatest : 0.0f;
  int32_t sum = 0;
  for (uint32_t k = 0; k < 32; k += 4) {
    uint32_t high_word = 0, low_word = 0;
    for (uint32_t j = 0; j < 4; ++j) {
      const int32_t quant = static_cast<int32_t>(gpu::RoundEven(x[k + j] * inverse));
      const int32_t high = (quant + 64) >> 7;
      high_word |= (static_cast<uint32_t>(high) & 0xffu) << (8 * j);
      low_word |= (static_cast<uint32_t>(quant - 128 * high) & 0xffu) << (8 * j);
      sum += quant;
    }
    out.quants[to * 16 + k / 4] = high_word;
    out.quants[to * 16 + 8 + k / 4] = low_word;
  }
  const float scale = greatest / kQuantMost;
  out.scales[to * 2] = scale;
  out.scales[to * 2 + 1] = scale * static_cast<float>(sum);
}

}  // namespace cormorant::GPU_NAMESPACE::kernels
