// AVX-512 F, BW, VL, DQ and VNNI: one register each. See simd.h.
#pragma once
#include <immintrin.h>
#include <stdint.h>

#ifndef CORM_SIMD
#error "Include backends/cpu/simd.h"
#endif

namespace cormorant::cpu::CORM_ISA {

using F32 = __m512;
using I32 = __m512i;
using I8 = __m512i;

constexpr uint32_t kTileRows = 8;       // Rows of activations that share one pass over weights.
constexpr uint32_t kAccumulators = 24;  // F32 sums that fit registers beside their inputs.
constexpr int32_t kS8Bias = 128;        // vpdpbusd takes weights as unsigned.

CORM_SIMD F32 Zero() {
  return _mm512_setzero_ps();
}
CORM_SIMD F32 Set(float v) {
  return _mm512_set1_ps(v);
}
CORM_SIMD F32 Load(const float* p) {
  return _mm512_loadu_ps(p);
}
CORM_SIMD void Store(float* p, F32 v) {
  _mm512_storeu_ps(p, v);
}
CORM_SIMD F32 LoadF16(const uint16_t* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
CORM_SIMD void StoreF16(uint16_t* p, F32 v) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
}
CORM_SIMD F32 LoadBF16(const uint16_t* p) {
  const __m256i halves = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}
CORM_SIMD F32 LoadI8(const int8_t* p) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes));
}
CORM_SIMD F32 Add(F32 a, F32 b) {
  return _mm512_add_ps(a, b);
}
CORM_SIMD F32 Mul(F32 a, F32 b) {
  return _mm512_mul_ps(a, b);
}
CORM_SIMD F32 Div(F32 a, F32 b) {
  return _mm512_div_ps(a, b);
}
CORM_SIMD F32 Fma(F32 a, F32 b, F32 c) {
  return _mm512_fmadd_ps(a, b, c);
}
CORM_SIMD F32 Max(F32 a, F32 b) {
  return _mm512_max_ps(a, b);
}
CORM_SIMD F32 Min(F32 a, F32 b) {
  return _mm512_min_ps(a, b);
}
CORM_SIMD F32 Abs(F32 a) {
  return _mm512_abs_ps(a);
}
CORM_SIMD float Sum(F32 a) {
  return _mm512_reduce_add_ps(a);
}
CORM_SIMD float MaxLane(F32 a) {
  return _mm512_reduce_max_ps(a);
}
/// Swaps lanes 2i and 2i + 1.
CORM_SIMD F32 SwapPairs(F32 a) {
  return _mm512_permute_ps(a, 0xb1);
}
/// v, but 0 in lanes where x < least.
CORM_SIMD F32 ZeroWhereBelow(F32 v, F32 x, F32 least) {
  return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, least, _CMP_GE_OQ), v);
}

CORM_SIMD I32 ZeroI() {
  return _mm512_setzero_si512();
}
CORM_SIMD I32 SetI(int32_t v) {
  return _mm512_set1_epi32(v);
}
CORM_SIMD I32 LoadI(const uint32_t* p) {
  return _mm512_loadu_si512(p);
}
CORM_SIMD void StoreI(uint32_t* p, I32 v) {
  _mm512_storeu_si512(p, v);
}
CORM_SIMD I32 AddI(I32 a, I32 b) {
  return _mm512_add_epi32(a, b);
}
CORM_SIMD I32 SubI(I32 a, I32 b) {
  return _mm512_sub_epi32(a, b);
}
template <int kBits>
CORM_SIMD I32 ShiftLeft(I32 a) {
  return _mm512_slli_epi32(a, kBits);
}
/// Arithmetic: the sign stays.
template <int kBits>
CORM_SIMD I32 ShiftRight(I32 a) {
  return _mm512_srai_epi32(a, kBits);
}
CORM_SIMD int32_t SumI(I32 a) {
  return _mm512_reduce_add_epi32(a);
}
CORM_SIMD I32 MaxUnsigned(I32 a, I32 b) {
  return _mm512_max_epu32(a, b);
}
/// v where a >= b, 0 where not or where one is NaN.
CORM_SIMD I32 WhereAtLeast(F32 a, F32 b, I32 v) {
  return _mm512_maskz_mov_epi32(_mm512_cmp_ps_mask(a, b, _CMP_GE_OQ), v);
}
/// To nearest, halves to even.
CORM_SIMD I32 RoundToInt(F32 a) {
  return _mm512_cvtps_epi32(a);
}
CORM_SIMD F32 ToF32(I32 a) {
  return _mm512_cvtepi32_ps(a);
}
CORM_SIMD F32 FromBits(I32 a) {
  return _mm512_castsi512_ps(a);
}
/// The low bytes of the lanes.
CORM_SIMD void StoreLowBytes(int8_t* p, I32 v) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(v));
}

CORM_SIMD I8 LoadBytes(const uint8_t* p) {
  return _mm512_loadu_si512(p);
}
CORM_SIMD I8 LowNibbles(I8 a) {
  return _mm512_and_si512(a, _mm512_set1_epi8(15));
}
CORM_SIMD I8 HighNibbles(I8 a) {
  return _mm512_and_si512(_mm512_srli_epi16(a, 4), _mm512_set1_epi8(15));
}
CORM_SIMD I8 ForDotS8(I8 w) {
  return _mm512_xor_si512(w, _mm512_set1_epi8(-128));
}
CORM_SIMD I32 DotU4(I32 acc, I8 w, const int8_t* x) {
  int32_t four;
  __builtin_memcpy(&four, x, 4);
  return _mm512_dpbusd_epi32(acc, w, _mm512_set1_epi32(four));
}
CORM_SIMD I32 DotS8(I32 acc, I8 w, const int8_t* x) {
  return DotU4(acc, w, x);
}

}  // namespace cormorant::cpu::CORM_ISA
