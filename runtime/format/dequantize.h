// Stored weights to f32, exactly: the definition every faster path is compared with.
#pragma once
#include <cstddef>
#include <cstdint>

#include "runtime/format/quants.h"
#include "runtime/ops/dtype.h"

namespace cormorant {

/// to[i] = element i of the row stored at `from`, for i < elements.
///
///   type      any weight type (dtype.h)
///   from      RowBytes(type, elements) bytes, aligned or not
///   elements  a multiple of the type's block
///
/// Bit for bit what gguf.quants.dequantize gives (PyPI `gguf`, the format's reference in Python),
/// but for which NaN. A scale has at most 17 significant bits and a quant at most 8, and where both
/// are long one of them is short: their product fits f32 for every type. So only the addition of a
/// minimum rounds, to nearest, and it does not matter whether the compiler fuses it. Subnormal
/// scales, infinities and NaN pass as IEEE says.
void Dequantize(DType type, const std::byte* from, uint64_t elements, float* to);

/// The first `elements` of a block that is taken apart: the arithmetic of Dequantize.
void Expand(const BlockQuants& block, bool has_minimums, uint32_t elements, float* to);

}  // namespace cormorant
