// Four 128-bit registers each, in the compiler's vector types. See simd.h.
//
// Compiled for what every CPU has this is `portable`; with the dot product instructions of aarch64
// it is `neon`. Only what vector types cannot say is written with intrinsics, and in plain loops
// where there are none.
#pragma once
#include <stdint.h>

#ifndef CORM_SIMD
#error "Include backends/cpu/simd.h"
#endif
#if defined(__SSE2__)
#include <emmintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace cormorant::cpu::CORM_ISA {

typedef float Floats __attribute__((vector_size(16)));
typedef int32_t Ints __attribute__((vector_size(16)));
typedef uint32_t Words __attribute__((vector_size(16)));
typedef uint8_t Bytes __attribute__((vector_size(16)));

struct F32 {
  Floats v[4];
};
struct I32 {
  Ints v[4];
};
struct I8 {
  Bytes v[4];
};

constexpr uint32_t kTileRows = 4;
#if defined(__aarch64__)
constexpr uint32_t kAccumulators = 5;
#else
constexpr uint32_t kAccumulators = 2;
#endif
constexpr int32_t kS8Bias = 0;

/// A vector of four results of f(i).
template <class V, class F>
CORM_SIMD V Each(F f) {
  return {{f(0), f(1), f(2), f(3)}};
}

template <class T>
CORM_SIMD T LoadAs(const void* p) {
  T v;
  __builtin_memcpy(&v, p, sizeof(v));
  return v;
}
CORM_SIMD Floats Splat(float v) {
  return Floats{v, v, v, v};
}
CORM_SIMD Ints SplatI(int32_t v) {
  return Ints{v, v, v, v};
}
/// a where mask, b where not.
CORM_SIMD Ints Choose(Ints mask, Ints a, Ints b) {
  return (mask & a) | (~mask & b);
}
CORM_SIMD Floats Choose(Ints mask, Floats a, Floats b) {
  return (Floats)Choose(mask, (Ints)a, (Ints)b);
}

CORM_SIMD F32 Set(float v) {
  return Each<F32>([&](int) { return Splat(v); });
}
CORM_SIMD F32 Zero() {
  return Set(0.0f);
}
CORM_SIMD F32 Load(const float* p) {
  return Each<F32>([&](int i) { return LoadAs<Floats>(p + 4 * i); });
}
CORM_SIMD void Store(float* p, F32 v) {
  __builtin_memcpy(p, &v, sizeof(v));
}
CORM_SIMD F32 Add(F32 a, F32 b) {
  return Each<F32>([&](int i) { return a.v[i] + b.v[i]; });
}
CORM_SIMD F32 Mul(F32 a, F32 b) {
  return Each<F32>([&](int i) { return a.v[i] * b.v[i]; });
}
CORM_SIMD F32 Div(F32 a, F32 b) {
  return Each<F32>([&](int i) { return a.v[i] / b.v[i]; });
}
CORM_SIMD F32 Fma(F32 a, F32 b, F32 c) {
#if defined(__aarch64__)
  return Each<F32>([&](int i) { return (Floats)vfmaq_f32(c.v[i], a.v[i], b.v[i]); });
#else
  return Add(Mul(a, b), c);
#endif
}
CORM_SIMD F32 Max(F32 a, F32 b) {
  return Each<F32>([&](int i) { return Choose(a.v[i] > b.v[i], a.v[i], b.v[i]); });
}
CORM_SIMD F32 Min(F32 a, F32 b) {
  return Each<F32>([&](int i) { return Choose(a.v[i] < b.v[i], a.v[i], b.v[i]); });
}
CORM_SIMD F32 Abs(F32 a) {
  return Each<F32>([&](int i) { return (Floats)((Ints)a.v[i] & SplatI(0x7fffffff)); });
}
CORM_SIMD float Sum(F32 a) {
  const Floats v = (a.v[0] + a.v[1]) + (a.v[2] + a.v[3]);
  return (v[0] + v[1]) + (v[2] + v[3]);
}
CORM_SIMD float MaxLane(F32 a) {
  float most = a.v[0][0];
  for (int i = 0; i < 16; ++i) most = a.v[i / 4][i % 4] > most ? a.v[i / 4][i % 4] : most;
  return most;
}
CORM_SIMD F32 SwapPairs(F32 a) {
  return Each<F32>([&](int i) { return __builtin_shufflevector(a.v[i], a.v[i], 1, 0, 3, 2); });
}
CORM_SIMD F32 ZeroWhereBelow(F32 v, F32 x, F32 least) {
  return Each<F32>([&](int i) { return (Floats)((Ints)v.v[i] & (Ints)(x.v[i] >= least.v[i])); });
}

