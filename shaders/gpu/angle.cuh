// How far RoPE turns a pair, to full f32 precision at any position.
//
// A frequency is a 64-bit fixed-point fraction of a turn a position (host code writes the table:
// low word, high word, for each pair), so position * frequency keeps its fraction of a turn exact
// to 2^-44 at positions below 2^20, where an f32 angle would have lost it. Sine and cosine of the
// last eighth of a turn are polynomials (Taylor, error below 1e-9 at pi/4), the same on every
// device.
#pragma once
#include "shaders/gpu/arguments.h"
#include "shaders/gpu/step.cuh"

namespace cormorant::GPU_NAMESPACE::kernels {

struct Angle {
  float cos, sin;
};

/// Of fraction / 2^32 turns.
GPU_FN Angle CosSin(uint32_t fraction) {
  const uint32_t quarter = (fraction + 0x20000000u) >> 30;  // The nearest quarter turn.
  const float x = static_cast<float>(static_cast<int32_t>(fraction - (quarter << 30))) *
                  1.4629180792671596e-9f;  // 2 pi / 2^32
  const float z = x * x;
  float s = z * 2.7557319e-6f - 1.9841270e-4f;
  s = s * z + 8.3333333e-3f;
  s = s * z - 1.6666667e-1f;
  s = s * z * x + x;
  float c = z * -2.7557319e-7f + 2.4801587e-5f;
  c = c * z - 1.3888889e-3f;
  c = c * z + 4.1666667e-2f;
  c = c * z - 0.5f;
  c = c * z + 1.0f;
  switch (quarter & 3) {
    case 0: return {c, s};
    case 1: return {-s, c};
    case 2: return {-c, -s};
    default: return {s, -c};
  }
}

/// How far `positions` positions turn a pair.
GPU_FN Angle AngleOf(const uint32_t* frequencies, uint32_t pair, uint32_t positions) {
  const uint32_t low = frequencies[2 * pair], high = frequencies[2 * pair + 1];
  return CosSin(high * positions + gpu::MultiplyHigh(low, positions));
}

GPU_FN void RotatePair(float* at, const Angle& angle) {
  const float first = at[0], second = at[1];
  at[0] = first * angle.cos - second * angle.sin;
  at[1] = first * angle.sin + second * angle.cos;
}

}  // namespace cormorant::GPU_NAMESPACE::kernels
