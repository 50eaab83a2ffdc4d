// The one dialect of our GPU kernels, compiled three ways: by nvcc, by hipcc, and for the host.
//
// A kernel includes this and nothing of a vendor. The host's version (GPU_DIALECT names its header)
// runs in tests and checks what devices forgive; it is the strictest reading of what follows.
//
//   GPU_KERNEL(threads)            a kernel with at most so many threads a block; it takes one
//   struct GPU_FN, GPU_METHOD, GPU_MEMBER a function of kernels; of a struct; a static constexpr
//   one of a
//                                  struct, after `static`
//   GPU_SHARED(T, name, count)     an array of the block, T of whole words; at most 32 KiB in all;
//                                  handed on as gpu::SharedPointer<T>
//   GPU_HANDLE(name, Args, kernel) the Kernel, for host code
//   gpu::Thread Block BlockY BlockZ Blocks BlocksY BlockThreads
//   gpu::Sync                      reached by every thread of the block, at the same place
//   gpu::ShuffleXor Shuffle Ballot reached by every lane of the wave, of kWave lanes; blocks of
//                                  kernels that use them are multiples of 64 threads
//   gpu::AtomicAdd AtomicMax AtomicOr   of words; (array, index, value) in shared memory
//   gpu::HalfToFloat FloatToHalf   f16, exact and to nearest even;   AsFloat AsWord: the same bits
//   gpu::Dot4(a, b, c)             c + the products of four signed bytes
//   gpu::Quad Float4 Load4         16 bytes at once;   Pair: 8;   as elements of shared arrays too
//   gpu::StartCopy(from, to, index, &transit)   a quad of global memory on its way to shared
//   memory, gpu::EndCopy(to, index, &transit)           until both; there after the next Sync
//   GPU_UNROLL                     before a loop whose counter picks registers
//   gpu::Tile Load AddProducts     matrix products by a wave (matrix.cuh)
//
// What one thread writes to global or shared memory, others of its block see after Sync; there is
// no other order, not even within a wave. Divisions and square roots are rounded correctly.
#pragma once
#include <cstdint>

#if defined(GPU_DIALECT)
#include GPU_DIALECT
#else

#if defined(__HIP__)
#include <hip/hip_fp16.h>
#include <hip/hip_runtime.h>
#else
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#endif

#include "shaders/gpu/kernel.h"

#define GPU_KERNEL(threads) __global__ void __launch_bounds__(threads)
#define GPU_FN static __device__ __forceinline__
#define GPU_MEMBER constexpr __device__ __forceinline__
#define GPU_METHOD __device__ __forceinline__
#define GPU_UNROLL _Pragma("unroll")
#define GPU_SHARED(T, name, count) __shared__ __align__(16) T name[count]
#define GPU_HANDLE(name, Arguments, ...)                                 \
  Kernel {                                                               \
    name, reinterpret_cast<const void*>(&__VA_ARGS__), sizeof(Arguments) \
  }