CORM_SIMD I32 SetI(int32_t v) {
  return Each<I32>([&](int) { return SplatI(v); });
}
CORM_SIMD I32 ZeroI() {
  return SetI(0);
}
CORM_SIMD I32 LoadI(const uint32_t* p) {
  return Each<I32>([&](int i) { return LoadAs<Ints>(p + 4 * i); });
}
CORM_SIMD void StoreI(uint32_t* p, I32 v) {
  __builtin_memcpy(p, &v, sizeof(v));
}
CORM_SIMD I32 AddI(I32 a, I32 b) {
  return Each<I32>([&](int i) { return a.v[i] + b.v[i]; });
}
CORM_SIMD I32 SubI(I32 a, I32 b) {
  return Each<I32>([&](int i) { return a.v[i] - b.v[i]; });
}
template <int kBits>
CORM_SIMD I32 ShiftLeft(I32 a) {
  return Each<I32>([&](int i) { return (Ints)((Words)a.v[i] << kBits); });
}
template <int kBits>
CORM_SIMD I32 ShiftRight(I32 a) {
  return Each<I32>([&](int i) { return a.v[i] >> kBits; });
}
CORM_SIMD int32_t SumI(I32 a) {
  const Ints v = (a.v[0] + a.v[1]) + (a.v[2] + a.v[3]);
  return (v[0] + v[1]) + (v[2] + v[3]);
}
CORM_SIMD I32 MaxUnsigned(I32 a, I32 b) {
  return Each<I32>(
      [&](int i) { return Choose((Ints)((Words)a.v[i] > (Words)b.v[i]), a.v[i], b.v[i]); });
}
CORM_SIMD I32 WhereAtLeast(F32 a, F32 b, I32 v) {
  return Each<I32>([&](int i) { return (Ints)(a.v[i] >= b.v[i]) & v.v[i]; });
}
CORM_SIMD I32 RoundToInt(F32 a) {
#if defined(__SSE2__)
  return Each<I32>([&](int i) { return (Ints)_mm_cvtps_epi32((__m128)a.v[i]); });
#elif defined(__aarch64__)
  return Each<I32>([&](int i) { return (Ints)vcvtnq_s32_f32(a.v[i]); });
#else
  return Each<I32>([&](int i) {
    Ints n;
    for (int j = 0; j < 4; ++j) n[j] = static_cast<int32_t>(__builtin_nearbyintf(a.v[i][j]));
    return n;
  });
#endif
}
CORM_SIMD F32 ToF32(I32 a) {
  return Each<F32>([&](int i) { return __builtin_convertvector(a.v[i], Floats); });
}
CORM_SIMD F32 FromBits(I32 a) {
  return Each<F32>([&](int i) { return (Floats)a.v[i]; });
}
CORM_SIMD void StoreLowBytes(int8_t* p, I32 v) {
  for (int i = 0; i < 16; ++i) p[i] = static_cast<int8_t>(v.v[i / 4][i % 4]);
}

/// Each 16-bit value at p in the low half of its lane.
CORM_SIMD I32 LoadHalves(const uint16_t* p) {
  return Each<I32>([&](int i) { return Ints{p[4 * i], p[4 * i + 1], p[4 * i + 2], p[4 * i + 3]}; });
}
CORM_SIMD F32 LoadBF16(const uint16_t* p) {
  return FromBits(ShiftLeft<16>(LoadHalves(p)));
}

