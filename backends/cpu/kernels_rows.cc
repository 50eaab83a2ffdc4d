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

void WriteKeys(const PageShape& shape, uint8_t* page, uint32_t slot, const float* k) {
  if (!shape.k_is_q8) {
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
  if (!shape.v_is_q8) {
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
    const F32 turned = Mul(SwapPairs(v), LoadUpTo(sines + i, lanes));
    StoreUpTo(x + i, Fma(v, LoadUpTo(cosines + i, lanes), turned), lanes);
  });
}

void WriteRow(const PageShape& shape, uint8_t* page, uint32_t slot, const float* k,
              const float* v) {
  if (k != nullptr) WriteKeys(shape, page, slot, k);
  if (v != nullptr) WriteValues(shape, page, slot, v);
}

}  // namespace cormorant::cpu::CORM_ISA
