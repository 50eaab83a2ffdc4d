// Blocks whose elements are points of a lattice. See quants.h; layouts in blocks.h, points in
// grids.h.
//
// A grid has the points that occur most, in four or eight dimensions, and an index names one; signs
// and a scale make the elements of it.
#include <algorithm>
#include <bit>
#include <cstring>

#include "runtime/base/half.h"
#include "runtime/format/grids.h"
#include "runtime/format/quants.h"

namespace cormorant {
namespace {

/// Coordinates of kBits bits of one point, negative where the bit of `signs` is set.
template <uint32_t kCount, uint32_t kBits>
void Point(uint16_t point, const int8_t* levels, uint32_t signs, int8_t* to) {
  for (uint32_t i = 0; i < kCount; ++i) {
    const int8_t level = levels[point >> (kBits * i) & ((1u << kBits) - 1)];
    to[i] = static_cast<int8_t>((signs >> i & 1) != 0 ? -level : level);
  }
}

/// Eight signs of which seven are stored: the last makes their number even.
uint32_t EvenSigns(uint32_t seven) {
  return seven | (static_cast<uint32_t>(std::popcount(seven)) & 1) << 7;
}

uint32_t Word(const uint8_t* bytes) {
  uint32_t word;
  std::memcpy(&word, bytes, sizeof(word));
  return word;
}

float Nibble(const uint8_t* from, uint32_t i) {
  return static_cast<float>(from[i / 2] >> (i % 2 * 4) & 15);
}

/// The elements of index i of an IQ1 block: eight times grid and shift together, so integers.
void PointIQ1(uint32_t index, bool is_negative, int8_t* to) {
  const int shift = is_negative ? -1 : 1;
  for (uint32_t i = 0; i < 8; ++i) {
    const int coordinate = kGridIQ1[index] >> (2 * i) & 3;
    to[i] = static_cast<int8_t>(8 * (coordinate - 1) + shift);
  }
}

}  // namespace

void Unpack(const BlockIQ2_XXS& block, BlockQuants* to) {
  const float d = F16ToF32(block.d);
  const int8_t* const levels = LevelsOf(DType::kIQ2_XXS);
  for (uint32_t g = 0; g < 8; ++g) {
    const uint32_t word = Word(block.groups[g].signs);
    for (uint32_t i = 0; i < 4; ++i) {
      Point<8, 2>(kGridIQ2_XXS[block.groups[g].index[i]], levels, EvenSigns(word >> (7 * i) & 127),
                  to->q + 32 * g + 8 * i);
    }
    std::fill_n(to->scale + 2 * g, 2, d * (0.5f + static_cast<float>(word >> 28)) * 0.25f);
  }
}

void Unpack(const BlockIQ2_XS& block, BlockQuants* to) {
  const float d = F16ToF32(block.d);
  const int8_t* const levels = LevelsOf(DType::kIQ2_XS);
  for (uint32_t i = 0; i < 32; ++i) {
    Point<8, 2>(kGridIQ2_XS[block.q[i] & 511], levels, EvenSigns(block.q[i] >> 9), to->q + 8 * i);
  }
  for (uint32_t part = 0; part < 16; ++part) {
    to->scale[part] = d * (0.5f + Nibble(block.scales, part)) * 0.25f;
  }
}

void Unpack(const BlockIQ2_S& block, BlockQuants* to) {
  const float d = F16ToF32(block.d);
  const int8_t* const levels = LevelsOf(DType::kIQ2_S);
  for (uint32_t i = 0; i < 32; ++i) {
    const uint32_t high = block.high[i / 4] >> (i % 4 * 2) & 3;
    Point<8, 2>(kGridIQ2_S[block.q[i] | high << 8], levels, block.signs[i], to->q + 8 * i);
  }
  for (uint32_t part = 0; part < 16; ++part) {
    to->scale[part] = d * (0.5f + Nibble(block.scales, part)) * 0.25f;
  }
}

void Unpack(const BlockIQ3_XXS& block, BlockQuants* to) {
  const float d = F16ToF32(block.d);
  const int8_t* const levels = LevelsOf(DType::kIQ3_XXS);
  for (uint32_t i = 0; i < 64; ++i) {
    const uint32_t signs = EvenSigns(Word(block.signs[i / 8]) >> (i / 2 % 4 * 7) & 127);
    Point<4, 4>(kGridIQ3_XXS[block.q[i]], levels, signs >> (i % 2 * 4), to->q + 4 * i);
  }
  for (uint32_t g = 0; g < 8; ++g) {
    const float scale = d * (0.5f + static_cast<float>(Word(block.signs[g]) >> 28)) * 0.5f;
    std::fill_n(to->scale + 2 * g, 2, scale);
  }
}

void Unpack(const BlockIQ3_S& block, BlockQuants* to) {
  const float d = F16ToF32(block.d);
  const int8_t* const levels = LevelsOf(DType::kIQ3_S);
  for (uint32_t i = 0; i < 64; ++i) {
    const uint32_t high = block.high[i / 8] >> (i % 8) & 1;
    Point<4, 4>(kGridIQ3_S[block.q[i] | high << 8], levels,
                static_cast<uint32_t>(block.signs[i / 2]) >> (i % 2 * 4), to->q + 4 * i);
  }
  for (uint32_t g = 0; g < 8; ++g) {
    std::fill_n(to->scale + 2 * g, 2, d * (1.0f + 2.0f * Nibble(block.scales, g)));
  }
}

void Unpack(const BlockIQ1_S& block, BlockQuants* to) {
  const float d = F16ToF32(block.d);
  for (uint32_t i = 0; i < 32; ++i) {
    const uint32_t high = block.high[i / 4];
    PointIQ1(block.q[i] | (high >> (i % 4 * 3) & 7) << 8, (high & 0x8000) != 0, to->q + 8 * i);
  }
  for (uint32_t g = 0; g < 8; ++g) {
    const auto odd = static_cast<float>(2 * (block.high[g] >> 12 & 7) + 1);
    std::fill_n(to->scale + 2 * g, 2, d * odd / 8.0f);
  }
}

void Unpack(const BlockIQ1_M& block, BlockQuants* to) {
  uint32_t half = 0;
  for (uint32_t i = 0; i < 4; ++i) half |= static_cast<uint32_t>(block.scales[i] >> 12) << (4 * i);
  const float d = F16ToF32(static_cast<uint16_t>(half));
  for (uint32_t i = 0; i < 32; ++i) {
    const uint32_t high = block.high[i / 2] >> (i % 2 * 4);
    PointIQ1(block.q[i] | (high & 7) << 8, (high & 8) != 0, to->q + 8 * i);
  }
  for (uint32_t part = 0; part < 16; ++part) {
    const int odd = 2 * (block.scales[part / 4] >> (part % 4 * 3) & 7) + 1;
    to->scale[part] = d * static_cast<float>(odd) / 8.0f;
  }
}

}  // namespace cormorant
