// AVX2, FMA and F16C: two registers each, `a` the lower lanes. See simd.h.
#pragma once
#include <immintrin.h>
#include <stdint.h>

#ifndef CORM_SIMD
#error "Include backends/cpu/simd.h"
#endif

namespace cormorant::cpu::CORM_ISA {

struct F32 {
  __m256 a, b;
};
struct I32 {
  __m256i a, b;
};
struct I8 {
  __m256i a, b;
};

constexpr uint32_t kTileRows = 4;
constexpr uint32_t kAccumulators = 5;
constexpr int32_t kS8Bias = 0;

CORM_SIMD __m256i LoadHalf(const void* p) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(p));
}
CORM_SIMD __m128i LoadQuarter(const void* p) {
  return _mm_loadu_si128(static_cast<const __m128i*>(p));
}

CORM_SIMD F32 Set(float v) {
  return {_mm256_set1_ps(v), _mm256_set1_ps(v)};
}
CORM_SIMD F32 Zero() {
  return {_mm256_setzero_ps(), _mm256_setzero_ps()};
}
CORM_SIMD F32 Load(const float* p) {
  return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
}
CORM_SIMD void Store(float* p, F32 v) {
  _mm256_storeu_ps(p, v.a);
  _mm256_storeu_ps(p + 8, v.b);
}
CORM_SIMD F32 LoadF16(const uint16_t* p) {
  return {_mm256_cvtph_ps(LoadQuarter(p)), _mm256_cvtph_ps(LoadQuarter(p + 8))};
}
CORM_SIMD void StoreF16(uint16_t* p, F32 v) {
  constexpr int kNearest = _MM_FROUND_TO_NEAREST_INT;
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(v.a, kNearest));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p + 8), _mm256_cvtps_ph(v.b, kNearest));
}
CORM_SIMD F32 LoadBF16(const uint16_t* p) {
  const __m256i a = _mm256_slli_epi32(_mm256_cvtepu16_epi32(LoadQuarter(p)), 16);
  const __m256i b = _mm256_slli_epi32(_mm256_cvtepu16_epi32(LoadQuarter(p + 8)), 16);
  return {_mm256_castsi256_ps(a), _mm256_castsi256_ps(b)};
}
CORM_SIMD F32 LoadI8(const int8_t* p) {
  const __m128i bytes = LoadQuarter(p);
  return {_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes)),
          _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(bytes, 8)))};
}
CORM_SIMD F32 Add(F32 x, F32 y) {
  return {_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)};
}
CORM_SIMD F32 Mul(F32 x, F32 y) {
  return {_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)};
}
CORM_SIMD F32 Div(F32 x, F32 y) {
  return {_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)};
}
CORM_SIMD F32 Fma(F32 x, F32 y, F32 z) {
  return {_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)};
}
CORM_SIMD F32 Max(F32 x, F32 y) {
  return {_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)};
}
CORM_SIMD F32 Min(F32 x, F32 y) {
  return {_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b)};
}
CORM_SIMD F32 Abs(F32 x) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  return {_mm256_andnot_ps(sign, x.a), _mm256_andnot_ps(sign, x.b)};
}
CORM_SIMD float Sum(F32 x) {
  const __m256 eight = _mm256_add_ps(x.a, x.b);
  __m128 v = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  v = _mm_add_ps(v, _mm_movehl_ps(v, v));
  return _mm_cvtss_f32(_mm_add_ss(v, _mm_movehdup_ps(v)));
}
CORM_SIMD float MaxLane(F32 x) {
  const __m256 eight = _mm256_max_ps(x.a, x.b);
  __m128 v = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  v = _mm_max_ps(v, _mm_movehl_ps(v, v));
  return _mm_cvtss_f32(_mm_max_ss(v, _mm_movehdup_ps(v)));
}
CORM_SIMD F32 SwapPairs(F32 x) {
  return {_mm256_permute_ps(x.a, 0xb1), _mm256_permute_ps(x.b, 0xb1)};
}
CORM_SIMD F32 ZeroWhereBelow(F32 v, F32 x, F32 least) {
  return {_mm256_and_ps(v.a, _mm256_cmp_ps(x.a, least.a, _CMP_GE_OQ)),
          _mm256_and_ps(v.b, _mm256_cmp_ps(x.b, least.b, _CMP_GE_OQ))};
}

