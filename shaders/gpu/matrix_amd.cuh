// Matrix products of AMD's devices: MFMA of CDNA, for bytes and floats, and WMMA of RDNA 3 and 4,
// for bytes. Part of matrix.cuh.
//
// Which bytes of a row meet in one instruction does not matter as long as both operands have the
// same: so a lane's are neighbours in memory.
#pragma once
#include "shaders/gpu/matrix.cuh"

#if defined(__gfx908__) || defined(__gfx90a__)
#define GPU_MFMA_BYTES 16  // Of a row, in one instruction.
#elif defined(__gfx940__) || defined(__gfx941__) || defined(__gfx942__) || defined(__gfx950__)
#define GPU_MFMA_BYTES 32
#elif defined(__gfx1100__) || defined(__gfx1101__) || defined(__gfx1102__) || defined(__gfx1103__)
#define GPU_WMMA 11
#elif defined(__gfx1200__) || defined(__gfx1201__)
#define GPU_WMMA 12
#endif

#if defined(GPU_MFMA_BYTES) || defined(GPU_WMMA)
namespace cormorant::GPU_NAMESPACE::gpu {

/// As the builtins take and give them.
typedef int32_t Words2 __attribute__((ext_vector_type(2)));
typedef int32_t Words4 __attribute__((ext_vector_type(4)));
typedef int32_t Sums __attribute__((ext_vector_type(kTileNumbers)));
typedef float FloatSums __attribute__((ext_vector_type(kTileNumbers)));

template <class V, class T>
GPU_FN V VectorOf(const Tile<T>& tile) {
  V vector;
  GPU_UNROLL
  for (uint32_t i = 0; i < kTileNumbers; ++i) vector[i] = tile.v[i];
  return vector;
}
template <class V, class T>
GPU_FN void SetTile(const V& vector, Tile<T>* tile) {
  GPU_UNROLL
  for (uint32_t i = 0; i < kTileNumbers; ++i) tile->v[i] = vector[i];
}

#define GPU_TILE_PLACES
#if defined(GPU_MFMA_BYTES)
GPU_FN uint32_t TileRow(uint32_t i) {
  return Thread() % 64 / 16 * 4 + i;
}
GPU_FN uint32_t TileColumn(uint32_t) {
  return Thread() % 16;
}

/// Of row lane % 16 the quarter lane / 16.
template <Side kSide>
struct QuarterFragment {
  Pair v;
};
template <Side kSide>
GPU_FN void Load(SharedPointer<Quad> from, uint32_t at, uint32_t stride,
                 QuarterFragment<kSide>* fragment) {
  const uint32_t quarter = Thread() % 64 / 16, row = Thread() % 16;
  const Quad* const quad = from + at + quarter / 2 * stride + row;
  fragment->v = reinterpret_cast<const Pair*>(quad)[quarter % 2];
}

#define GPU_BYTE_UNIT
template <Side kSide>
using ByteFragment = QuarterFragment<kSide>;
GPU_FN void AddProducts(Tile<int32_t>* tile, const ByteFragment<kLeft>& a,
                        const ByteFragment<kRight>& b) {
  Sums sum = VectorOf<Sums>(*tile);
#if GPU_MFMA_BYTES == 16
  sum = __builtin_amdgcn_mfma_i32_16x16x16i8(static_cast<int>(a.v.x), static_cast<int>(b.v.x), sum,
                                             0, 0, 0);
  sum = __builtin_amdgcn_mfma_i32_16x16x16i8(static_cast<int>(a.v.y), static_cast<int>(b.v.y), sum,
                                             0, 0, 0);
#else
  sum = __builtin_amdgcn_mfma_i32_16x16x32_i8(static_cast<long>(uint64_t{a.v.y} << 32 | a.v.x),
                                              static_cast<long>(uint64_t{b.v.y} << 32 | b.v.x), sum,
                                              0, 0, 0);
#endif
  SetTile(sum, tile);
}

#define GPU_FLOAT_UNIT
template <Side kSide>
using FloatFragment = QuarterFragment<kSide>;
template <bool kShort>
GPU_FN void AddProducts(Tile<float>* tile, const FloatFragment<kLeft>& a,
                        const FloatFragment<kRight>& b) {
  FloatSums sum = VectorOf<FloatSums>(*tile);
  sum = __builtin_amdgcn_mfma_f32_16x16x4f32(AsFloat(a.v.x), AsFloat(b.v.x), sum, 0, 0, 0);
  sum = __builtin_amdgcn_mfma_f32_16x16x4f32(AsFloat(a.v.y), AsFloat(b.v.y), sum, 0, 0, 0);
  SetTile(sum, tile);
}

#else  // WMMA.
GPU_FN uint32_t TileRow(uint32_t i) {
  const uint32_t half = Thread() % 32 / 16;
  return GPU_WMMA == 11 ? i * 2 + half : half * 8 + i;
}
GPU_FN uint32_t TileColumn(uint32_t) {
  return Thread() % 16;
}

#define GPU_BYTE_UNIT
/// Of row lane % 16: all of it for RDNA 3, for RDNA 4 the part lane / 16 of each half.
template <Side kSide>
struct ByteFragment {
#if GPU_WMMA == 11
  Words4 v[2];
#else
  Words2 v[2];
#endif
};
template <Side kSide>
GPU_FN void Load(SharedPointer<Quad> from, uint32_t at, uint32_t stride,
                 ByteFragment<kSide>* fragment) {
  GPU_UNROLL
  for (uint32_t half = 0; half < 2; ++half) {
    const Quad* const quad = from + at + half * stride + Thread() % 16;
#if GPU_WMMA == 11
    fragment->v[half] = *reinterpret_cast<const Words4*>(quad);
#else
    fragment->v[half] = reinterpret_cast<const Words2*>(quad)[Thread() % 32 / 16];
#endif
  }
}
GPU_FN void AddProducts(Tile<int32_t>* tile, const ByteFragment<kLeft>& a,
                        const ByteFragment<kRight>& b) {
  Sums sum = VectorOf<Sums>(*tile);
  GPU_UNROLL
  for (uint32_t half = 0; half < 2; ++half) {
#if GPU_WMMA == 11
    sum = __builtin_amdgcn_wmma_i32_16x16x16_iu8_w32(true, a.v[half], true, b.v[half], sum, false);
#else
    sum = __builtin_amdgcn_wmma_i32_16x16x16_iu8_w32_gfx12(true, a.v[half], true, b.v[half], sum,
                                                           false);
#endif
  }
  SetTile(sum, tile);
}
#endif

}  // namespace cormorant::GPU_NAMESPACE::gpu
#endif
