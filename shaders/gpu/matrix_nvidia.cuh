// Matrix products of NVIDIA's devices: bytes since sm_75, floats since sm_80. Part of matrix.cuh.
//
// Fragments are those of "mma" in the PTX ISA. Floats are multiplied as TF32, which has 11
// significant bits: a number is the sum of two, and of the four products all but the smallest are
// taken, which leaves an error below 2^-19 of each product.
#pragma once
#include "shaders/gpu/matrix.cuh"

namespace cormorant::GPU_NAMESPACE::gpu {

/// Of rows lane / 4 and 8 more, word lane % 4 of both halves, in the order in which mma wants them.
template <Side kSide>
GPU_FN void LoadWords(const Quad* from, uint32_t stride, uint32_t* v) {
  // Lanes name the places of four matrices of 8 rows by a half, one after another.
  const uint32_t lane = Thread() % 32;
  const uint32_t half = kSide == kLeft ? lane / 16 : lane / 8 % 2;
  const uint32_t row = kSide == kLeft ? lane % 16 : lane / 16 * 8 + lane % 8;
  const uint32_t place =
      static_cast<uint32_t>(__cvta_generic_to_shared(from + half * stride + row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(v[0]), "=r"(v[1]), "=r"(v[2]), "=r"(v[3])
               : "r"(place)
               : "memory");
}

#define GPU_BYTE_UNIT
template <Side kSide>
struct ByteFragment {
  uint32_t v[4];
};
template <Side kSide>
GPU_FN void Load(SharedPointer<Quad> from, uint32_t at, uint32_t stride,
                 ByteFragment<kSide>* fragment) {
  LoadWords<kSide>(from + at, stride, fragment->v);
}

#if __CUDA_ARCH__ >= 800
GPU_FN void Mma(int32_t* d, const uint32_t* a, const uint32_t* b) {
  asm volatile(
      "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
#else
GPU_FN void Mma8(int32_t* d, uint32_t a, uint32_t b) {
  asm volatile("mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32 {%0,%1}, {%2}, {%3}, {%0,%1};"
               : "+r"(d[0]), "+r"(d[1])
               : "r"(a), "r"(b));
}
GPU_FN void Mma(int32_t* d, const uint32_t* a, const uint32_t* b) {
  Mma8(d, a[0], b[0]);
  Mma8(d, a[2], b[1]);
  Mma8(d + 2, a[1], b[0]);
  Mma8(d + 2, a[3], b[1]);
}
#endif

GPU_FN void AddProducts(Tile<int32_t>* tile, const ByteFragment<kLeft>& a,
                        const ByteFragment<kRight>& b) {
  Mma(tile->v, a.v, b.v);
  Mma(tile->v + 4, a.v, b.v + 2);
}

#if __CUDA_ARCH__ >= 800
#define GPU_FLOAT_UNIT
/// Each float as the sum of two: its 11 highest bits, and what is left.
template <Side kSide>
struct FloatFragment {
  uint32_t high[4], low[4];
};
template <Side kSide>
GPU_FN void Load(SharedPointer<Quad> from, uint32_t at, uint32_t stride,
                 FloatFragment<kSide>* fragment) {
  uint32_t v[4];
  LoadWords<kSide>(from + at, stride, v);
  GPU_UNROLL
  for (uint32_t i = 0; i < 4; ++i) {
    fragment->high[i] = v[i] & 0xffffe000u;
    fragment->low[i] = AsWord(AsFloat(v[i]) - AsFloat(fragment->high[i]));
  }
}

/// Does not look at the lowest 13 bits of a and b.
GPU_FN void Mma(float* d, const uint32_t* a, const uint32_t* b) {
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
template <bool kShort>
GPU_FN void AddProducts(Tile<float>* tile, const FloatFragment<kLeft>& a,
                        const FloatFragment<kRight>& b) {
  GPU_UNROLL
  for (uint32_t i = 0; i < 4; i += 2) {
    float* const d = tile->v + i * 2;
    Mma(d, a.low, b.high + i);
    if constexpr (!kShort) Mma(d, a.high, b.low + i);
    Mma(d, a.high, b.high + i);
  }
}
#endif

}  // namespace cormorant::GPU_NAMESPACE::gpu
