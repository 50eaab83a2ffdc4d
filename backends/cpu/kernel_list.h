// The kernels that one instruction set defines, for its table. kernels.h says what each one does.
//
// Included by kernel files alone, where CORM_ISA names the set.
#pragma once
#include "backends/cpu/kernels.h"
#include "backends/cpu/simd.h"

namespace cormorant::cpu::CORM_ISA {

/// Where the parts of one block of a tile of `rows` rows are, in bytes.
struct TileBlock {
  static constexpr uint32_t kRowBytes = 2 * kBlock;
  uint32_t rows;
  constexpr uint32_t scales() const { return rows * kRowBytes; }   // f32 [rows]: d
  constexpr uint32_t sums() const { return scales() + rows * 4; }  // f32 [rows]: d * sum
  constexpr uint32_t halves() const { return sums() + rows * 4; }  // i32 [rows][2]: sum of each 16
  constexpr uint32_t bytes() const { return halves() + rows * 8; }
};

/// The sums of quants of columns 0..15 and 16..31 of a row.
CORM_SIMD const int32_t* HalvesOf(TileBlock layout, const uint8_t* block, uint32_t row) {
  return reinterpret_cast<const int32_t*>(block + layout.halves()) + 2 * row;
}

uint64_t TileBytes(uint32_t blocks);
void QuantizeTile(const float* const* rows, uint32_t count, uint32_t blocks, float scale,
                  uint8_t* tile);
void MultiplyPanels(const PanelTask& task);
void MultiplyDense(const DenseTask& task);
void RmsNorm(float* y, const float* x, const float* w, uint32_t width, float eps);
void SiluProduct(float* y, const float* gate, const float* up, uint64_t count);
void Rotate(float* x, const float* cosines, const float* sines, uint32_t dims);
void Hadamard(const PageShape& shape, float* row);
void WriteRow(const PageShape& shape, uint8_t* page, uint32_t slot, const float* k, const float* v);
uint64_t QueryBytes(const PageShape& shape);
void PackQueries(const PageShape& shape, const float* const* queries, uint32_t count, float scale,
                 uint8_t* packed);
void Scores(const RunTask& task, const uint8_t* packed, float* out);
float Softmax(float* scores, uint32_t visible, uint32_t slots, float* greatest);
void Values(const RunTask& task, const float* weights, float* o, uint32_t stride);
void Merge(const float* parts, const float* factors, uint32_t runs, uint32_t stride,
           uint32_t head_dim, float* o);
void Stamp(const RunTask& task, const float* weights, const float* factors, const uint32_t* steps,
           uint32_t reach);
void AddAttention(const RunTask& task, const float* weights, const float* factors);

/// Both planes of a row's block against 16 rows of weights, kGroups groups of 4 columns; too large
/// by kS8Bias * sum if kSigned.
///
/// kChains (1, 2, 4) sums that do not wait for each other: one where the rows of a tile hide the
/// latency of a dot product, more where there are few.
template <bool kSigned, int kChains = 1, int kGroups = 8>
CORM_SIMD I32 DotPlanes(const I8* w, const int8_t* x) {
  const auto dot = [&](I32 sum, int g, int plane) {
    const int8_t* four = x + plane * static_cast<int>(kBlock) + 4 * g;
    return kSigned ? DotS8(sum, w[g], four) : DotU7(sum, w[g], four);
  };
  I32 high = ZeroI();
  if constexpr (kChains == 1) {
#pragma GCC unroll 8
    for (int g = 0; g < kGroups; ++g) high = dot(high, g, 0);
    high = ShiftLeft<7>(high);
#pragma GCC unroll 8
    for (int g = 0; g < kGroups; ++g) high = dot(high, g, 1);
    return high;
  } else if constexpr (kChains == 2) {
    I32 low = ZeroI();
#pragma GCC unroll 8
    for (int g = 0; g < kGroups; ++g) {
      high = dot(high, g, 0);
      low = dot(low, g, 1);
    }
    return AddI(ShiftLeft<7>(high), low);
  } else {
    I32 high_odd = ZeroI(), low = ZeroI(), low_odd = ZeroI();
#pragma GCC unroll 4
    for (int g = 0; g < kGroups; g += 2) {
      high = dot(high, g, 0);
      high_odd = dot(high_odd, g + 1, 0);
      low = dot(low, g, 1);
      low_odd = dot(low_odd, g + 1, 1);
    }
    return AddI(ShiftLeft<7>(AddI(high, high_odd)), AddI(low, low_odd));
  }
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
