// y = x * w^T for many rows of x. See MatMulOp in runtime/ops/ops.h.
//
// Prefill is about arithmetic: a block makes 64 by 64 outputs, a thread 4 by 4 of them in
// registers. For each 32 columns both sides are brought to shared memory, transposed, so that four
// neighbours are one read: as f32, or for block types as words of four columns, x in two bytes a
// number (quantize_x.cuh), whose products of 32 columns are exact integers.
#pragma once
#include "shaders/gpu/matvec.cuh"

namespace cormorant::GPU_NAMESPACE::kernels {

constexpr uint32_t kMatMulThreads = 256;
constexpr uint32_t kTileSide = 64;           // Rows of x, and of w.
constexpr uint32_t kStride = kTileSide + 4;  // So that columns do not fall on the same banks.

/// The outputs of a thread: four rows of x by four of w.
struct Outputs {
  float v[4][4];
};

GPU_FN void Clear(Outputs* outputs) {
  for (uint32_t m = 0; m < 4; ++m) {
    for (uint32_t n = 0; n < 4; ++n) outputs->v[m][n] = 0.0f;
  }
}

GPU_FN void StoreOutputs(const MatMulArguments& a, uint32_t rows, uint32_t first_row,
                         uint32_t first_w, const Outputs& outputs) {
  for (uint32_t m = 0; m < 4; ++m) {
    for (uint32_t n = 0; n < 4; ++n) {
      StoreOutput(a, rows, first_row + m, first_w + n, outputs.v[m][n]);
    }
  }
}

/// For float types. Grid: tiles of rows of w, tiles of rows of x.
template <uint32_t kType>
GPU_KERNEL(kMatMulThreads)
MatMul(const MatMulArguments a) {
  GPU_SHARED(float, xs, 32 * kStride);  // [column][row]
  GPU_SHARED(float, ws, 32 * kStride);
  const uint32_t thread = gpu::Thread(), first_row = gpu::BlockY() * kTileSide;
  const uint32_t first_w = gpu::Block() * kTileSide, rows = a.step[a.live];
  if (first_row >= rows) return;
  const uint32_t m0 = thread / 16 * 4, n0 = thread % 16 * 4;
  Outputs sum;
  Clear(&sum);
  for (uint32_t block = 0; block < a.blocks; ++block) {
    {
      const uint32_t row = thread / 4, piece = thread % 4;
      const float* const x = a.x + uint64_t{gpu::Min(first_row + row, rows - 1)} * a.columns;
      const Eight eight = EightOf(x, block * 32 + piece * 8, a.columns);
      for (uint32_t i = 0; i < 8; ++i) xs[(piece * 8 + i) * kStride + row] = eight.v[i];
    }
    {
      const uint32_t row = thread % kTileSide, piece = thread / kTileSide;
      const uint32_t tile = gpu::Min((first_w + row) / 32, a.tiles - 1);
      const Eight eight = Piece<kType>(a.quads, tile, block, a.blocks, row % 32, piece);
      for (uint32_t i = 0; i < 8; ++i) ws[(piece * 8 + i) * kStride + row] = eight.v[i];
    }
    gpu::Sync();
    for (uint32_t k = 0; k < 32; ++k) {
      const gpu::Float4 x4 = gpu::Load4(xs, k * kStride + m0);
      const gpu::Float4 w4 = gpu::Load4(ws, k * kStride + n0);
      const float x[4] = {x4.x, x4.y, x4.z, x4.w}, w[4] = {w4.x, w4.y, w4.z, w4.w};
      for (uint32_t m = 0; m < 4; ++m) {
        for (uint32_t n = 0; n < 4; ++n) sum.v[m][n] += x[m] * w[n];
      }
    }
    gpu::Sync();
  }
  StoreOutputs(a, rows, first_row + m0, first_w + n0, sum);
}

/// For block types. Grid: tiles of rows of w, tiles of rows of x.
template <uint32_t kType>
GPU_KERNEL(kMatMulThreads)
MatMulDot(const MatMulArguments a) {
  GPU_SHARED(uint32_t, xs, 16 * kStride);  // [high or low][four columns][row]
  GPU_SHARED(uint32_t, ws, 8 * kStride);   // [four columns][row]
  GPU_SHARED(float, x_scales, 2 * kTileSide);
  GPU_SHARED(float, w_scales, 2 * kTileSide);
  const uint32_t thread = gpu::Thread(), first_row = gpu::BlockY() * kTileSide;
  const uint32_t first_w = gpu::Block() * kTileSide, rows = a.step[a.live];
  if (first_row >= rows) return;
  const uint32_t m0 = thread / 16 * 4, n0 = thread % 16 * 4;
  Outputs sum;
  Clear(&sum);
  for (uint32_t block = 0; block < a.blocks; ++block) {
    {
      const uint32_t row = thread / 4, part = thread % 4;
      const uint64_t at = uint64_t{gpu::Min(first_row + row, rows - 1)} * a.blocks + block;
      const gpu::Quad q = reinterpret_cast<const gpu::Quad*>(a.quants + at * 16)[part];
      xs[(part * 4) * kStride + row] = q.x;
      xs[(part * 4 + 1) * kStride + row] = q.y;
      xs[(part * 4 + 2) * kStride + row] = q.z;
      xs[(part * 4 + 3) * kStride + row] = q.w;
      if (part < 2) x_scales[part * kTileSide + row] = a.x_scales[at * 2 + part];
    }
    {
      const uint32_t row = thread % kTileSide, part = thread / kTileSide;
      const uint32_t tile = gpu::Min((first_w + row) / 32, a.tiles - 1), lane = row % 32;
      for (uint32_t w = part * 2; w < part * 2 + 2; ++w) {
        ws[w * kStride + row] = QuantWord<kType>(a.quads, tile, block, a.blocks, lane, w);
      }
      if (part == 0) {
        const Scale scale = ScaleOf<kType>(a.scales, tile, block, a.blocks, lane);
        w_scales[row] = scale.d;
        w_scales[kTileSide + row] = scale.m;
      }
    }
    gpu::Sync();
    int32_t dots[4][4] = {};
    for (uint32_t k = 0; k < 16; ++k) {
      const gpu::Quad x4 = gpu::Load4(xs, k * kStride + m0);
      const gpu::Quad w4 = gpu::Load4(ws, k % 8 * kStride + n0);
      const uint32_t x[4] = {x4.x, x4.y, x4.z, x4.w}, w[4] = {w4.x, w4.y, w4.z, w4.w};
      for (uint32_t m = 0; m < 4; ++m) {
        for (uint32_t n = 0; n < 4; ++n) {
          if (k == 8) dots[m][n] *= 128;  // The high bytes are done.
          dots[m][n] = gpu::Dot4(x[m], w[n], dots[m][n]);
        }
      }
    }
    for (uint32_t m = 0; m < 4; ++m) {
      for (uint32_t n = 0; n < 4; ++n) {
        sum.v[m][n] += x_scales[m0 + m] * w_scales[n0 + n] * static_cast<float>(dots[m][n]);
        if constexpr (Layout<kType>::kIsNibble) {
          sum.v[m][n] += x_scales[kTileSide + m0 + m] * w_scales[kTileSide + n0 + n];
        }
      }
    }
    gpu::Sync();
  }
  StoreOutputs(a, rows, first_row + m0, first_w + n0, sum);
}

}  // namespace cormorant::GPU_NAMESPACE::kernels
