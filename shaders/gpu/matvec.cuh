// y = x * w^T for few rows of x. See MatMulOp in runtime/ops/ops.h.
//
// Decode reads every weight once, so this is about memory: a block makes 32 outputs; its 32 lanes
// have one row of w each (the 16-byte quads of 32 rows are neighbours), its slices take turns at
// blocks of 32 columns, and their sums meet in shared memory. All lanes of a slice read the same x,
// which stays in cache. Block types are multiplied as bytes, x in two of them (quants.cuh).
#pragma once
#include "shaders/gpu/weights.cuh"

namespace cormorant::GPU_NAMESPACE::kernels {

constexpr uint32_t kMatVecThreads = 512;

/// The output of a row of x and a row of w, if there is such a one.
GPU_FN void StoreOutput(const MatMulArguments& a, uint32_t rows, uint32_t row, uint32_t row_of_w,
                        float value) {
  if (row >= rows || row_of_w >= a.rows_of_w) return;
  float* const y = a.y + uint64_t{row} * a.rows_of_w + row_of_w;
  *y = a.accumulate != 0 ? *y + value : value;
}

/// Columns 8 piece .. of a row of x, 0 past its end.
GPU_FN Eight EightOf(const float* x, uint32_t column, uint32_t columns) {
  Eight eight;
  if (columns % 4 == 0 && column + 8 <= columns) {
    const gpu::Float4 a = *reinterpret_cast<const gpu::Float4*>(x + column);
    const gpu::Float4 b = *reinterpret_cast<const gpu::Float4*>(x + column + 4);
    return {{a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w}};
  }
  for (uint32_t i = 0; i < 8; ++i) eight.v[i] = column + i < columns ? x[column + i] : 0.0f;
  return eight;
}

/// Adds a block's products with kBatch rows of x to `total`. For float types.
template <uint32_t kType, uint32_t kBatch>
GPU_FN void AddFloats(const MatMulArguments& a, uint32_t first_row, uint32_t rows, uint32_t tile,
                      uint32_t block, uint32_t lane, float* total) {
  for (uint32_t piece = 0; piece < 4; ++piece) {
    const Eight w = Piece<kType>(a.quads, tile, block, a.blocks, lane, piece);
    for (uint32_t r = 0; r < kBatch; ++r) {
      const float* const x = a.x + uint64_t{gpu::Min(first_row + r, rows - 1)} * a.columns;
      const Eight e = EightOf(x, block * 32 + piece * 8, a.columns);
      float sum = 0.0f;
      for (uint32_t i = 0; i < 8; ++i) sum += e.v[i] * w.v[i];
      total[r] += sum;
    }
  }
}

/// The same for block types.
template <uint32_t kType, uint32_t kBatch>
GPU_FN void AddQuants(const MatMulArguments& a, uint32_t first_row, uint32_t rows,
                      const Packed<kType>& packed, uint32_t block, float* total) {
  const QuantWords w = WordsOf<kType>(packed);
  for (uint32_t r = 0; r < kBatch; ++r) {
    const uint64_t at = uint64_t{gpu::Min(first_row + r, rows - 1)} * a.blocks + block;
    const gpu::Quad* const x = reinterpret_cast<const gpu::Quad*>(a.quants + at * 16);
    int32_t high = 0, low = 0;
    for (uint32_t q = 0; q < 2; ++q) {
      const gpu::Quad h = x[q], l = x[q + 2];
      high = gpu::Dot4(h.x, w.v[q * 4], high);
      high = gpu::Dot4(h.y, w.v[q * 4 + 1], high);
      high = gpu::Dot4(h.z, w.v[q * 4 + 2], high);
      high = gpu::Dot4(h.w, w.v[q * 4 + 3], high);
      low = gpu::Dot4(l.x, w.v[q * 4], low);
      low = gpu::Dot4(l.y, w.v[q * 4 + 1], low);
      low = gpu::Dot4(l.z, w.v[q * 4 + 2], low);
      low = gpu::Dot4(l.w, w.v[q * 4 + 3], low);
    }
    total[r] += a.x_scales[at * 2] * packed.scale.d * static_cast<float>(high * 128 + low);
    if constexpr (Layout<kType>::kIsNibble) total[r] += a.x_scales[at * 2 + 1] * packed.scale.m;
  }
}

/// Every `slices`-th block of a lane's row from `slice` on. Of block types several are fetched
/// before the first is used: a device with one block a processor has too little under way else.
template <uint32_t kType, uint32_t kBatch>
GPU_FN void AddRow(const MatMulArguments& a, uint32_t first_row, uint32_t rows, uint32_t tile,
                   uint32_t lane, uint32_t slice, uint32_t slices, float* total) {
  uint32_t block = slice;
  if constexpr (Layout<kType>::kHasScale) {
    constexpr uint32_t kAhead = kBatch > 4 ? 1 : Layout<kType>::kIsNibble ? 4 : 2;
    const auto fetch = [&](uint32_t b) {
      return FetchBlock<kType>(a.quads, a.scales, tile, b, a.blocks, lane);
    };
    for (; block + (kAhead - 1) * slices < a.blocks; block += kAhead * slices) {
      Packed<kType> packed[kAhead];
      GPU_UNROLL
      for (uint32_t i = 0; i < kAhead; ++i) packed[i] = fetch(block + i * slices);
      GPU_UNROLL
      for (uint32_t i = 0; i < kAhead; ++i) {
        AddQuants<kType, kBatch>(a, first_row, rows, packed[i], block + i * slices, total);
      }
    }
    for (; block < a.blocks; block += slices) {
      AddQuants<kType, kBatch>(a, first_row, rows, fetch(block), block, total);
    }
  } else {
    for (; block < a.blocks; block += slices) {
      AddFloats<kType, kBatch>(a, first_row, rows, tile, block, lane, total);
    }
  }
}

/// Grid: tiles of 32 rows of the weights, one after another; batches of rows of x. Blocks are 32
/// lanes by slices.
template <uint32_t kType, uint32_t kBatch>
GPU_KERNEL(kMatVecThreads)
MatVec(const MatVecArguments all) {
  GPU_SHARED(float, partial, kMatVecThreads* kBatch);
  const uint32_t lane = gpu::Thread() % 32, slice = gpu::Thread() / 32;
  const uint32_t slices = gpu::BlockThreads() / 32;
  const bool is_first = gpu::Block() < all.first_tile[1];
  const bool is_last = gpu::Block() >= all.first_tile[2];
  const MatMulArguments& a = is_first ? all.part[0] : is_last ? all.part[2] : all.part[1];
  const uint32_t tile = gpu::Block() - (is_first  ? 0
                                        : is_last ? all.first_tile[2]
                                                  : all.first_tile[1]);
  const uint32_t first_row = gpu::BlockY() * kBatch, rows = a.step[a.live];
  if (first_row >= rows) return;
  float total[kBatch];
  for (uint32_t r = 0; r < kBatch; ++r) total[r] = 0.0f;
  AddRow<kType, kBatch>(a, first_row, rows, tile, lane, slice, slices, total);
  for (uint32_t r = 0; r < kBatch; ++r) partial[(slice * kBatch + r) * 32 + lane] = total[r];
  gpu::Sync();
  for (uint32_t r = slice; r < kBatch; r += slices) {
    float sum = 0.0f;
    for (uint32_t s = 0; s < slices; ++s) sum += partial[(s * kBatch + r) * 32 + lane];
    StoreOutput(a, rows, first_row + r, tile * 32 + lane, sum);
  }
}

}  // namespace cormorant::GPU_NAMESPACE::kernels
