// The element types that ops compute with, and their sizes.
//
// A block type stores `kBlock` neighbouring elements of the innermost dimension together with their
// scale. The layouts are GGUF's (ggml's docs/gguf.md and ggml-common.h name them); see
// runtime/format/blocks.h for the bytes.
#pragma once
#include <cstdint>

#include "absl/strings/string_view.h"

namespace cormorant {

enum class DType : uint8_t { kF32, kF16, kBF16, kQ8_0, kQ4_0, kQ4_1, kU32 };

struct DTypeInfo {
  absl::string_view name;
  uint32_t block;        // Elements in a block.
  uint32_t block_bytes;  // Bytes of a block.
};

constexpr DTypeInfo Info(DType type) {
  switch (type) {
    case DType::kF32: return {"f32", 1, 4};
    case DType::kF16: return {"f16", 1, 2};
    case DType::kBF16: return {"bf16", 1, 2};
    case DType::kQ8_0: return {"q8_0", 32, 34};
    case DType::kQ4_0: return {"q4_0", 32, 18};
    case DType::kQ4_1: return {"q4_1", 32, 20};
    case DType::kU32: return {"u32", 1, 4};
  }
  return {"?", 1, 0};
}

/// Bytes of `elements` neighbouring elements; `elements` is a multiple of the type's block.
constexpr uint64_t RowBytes(DType type, uint64_t elements) {
  return elements / Info(type).block * Info(type).block_bytes;
}

}  // namespace cormorant
