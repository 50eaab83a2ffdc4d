// y = x * w^T for many rows of x. See MatMulOp in runtime/ops/ops.h.
//
// Prefill is about arithmetic, so it is done in tiles of 16 by 16 by the wave (matrix.cuh). A block
// makes the outputs of a MatMulTile, a wave some tiles below and beside each other. Columns come in
// stages, brought to one of two buffers in shared memory: while one is multiplied, the next stage
// is on its way from global memory to the other, past the registers or through them.
//
// A stage's products are summed from zero and then added to the sums: they are exact integers to be
// scaled, or matrix units that do not round to nearest. Every size of tile sums in the same order,
// so an output has the same bits whichever made it.
#pragma once
#include "shaders/gpu/matrix.cuh"
#include "shaders/gpu/matvec.cuh"

namespace cormorant::GPU_NAMESPACE::kernels {

/// How the outputs of a block are dealt to its waves: to each kDown by kAcross tiles.
template <uint32_t kRows_, uint32_t kColumns_, uint32_t kThreads_>
struct Dealt {
  static constexpr uint32_t kRows = kRows_, kColumns = kColumns_, kThreads = kThreads_;
  static constexpr uint32_t kWaves = kThreads / gpu::kWave;
  static constexpr uint32_t kDown = kRows < gpu::kWave ? kRows / 16
                                    : gpu::kWave < 16  ? 1
                                                       : gpu::kWave / 16;
  static constexpr uint32_t kWavesDown = kRows / 16 / kDown;
  // Narrow waves, which only tests have, may find no tile left.
  static constexpr uint32_t kWavesAcross =
      kWaves / kWavesDown < kColumns / 16 ? kWaves / kWavesDown : kColumns / 16;
  static constexpr uint32_t kAcross = kColumns / 16 / kWavesAcross;
  static constexpr uint32_t kXStride = kRows + gpu::kOperandPadding;
  static constexpr uint32_t kWStride = kColumns + gpu::kOperandPadding;

