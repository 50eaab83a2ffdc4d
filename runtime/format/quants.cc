// Taking blocks apart. See quants.h; layouts in blocks.h.
#include "runtime/format/quants.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "runtime/base/check.h"
#include "runtime/base/half.h"

namespace cormorant {
namespace {

// The 4-bit floats of the Microscaling formats, e2m1, twice as large.
constexpr int8_t kDoubledE2M1[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};
constexpr int8_t kLevelsIQ4[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                   1,    13,   25,  38,  53,  69,  89,  113};
// What coordinates of grids stand for, and from the middle on the same with the other sign.
constexpr int8_t kLevelsIQ2[16] = {8, 25, 43, 0, 0, 0, 0, 0, -8, -25, -43};
constexpr int8_t kLevelsIQ3_XXS[16] = {4,  12,  20,  28,  36,  44,  52,  62,
                                       -4, -12, -20, -28, -36, -44, -52, -62};
constexpr int8_t kLevelsIQ3_S[16] = {1, 3, 5, 7, 9, 11, 13, 15, -1, -3, -5, -7, -9, -11, -13, -15};
constexpr int8_t kLevelsIQ1[16] = {-9, -1, 7, -7, 1, 9};
constexpr int8_t kTrits[16] = {-1, 0, 1, 2};  // Two bits can say 2.

/// The nibbles of a run of `bytes` bytes: all low halves, then all high ones.
void Nibbles(const uint8_t* from, uint32_t bytes, int8_t* to) {
  for (uint32_t j = 0; j < bytes; ++j) {
    to[j] = static_cast<int8_t>(from[j] & 15);
    to[j + bytes] = static_cast<int8_t>(from[j] >> 4);
  }
}

/// The two-bit fields of runs of 32 bytes, 256 elements in all.
void TwoBits(const uint8_t* from, int8_t* to) {
  for (uint32_t i = 0; i < 256; ++i) {
    to[i] = static_cast<int8_t>(from[i / 128 * 32 + i % 32] >> (i / 32 % 4 * 2) & 3);
  }
}

/// Bit i / 32 of from[i % 32].
int8_t BitOfRun(const uint8_t* from, uint32_t i) {
  return static_cast<int8_t>(from[i % 32] >> (i / 32) & 1);
}

void Look(const int8_t (&levels)[16], uint32_t count, int8_t* q) {
  for (uint32_t i = 0; i < count; ++i) q[i] = levels[q[i]];
}

void Shift(int8_t by, uint32_t count, int8_t* q) {
  for (uint32_t i = 0; i < count; ++i) q[i] = static_cast<int8_t>(q[i] + by);
}

/// One scale for `count` elements.
void SetScale(float scale, uint32_t count, BlockQuants* to) {
  std::fill_n(to->scale, count / kPartElements, scale);
}

void Unpack(const BlockQ8_0& block, BlockQuants* to) {
  std::copy_n(block.q, kBlockElements, to->q);
  SetScale(F16ToF32(block.d), kBlockElements, to);
}

void Unpack(const BlockQ4_0& block, BlockQuants* to) {
  Nibbles(block.q, 16, to->q);
  Shift(-8, kBlockElements, to->q);
  SetScale(F16ToF32(block.d), kBlockElements, to);
}

void Unpack(const BlockQ4_1& block, BlockQuants* to) {
  Nibbles(block.q, 16, to->q);
  SetScale(F16ToF32(block.d), kBlockElements, to);
  std::fill_n(to->minimum, 2, F16ToF32(block.m));
}

/// Five bits: nibbles and a bit each.
template <class Block>
void FiveBits(const Block& block, BlockQuants* to) {
  Nibbles(block.q, 16, to->q);
  for (uint32_t i = 0; i < kBlockElements; ++i) {
    to->q[i] = static_cast<int8_t>(to->q[i] | (block.high[i / 8] >> (i % 8) & 1) << 4);
  }
  SetScale(F16ToF32(block.d), kBlockElements, to);
}

void Unpack(const BlockQ5_0& block, BlockQuants* to) {
  FiveBits(block, to);
  Shift(-16, kBlockElements, to->q);
}

void Unpack(const BlockQ5_1& block, BlockQuants* to) {
  FiveBits(block, to);
  std::fill_n(to->minimum, 2, F16ToF32(block.m));
}

ScalesK ScalesOf(const BlockQ2_K& block) {
  ScalesK to{block.d, block.dmin, {}, {}};
  for (uint32_t part = 0; part < 16; ++part) {
    to.scale[part] = static_cast<int8_t>(block.scales[part] & 15);
    to.minimum[part] = static_cast<int8_t>(block.scales[part] >> 4);
  }
  return to;
}

ScalesK ScalesOf(const BlockQ3_K& block) {
  ScalesK to{block.d, 0, {}, {}};
  for (uint32_t part = 0; part < 16; ++part) {
    const int low = block.scales[part % 8] >> (part / 8 * 4) & 15;
    const int high = block.scales[8 + part % 4] >> (part / 4 * 2) & 3;
    to.scale[part] = static_cast<int8_t>((low | high << 4) - 32);
  }
  return to;
}

/// Six bits each: of parts 0..3 in a byte, of parts 4..7 as a nibble and two bits above the former.
ScalesK ScalesOf(const BlockQ4_K& block) {
  ScalesK to{block.d, block.dmin, {}, {}};
  const auto six = [&](uint32_t part, uint32_t at) {
    if (part < 4) return block.scales[at + part] & 63;
    const int low = block.scales[4 + part] >> at & 15;  // `at` is 0 or 4, for either half.
    return low | block.scales[at + part - 4] >> 6 << 4;
  };
  for (uint32_t part = 0; part < 16; ++part) {
    to.scale[part] = static_cast<int8_t>(six(part / 2, 0));
    to.minimum[part] = static_cast<int8_t>(six(part / 2, 4));
  }
  return to;
}

ScalesK ScalesOf(const BlockQ5_K& block) {
  BlockQ4_K head;  // They begin alike.
  std::memcpy(&head, &block, offsetof(BlockQ4_K, q));
  return ScalesOf(head);
}

ScalesK ScalesOf(const BlockQ6_K& block) {
  ScalesK to{block.d, 0, {}, {}};
  std::copy_n(block.scales, 16, to.scale);
  return to;
}

template <class Block>
void SetScalesK(const Block& block, BlockQuants* to) {
  const ScalesK scales = ScalesOf(block);
  const float d = F16ToF32(scales.d), dmin = F16ToF32(scales.dmin);
  for (uint32_t part = 0; part < 16; ++part) {
    to->scale[part] = d * static_cast<float>(scales.scale[part]);
    to->minimum[part] = -(dmin * static_cast<float>(scales.minimum[part]));
  }
}

void Unpack(const BlockQ2_K& block, BlockQuants* to) {
  TwoBits(block.q, to->q);
  SetScalesK(block, to);
}

void Unpack(const BlockQ3_K& block, BlockQuants* to) {
  TwoBits(block.q, to->q);
  for (uint32_t i = 0; i < 256; ++i) {
    to->q[i] = static_cast<int8_t>(to->q[i] - (BitOfRun(block.high, i) != 0 ? 0 : 4));
  }
  SetScalesK(block, to);
}

void Unpack(const BlockQ4_K& block, BlockQuants* to) {
  for (uint32_t run = 0; run < 4; ++run) Nibbles(block.q + 32 * run, 32, to->q + 64 * run);
  SetScalesK(block, to);
}

void Unpack(const BlockQ5_K& block, BlockQuants* to) {
  for (uint32_t run = 0; run < 4; ++run) Nibbles(block.q + 32 * run, 32, to->q + 64 * run);
  for (uint32_t i = 0; i < 256; ++i) {
    to->q[i] = static_cast<int8_t>(to->q[i] | BitOfRun(block.high, i) << 4);
  }
  SetScalesK(block, to);
}

void Unpack(const BlockQ6_K& block, BlockQuants* to) {
  int8_t high[256];
  TwoBits(block.high, high);
  for (uint32_t run = 0; run < 2; ++run) Nibbles(block.low + 64 * run, 64, to->q + 128 * run);
  for (uint32_t i = 0; i < 256; ++i) {
    to->q[i] = static_cast<int8_t>((to->q[i] | high[i] << 4) - 32);
  }
  SetScalesK(block, to);
}

/// Digit `n` of the ternary fraction byte / 256, less 1.
int8_t Trit(uint8_t byte, uint32_t n) {
  constexpr uint8_t kPowers[] = {1, 3, 9, 27, 81};
  const uint32_t fraction = static_cast<uint8_t>(byte * kPowers[n]);
  return static_cast<int8_t>(static_cast<int>(fraction * 3 >> 8) - 1);
}

void Unpack(const BlockTQ1_0& block, BlockQuants* to) {
  for (uint32_t i = 0; i < 160; ++i) to->q[i] = Trit(block.q[i % 32], i / 32);
  for (uint32_t i = 0; i < 80; ++i) to->q[160 + i] = Trit(block.q[32 + i % 16], i / 16);
  for (uint32_t i = 0; i < 16; ++i) to->q[240 + i] = Trit(block.rest[i % 4], i / 4);
  SetScale(F16ToF32(block.d), 256, to);
}

void Unpack(const BlockTQ2_0& block, BlockQuants* to) {
  TwoBits(block.q, to->q);
  Shift(-1, 256, to->q);
  SetScale(F16ToF32(block.d), 256, to);
}

void Unpack(const BlockMXFP4& block, BlockQuants* to) {
  Nibbles(block.q, 16, to->q);
  Look(kDoubledE2M1, kBlockElements, to->q);
  SetScale(std::ldexp(1.0f, block.e - 128), kBlockElements, to);
}

/// Half of an unsigned e4m3 float; 0x7f, which would be NaN, is 0.
float HalfOfE4M3(uint8_t bits) {
  if (bits == 0x7f) return 0.0f;
  const int exponent = bits >> 3 & 15, fraction = bits & 7;
  return exponent == 0 ? std::ldexp(static_cast<float>(fraction), -10)
                       : std::ldexp(static_cast<float>(8 + fraction), exponent - 11);
}

void Unpack(const BlockNVFP4& block, BlockQuants* to) {
  for (uint32_t part = 0; part < 4; ++part) {
    Nibbles(block.q + 8 * part, 8, to->q + 16 * part);
    to->scale[part] = HalfOfE4M3(block.d[part]);
  }
  Look(kDoubledE2M1, 64, to->q);
}

void Unpack(const BlockIQ4_NL& block, BlockQuants* to) {
  Nibbles(block.q, 16, to->q);
  Look(kLevelsIQ4, kBlockElements, to->q);
  SetScale(F16ToF32(block.d), kBlockElements, to);
}

void Unpack(const BlockIQ4_XS& block, BlockQuants* to) {
  const float d = F16ToF32(block.d);
  for (uint32_t run = 0; run < 8; ++run) {
    Nibbles(block.q + 16 * run, 16, to->q + 32 * run);
    const int low = block.scales_low[run / 2] >> (run % 2 * 4) & 15;
    const int high = block.scales_high >> (2 * run) & 3;
    std::fill_n(to->scale + 2 * run, 2, d * static_cast<float>((low | high << 4) - 32));
  }
  Look(kLevelsIQ4, 256, to->q);
}

template <class Block>
Block Read(const std::byte* from) {
  Block block;
  std::memcpy(&block, from, sizeof(block));
  return block;
}

}  // namespace

ScalesK UnpackScales(DType type, const std::byte* from) {
  switch (type) {
    case DType::kQ2_K: return ScalesOf(Read<BlockQ2_K>(from));
    case DType::kQ3_K: return ScalesOf(Read<BlockQ3_K>(from));
    case DType::kQ4_K: return ScalesOf(Read<BlockQ4_K>(from));
    case DType::kQ5_K: return ScalesOf(Read<BlockQ5_K>(from));
    case DType::kQ6_K: return ScalesOf(Read<BlockQ6_K>(from));
    default: break;
  }
  CORM_CHECK(false);  // No K type.
  return {};
}

const int8_t* LevelsOf(DType type) {
  switch (type) {
    case DType::kIQ1_S:
    case DType::kIQ1_M: return kLevelsIQ1;
    case DType::kIQ2_XXS:
    case DType::kIQ2_XS:
    case DType::kIQ2_S: return kLevelsIQ2;
    case DType::kIQ3_XXS: return kLevelsIQ3_XXS;
    case DType::kIQ3_S: return kLevelsIQ3_S;
    case DType::kIQ4_NL:
    case DType::kIQ4_XS: return kLevelsIQ4;
    case DType::kTQ1_0:
    case DType::kTQ2_0: return kTrits;
    case DType::kMXFP4:
    case DType::kNVFP4: return kDoubledE2M1;
    default: return nullptr;
  }
}

void Unpack(DType type, const std::byte* from, BlockQuants* to) {
  switch (type) {
    case DType::kQ8_0: return Unpack(Read<BlockQ8_0>(from), to);
    case DType::kQ4_0: return Unpack(Read<BlockQ4_0>(from), to);
    case DType::kQ4_1: return Unpack(Read<BlockQ4_1>(from), to);
    case DType::kQ5_0: return Unpack(Read<BlockQ5_0>(from), to);
    case DType::kQ5_1: return Unpack(Read<BlockQ5_1>(from), to);
    case DType::kQ2_K: return Unpack(Read<BlockQ2_K>(from), to);
    case DType::kQ3_K: return Unpack(Read<BlockQ3_K>(from), to);
    case DType::kQ4_K: return Unpack(Read<BlockQ4_K>(from), to);
    case DType::kQ5_K: return Unpack(Read<BlockQ5_K>(from), to);
    case DType::kQ6_K: return Unpack(Read<BlockQ6_K>(from), to);
    case DType::kIQ1_S: return Unpack(Read<BlockIQ1_S>(from), to);
    case DType::kIQ1_M: return Unpack(Read<BlockIQ1_M>(from), to);
    case DType::kIQ2_XXS: return Unpack(Read<BlockIQ2_XXS>(from), to);
    case DType::kIQ2_XS: return Unpack(Read<BlockIQ2_XS>(from), to);
    case DType::kIQ2_S: return Unpack(Read<BlockIQ2_S>(from), to);
    case DType::kIQ3_XXS: return Unpack(Read<BlockIQ3_XXS>(from), to);
    case DType::kIQ3_S: return Unpack(Read<BlockIQ3_S>(from), to);
    case DType::kIQ4_NL: return Unpack(Read<BlockIQ4_NL>(from), to);
    case DType::kIQ4_XS: return Unpack(Read<BlockIQ4_XS>(from), to);
    case DType::kTQ1_0: return Unpack(Read<BlockTQ1_0>(from), to);
    case DType::kTQ2_0: return Unpack(Read<BlockTQ2_0>(from), to);
    case DType::kMXFP4: return Unpack(Read<BlockMXFP4>(from), to);
    case DType::kNVFP4: return Unpack(Read<BlockNVFP4>(from), to);
    case DType::kF32:
    case DType::kF16:
    case DType::kBF16:
    case DType::kU32: break;
  }
  CORM_CHECK(false);  // No block type.
}

}  // namespace cormorant
