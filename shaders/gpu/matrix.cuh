// Products of small matrices by a whole wave, on matrix units where the device has them.
//
//   gpu::Tile<T>        16 by 16 sums, int32_t or float, dealt to the lanes: this one's v[i] is in
//                       row TileRow(i) and column TileColumn(i)
//   gpu::ByteFragment FloatFragment<kLeft or kRight>   a lane's share of an operand: 16 rows of 32
//                       signed bytes or 8 floats in shared memory; bytes 16 h .. 16 h + 15 of row r
//                       are from[at + h * stride + r]
//   gpu::Load(from, at, stride, &fragment)   for use until the next Sync
//   gpu::AddProducts(&tile, a, b)            tile += a * b^T; of bytes exactly
//   gpu::AddProducts<kShort>(&tile, a, b)    of floats to about 20 bits; kShort promises that b's
//                                            have 11 significant bits at most, as f16's have
//
// Load and AddProducts are reached by every lane of the wave, with the same operands. With a stride
// of kOperandPadding more than a multiple of 8 neither reads of fragments nor writes of the halves
// of a row by two neighbours meet on a bank.
#pragma once
#include "shaders/gpu/gpu.h"

#if !defined(GPU_DIALECT)  // The host's has its own.
namespace cormorant::GPU_NAMESPACE::gpu {

constexpr uint32_t kTileNumbers = 256 / kWave;
constexpr uint32_t kOperandPadding = 4;
enum Side : uint32_t { kLeft, kRight };

template <class T>
struct Tile {
  T v[kTileNumbers];
};

}  // namespace cormorant::GPU_NAMESPACE::gpu

// These define what their devices have: GPU_BYTE_UNIT, GPU_FLOAT_UNIT and the functions, and
// GPU_TILE_PLACES where sums are dealt in a way of their own.
#if defined(__HIP__)
#include "shaders/gpu/matrix_amd.cuh"
#elif defined(__CUDA_ARCH__)
#include "shaders/gpu/matrix_nvidia.cuh"
#endif

namespace cormorant::GPU_NAMESPACE::gpu {

#if !defined(GPU_TILE_PLACES)
/// NVIDIA's places; for waves of 64, without a unit, two rows by two columns: the fewest reads.
GPU_FN uint32_t TileRow(uint32_t i) {
  const uint32_t lane = Thread() % kWave;
  return kWave == 64 ? lane / 8 + i / 2 * 8 : lane / 4 + i / 2 % 2 * 8;
}
GPU_FN uint32_t TileColumn(uint32_t i) {
  const uint32_t lane = Thread() % kWave;
  return kWave == 64 ? lane % 8 + i % 2 * 8 : lane % 4 * 2 + i % 2 + i / 4 * 8;
}
#endif

// Without a unit lanes multiply for themselves, and read when they do: many of a wave the same.

/// Waves of 64 have too many rows at a time to keep all they read: compilers would try.
template <Side kSide>
GPU_FN void ForgetReads() {
  if constexpr (kWave == 64 && kSide == kRight) asm volatile("" ::: "memory");
}

#if !defined(GPU_BYTE_UNIT) || !defined(GPU_FLOAT_UNIT)
/// Where an operand lies.
template <Side kSide>
struct UnreadFragment {
  SharedPointer<Quad> from;
  uint32_t stride;
};
template <Side kSide>
GPU_FN void Load(SharedPointer<Quad> from, uint32_t at, uint32_t stride,
                 UnreadFragment<kSide>* fragment) {
  ForgetReads<kSide>();
  *fragment = {from + at, stride};
}
#endif

#if !defined(GPU_BYTE_UNIT)
template <Side kSide>
using ByteFragment = UnreadFragment<kSide>;

GPU_FN void AddProducts(Tile<int32_t>* tile, const ByteFragment<kLeft>& a,
                        const ByteFragment<kRight>& b) {
  GPU_UNROLL
  for (uint32_t half = 0; half < 2; ++half) {
    GPU_UNROLL
    for (uint32_t i = 0; i < kTileNumbers; ++i) {
      const Quad x = a.from[half * a.stride + TileRow(i)];
      const Quad y = b.from[half * b.stride + TileColumn(i)];
      const int32_t sum = Dot4(x.y, y.y, Dot4(x.x, y.x, tile->v[i]));
      tile->v[i] = Dot4(x.w, y.w, Dot4(x.z, y.z, sum));
    }
  }
}
#endif

#if !defined(GPU_FLOAT_UNIT)
template <Side kSide>
using FloatFragment = UnreadFragment<kSide>;

template <bool kShort>
GPU_FN void AddProducts(Tile<float>* tile, const FloatFragment<kLeft>& a,
                        const FloatFragment<kRight>& b) {
  GPU_UNROLL
  for (uint32_t half = 0; half < 2; ++half) {
    GPU_UNROLL
    for (uint32_t i = 0; i < kTileNumbers; ++i) {
      const Quad x = a.from[half * a.stride + TileRow(i)];
      const Quad y = b.from[half * b.stride + TileColumn(i)];
      tile->v[i] += AsFloat(x.x) * AsFloat(y.x);
      tile->v[i] += AsFloat(x.y) * AsFloat(y.y);
      tile->v[i] += AsFloat(x.z) * AsFloat(y.z);
      tile->v[i] += AsFloat(x.w) * AsFloat(y.w);
    }
  }
}
#endif

}  // namespace cormorant::GPU_NAMESPACE::gpu
#endif  // Devices.
