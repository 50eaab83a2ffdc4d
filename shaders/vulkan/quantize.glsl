// f32 rows to the bytes of a KV page, exact to the byte (runtime/ops/kv_page.h).
//
// Vulkan lets a device round a division as it likes, so the two divisions of q8_0 and the one of
// q4_0 that is not by a power of two are done in integers and rounded to nearest even.

/// x / 127 for normal x > 0 with a normal quotient.
float By127(float x) {
  const uint bits = floatBitsToUint(x);
  const uint numerator = ((bits & 0x7fffffu) | 0x800000u) << 8;
  const uint quotient = numerator / 127u;  // 25 or 26 bits.
  const uint shift = quotient >= 0x2000000u ? 2u : 1u;
  const uint mantissa = RoundShift(quotient, shift, quotient * 127u != numerator);
  // x = mantissa_x * 2^(e-23), so the quotient is worth 2^(e-31); a carry goes to the exponent.
  return uintBitsToFloat(((bits >> 23) + shift - 9u) * 0x800000u + mantissa);
}

/// 1 / x for normal x > 0 with a normal quotient.
float Reciprocal(float x) {
  const uint bits = floatBitsToUint(x), divisor = (bits & 0x7fffffu) | 0x800000u;
  if (divisor == 0x800000u) return uintBitsToFloat((254u - (bits >> 23)) << 23);
  uint quotient = 0, rest = 0x800000u;  // Long division of 2^23 * 2^25: 25 bits.
  [[dont_unroll]] for (uint i = 0; i < 25u; ++i) {
    rest <<= 1;
    quotient <<= 1;
    if (rest >= divisor) {
      rest -= divisor;
      quotient |= 1u;
    }
  }
  const uint mantissa = RoundShift(quotient, 1u, rest != 0);
  return uintBitsToFloat((252u - (bits >> 23)) * 0x800000u + mantissa);
}

/// The scale of 32 dimensions whose greatest magnitude is `greatest`, and the factor to quants.
vec2 ScaleOf(float greatest) {
  if (greatest == 0.0) return vec2(0.0);
  const float d = By127(greatest);
  return vec2(d, Reciprocal(d));
}

int Quant(float x, float inverse) {
  precise const float product = x * inverse;
  return int(clamp(roundEven(product), -127.0, 127.0));
}

/// The same for 32 rotated dimensions between `least` and `most`, in half bytes.
vec2 HalfByteScaleOf(float least, float most) {
  const float greatest = most >= -least ? most : least;
  if (abs(greatest) < 9.5367431640625e-7) return vec2(0.0);  // 2^-20
  const float d = greatest * -0.125;
  return vec2(d, d < 0.0 ? -Reciprocal(-d) : Reciprocal(d));
}

uint QuantHalfByte(float x, float inverse) {
  precise const float product = x * inverse;
  return uint(int(clamp(roundEven(product), -8.0, 7.0)) + 8);
}
