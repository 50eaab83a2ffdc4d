// Weight matrices in tiles of 32 rows by 32 columns, as kernels of GPUs read them.
//
// A lane has a row. Of each row and block of 32 columns there are some 16-byte quads, and the quads
// of the tile's 32 rows are neighbours, so that neighbouring lanes read neighbouring quads:
// [tile][block][quad][32 rows]. A word of a 4-bit type holds columns 0 4 1 5 2 6 3 7 of its eight,
// from the low nibble up: two masks give four neighbours each. Scales lie apart,
// [tile][block][32 rows]: f16 d, or for q4_1 d and m. What no row or column covers is zero.
#pragma once
#include <cstddef>
#include <cstdint>

#include "absl/strings/string_view.h"
#include "runtime/ops/ops.h"

namespace cormorant {

constexpr uint32_t kTileSide = 32;

/// Whether there are tiles of the type.
bool IsTiled(DType dtype);
/// Which weights an op would have to have, as a backend of tiles alone says it; empty where it has.
absl::string_view WhyNotTiled(const Op& op);

struct TiledShape {
  TiledShape(DType type, uint32_t rows_of, uint32_t columns_of);

  /// Bytes of the two parts of tiles.
  uint64_t QuadBytes(uint32_t tile_count) const;
  uint64_t ScaleBytes(uint32_t tile_count) const;

  DType dtype;
  uint32_t rows, columns, tiles, blocks;
};

/// Packs tiles [first, last) of a matrix, rows one after another as a model file has them, to
/// zeroed memory.
void PackTiles(const TiledShape& shape, const std::byte* matrix, uint32_t first, uint32_t last,
               std::byte* quads, std::byte* scales);

}  // namespace cormorant