#if defined(__aarch64__)
CORM_SIMD F32 LoadF16(const uint16_t* p) {
  return Each<F32>(
      [&](int i) { return (Floats)vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p + 4 * i))); });
}
CORM_SIMD void StoreF16(uint16_t* p, F32 v) {
  for (int i = 0; i < 4; ++i) vst1_u16(p + 4 * i, vreinterpret_u16_f16(vcvt_f16_f32(v.v[i])));
}
#else
/// Moves exponent and fraction to their places; a subnormal half becomes its value by subtracting
/// the smallest normal one; an exponent of 31 becomes 255.
CORM_SIMD F32 LoadF16(const uint16_t* p) {
  const I32 halves = LoadHalves(p);
  return Each<F32>([&](int i) {
    const Ints h = halves.v[i];
    const Ints shifted = (h & SplatI(0x7fff)) << 13, exponent = shifted & SplatI(0x0f800000);
    const Ints normal =
        shifted + SplatI(0x38000000) + ((exponent == SplatI(0x0f800000)) & SplatI(0x38000000));
    const Floats small = (Floats)(shifted + SplatI(0x38800000)) - Splat(0x1p-14f);
    const Ints magnitude = Choose(exponent == SplatI(0), (Ints)small, normal);
    return (Floats)(magnitude | (Ints)((Words)(h & SplatI(0x8000)) << 16));
  });
}
/// Rounds to nearest, halves to even; a subnormal result is rounded by the adder.
CORM_SIMD void StoreF16(uint16_t* p, F32 v) {
  for (int i = 0; i < 4; ++i) {
    const Ints bits = (Ints)v.v[i], abs = bits & SplatI(0x7fffffff);
    const Ints small = (Ints)((Floats)abs + Splat(0.5f)) - SplatI(0x3f000000);
    const Ints odd = (abs >> 13) & SplatI(1);
    const Ints normal = (abs + SplatI(0xfff) + odd - SplatI(0x38000000)) >> 13;
    const Ints huge = Choose(abs > SplatI(0x7f800000), SplatI(0x7e00), SplatI(0x7c00));
    Ints half = Choose(abs < SplatI(0x38800000), small, normal);
    half = Choose(abs >= SplatI(0x477ff000), huge, half) | ((bits >> 16) & SplatI(0x8000));
    for (int j = 0; j < 4; ++j) p[4 * i + j] = static_cast<uint16_t>(half[j]);
  }
}
#endif
CORM_SIMD F32 LoadI8(const int8_t* p) {
  return ToF32(Each<I32>([&](int i) {
    return Ints{p[4 * i], p[4 * i + 1], p[4 * i + 2], p[4 * i + 3]};
  }));
}

CORM_SIMD I8 LoadBytes(const uint8_t* p) {
  return Each<I8>([&](int i) { return LoadAs<Bytes>(p + 16 * i); });
}
CORM_SIMD I8 LowNibbles(I8 a) {
  return Each<I8>([&](int i) { return a.v[i] & static_cast<uint8_t>(15); });
}
CORM_SIMD I8 HighNibbles(I8 a) {
  return Each<I8>([&](int i) {
    return (Bytes)(((Words)a.v[i] >> 4) & Words{0x0f0f0f0f, 0x0f0f0f0f, 0x0f0f0f0f, 0x0f0f0f0f});
  });
}
CORM_SIMD I8 ForDotS8(I8 w) {
  return w;
}

/// sum[l] = sum_c w[4l+c] * x[c], both signed.
CORM_SIMD Ints DotFour(Ints acc, Bytes w, const int8_t* x) {
#if defined(__ARM_FEATURE_DOTPROD)
  const int8x16_t four = vreinterpretq_s8_s32(vdupq_n_s32(LoadAs<int32_t>(x)));
  return (Ints)vdotq_s32((int32x4_t)acc, (int8x16_t)w, four);
#elif defined(__aarch64__)
  const int8x16_t four = vreinterpretq_s8_s32(vdupq_n_s32(LoadAs<int32_t>(x)));
  const int16x8_t low = vmull_s8(vget_low_s8((int8x16_t)w), vget_low_s8(four));
  const int16x8_t high = vmull_high_s8((int8x16_t)w, four);
  return acc + (Ints)vpaddq_s32(vpaddlq_s16(low), vpaddlq_s16(high));
#elif defined(__SSE2__)
  const __m128i bytes = (__m128i)w,
                words = _mm_set_epi16(x[3], x[2], x[1], x[0], x[3], x[2], x[1], x[0]);
  const __m128i low = _mm_srai_epi16(_mm_unpacklo_epi8(bytes, bytes), 8);
  const __m128i high = _mm_srai_epi16(_mm_unpackhi_epi8(bytes, bytes), 8);
  const __m128 a = _mm_castsi128_ps(_mm_madd_epi16(low, words));
  const __m128 b = _mm_castsi128_ps(_mm_madd_epi16(high, words));
  return acc + (Ints)_mm_castps_si128(_mm_shuffle_ps(a, b, 0x88)) +
         (Ints)_mm_castps_si128(_mm_shuffle_ps(a, b, 0xdd));
#else
  for (int l = 0; l < 4; ++l) {
    for (int c = 0; c < 4; ++c) acc[l] += static_cast<int8_t>(w[4 * l + c]) * x[c];
  }
  return acc;
#endif
}
CORM_SIMD I32 DotS8(I32 acc, I8 w, const int8_t* x) {
  return Each<I32>([&](int i) { return DotFour(acc.v[i], w.v[i], x); });
}
CORM_SIMD I32 DotU4(I32 acc, I8 w, const int8_t* x) {
  return DotS8(acc, w, x);
}

}  // namespace cormorant::cpu::CORM_ISA
