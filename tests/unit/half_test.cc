// The 16-bit float conversions of runtime/base/half.h, exhaustively.
//
// Method: every one of the 65,536 halves is decoded by a second, slow definition (sign, exponent
// and fraction as the standard words them, in double) and must round-trip. Rounding is tried at
// every boundary between neighbours: the midpoint, and the f32 right below and above it; and on
// random bits against a slow definition that rounds in double. Where the compiler has _Float16, it
// is a third opinion.
#include "runtime/base/half.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>

#include "gtest/gtest.h"

namespace cormorant {
namespace {

uint32_t Bits(float f) {
  return std::bit_cast<uint32_t>(f);
}

/// IEEE 754 binary16 by the book, for finite values.
double SlowF16(uint16_t h) {
  const int exponent = h >> 10 & 31;
  const int fraction = h & 1023;
  const double magnitude =
      exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
  return h & 0x8000 ? -magnitude : magnitude;
}

bool IsFinite(uint16_t h) {
  return (h & 0x7c00) != 0x7c00;
}

/// Rounds to a multiple of the format's step at this size; double holds all of it exactly.
uint16_t SlowToF16(float f) {
  const uint16_t sign = std::signbit(f) ? 0x8000 : 0;
  if (std::isinf(f)) return sign | 0x7c00;
  const double magnitude = std::abs(static_cast<double>(f));
  int exponent = 0;
  std::frexp(magnitude, &exponent);  // magnitude is in [2^(exponent-1), 2^exponent).
  const int step = std::max(exponent - 11, -24);
  const double steps = std::nearbyint(std::ldexp(magnitude, -step));
  const double rounded = std::ldexp(steps, step);
  if (rounded >= 65536.0) return sign | 0x7c00;
  if (rounded < 0x1p-14) return sign | static_cast<uint16_t>(std::ldexp(rounded, 24));
  const int power = std::ilogb(rounded);
  const int fraction = static_cast<int>(std::ldexp(rounded, 10 - power)) - 1024;
  return static_cast<uint16_t>(sign | (power + 15) << 10 | fraction);
}

TEST(Half, EveryF16DecodesByTheBookAndRoundTrips) {
  for (uint32_t i = 0; i < 65536; ++i) {
    const uint16_t h = static_cast<uint16_t>(i);
    const float f = F16ToF32(h);
    if (IsFinite(h)) {
      ASSERT_EQ(Bits(f), Bits(static_cast<float>(SlowF16(h)))) << i;
      ASSERT_EQ(F32ToF16(f), h) << i;
    } else if ((h & 1023) == 0) {
      ASSERT_TRUE(std::isinf(f) && std::signbit(f) == (h >= 0x8000)) << i;
      ASSERT_EQ(F32ToF16(f), h) << i;
    } else {
      ASSERT_TRUE(std::isnan(f)) << i;
      ASSERT_EQ(F32ToF16(f) & 0x7c00, 0x7c00) << i;
      ASSERT_NE(F32ToF16(f) & 1023, 0) << i;
    }
  }
}

TEST(Half, F16RoundsToNearestEvenAtEveryBoundary) {
  const float inf = std::numeric_limits<float>::infinity();
  for (uint32_t i = 0; i <= 0x7bff; ++i) {
    const uint16_t below = static_cast<uint16_t>(i);
    const uint16_t above = static_cast<uint16_t>(i + 1);  // After the largest comes infinity.
    const double next = above == 0x7c00 ? 65536.0 : SlowF16(above);
    const float middle = static_cast<float>((SlowF16(below) + next) / 2);  // Exact in f32.
    for (const uint16_t sign : {uint16_t{0}, uint16_t{0x8000}}) {
      const auto rounded = [&](float f) {
        return static_cast<uint16_t>(F32ToF16(sign ? -f : f) ^ sign);
      };
      ASSERT_EQ(rounded(middle), below % 2 == 0 ? below : above) << i;
      ASSERT_EQ(rounded(std::nextafter(middle, 0.0f)), below) << i;
      ASSERT_EQ(rounded(std::nextafter(middle, inf)), above) << i;
    }
  }
}

TEST(Half, F16OfAnyF32AgreesWithTheSlowDefinition) {
  std::mt19937 random(1);
  for (int i = 0; i < 2'000'000; ++i) {
    uint32_t bits = static_cast<uint32_t>(random());
    // Every other one in the range of f16, where most bits matter.
    if (i % 2 == 0) bits = (bits & 0x80ffffffu) | (0x33u + i / 2 % 0x15u) << 24;
    const float f = std::bit_cast<float>(bits);
    if (std::isnan(f)) continue;
    ASSERT_EQ(F32ToF16(f), SlowToF16(f)) << std::hex << bits;
#ifdef __FLT16_MAX__
    ASSERT_EQ(F32ToF16(f), std::bit_cast<uint16_t>(static_cast<_Float16>(f))) << std::hex << bits;
#endif
  }
}

TEST(Half, EveryBF16RoundTripsAndRoundsToNearestEven) {
  for (uint32_t i = 0; i < 65536; ++i) {
    const uint16_t h = static_cast<uint16_t>(i);
    const float f = BF16ToF32(h);
    ASSERT_EQ(Bits(f), i << 16);
    if (std::isnan(f)) {
      ASSERT_TRUE(std::isnan(BF16ToF32(F32ToBF16(f)))) << i;
      ASSERT_EQ(F32ToBF16(f) >> 15, h >> 15) << i;
      continue;
    }
    ASSERT_EQ(F32ToBF16(f), h) << i;
    if (std::isinf(f)) continue;
    // The bits in between, as plain integers: bf16 steps are f32 steps of 2^16.
    const uint16_t next = static_cast<uint16_t>(h + 1);
    ASSERT_EQ(F32ToBF16(std::bit_cast<float>(i << 16 | 0x7fffu)), h) << i;
    ASSERT_EQ(F32ToBF16(std::bit_cast<float>(i << 16 | 0x8000u)), h % 2 == 0 ? h : next) << i;
    ASSERT_EQ(F32ToBF16(std::bit_cast<float>(i << 16 | 0x8001u)), next) << i;
  }
  // A NaN whose set bits are all in the dropped half stays a NaN.
  ASSERT_TRUE(std::isnan(BF16ToF32(F32ToBF16(std::bit_cast<float>(0x7f800001u)))));
  ASSERT_TRUE(std::isnan(F16ToF32(F32ToF16(std::bit_cast<float>(0x7f800001u)))));
}

}  // namespace
}  // namespace cormorant