CORM_SIMD I32 SetI(int32_t v) {
  return {_mm256_set1_epi32(v), _mm256_set1_epi32(v)};
}
CORM_SIMD I32 ZeroI() {
  return {_mm256_setzero_si256(), _mm256_setzero_si256()};
}
CORM_SIMD I32 LoadI(const uint32_t* p) {
  return {LoadHalf(p), LoadHalf(p + 8)};
}
CORM_SIMD void StoreI(uint32_t* p, I32 v) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v.a);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p + 8), v.b);
}
CORM_SIMD I32 AddI(I32 x, I32 y) {
  return {_mm256_add_epi32(x.a, y.a), _mm256_add_epi32(x.b, y.b)};
}
CORM_SIMD I32 SubI(I32 x, I32 y) {
  return {_mm256_sub_epi32(x.a, y.a), _mm256_sub_epi32(x.b, y.b)};
}
template <int kBits>
CORM_SIMD I32 ShiftLeft(I32 x) {
  return {_mm256_slli_epi32(x.a, kBits), _mm256_slli_epi32(x.b, kBits)};
}
template <int kBits>
CORM_SIMD I32 ShiftRight(I32 x) {
  return {_mm256_srai_epi32(x.a, kBits), _mm256_srai_epi32(x.b, kBits)};
}
CORM_SIMD int32_t SumI(I32 x) {
  const __m256i eight = _mm256_add_epi32(x.a, x.b);
  __m128i v = _mm_add_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
  v = _mm_add_epi32(v, _mm_shuffle_epi32(v, 0x4e));
  return _mm_cvtsi128_si32(_mm_add_epi32(v, _mm_shuffle_epi32(v, 0xb1)));
}
CORM_SIMD I32 MaxUnsigned(I32 x, I32 y) {
  return {_mm256_max_epu32(x.a, y.a), _mm256_max_epu32(x.b, y.b)};
}
CORM_SIMD I32 WhereAtLeast(F32 x, F32 y, I32 v) {
  const __m256i a = _mm256_castps_si256(_mm256_cmp_ps(x.a, y.a, _CMP_GE_OQ));
  const __m256i b = _mm256_castps_si256(_mm256_cmp_ps(x.b, y.b, _CMP_GE_OQ));
  return {_mm256_and_si256(a, v.a), _mm256_and_si256(b, v.b)};
}
CORM_SIMD I32 RoundToInt(F32 x) {
  return {_mm256_cvtps_epi32(x.a), _mm256_cvtps_epi32(x.b)};
}
CORM_SIMD F32 ToF32(I32 x) {
  return {_mm256_cvtepi32_ps(x.a), _mm256_cvtepi32_ps(x.b)};
}
CORM_SIMD F32 FromBits(I32 x) {
  return {_mm256_castsi256_ps(x.a), _mm256_castsi256_ps(x.b)};
}
/// For lanes in -128..127.
CORM_SIMD void StoreLowBytes(int8_t* p, I32 v) {
  const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(v.a, v.b), 0xd8);
  _mm_storeu_si128(
      reinterpret_cast<__m128i*>(p),
      _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1)));
}

CORM_SIMD I8 LoadBytes(const uint8_t* p) {
  return {LoadHalf(p), LoadHalf(p + 32)};
}
CORM_SIMD I8 LowNibbles(I8 x) {
  const __m256i mask = _mm256_set1_epi8(15);
  return {_mm256_and_si256(x.a, mask), _mm256_and_si256(x.b, mask)};
}
CORM_SIMD I8 HighNibbles(I8 x) {
  return LowNibbles({_mm256_srli_epi16(x.a, 4), _mm256_srli_epi16(x.b, 4)});
}
CORM_SIMD I8 ForDotS8(I8 w) {
  return w;
}
CORM_SIMD __m256i SetFour(const int8_t* x) {
  int32_t four;
  __builtin_memcpy(&four, x, 4);
  return _mm256_set1_epi32(four);
}
/// Pairs of products fit 16 bits: 2 * 15 * 127.
CORM_SIMD I32 DotU4(I32 acc, I8 w, const int8_t* x) {
  const __m256i four = SetFour(x), ones = _mm256_set1_epi16(1);
  return AddI(acc, {_mm256_madd_epi16(_mm256_maddubs_epi16(w.a, four), ones),
                    _mm256_madd_epi16(_mm256_maddubs_epi16(w.b, four), ones)});
}
/// |w| * (x with the sign of w): pairs fit 16 bits, 2 * 128 * 127.
CORM_SIMD I32 DotS8(I32 acc, I8 w, const int8_t* x) {
  const __m256i four = SetFour(x), ones = _mm256_set1_epi16(1);
  const __m256i a = _mm256_maddubs_epi16(_mm256_abs_epi8(w.a), _mm256_sign_epi8(four, w.a));
  const __m256i b = _mm256_maddubs_epi16(_mm256_abs_epi8(w.b), _mm256_sign_epi8(four, w.b));
  return AddI(acc, {_mm256_madd_epi16(a, ones), _mm256_madd_epi16(b, ones)});
}

}  // namespace cormorant::cpu::CORM_ISA
