// Kernels on single rows of activations, and their way into the cache. See kernels.h.
#include "backends/cpu/kernel_list.h"

namespace cormorant::cpu::CORM_ISA {
namespace {

/// y = f(lanes of x) for `count` elements; the last ones go through a copy.
template <class F>
CORM_SIMD void ForEachVector(uint64_t count, F f) {
  uint64_t i = 0;
  for (; i + 16 <= count; i += 16) f(i, 16u);
  if (i < count) f(i, static_cast<uint32_t>(count - i));
}
CORM_SIMD F32 LoadUpTo(const float* p, uint32_t lanes) {
  return lanes == 16 ? Load(p) : LoadPart(p, lanes);
}
CORM_SIMD void StoreUpTo(float* p, F32 v, uint32_t lanes) {
  if (lanes == 16) {
    Store(p, v);
  } else {
    StorePart(p, v, lanes);
  }
}

/// Quantizes 32 neighbours as kv_page.h says; returns the scale in f16.
uint16_t QuantizeRowBlock(const float* x, int8_t* quants) {
  const F32 a = Load(x), b = Load(x + 16);
  const float d = MaxLane(Max(Abs(a), Abs(b))) / 127.0f;
  const F32 inverse = Set(d == 0.0f ? 0.0f : 1.0f / d), most = Set(127.0f), least = Set(-127.0f);
  StoreLowBytes(quants, RoundToInt(Max(Min(Mul(a, inverse), most), least)));
  StoreLowBytes(quants + 16, RoundToInt(Max(Min(Mul(b, inverse), most), least)));
  uint16_t halves[16];
  StoreF16(halves, Set(d));
  return halves[0];
}

/// Adds and subtracts lanes that are kStride apart.
template <int kStride>
CORM_SIMD F32 AddAndSubtract(F32 x) {
  float signs[16];
  for (int i = 0; i < 16; ++i) signs[i] = (i & kStride) == 0 ? 1.0f : -1.0f;
  return Fma(x, Load(signs), Swap<kStride>(x));  // Rounded once: the product is exact.
}

/// One block of a row.
void HadamardBlock(const PageShape& shape, const float* from, float* to) {
  const uint32_t block = shape.rotation_block;
  for (uint32_t d = 0; d < block; d += 16) {
    const F32 twos = AddAndSubtract<2>(AddAndSubtract<1>(Load(from + d)));
    Store(to + d, AddAndSubtract<8>(AddAndSubtract<4>(twos)));
  }
  for (uint32_t stride = 16; stride < block; stride *= 2) {
    for (uint32_t d = 0; d < block; d += 16) {
      if ((d & stride) != 0) continue;
      const F32 a = Load(to + d), b = Load(to + d + stride);
      Store(to + d, Add(a, b));
      Store(to + d + stride, Add(a, Mul(b, Set(-1.0f))));
    }
  }
  const F32 scale = Set(shape.rotation_scale);
  for (uint32_t d = 0; d < block; d += 16) Store(to + d, Mul(Load(to + d), scale));
}

/// Quantizes 32 neighbours of a rotated row to 4 bits as kv_page.h says, a byte each; returns the
/// scale in f16.
uint16_t QuantizeToHalfBytes(const float* x, int8_t* halves) {
  const F32 a = Load(x), b = Load(x + 16), minus = Set(-1.0f);
  const float most = MaxLane(Max(a, b)), least = -MaxLane(Max(Mul(a, minus), Mul(b, minus)));
  const float greatest = most >= -least ? most : least;
  const bool is_zero = most < 0x1p-20f && least > -0x1p-20f;
  const float d = is_zero ? 0.0f : greatest / -8.0f;
  const F32 inverse = Set(is_zero ? 0.0f : 1.0f / d), top = Set(7.0f), bottom = Set(-8.0f);
  const I32 eight = SetI(8);
  StoreLowBytes(halves, AddI(RoundToInt(Max(Min(Mul(a, inverse), top), bottom)), eight));
  StoreLowBytes(halves + 16, AddI(RoundToInt(Max(Min(Mul(b, inverse), top), bottom)), eight));
  uint16_t scale[16];
  StoreF16(scale, Set(d));
  return scale[0];
}

/// Calls f(block, halves, scale) for each 32 dimensions of a row.
template <class F>
CORM_SIMD void ForEachHalfBlock(const PageShape& shape, const float* row, F f) {
  for (uint32_t first = 0; first < shape.head_dim; first += shape.rotation_block) {
    float rotated[kRotationMost];
    HadamardBlock(shape, row + first, rotated);
    for (uint32_t d = 0; d < shape.rotation_block; d += kBlock) {
      int8_t halves[kBlock];
      const uint16_t scale = QuantizeToHalfBytes(rotated + d, halves);
      f((first + d) / kBlock, halves, scale);
    }
  }
}
CORM_SIMD uint8_t Together(int8_t low, int8_t high) {
  return static_cast<uint8_t>(low | high << 4);
}

void WriteHalfByteKeys(const PageShape& shape, uint8_t* page, uint32_t slot, const float* k) {
  uint16_t* scales = reinterpret_cast<uint16_t*>(page + shape.k_scale) + slot;
  ForEachHalfBlock(shape, k, [&](uint32_t block, const int8_t* halves, uint16_t scale) {
    scales[block * 32] = scale;
    for (uint32_t g = 0; g < kBlock / 8; ++g) {
      uint8_t* to = page + shape.k + ((block * 4 + g) * 32 + slot) * 4;
      for (uint32_t j = 0; j < 4; ++j) to[j] = Together(halves[8 * g + j], halves[8 * g + 4 + j]);
    }
  });
}

void WriteHalfByteValues(const PageShape& shape, uint8_t* page, uint32_t slot, const float* v) {
  const uint32_t blocks = shape.head_dim / kBlock;
  uint16_t* scales = reinterpret_cast<uint16_t*>(page + shape.v_scale) + slot * blocks;
  ForEachHalfBlock(shape, v, [&](uint32_t block, const int8_t* halves, uint16_t scale) {
    scales[block] = scale;
    uint8_t* to = page + shape.v + (slot * blocks + block) * 16;
    for (uint32_t j = 0; j < 16; ++j) to[j] = Together(halves[j], halves[j + 16]);
  });
}

void WriteKeys(const PageShape& shape, uint8_t* page, uint32_t slot, const float* k) {
  if (shape.k_type == RowType::kQ4) return WriteHalfByteKeys(shape, page, slot, k);
  if (shape.k_type == RowType::kF16) {
    uint16_t* to = reinterpret_cast<uint16_t*>(page + shape.k) + slot;
    for (uint32_t d = 0; d < shape.head_dim; d += 16) {
      const uint32_t lanes = shape.head_dim - d < 16 ? shape.head_dim - d : 16;
      uint16_t halves[16];
      StoreF16(halves, LoadUpTo(k + d, lanes));
      for (uint32_t i = 0; i < lanes; ++i) to[(d + i) * 32] = halves[i];
    }
    return;
  }
  uint16_t* scales = reinterpret_cast<uint16_t*>(page + shape.k_scale) + slot;
  for (uint32_t d = 0; d < shape.head_dim; d += kBlock) {
    int8_t quants[kBlock];
    scales[d / kBlock * 32] = QuantizeRowBlock(k + d, quants);
    for (uint32_t i = 0; i < kBlock; i += 4) {
      __builtin_memcpy(page + shape.k + ((d + i) / 4 * 32 + slot) * 4, quants + i, 4);
    }
  }
}

void WriteValues(const PageShape& shape, uint8_t* page, uint32_t slot, const float* v) {
  if (shape.v_type == RowType::kQ4) return WriteHalfByteValues(shape, page, slot, v);
  if (shape.v_type == RowType::kF16) {
    uint16_t* to = reinterpret_cast<uint16_t*>(page + shape.v) + slot * shape.head_dim;
    ForEachVector(shape.head_dim, [&](uint64_t d, uint32_t lanes) {
      uint16_t halves[16];
      StoreF16(halves, LoadUpTo(v + d, lanes));
      __builtin_memcpy(to + d, halves, lanes * 2);
    });
    return;
  }
  const uint32_t blocks = shape.head_dim / kBlock;
  int8_t* to = reinterpret_cast<int8_t*>(page + shape.v) + slot * shape.head_dim;
  uint16_t* scales = reinterpret_cast<uint16_t*>(page + shape.v_scale) + slot * blocks;
  for (uint32_t b = 0; b < blocks; ++b) {
    scales[b] = QuantizeRowBlock(v + b * kBlock, to + b * kBlock);
  }
}

}  // namespace

void RmsNorm(float* y, const float* x, const float* w, uint32_t width, float eps) {
  F32 squares = Zero();
  ForEachVector(width, [&](uint64_t i, uint32_t lanes) {
    const F32 v = LoadUpTo(x + i, lanes);
    squares = Fma(v, v, squares);
  });
  const float mean = Sum(squares) / static_cast<float>(width);
  const F32 scale = Set(1.0f / __builtin_sqrtf(mean + eps));
  ForEachVector(width, [&](uint64_t i, uint32_t lanes) {
    StoreUpTo(y + i, Mul(Mul(LoadUpTo(x + i, lanes), scale), LoadUpTo(w + i, lanes)), lanes);
  });
}

void SiluProduct(float* y, const float* gate, const float* up, uint64_t count) {
  ForEachVector(count, [&](uint64_t i, uint32_t lanes) {
    const F32 g = LoadUpTo(gate + i, lanes);
    const F32 sigmoid = Div(Set(1.0f), Add(Set(1.0f), Exp(Mul(g, Set(-1.0f)))));
    StoreUpTo(y + i, Mul(Mul(g, sigmoid), LoadUpTo(up + i, lanes)), lanes);
  });
}

void Rotate(float* x, const float* cosines, const float* sines, uint32_t dims) {
  ForEachVector(dims, [&](uint64_t i, uint32_t lanes) {
    const F32 v = LoadUpTo(x + i, lanes);
    const F32 turned = Mul(Swap<1>(v), LoadUpTo(sines + i, lanes));
    StoreUpTo(x + i, Fma(v, LoadUpTo(cosines + i, lanes), turned), lanes);
  });
}

void Hadamard(const PageShape& shape, float* row) {
  for (uint32_t d = 0; d < shape.head_dim; d += shape.rotation_block) {
    HadamardBlock(shape, row + d, row + d);
  }
}

void WriteRow(const PageShape& shape, uint8_t* page, uint32_t slot, const float* k,
              const float* v) {
  if (k != nullptr) WriteKeys(shape, page, slot, k);
  if (v != nullptr) WriteValues(shape, page, slot, v);
}

}  // namespace cormorant::cpu::CORM_ISA
