// Stored weights to f32, exactly: the definition every faster path is compared with.
#pragma once
#include <cstddef>
#include <cstdint>

#include "runtime/ops/dtype.h"

namespace cormorant {

/// to[i] = element i of the row stored at `from`, for i < elements.
///
///   type      f32 f16 bf16 q8_0 q4_0 q4_1
///   from      RowBytes(type, elements) bytes, aligned or not
///   elements  a multiple of the type's block
///
/// Exact for all types but q4_1, whose one addition rounds to nearest: a scale has 11 significant
/// bits and a quant at most 8, so their product fits f32, and it does not matter whether the
/// compiler fuses the addition with it. Subnormal scales, infinities and NaN pass as IEEE says.
void Dequantize(DType type, const std::byte* from, uint64_t elements, float* to);

}  // namespace cormorant