  static GPU_METHOD bool HasTiles() {
    return gpu::Thread() / gpu::kWave < kWavesDown * kWavesAcross;
  }
  static GPU_METHOD uint32_t FirstRow() {  // Of the wave, in the block.
    return gpu::Thread() / gpu::kWave % kWavesDown * kDown * 16;
  }
  static GPU_METHOD uint32_t FirstColumn() {
    return gpu::Thread() / gpu::kWave / kWavesDown * kAcross * 16;
  }
};
template <uint32_t kSize>
using DealtFloat =
    Dealt<kMatMulTiles[kSize].rows, kMatMulTiles[kSize].columns, kMatMulTiles[kSize].threads>;
template <uint32_t kSize>
using DealtDot = Dealt<kMatMulDotTiles[kSize].rows, kMatMulDotTiles[kSize].columns,
                       kMatMulDotTiles[kSize].threads>;

template <class T>
GPU_FN gpu::Tile<T> Zeros() {
  gpu::Tile<T> tile;
  GPU_UNROLL
  for (uint32_t i = 0; i < gpu::kTileNumbers; ++i) tile.v[i] = 0;
  return tile;
}

/// The outputs of a wave.
template <class D>
struct Sums {
  gpu::Tile<float> tile[D::kDown][D::kAcross];
};

template <class D>
GPU_FN void Clear(Sums<D>* sums) {
  GPU_UNROLL
  for (uint32_t m = 0; m < D::kDown; ++m) {
    GPU_UNROLL
    for (uint32_t n = 0; n < D::kAcross; ++n) sums->tile[m][n] = Zeros<float>();
  }
}

template <class D>
GPU_FN void StoreSums(const MatMulArguments& a, uint32_t rows, uint32_t first_row, uint32_t first_w,
                      const Sums<D>& sums) {
  if (!D::HasTiles()) return;
  GPU_UNROLL
  for (uint32_t m = 0; m < D::kDown; ++m) {
    GPU_UNROLL
    for (uint32_t n = 0; n < D::kAcross; ++n) {
      GPU_UNROLL
      for (uint32_t i = 0; i < gpu::kTileNumbers; ++i) {
        StoreOutput(a, rows, first_row + D::FirstRow() + m * 16 + gpu::TileRow(i),
                    first_w + D::FirstColumn() + n * 16 + gpu::TileColumn(i), sums.tile[m][n].v[i]);
      }
    }
  }
}

/// What a thread brings of a stage of floats, 16 columns: eight of a row of x, of a row of w.
struct FloatStage {
  gpu::Quad x[2], w[2];
};
GPU_FN uint32_t WordAt(const float* x, uint32_t column, uint32_t columns) {
  return column < columns ? gpu::AsWord(x[column]) : 0;
}
/// Four columns of a row of x, 0 past its end.
GPU_FN gpu::Quad QuadOf(const float* x, uint32_t column, uint32_t columns) {
  if (columns % 4 == 0 && column < columns) {
    return *reinterpret_cast<const gpu::Quad*>(x + column);
  }
  return {WordAt(x, column, columns), WordAt(x, column + 1, columns),
          WordAt(x, column + 2, columns), WordAt(x, column + 3, columns)};
}
GPU_FN gpu::Quad QuadOf(const float* v) {
  return {gpu::AsWord(v[0]), gpu::AsWord(v[1]), gpu::AsWord(v[2]), gpu::AsWord(v[3])};
}

/// Index of the first quad of a step of eight columns.
template <uint32_t kStride>
GPU_FN uint32_t StepAt(uint32_t buffer, uint32_t step) {
  return (buffer * 2 + step) * kStride * 2;
}

template <uint32_t kType, class D>
GPU_FN FloatStage FetchFloats(const MatMulArguments& a, uint32_t rows, uint32_t first_row,
                              uint32_t first_w, uint32_t stage) {
  const uint32_t row = gpu::Thread() / 2, step = gpu::Thread() % 2;
  FloatStage fetched;
  if (row < D::kRows) {
    // x has fewer than 2^32 numbers, which whoever launches this sees to.
    const float* const x = a.x + gpu::Min(first_row + row, rows - 1) * a.columns;
    const uint32_t column = stage * 16 + step * 8;
    fetched.x[0] = QuadOf(x, column, a.columns);
    fetched.x[1] = QuadOf(x, column + 4, a.columns);
  }
  if (row < D::kColumns) {
    const uint32_t tile = gpu::Min((first_w + row) / 32, a.tiles - 1);
    const Eight w =
        Piece<kType>(a.quads, tile, stage / 2, a.blocks, row % 32, stage % 2 * 2 + step);
    fetched.w[0] = QuadOf(w.v);
    fetched.w[1] = QuadOf(w.v + 4);
  }
  return fetched;
}

template <class D>
GPU_FN void KeepFloats(const FloatStage& fetched, gpu::SharedPointer<gpu::Quad> xs,
                       gpu::SharedPointer<gpu::Quad> ws, uint32_t buffer) {
  const uint32_t row = gpu::Thread() / 2, step = gpu::Thread() % 2;
  const uint32_t x_at = StepAt<D::kXStride>(buffer, step) + row;
  const uint32_t w_at = StepAt<D::kWStride>(buffer, step) + row;
  if (row < D::kRows) {
    xs[x_at] = fetched.x[0];
    xs[x_at + D::kXStride] = fetched.x[1];
  }
  if (row < D::kColumns) {
    ws[w_at] = fetched.w[0];
    ws[w_at + D::kWStride] = fetched.w[1];
  }
}

template <uint32_t kType, class D>
GPU_FN void AddFloats(gpu::SharedPointer<gpu::Quad> xs, gpu::SharedPointer<gpu::Quad> ws,
                      uint32_t buffer, Sums<D>* sums) {
  gpu::FloatFragment<gpu::kLeft> x[2][D::kDown];
  GPU_UNROLL
  for (uint32_t i = 0; i < 2 * D::kDown; ++i) {
    const uint32_t step = i / D::kDown, m = i % D::kDown;
    gpu::Load(xs, StepAt<D::kXStride>(buffer, step) + D::FirstRow() + m * 16, D::kXStride,
              &x[step][m]);
  }
  GPU_UNROLL
  for (uint32_t n = 0; n < D::kAcross; ++n) {
    gpu::FloatFragment<gpu::kRight> w[2];
    GPU_UNROLL
    for (uint32_t step = 0; step < 2; ++step) {
      gpu::Load(ws, StepAt<D::kWStride>(buffer, step) + D::FirstColumn() + n * 16, D::kWStride,
                &w[step]);
    }
    GPU_UNROLL
    for (uint32_t m = 0; m < D::kDown; ++m) {
      gpu::Tile<float> products = Zeros<float>();
      gpu::AddProducts<kType != kF32>(&products, x[0][m], w[0]);
      gpu::AddProducts<kType != kF32>(&products, x[1][m], w[1]);
      GPU_UNROLL
      for (uint32_t i = 0; i < gpu::kTileNumbers; ++i) sums->tile[m][n].v[i] += products.v[i];
    }
  }
}

/// For float types. Grid: tiles of rows of w, tiles of rows of x.
template <uint32_t kType, uint32_t kSize>
GPU_KERNEL(kMatMulTiles[kSize].threads)
MatMul(const MatMulArguments a) {
  using D = DealtFloat<kSize>;
  GPU_SHARED(gpu::Quad, xs, 8 * D::kXStride);  // [buffer][step][four columns][row]
  GPU_SHARED(gpu::Quad, ws, 8 * D::kWStride);
  const uint32_t first_row = gpu::BlockY() * D::kRows, first_w = gpu::Block() * D::kColumns;
  const uint32_t rows = a.step[a.live], stages = a.blocks * 2;
  if (first_row >= rows) return;
  Sums<D> sums;
  Clear(&sums);
  FloatStage fetched = FetchFloats<kType, D>(a, rows, first_row, first_w, 0);
  KeepFloats<D>(fetched, xs, ws, 0);
  gpu::Sync();
  for (uint32_t stage = 0; stage < stages; ++stage) {
    const uint32_t buffer = stage % 2;
    const bool has_next = stage + 1 < stages;
    if (has_next) fetched = FetchFloats<kType, D>(a, rows, first_row, first_w, stage + 1);
    if (D::HasTiles()) AddFloats<kType>(xs, ws, buffer, &sums);
    if (has_next) KeepFloats<D>(fetched, xs, ws, 1 - buffer);
    gpu::Sync();
  }
  StoreSums(a, rows, first_row, first_w, sums);
}

/// What a thread brings of a stage of block types, 32 columns. Quads that need no change are copied
/// past the registers where the device can.
template <class D>
struct DotStage {
  static constexpr uint32_t kXQuads = D::kRows * 4 / D::kThreads;
  gpu::Transit x[kXQuads], w;
  gpu::Pair nibbles;
  gpu::Pair scale;  // Of a row of x and its sum, or d and m of one of w.

