// Packed tiles hold the numbers of the matrix, where tiles.h says.
//
// Method: for every weight type, a matrix whose last tile and (for float types) last block are not
// full is packed, in two pieces, and each element is read back by the layout's definition and
// compared with the scalar dequantization.
#include "runtime/format/tiles.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <vector>

#include "runtime/base/half.h"
#include "runtime/format/dequantize.h"

namespace cormorant {
namespace {

template <class T>
T Read(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof(value));
  return value;
}

struct Packed {
  TiledShape shape;
  std::vector<std::byte> quads, scales;
};

/// Element of a row's block whose first quad is at `quad`; the next quad is 32 on.
float ElementOf(const Packed& packed, uint32_t tile, uint32_t block, uint32_t lane, uint32_t k) {
  const DType dtype = packed.shape.dtype;
  const uint64_t at = uint64_t{tile} * packed.shape.blocks + block;
  const uint32_t bits = dtype == DType::kF32                            ? 32
                        : dtype == DType::kF16 || dtype == DType::kBF16 ? 16
                        : dtype == DType::kQ8_0                         ? 8
                                                                        : 4;
  const uint32_t quads = bits / 4, per_quad = 128 / bits;
  const std::byte* const quad =
      packed.quads.data() + ((at * quads + k / per_quad) * kTileSide + lane) * 16;
  const uint32_t in_quad = k % per_quad;
  if (bits == 32) return Read<float>(quad + in_quad * 4);
  if (bits == 16) {
    const uint16_t half = Read<uint16_t>(quad + in_quad * 2);
    return dtype == DType::kF16 ? F16ToF32(half) : BF16ToF32(half);
  }
  const std::byte* const scales = packed.scales.data();
  const uint64_t scale_at = at * kTileSide + lane;
  if (bits == 8) {
    return F16ToF32(Read<uint16_t>(scales + scale_at * 2)) * Read<int8_t>(quad + in_quad);
  }
  const uint32_t word = Read<uint32_t>(quad + k / 8 * 4), i = k % 8;
  const float quant = static_cast<float>(word >> (8 * (i % 4) + (i < 4 ? 0 : 4)) & 15);
  if (dtype == DType::kQ4_0) {
    return F16ToF32(Read<uint16_t>(scales + scale_at * 2)) * (quant - 8.0f);
  }
  return F16ToF32(Read<uint16_t>(scales + scale_at * 4)) * quant +
         F16ToF32(Read<uint16_t>(scales + scale_at * 4 + 2));
}

class TilesTest : public testing::TestWithParam<DType> {};

TEST_P(TilesTest, HoldTheMatrix) {
  const DType dtype = GetParam();
  const bool is_block = Info(dtype).block > 1;
  const uint32_t rows = 70, columns = is_block ? 96 : 83;
  const uint64_t row_bytes = RowBytes(dtype, columns);
  std::mt19937 random(1);
  std::vector<std::byte> matrix(rows * row_bytes);
  // Small exponents in every 16-bit word: no NaN in any type.
  for (size_t i = 0; i < matrix.size(); ++i) matrix[i] = static_cast<std::byte>(random() & 0x3f);

  Packed packed{{dtype, rows, columns}, {}, {}};
  packed.quads.resize(packed.shape.QuadBytes(packed.shape.tiles));
  packed.scales.resize(packed.shape.ScaleBytes(packed.shape.tiles));
  PackTiles(packed.shape, matrix.data(), 0, 2, packed.quads.data(), packed.scales.data());
  PackTiles(packed.shape, matrix.data(), 2, packed.shape.tiles,
            packed.quads.data() + packed.shape.QuadBytes(2),
            packed.scales.data() + packed.shape.ScaleBytes(2));

  std::vector<float> want(columns);
  for (uint32_t row = 0; row < packed.shape.tiles * kTileSide; ++row) {
    std::fill(want.begin(), want.end(), 0.0f);
    if (row < rows) Dequantize(dtype, matrix.data() + row * row_bytes, columns, want.data());
    for (uint32_t column = 0; column < packed.shape.blocks * kTileSide; ++column) {
      const float number = column < columns ? want[column] : 0.0f;
      ASSERT_EQ(ElementOf(packed, row / kTileSide, column / kTileSide, row % kTileSide,
                          column % kTileSide),
                number)
          << "row " << row << ", column " << column;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Types, TilesTest,
                         testing::Values(DType::kF32, DType::kF16, DType::kBF16, DType::kQ8_0,
                                         DType::kQ4_0, DType::kQ4_1),
                         [](const auto& info) { return std::string(Info(info.param).name); });

}  // namespace
}  // namespace cormorant
