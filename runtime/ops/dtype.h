// The element types that ops compute with, and their sizes.
//
// A block type stores `kBlock` neighbouring elements of the innermost dimension together with their
// scale. The layouts are GGUF's (ggml's docs/gguf.md and ggml-common.h name them); see
// runtime/format/blocks.h for the bytes.
#pragma once
#include <cstdint>

#include "absl/strings/string_view.h"

namespace cormorant {

enum class DType : uint8_t {
  kF32,
  kF16,
  kBF16,
  kQ8_0,
  kQ4_0,
  kQ4_1,
  kU32,
  kQ5_0,
  kQ5_1,
  kQ2_K,
  kQ3_K,
  kQ4_K,
  kQ5_K,
  kQ6_K,
  kIQ1_S,
  kIQ1_M,
  kIQ2_XXS,
  kIQ2_XS,
  kIQ2_S,
  kIQ3_XXS,
  kIQ3_S,
  kIQ4_NL,
  kIQ4_XS,
  kTQ1_0,
  kTQ2_0,
  kMXFP4,
  kNVFP4,
};
inline constexpr uint32_t kDTypes = 27;

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
    case DType::kQ5_0: return {"q5_0", 32, 22};
    case DType::kQ5_1: return {"q5_1", 32, 24};
    case DType::kQ2_K: return {"q2_k", 256, 84};
    case DType::kQ3_K: return {"q3_k", 256, 110};
    case DType::kQ4_K: return {"q4_k", 256, 144};
    case DType::kQ5_K: return {"q5_k", 256, 176};
    case DType::kQ6_K: return {"q6_k", 256, 210};
    case DType::kIQ1_S: return {"iq1_s", 256, 50};
    case DType::kIQ1_M: return {"iq1_m", 256, 56};
    case DType::kIQ2_XXS: return {"iq2_xxs", 256, 66};
    case DType::kIQ2_XS: return {"iq2_xs", 256, 74};
    case DType::kIQ2_S: return {"iq2_s", 256, 82};
    case DType::kIQ3_XXS: return {"iq3_xxs", 256, 98};
    case DType::kIQ3_S: return {"iq3_s", 256, 110};
    case DType::kIQ4_NL: return {"iq4_nl", 32, 18};
    case DType::kIQ4_XS: return {"iq4_xs", 256, 136};
    case DType::kTQ1_0: return {"tq1_0", 256, 54};
    case DType::kTQ2_0: return {"tq2_0", 256, 66};
    case DType::kMXFP4: return {"mxfp4", 32, 17};
    case DType::kNVFP4: return {"nvfp4", 64, 36};
  }
  return {"?", 1, 0};
}

/// Bytes of `elements` neighbouring elements; `elements` is a multiple of the type's block.
constexpr uint64_t RowBytes(DType type, uint64_t elements) {
  return elements / Info(type).block * Info(type).block_bytes;
}

/// Whether the type stores quantized blocks; all of these are weight types.
constexpr bool IsBlockType(DType type) {
  return Info(type).block > 1;
}

}  // namespace cormorant