  /// The row and the quad, of two of high bytes and two of low ones, of this thread's x[i].
  static GPU_METHOD uint32_t Row(uint32_t i) {
    return (gpu::Thread() + i * D::kThreads) / 2 % D::kRows;
  }
  static GPU_METHOD uint32_t QuadOfRow(uint32_t i) {
    return (gpu::Thread() + i * D::kThreads) / (D::kRows * 2) * 2 + gpu::Thread() % 2;
  }
  static GPU_METHOD uint32_t XPlace(uint32_t buffer, uint32_t i) {
    return (buffer * 4 + QuadOfRow(i)) * D::kXStride + Row(i);
  }
  static GPU_METHOD uint32_t WPlace(uint32_t buffer) {
    return (buffer * 2 + gpu::Thread() % 2) * D::kWStride + gpu::Thread() / 2;
  }
};
/// Place of a thread's scale: those of x stand before those of w. Past the end: it has none.
template <class D>
GPU_FN uint32_t ScalePlace() {
  const uint32_t thread = gpu::Thread(), first_w = D::kThreads - D::kColumns;
  if (thread < D::kRows) return thread;
  return thread < first_w ? D::kRows + D::kColumns : D::kRows + thread - first_w;
}

template <uint32_t kType, class D>
GPU_FN void FetchDots(const MatMulArguments& a, uint32_t rows, uint32_t first_row, uint32_t first_w,
                      uint32_t block, gpu::SharedPointer<gpu::Quad> xs,
                      gpu::SharedPointer<gpu::Quad> ws, DotStage<D>* fetched) {
  static_assert(D::kThreads == D::kColumns * 2 && D::kThreads >= D::kRows + D::kColumns);
  const uint32_t buffer = block % 2, place = ScalePlace<D>();
  GPU_UNROLL
  for (uint32_t i = 0; i < DotStage<D>::kXQuads; ++i) {
    const uint32_t row = gpu::Min(first_row + DotStage<D>::Row(i), rows - 1);
    const uint32_t at = row * a.blocks * 4 + DotStage<D>::QuadOfRow(i) + block * 4;
    gpu::StartCopy(reinterpret_cast<const gpu::Quad*>(a.quants) + at, xs,
                   DotStage<D>::XPlace(buffer, i), &fetched->x[i]);
  }
  {
    const uint32_t row = gpu::Thread() / 2, half = gpu::Thread() % 2;
    const uint32_t tile = gpu::Min((first_w + row) / 32, a.tiles - 1);
    if constexpr (Layout<kType>::kIsNibble) {
      const uint32_t at = Layout<kType>::QuadAt(tile, block, a.blocks, 0, row % 32) * 4 + half * 2;
      fetched->nibbles = *reinterpret_cast<const gpu::Pair*>(a.quads + at);
    } else {
      const uint32_t at = Layout<kType>::QuadAt(tile, block, a.blocks, half, row % 32);
      gpu::StartCopy(reinterpret_cast<const gpu::Quad*>(a.quads) + at, ws,
                     DotStage<D>::WPlace(buffer), &fetched->w);
    }
  }
  if (place < D::kRows) {
    const uint32_t at = gpu::Min(first_row + place, rows - 1) * a.blocks + block;
    fetched->scale = reinterpret_cast<const gpu::Pair*>(a.x_scales)[at];
  } else if (place < D::kRows + D::kColumns) {
    const uint32_t row = place - D::kRows, tile = gpu::Min((first_w + row) / 32, a.tiles - 1);
    const Scale scale = ScaleOf<kType>(a.scales, tile, block, a.blocks, row % 32);
    fetched->scale = {gpu::AsWord(scale.d), gpu::AsWord(scale.m)};
  }
}

/// Four quants of a 4-bit type as bytes: of q4_0 without the 8 that is added to them.
template <uint32_t kType>
GPU_FN uint32_t QuantBytes(uint32_t nibbles) {
  nibbles &= 0x0f0f0f0fu;
  return kType == kQ4_0 ? (nibbles + 0x78787878u) ^ 0x80808080u : nibbles;
}

template <uint32_t kType, class D>
GPU_FN void KeepDots(DotStage<D>* fetched, uint32_t block, gpu::SharedPointer<gpu::Quad> xs,
                     gpu::SharedPointer<gpu::Quad> ws, gpu::SharedPointer<gpu::Pair> scales) {
  const uint32_t buffer = block % 2;
  GPU_UNROLL
  for (uint32_t i = 0; i < DotStage<D>::kXQuads; ++i) {
    gpu::EndCopy(xs, DotStage<D>::XPlace(buffer, i), &fetched->x[i]);
  }
  if constexpr (Layout<kType>::kIsNibble) {
    const uint32_t v[4] = {fetched->nibbles.x, fetched->nibbles.x >> 4, fetched->nibbles.y,
                           fetched->nibbles.y >> 4};
    ws[DotStage<D>::WPlace(buffer)] = gpu::Quad{QuantBytes<kType>(v[0]), QuantBytes<kType>(v[1]),
                                                QuantBytes<kType>(v[2]), QuantBytes<kType>(v[3])};
  } else {
    gpu::EndCopy(ws, DotStage<D>::WPlace(buffer), &fetched->w);
  }
  constexpr uint32_t kScales = D::kRows + D::kColumns;
  const uint32_t place = ScalePlace<D>();
  if (place < kScales) scales[buffer * kScales + place] = fetched->scale;
}

template <uint32_t kType, class D>
GPU_FN void AddDots(gpu::SharedPointer<gpu::Quad> xs, gpu::SharedPointer<gpu::Quad> ws,
                    gpu::SharedPointer<gpu::Pair> scales, uint32_t buffer, Sums<D>* sums) {
  const uint32_t x_scales = buffer * (D::kRows + D::kColumns), w_scales = x_scales + D::kRows;
  gpu::ByteFragment<gpu::kLeft> high[D::kDown], low[D::kDown];
  GPU_UNROLL
  for (uint32_t m = 0; m < D::kDown; ++m) {
    const uint32_t at = buffer * 4 * D::kXStride + D::FirstRow() + m * 16;
    gpu::Load(xs, at, D::kXStride, &high[m]);
    gpu::Load(xs, at + 2 * D::kXStride, D::kXStride, &low[m]);
  }
  GPU_UNROLL
  for (uint32_t n = 0; n < D::kAcross; ++n) {
    const uint32_t column = D::FirstColumn() + n * 16;
    gpu::ByteFragment<gpu::kRight> w;
    gpu::Load(ws, buffer * 2 * D::kWStride + column, D::kWStride, &w);
    GPU_UNROLL
    for (uint32_t m = 0; m < D::kDown; ++m) {
      const uint32_t row = D::FirstRow() + m * 16;
      gpu::Tile<int32_t> dots = Zeros<int32_t>();
      gpu::AddProducts(&dots, high[m], w);
      GPU_UNROLL
      for (uint32_t i = 0; i < gpu::kTileNumbers; ++i) dots.v[i] *= 128;
      gpu::AddProducts(&dots, low[m], w);
      GPU_UNROLL
      for (uint32_t i = 0; i < gpu::kTileNumbers; ++i) {
        const gpu::Pair x_scale = scales[x_scales + row + gpu::TileRow(i)];
        const gpu::Pair w_scale = scales[w_scales + column + gpu::TileColumn(i)];
        float* const sum = &sums->tile[m][n].v[i];
        *sum += gpu::AsFloat(x_scale.x) * gpu::AsFloat(w_scale.x) * static_cast<float>(dots.v[i]);
        if constexpr (kType == kQ4_1) {
          *sum += gpu::AsFloat(x_scale.y) * gpu::AsFloat(w_scale.y);
        }
      }
    }
  }
}

/// For block types, x in two bytes a number (quants.cuh). Grid: as MatMul.
template <uint32_t kType, uint32_t kSize>
GPU_KERNEL(kMatMulDotTiles[kSize].threads)
MatMulDot(const MatMulArguments a) {
  using D = DealtDot<kSize>;
  GPU_SHARED(gpu::Quad, xs, 8 * D::kXStride);  // [buffer][high or low][16 columns][row]
  GPU_SHARED(gpu::Quad, ws, 4 * D::kWStride);  // [buffer][16 columns][row]
  GPU_SHARED(gpu::Pair, scales, 2 * (D::kRows + D::kColumns));
  const uint32_t first_row = gpu::BlockY() * D::kRows, first_w = gpu::Block() * D::kColumns;
  const uint32_t rows = a.step[a.live];
  if (first_row >= rows) return;
  Sums<D> sums;
  Clear(&sums);
  DotStage<D> fetched;
  FetchDots<kType>(a, rows, first_row, first_w, 0, xs, ws, &fetched);
  KeepDots<kType>(&fetched, 0, xs, ws, scales);
  gpu::Sync();
  for (uint32_t block = 0; block < a.blocks; ++block) {
    const bool has_next = block + 1 < a.blocks;
    if (has_next) FetchDots<kType>(a, rows, first_row, first_w, block + 1, xs, ws, &fetched);
    if (D::HasTiles()) AddDots<kType>(xs, ws, scales, block % 2, &sums);
    if (has_next) KeepDots<kType>(&fetched, block + 1, xs, ws, scales);
    gpu::Sync();
  }
  StoreSums(a, rows, first_row, first_w, sums);
}

}  // namespace cormorant::GPU_NAMESPACE::kernels
