// The table of tensor types. See gguf_types.h.
#include "runtime/format/gguf_types.h"

#include <algorithm>
#include <iterator>

namespace cormorant {
namespace {

constexpr GgufTypeInfo kTypes[] = {
    {GgufType::kF32, "F32", 1, 4},
    {GgufType::kF16, "F16", 1, 2},
    {GgufType::kQ4_0, "Q4_0", 32, 18},
    {GgufType::kQ4_1, "Q4_1", 32, 20},
    {GgufType::kQ5_0, "Q5_0", 32, 22},
    {GgufType::kQ5_1, "Q5_1", 32, 24},
    {GgufType::kQ8_0, "Q8_0", 32, 34},
    {GgufType::kQ8_1, "Q8_1", 32, 40},
    {GgufType::kQ2_K, "Q2_K", 256, 84},
    {GgufType::kQ3_K, "Q3_K", 256, 110},
    {GgufType::kQ4_K, "Q4_K", 256, 144},
    {GgufType::kQ5_K, "Q5_K", 256, 176},
    {GgufType::kQ6_K, "Q6_K", 256, 210},
    {GgufType::kQ8_K, "Q8_K", 256, 292},
    {GgufType::kIQ2_XXS, "IQ2_XXS", 256, 66},
    {GgufType::kIQ2_XS, "IQ2_XS", 256, 74},
    {GgufType::kIQ3_XXS, "IQ3_XXS", 256, 98},
    {GgufType::kIQ1_S, "IQ1_S", 256, 50},
    {GgufType::kIQ4_NL, "IQ4_NL", 32, 18},
    {GgufType::kIQ3_S, "IQ3_S", 256, 110},
    {GgufType::kIQ2_S, "IQ2_S", 256, 82},
    {GgufType::kIQ4_XS, "IQ4_XS", 256, 136},
    {GgufType::kI8, "I8", 1, 1},
    {GgufType::kI16, "I16", 1, 2},
    {GgufType::kI32, "I32", 1, 4},
    {GgufType::kI64, "I64", 1, 8},
    {GgufType::kF64, "F64", 1, 8},
    {GgufType::kIQ1_M, "IQ1_M", 256, 56},
    {GgufType::kBF16, "BF16", 1, 2},
    {GgufType::kTQ1_0, "TQ1_0", 256, 54},
    {GgufType::kTQ2_0, "TQ2_0", 256, 66},
    {GgufType::kMXFP4, "MXFP4", 32, 17},
    {GgufType::kNVFP4, "NVFP4", 64, 36},
    {GgufType::kQ1_0, "Q1_0", 128, 18},
};

}  // namespace

std::span<const GgufTypeInfo> AllGgufTypes() {
  return kTypes;
}

const GgufTypeInfo* FindGgufType(uint32_t id) {
  const auto* found = std::find_if(std::begin(kTypes), std::end(kTypes), [id](const auto& info) {
    return static_cast<uint32_t>(info.type) == id;
  });
  return found == std::end(kTypes) ? nullptr : found;
}

absl::string_view GgufTypeName(GgufType type) {
  const GgufTypeInfo* info = FindGgufType(static_cast<uint32_t>(type));
  return info == nullptr ? "?" : info->name;
}

std::optional<DType> ComputeType(GgufType type) {
  switch (type) {
    case GgufType::kF32: return DType::kF32;
    case GgufType::kF16: return DType::kF16;
    case GgufType::kBF16: return DType::kBF16;
    case GgufType::kQ8_0: return DType::kQ8_0;
    case GgufType::kQ4_0: return DType::kQ4_0;
    case GgufType::kQ4_1: return DType::kQ4_1;
    case GgufType::kQ5_0: return DType::kQ5_0;
    case GgufType::kQ5_1: return DType::kQ5_1;
    case GgufType::kQ2_K: return DType::kQ2_K;
    case GgufType::kQ3_K: return DType::kQ3_K;
    case GgufType::kQ4_K: return DType::kQ4_K;
    case GgufType::kQ5_K: return DType::kQ5_K;
    case GgufType::kQ6_K: return DType::kQ6_K;
    case GgufType::kIQ1_S: return DType::kIQ1_S;
    case GgufType::kIQ1_M: return DType::kIQ1_M;
    case GgufType::kIQ2_XXS: return DType::kIQ2_XXS;
    case GgufType::kIQ2_XS: return DType::kIQ2_XS;
    case GgufType::kIQ2_S: return DType::kIQ2_S;
    case GgufType::kIQ3_XXS: return DType::kIQ3_XXS;
    case GgufType::kIQ3_S: return DType::kIQ3_S;
    case GgufType::kIQ4_NL: return DType::kIQ4_NL;
    case GgufType::kIQ4_XS: return DType::kIQ4_XS;
    case GgufType::kTQ1_0: return DType::kTQ1_0;
    case GgufType::kTQ2_0: return DType::kTQ2_0;
    case GgufType::kMXFP4: return DType::kMXFP4;
    case GgufType::kNVFP4: return DType::kNVFP4;
    default: return std::nullopt;
  }
}

}  // namespace cormorant
