// The kernels that one instruction set defines, for its table. kernels.h says what each one does.
//
// Included by kernel files alone, where CORM_ISA names the set.
#pragma once
#include "backends/cpu/kernels.h"
#include "backends/cpu/simd.h"

namespace cormorant::cpu::CORM_ISA {

/// Where the numbers of a tile's block are, past the planes of `tile_rows` rows.
struct TileBlock {
  static constexpr uint32_t kRowBytes = 2 * kBlock;
  static constexpr uint32_t kScales = kTileRows * kRowBytes;  // f32 [rows]: d
  static constexpr uint32_t kSums = kScales + kTileRows * 4;  // f32 [rows]: d * sum
  static constexpr uint32_t kBiases = kSums + kTileRows * 4;  // i32 [rows]: kS8Bias * sum
  static constexpr uint32_t kBytes = kBiases + kTileRows * 4;
};

uint64_t TileBytes(uint32_t blocks);
void QuantizeTile(const float* const* rows, uint32_t count, uint32_t blocks, float scale,
                  uint8_t* tile);
void MultiplyPanels(const PanelTask& task);
void MultiplyDense(const DenseTask& task);
void RmsNorm(float* y, const float* x, const float* w, uint32_t width, float eps);
void SiluProduct(float* y, const float* gate, const float* up, uint64_t count);
void Rotate(float* x, const float* cosines, const float* sines, uint32_t dims);
void WriteRow(const PageShape& shape, uint8_t* page, uint32_t slot, const float* k, const float* v);
uint64_t QueryBytes(uint32_t head_dim);
void PackQueries(const PageShape& shape, const float* const* queries, uint32_t count, float scale,
                 uint8_t* packed);
void Scores(const RunTask& task, const uint8_t* packed, float* out);
float Softmax(float* scores, uint32_t visible, uint32_t slots, float* greatest);
void Values(const RunTask& task, const float* weights, float* o, uint32_t stride);
void Merge(const float* parts, const float* factors, uint32_t runs, uint32_t stride,
           uint32_t head_dim, float* o);
void Stamp(const RunTask& task, const float* weights, const float* least, const uint32_t* steps);

/// acc + both planes of a row's block against 16 rows of weights, 8 groups of 4 columns; too large
/// by kS8Bias * sum if kSigned.
template <bool kSigned>
CORM_SIMD I32 DotPlanes(const I8* w, const int8_t* x) {
  I32 sum = ZeroI();
#pragma GCC unroll 8
  for (int g = 0; g < 8; ++g) {
    sum = kSigned ? DotS8(sum, w[g], x + 4 * g) : DotU4(sum, w[g], x + 4 * g);
  }
  sum = ShiftLeft<7>(sum);
#pragma GCC unroll 8
  for (int g = 0; g < 8; ++g) {
    sum = kSigned ? DotS8(sum, w[g], x + kBlock + 4 * g) : DotU4(sum, w[g], x + kBlock + 4 * g);
  }
  return sum;
}

/// Calls f(constant rows) with the template constant that equals `rows`, 1..kTileRows.
template <int kRows>
struct Rows {
  static constexpr int value = kRows;
};
template <int kRows = kTileRows, class F>
CORM_SIMD void WithRows(uint32_t rows, F&& f) {
  if constexpr (kRows == 1) {
    f(Rows<1>());
  } else if (rows == kRows) {
    f(Rows<kRows>());
  } else {
    WithRows<kRows - 1>(rows, f);
  }
}

}  // namespace cormorant::cpu::CORM_ISA
