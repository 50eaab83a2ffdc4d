// Weights in tiles of 32 rows by 32 columns, as runtime/format/tiles.h packs them.
//
// A lane has a row. Of each row and block of 32 columns there are kQuads 16-byte quads, and the
// quads of 32 rows are neighbours, so that a wave's loads are too: [tile][block][quad][32 rows].
// Nibbles of a word of a 4-bit type are columns 0 4 1 5 2 6 3 7 of its eight: two masks give four
// neighbours each. Scales: f16 d [tile][block][32 rows]; q4_1: words of d and m.
#pragma once
#include "shaders/gpu/arguments.h"
#include "shaders/gpu/gpu.h"

namespace cormorant::GPU_NAMESPACE::kernels {

template <uint32_t kType>
struct Layout {
  static constexpr uint32_t kQuads = kType == kF32    ? 8
                                     : kType <= kBF16 ? 4
                                     : kType == kQ8_0 ? 2
                                                      : 1;
  static constexpr bool kHasScale = kType >= kQ8_0;
  static constexpr bool kIsNibble = kType >= kQ4_0;

  /// Index of a quad.
  static GPU_MEMBER uint32_t QuadAt(uint32_t tile, uint32_t block, uint32_t blocks, uint32_t quad,
                                    uint32_t lane) {
    return ((tile * blocks + block) * kQuads + quad) * 32 + lane;
  }
};

/// weight = d * quant + m.
struct Scale {
  float d, m;
};

template <uint32_t kType>
GPU_FN Scale ScaleOf(const uint32_t* scales, uint32_t tile, uint32_t block, uint32_t blocks,
                     uint32_t lane) {
  if constexpr (!Layout<kType>::kHasScale) return {1.0f, 0.0f};
  const uint32_t at = (tile * blocks + block) * 32 + lane;
  if constexpr (kType == kQ4_1) {
    const uint32_t word = scales[at];
    return {gpu::HalfToFloat(word & 0xffffu), gpu::HalfToFloat(word >> 16)};
  }
  const float d = gpu::HalfToFloat(scales[at / 2] >> (16 * (at & 1)) & 0xffffu);
  return {d, kType == kQ4_0 ? -8.0f * d : 0.0f};
}

/// Eight neighbours as numbers.
struct Eight {
  float v[8];
};

/// The quants, or the weights of a float type, of columns 8 piece .. 8 piece + 7 of a row's block.
template <uint32_t kType>
GPU_FN Eight Piece(const uint32_t* quads, uint32_t tile, uint32_t block, uint32_t blocks,
                   uint32_t lane, uint32_t piece) {
  using L = Layout<kType>;
  const uint32_t quad = piece * L::kQuads / 4;  // The first, or the one all eight are in.
  const uint32_t* const at = quads + L::QuadAt(tile, block, blocks, quad, lane) * 4;
  Eight eight;
  if constexpr (L::kIsNibble) {
    const uint32_t word = at[piece];
    for (uint32_t i = 0; i < 4; ++i) {
      eight.v[i] = static_cast<float>(word >> (8 * i) & 15u);
      eight.v[i + 4] = static_cast<float>(word >> (8 * i + 4) & 15u);
    }
  } else if constexpr (kType == kQ8_0) {
    for (uint32_t i = 0; i < 8; ++i) {
      const uint32_t word = at[(piece & 1) * 2 + i / 4];
      eight.v[i] = static_cast<float>(static_cast<int8_t>(word >> (8 * (i % 4)) & 0xffu));
    }
  } else if constexpr (kType == kF32) {
    const gpu::Quad a = *reinterpret_cast<const gpu::Quad*>(at);
    const gpu::Quad b = *reinterpret_cast<const gpu::Quad*>(at + 128);
    const uint32_t words[8] = {a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w};
    for (uint32_t i = 0; i < 8; ++i) eight.v[i] = gpu::AsFloat(words[i]);
  } else {
    const gpu::Quad a = *reinterpret_cast<const gpu::Quad*>(at);
    const uint32_t words[4] = {a.x, a.y, a.z, a.w};
    for (uint32_t i = 0; i < 4; ++i) {
      if constexpr (kType == kBF16) {
        eight.v[2 * i] = gpu::AsFloat(words[i] << 16);
        eight.v[2 * i + 1] = gpu::AsFloat(words[i] & 0xffff0000u);
      } else {
        eight.v[2 * i] = gpu::HalfToFloat(words[i] & 0xffffu);
        eight.v[2 * i + 1] = gpu::HalfToFloat(words[i] >> 16);
      }
    }
  }
  return eight;
}

/// A row's block of a block type, as it lies in memory: few wide loads, which a kernel can have
/// under way before it needs the first.
template <uint32_t kType>
struct Packed {
  gpu::Quad quad[Layout<kType>::kQuads];
  Scale scale;
};

template <uint32_t kType>
GPU_FN Packed<kType> FetchBlock(const uint32_t* quads, const uint32_t* scales, uint32_t tile,
                                uint32_t block, uint32_t blocks, uint32_t lane) {
  Packed<kType> packed;
  GPU_UNROLL
  for (uint32_t q = 0; q < Layout<kType>::kQuads; ++q) {
    const uint32_t at = Layout<kType>::QuadAt(tile, block, blocks, q, lane) * 4;
    packed.quad[q] = *reinterpret_cast<const gpu::Quad*>(quads + at);
  }
  packed.scale = ScaleOf<kType>(scales, tile, block, blocks, lane);
  return packed;
}

/// Its 32 quants, a byte each.
struct QuantWords {
  uint32_t v[8];
};
template <uint32_t kType>
GPU_FN QuantWords WordsOf(const Packed<kType>& packed) {
  const gpu::Quad a = packed.quad[0];
  if constexpr (Layout<kType>::kIsNibble) {
    constexpr uint32_t kLow = 0x0f0f0f0fu;
    return {{a.x & kLow, a.x >> 4 & kLow, a.y & kLow, a.y >> 4 & kLow, a.z & kLow, a.z >> 4 & kLow,
             a.w & kLow, a.w >> 4 & kLow}};
  } else {
    const gpu::Quad b = packed.quad[1];
    return {{a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w}};
  }
}

}  // namespace cormorant::GPU_NAMESPACE::kernels
