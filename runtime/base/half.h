// Conversion between f32 and the two 16-bit float formats, exact and branch-light.
//
// f16 is IEEE 754 binary16, bf16 the upper half of binary32. Rounding is to nearest even.
#pragma once
#include <bit>
#include <cstdint>

namespace cormorant {

inline float F16ToF32(uint16_t h) {
  const uint32_t sign = uint32_t{h} << 16 & 0x80000000u;
  const uint32_t shifted = uint32_t{h} << 13 & 0x0fffe000u;
  const uint32_t exponent = shifted & 0x0f800000u;
  if (exponent == 0x0f800000u) {  // Infinity or NaN.
    return std::bit_cast<float>(sign | 0x70000000u | shifted);
  }
  if (exponent == 0) {  // Zero or subnormal: scale from an exactly represented normal.
    const float magnitude = std::bit_cast<float>(shifted | 0x38800000u) - 0x1p-14f;
    return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(magnitude));
  }
  return std::bit_cast<float>(sign | (shifted + 0x38000000u));
}

inline uint16_t F32ToF16(float f) {
  const uint32_t bits = std::bit_cast<uint32_t>(f);
  const uint16_t sign = static_cast<uint16_t>(bits >> 16 & 0x8000u);
  const uint32_t abs = bits & 0x7fffffffu;
  if (abs >= 0x7f800000u) return sign | 0x7c00u | (abs > 0x7f800000u ? 0x200u : 0u);
  if (abs >= 0x477ff000u) return sign | 0x7c00u;  // Rounds to infinity.
  if (abs < 0x38800000u) {                        // Subnormal: let the adder round.
    const float shifted = std::bit_cast<float>(abs) + 0.5f;
    return sign | static_cast<uint16_t>(std::bit_cast<uint32_t>(shifted) - 0x3f000000u);
  }
  const uint32_t rounded = abs + 0xfffu + (abs >> 13 & 1u);
  return sign | static_cast<uint16_t>((rounded - 0x38000000u) >> 13);
}

inline float BF16ToF32(uint16_t h) {
  return std::bit_cast<float>(uint32_t{h} << 16);
}

inline uint16_t F32ToBF16(float f) {
  const uint32_t bits = std::bit_cast<uint32_t>(f);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>(bits >> 16 | 0x40u);
  return static_cast<uint16_t>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

}  // namespace cormorant
