// Rows of the cache. See reference_rows.h.
#include "backends/reference/reference_rows.h"

#include <algorithm>
#include <cmath>

#include "runtime/base/half.h"

namespace cormorant::reference {
namespace {

/// The transform of q4_0 rows.
void Rotate(float* row, uint32_t head_dim) {
  const uint32_t block = RotationBlock(head_dim);
  for (uint32_t stride = 1; stride < block; stride *= 2) {
    for (uint32_t d = 0; d < head_dim; ++d) {
      if ((d & stride) != 0) continue;
      const float a = row[d], b = row[d + stride];
      row[d] = a + b;
      row[d + stride] = a - b;
    }
  }
  for (uint32_t d = 0; d < head_dim; ++d) row[d] *= RotationScale(block);
}

int8_t Quantize(float x, float d) {
  if (d == 0.0f) return 0;
  const float q = std::nearbyint(x * (1.0f / d));
  return static_cast<int8_t>(q > 127.0f ? 127.0f : q >= -127.0f ? q : -127.0f);
}

uint32_t QuantizeToHalfByte(float x, float d) {
  if (d == 0.0f) return 8;
  const float q = std::nearbyint(x * (1.0f / d));
  return static_cast<uint32_t>(8.0f + (q > 7.0f ? 7.0f : q >= -8.0f ? q : -8.0f));
}

}  // namespace

const uint32_t* HeadRows::Table(const KvBinding& kv, uint32_t table, uint32_t head) {
  const uint64_t row = uint64_t{table} * kv.geometry.heads() + head;
  return reinterpret_cast<const uint32_t*>(HostBytes(kv.tables)) + row * kv.geometry.pages_per_head;
}

float HeadRows::Held(uint32_t slot, Side side, uint32_t dim) const {
  if (Type(side) == DType::kF16) return F16ToF32(Half(slot, side, dim));
  const float quant = Type(side) == DType::kQ8_0
                          ? static_cast<float>(Quant(slot, side, dim))
                          : static_cast<float>(HalfByte(slot, side, dim)) - 8.0f;
  return F16ToF32(Scale(slot, side, dim)) * quant;
}

void HeadRows::Read(uint32_t slot, Side side, float* to) const {
  for (uint32_t d = 0; d < layout_.head_dim; ++d) to[d] = Held(slot, side, d);
  if (Type(side) == DType::kQ4_0) Rotate(to, layout_.head_dim);
}

void HeadRows::Write(uint32_t slot, Side side, const float* from) const {
  if (Type(side) == DType::kF16) {
    for (uint32_t d = 0; d < layout_.head_dim; ++d) Half(slot, side, d) = F32ToF16(from[d]);
    return;
  }
  if (Type(side) == DType::kQ4_0) return WriteHalfBytes(slot, side, from);
  for (uint32_t block = 0; block < layout_.head_dim; block += kBlock) {
    float greatest = 0.0f;
    for (uint32_t d = block; d < block + kBlock; ++d) {
      greatest = std::max(greatest, std::fabs(from[d]));
    }
    const float scale = greatest / 127.0f;
    Scale(slot, side, block) = F32ToF16(scale);
    for (uint32_t d = block; d < block + kBlock; ++d) {
      Quant(slot, side, d) = Quantize(from[d], scale);
    }
  }
}

void HeadRows::WriteHalfBytes(uint32_t slot, Side side, const float* from) const {
  float x[kRotationMost];  // Dimensions that are rotated together.
  const uint32_t together = RotationBlock(layout_.head_dim);
  for (uint32_t first = 0; first < layout_.head_dim; first += together) {
    std::copy_n(from + first, together, x);
    Rotate(x, together);
    for (uint32_t block = 0; block < together; block += kBlock) {
      const auto [least, most] = std::minmax_element(x + block, x + block + kBlock);
      const float greatest = *most >= -*least ? *most : *least;
      const float scale = std::fabs(greatest) < 0x1p-20f ? 0.0f : greatest / -8.0f;
      Scale(slot, side, first + block) = F32ToF16(scale);
      for (uint32_t d = block; d < block + kBlock; ++d) {
        SetHalfByte(slot, side, first + d, QuantizeToHalfByte(x[d], scale));
      }
    }
  }
}

}  // namespace cormorant::reference
