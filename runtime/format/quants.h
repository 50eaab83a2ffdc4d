// Quantized blocks as integers and scales, whatever their type.
//
// Each block type is, behind its bytes, small integers times scales: so one description serves
// dequantization, and packing for kernels that multiply integers.
#pragma once
#include <cstddef>
#include <cstdint>

#include "runtime/format/blocks.h"
#include "runtime/ops/dtype.h"

namespace cormorant {

inline constexpr uint32_t kPartElements = 16;  // The fewest that share a scale.

/// x[i] = q[i] * scale[i / 16] + minimum[i / 16] for the elements of a block.
///
/// The product is exact in f32 for finite scales, so x rounds once at most.
struct BlockQuants {
  int8_t q[kBlockElementsMost];
  float scale[kBlockElementsMost / kPartElements];
  float minimum[kBlockElementsMost / kPartElements];  // Unset for types that have none.
};

/// Whether blocks of the type have minimums.
constexpr bool HasMinimums(DType type) {
  return type == DType::kQ4_1 || type == DType::kQ5_1 || type == DType::kQ2_K ||
         type == DType::kQ4_K || type == DType::kQ5_K;
}

/// Elements that share a scale and a minimum for sure: 16, or 32 where the type allows.
constexpr uint32_t ScaledTogether(DType type) {
  switch (type) {
    case DType::kQ2_K:
    case DType::kQ3_K:
    case DType::kQ6_K:
    case DType::kIQ1_M:
    case DType::kIQ2_XS:
    case DType::kIQ2_S:
    case DType::kNVFP4: return kPartElements;
    default: return 2 * kPartElements;
  }
}

/// Takes apart one block of a block type: `from` has its bytes, aligned or not.
void Unpack(DType type, const std::byte* from, BlockQuants* to);

/// What scales a block of a K type: part i of 16 elements by d * scale[i], less dmin * minimum[i].
struct ScalesK {
  uint16_t d = 0, dmin = 0;  // f16.
  int8_t scale[16] = {}, minimum[16] = {};
};
ScalesK UnpackScales(DType type, const std::byte* from);

/// The numbers that quants of the type may be, 16 at most, where they are no range from 0 or so:
/// iq1 to iq4, tq, mxfp4 and nvfp4. Null for others.
const int8_t* LevelsOf(DType type);

// Types whose elements are points of a lattice, several at a time by one index (quants_grid.cc).
void Unpack(const BlockIQ2_XXS& block, BlockQuants* to);
void Unpack(const BlockIQ2_XS& block, BlockQuants* to);
void Unpack(const BlockIQ2_S& block, BlockQuants* to);
void Unpack(const BlockIQ3_XXS& block, BlockQuants* to);
void Unpack(const BlockIQ3_S& block, BlockQuants* to);
void Unpack(const BlockIQ1_S& block, BlockQuants* to);
void Unpack(const BlockIQ1_M& block, BlockQuants* to);

}  // namespace cormorant
