// The SIMD seam: 16 lanes of f32 or i32 and 64 bytes, whatever the CPU has for them.
//
// Kernels are written once against this header and compiled once for each instruction set, with
// CORM_ISA naming the set and the namespace. One of these is included:
//
//   simd_avx512.inc   one 512-bit register, VNNI dot products
//   simd_avx2.inc     two 256-bit registers, FMA, F16C
//   simd_128.inc      four 128-bit registers: portable (SSE2 or plain loops) and neon
//
// Kernel files are compiled with flags that old CPUs cannot execute. So they, and these headers,
// include nothing with inline functions of its own: no standard library, no abseil, no header of
// the runtime. An inline function instantiated here under AVX-512 could be the copy that the linker
// keeps for the whole program. Everything below lives in the namespace of its instruction set.
//
//   F32  16 floats      I32  16 signed integers      I8  64 bytes: 4 neighbours for each of 16
//   lanes
//
//   Bits<n>(a, mask)  bytes of a, n places down (up if negative), and what of it mask keeps: bits
//   of
//                     neighbours come in, and mask must not keep them
//   Look(a, levels)   levels[b] for bytes b of a, in 0..15
//   DotU7(acc, w, x)  acc[l] += sum_c w[4l+c] * x[c], w in 0..127, x the 4 signed bytes at `x`
//   DotS8(acc, w, x)  the same for signed w as ForDotS8 left it, too large by kS8Bias * sum_c x[c]
#pragma once
#include <stddef.h>
#include <stdint.h>

#ifndef CORM_ISA
#define CORM_ISA portable
#endif
#define CORM_SIMD static inline __attribute__((always_inline))

#if defined(CORM_ISA_AVX512)
#include "backends/cpu/simd_avx512.inc"
#elif defined(CORM_ISA_AVX2)
#include "backends/cpu/simd_avx2.inc"
#else
#include "backends/cpu/simd_128.inc"
#endif

namespace cormorant::cpu::CORM_ISA {

/// Asks for the cache line `ahead` bytes from `at` to come into the second cache, which has more
/// requests under way than the first; no fault wherever that is.
CORM_SIMD void PrefetchFar(const void* at, ptrdiff_t ahead) {
  const auto place = reinterpret_cast<uintptr_t>(at) + static_cast<uintptr_t>(ahead);
  __builtin_prefetch(reinterpret_cast<const void*>(place), 0, 2);
}

/// f16 to f32 of one value.
CORM_SIMD float HalfToFloat(uint16_t half) {
  uint16_t halves[16] = {half};
  float floats[16];
  Store(floats, LoadF16(halves));
  return floats[0];
}

/// The first `count` of 16 halves at `from`, zeros after; nothing past them is read.
CORM_SIMD F32 LoadF16Part(const uint16_t* from, uint32_t count) {
  uint16_t halves[16] = {};
  for (uint32_t i = 0; i < count; ++i) halves[i] = from[i];
  return LoadF16(halves);
}

/// The first `count` of 16 floats at `from`, zeros after; nothing past them is read.
CORM_SIMD F32 LoadPart(const float* from, uint32_t count) {
  float floats[16] = {};
  for (uint32_t i = 0; i < count; ++i) floats[i] = from[i];
  return Load(floats);
}

CORM_SIMD void StorePart(float* to, F32 v, uint32_t count) {
  float floats[16];
  Store(floats, v);
  for (uint32_t i = 0; i < count; ++i) to[i] = floats[i];
}

/// e^x to 2 ulp; 0 below -87.3, the value at 88.3 above it.
///
/// x = n ln 2 + r with |r| <= ln 2 / 2; e^r by its Taylor series to r^7 (error 6e-9), 2^n by the
/// exponent bits.
CORM_SIMD F32 Exp(F32 x) {
  const F32 clamped = Min(Max(x, Set(-87.3f)), Set(88.3f));
  const I32 n = RoundToInt(Mul(clamped, Set(1.44269504f)));
  const F32 nf = ToF32(n);
  F32 r = Fma(nf, Set(-0.693359375f), clamped);  // ln 2 in two parts, the first exact in 9 bits.
  r = Fma(nf, Set(2.12194440e-4f), r);
  F32 p = Set(1.0f / 5040);
  p = Fma(p, r, Set(1.0f / 720));
  p = Fma(p, r, Set(1.0f / 120));
  p = Fma(p, r, Set(1.0f / 24));
  p = Fma(p, r, Set(1.0f / 6));
  p = Fma(p, r, Set(0.5f));
  p = Fma(p, r, Set(1.0f));
  p = Fma(p, r, Set(1.0f));
  const F32 result = Mul(p, FromBits(ShiftLeft<23>(AddI(n, SetI(127)))));
  return ZeroWhereBelow(result, x, Set(-87.3f));
}

}  // namespace cormorant::cpu::CORM_ISA
