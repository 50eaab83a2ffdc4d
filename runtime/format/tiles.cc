// Packing. See tiles.h.
#include "runtime/format/tiles.h"

#include <algorithm>
#include <cstring>

#include "runtime/base/units.h"

namespace cormorant {
namespace {

/// Bytes of the quads of a row's block of 32 columns.
uint64_t BlockQuadBytes(DType dtype) {
  switch (dtype) {
    case DType::kF32: return 128;
    case DType::kF16:
    case DType::kBF16: return 64;
    case DType::kQ8_0: return 32;
    default: return 16;
  }
}
uint64_t BlockScaleBytes(DType dtype) {
  if (Info(dtype).block == 1) return 0;
  return dtype == DType::kQ4_1 ? 4 : 2;
}

uint32_t NibbleWord(const uint8_t* quants, uint32_t word) {
  uint32_t result = 0;
  for (uint32_t i = 0; i < 8; ++i) {
    const uint32_t column = word * 8 + i;  // GGUF: columns 0..15 are low nibbles, 16..31 high.
    const uint32_t nibble = quants[column % 16] >> (column < 16 ? 0 : 4) & 15;
    result |= nibble << (8 * (i % 4) + (i < 4 ? 0 : 4));
  }
  return result;
}

/// One row's block; `to` is its first quad, the next is kTileSide quads on.
void PackBlock(const TiledShape& shape, const std::byte* row, uint32_t block, std::byte* to,
               std::byte* scale) {
  constexpr uint64_t kStride = kTileSide * 16;
  const DType dtype = shape.dtype;
  if (Info(dtype).block == 1) {
    const uint64_t element_bytes = RowBytes(dtype, 1), per_quad = 16 / element_bytes;
    const uint32_t live = std::min(shape.columns - block * kTileSide, kTileSide);
    for (uint64_t column = 0; column < live; column += per_quad) {
      std::memcpy(to + column / per_quad * kStride,
                  row + (block * kTileSide + column) * element_bytes,
                  std::min(live - column, per_quad) * element_bytes);
    }
    return;
  }
  const std::byte* from = row + uint64_t{block} * Info(dtype).block_bytes;
  const uint64_t scale_bytes = BlockScaleBytes(dtype);
  std::memcpy(scale, from, scale_bytes);
  from += scale_bytes;
  if (dtype == DType::kQ8_0) {
    std::memcpy(to, from, 16);
    std::memcpy(to + kStride, from + 16, 16);
    return;
  }
  for (uint32_t word = 0; word < 4; ++word) {
    const uint32_t bits = NibbleWord(reinterpret_cast<const uint8_t*>(from), word);
    std::memcpy(to + word * 4, &bits, 4);
  }
}

}  // namespace

bool IsTiled(DType dtype) {
  switch (dtype) {
    case DType::kF32:
    case DType::kF16:
    case DType::kBF16:
    case DType::kQ8_0:
    case DType::kQ4_0:
    case DType::kQ4_1: return true;
    default: return false;
  }
}

absl::string_view WhyNotTiled(const Op& op) {
  const auto* embed = std::get_if<EmbedOp>(&op);
  const auto* matmul = std::get_if<MatMulOp>(&op);
  const Tensor* weight = embed != nullptr    ? &embed->table
                         : matmul != nullptr ? &matmul->w
                                             : nullptr;
  if (weight == nullptr || IsTiled(weight->dtype)) return "";
  return "weights other than f32, f16, bf16, q8_0, q4_0 and q4_1";
}

TiledShape::TiledShape(DType type, uint32_t rows_of, uint32_t columns_of)
    : dtype(type),
      rows(rows_of),
      columns(columns_of),
      tiles(static_cast<uint32_t>(CeilDiv(rows_of, kTileSide))),
      blocks(static_cast<uint32_t>(CeilDiv(columns_of, kTileSide))) {}

uint64_t TiledShape::QuadBytes(uint32_t tile_count) const {
  return uint64_t{tile_count} * blocks * kTileSide * BlockQuadBytes(dtype);
}
uint64_t TiledShape::ScaleBytes(uint32_t tile_count) const {
  return uint64_t{tile_count} * blocks * kTileSide * BlockScaleBytes(dtype);
}

void PackTiles(const TiledShape& shape, const std::byte* matrix, uint32_t first, uint32_t last,
               std::byte* quads, std::byte* scales) {
  const uint64_t row_bytes = RowBytes(shape.dtype, shape.columns);
  const uint64_t block_bytes = BlockQuadBytes(shape.dtype) * kTileSide;
  const uint64_t scale_bytes = BlockScaleBytes(shape.dtype);
  for (uint32_t tile = first; tile < last; ++tile) {
    const uint32_t live = std::min(shape.rows - tile * kTileSide, kTileSide);
    for (uint32_t lane = 0; lane < live; ++lane) {
      const std::byte* const row = matrix + (uint64_t{tile} * kTileSide + lane) * row_bytes;
      for (uint32_t block = 0; block < shape.blocks; ++block) {
        const uint64_t at = uint64_t{tile - first} * shape.blocks + block;
        PackBlock(shape, row, block, quads + at * block_bytes + lane * 16,
                  scales + (at * kTileSide + lane) * scale_bytes);
      }
    }
  }
}

}  // namespace cormorant