namespace cormorant::GPU_NAMESPACE::gpu {

#if defined(__HIP__) && (defined(__GFX8__) || defined(__GFX9__))
constexpr uint32_t kWave = 64;
#else
constexpr uint32_t kWave = 32;  // In the host's pass, where no kernel runs, too.
#endif

template <class T>
using SharedPointer = T*;
struct alignas(8) Pair {
  uint32_t x, y;
};
using Quad = uint4;
using Float4 = float4;

GPU_FN uint32_t Thread() {
  return threadIdx.x;
}
GPU_FN uint32_t Block() {
  return blockIdx.x;
}
GPU_FN uint32_t BlockY() {
  return blockIdx.y;
}
GPU_FN uint32_t BlockZ() {
  return blockIdx.z;
}
GPU_FN uint32_t Blocks() {
  return gridDim.x;
}
GPU_FN uint32_t BlocksY() {
  return gridDim.y;
}
GPU_FN uint32_t BlockThreads() {
  return blockDim.x;
}
GPU_FN void Sync() {
  __syncthreads();
}

#if defined(__HIP__)
template <class T>
GPU_FN T ShuffleXor(T value, uint32_t mask) {
  return __shfl_xor(value, static_cast<int>(mask));
}
template <class T>
GPU_FN T Shuffle(T value, uint32_t lane) {
  return __shfl(value, static_cast<int>(lane));
}
GPU_FN uint64_t Ballot(bool value) {
  return __ballot(value);
}
#else
template <class T>
GPU_FN T ShuffleXor(T value, uint32_t mask) {
  return __shfl_xor_sync(0xffffffffu, value, mask);
}
template <class T>
GPU_FN T Shuffle(T value, uint32_t lane) {
  return __shfl_sync(0xffffffffu, value, lane);
}
GPU_FN uint64_t Ballot(bool value) {
  return __ballot_sync(0xffffffffu, value);
}
#endif

GPU_FN uint32_t AtomicAdd(uint32_t* to, uint32_t value) {
  return atomicAdd(to, value);
}
GPU_FN uint32_t AtomicMax(uint32_t* to, uint32_t value) {
  return atomicMax(to, value);
}
GPU_FN uint32_t AtomicOr(uint32_t* to, uint32_t value) {
  return atomicOr(to, value);
}
GPU_FN uint32_t AtomicAdd(SharedPointer<uint32_t> array, uint32_t index, uint32_t value) {
  return atomicAdd(array + index, value);
}
GPU_FN uint32_t AtomicMax(SharedPointer<uint32_t> array, uint32_t index, uint32_t value) {
  return atomicMax(array + index, value);
}

GPU_FN float HalfToFloat(uint32_t bits) {
  return __half2float(__ushort_as_half(static_cast<unsigned short>(bits)));
}
GPU_FN uint32_t FloatToHalf(float value) {
  return __half_as_ushort(__float2half_rn(value));
}
GPU_FN float AsFloat(uint32_t bits) {
  return __uint_as_float(bits);
}
GPU_FN uint32_t AsWord(float value) {
  return __float_as_uint(value);
}

GPU_FN int32_t Dot4(uint32_t a, uint32_t b, int32_t c) {
#if !defined(__HIP__)
  return __dp4a(static_cast<int>(a), static_cast<int>(b), c);
#elif defined(__gfx906__) || defined(__gfx908__) || defined(__gfx90a__) || defined(__gfx942__) || \
    defined(__gfx1030__) || defined(__gfx1031__) || defined(__gfx1032__)
  return __builtin_amdgcn_sdot4(static_cast<int>(a), static_cast<int>(b), c, false);
#elif defined(__gfx1100__) || defined(__gfx1101__) || defined(__gfx1102__) || \
    defined(__gfx1103__) || defined(__gfx1200__) || defined(__gfx1201__)
  return __builtin_amdgcn_sudot4(true, static_cast<int>(a), true, static_cast<int>(b), c, false);
#else
  for (uint32_t i = 0; i < 32; i += 8) {
    c += static_cast<int32_t>(static_cast<int8_t>(a >> i)) *
         static_cast<int32_t>(static_cast<int8_t>(b >> i));
  }
  return c;
#endif
}

GPU_FN Float4 Load4(SharedPointer<float> from, uint32_t index) {
  return *reinterpret_cast<const Float4*>(from + index);
}
GPU_FN Quad Load4(SharedPointer<uint32_t> from, uint32_t index) {
  return *reinterpret_cast<const Quad*>(from + index);
}

/// Holds a quad where the device cannot copy by itself.
#if !defined(__HIP__) && defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
struct Transit {};
GPU_FN void StartCopy(const Quad* from, SharedPointer<Quad> to, uint32_t index, Transit*) {
  const uint32_t place = static_cast<uint32_t>(__cvta_generic_to_shared(to + index));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(place), "l"(from) : "memory");
}
GPU_FN void EndCopy(SharedPointer<Quad>, uint32_t, Transit*) {
  asm volatile("cp.async.wait_all;" ::: "memory");
}
#else
struct Transit {
  Quad quad;
};
GPU_FN void StartCopy(const Quad* from, SharedPointer<Quad>, uint32_t, Transit* transit) {
  transit->quad = *from;
}
GPU_FN void EndCopy(SharedPointer<Quad> to, uint32_t index, Transit* transit) {
  to[index] = transit->quad;
}
#endif

GPU_FN float Exp(float x) {
  return expf(x);
}
GPU_FN float Log(float x) {
  return logf(x);
}
GPU_FN float Sqrt(float x) {
  return sqrtf(x);
}
GPU_FN float RoundEven(float x) {
  return rintf(x);
}
GPU_FN float Abs(float x) {
  return fabsf(x);
}
GPU_FN uint32_t PopCount(uint32_t x) {
  return static_cast<uint32_t>(__popc(x));
}
GPU_FN uint32_t LowestBit(uint32_t x) {
  return static_cast<uint32_t>(__ffs(static_cast<int>(x)) - 1);
}
GPU_FN uint32_t HighestBit(uint32_t x) {
  return static_cast<uint32_t>(31 - __clz(static_cast<int>(x)));
}
GPU_FN uint32_t MultiplyHigh(uint32_t a, uint32_t b) {
  return __umulhi(a, b);
}

}  // namespace cormorant::GPU_NAMESPACE::gpu
#endif  // Devices.

namespace cormorant::GPU_NAMESPACE::gpu {

template <class T>
GPU_FN T Min(T a, T b) {
  return b < a ? b : a;
}
template <class T>
GPU_FN T Max(T a, T b) {
  return a < b ? b : a;
}

/// Sum over the wave, for every lane.
template <class T>
GPU_FN T WaveSum(T value) {
  for (uint32_t mask = kWave / 2; mask > 0; mask /= 2) value += ShuffleXor(value, mask);
  return value;
}

/// Greatest of the wave, for every lane.
template <class T>
GPU_FN T WaveMax(T value) {
  for (uint32_t mask = kWave / 2; mask > 0; mask /= 2) value = Max(value, ShuffleXor(value, mask));
  return value;
}

/// Sum over the block, of at most 1024 threads, for every thread. Two Syncs.
template <class T>
GPU_FN T BlockSum(T value) {
  GPU_SHARED(T, partial, 1024 / kWave);
  value = WaveSum(value);
  Sync();  // The call before this one may still be reading.
  if (Thread() % kWave == 0) partial[Thread() / kWave] = value;
  Sync();
  T total = 0;
  for (uint32_t w = 0; w < BlockThreads() / kWave; ++w) total += partial[w];
  return total;
}

/// Greatest of the block, as BlockSum.
template <class T>
GPU_FN T BlockMax(T value) {
  GPU_SHARED(T, partial, 1024 / kWave);
  value = WaveMax(value);
  Sync();
  if (Thread() % kWave == 0) partial[Thread() / kWave] = value;
  Sync();
  T most = partial[0];
  for (uint32_t w = 1; w < BlockThreads() / kWave; ++w)
    most = Max(most, static_cast<T>(partial[w]));
  return most;
}

}  // namespace cormorant::GPU_NAMESPACE::gpu
