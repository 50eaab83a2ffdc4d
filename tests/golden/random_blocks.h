// Quantized blocks of random bits under scales of one's choice.
#pragma once
#include <cstddef>
#include <random>
#include <vector>

#include "runtime/ops/dtype.h"

namespace cormorant::testing {

/// All block types.
std::vector<DType> BlockTypes();

/// Sets a block's scale, and its minimum where it has one; what else scales its elements stays.
/// mxfp4 and nvfp4 take the magnitude, rounded to a power of two.
void SetBlockScale(DType type, float d, float m, std::byte* block);

/// A block of random bits whose elements have the given root of their mean square, about 0.
void RandomBlock(DType type, float deviation, std::mt19937& random, std::byte* block);

}  // namespace cormorant::testing
