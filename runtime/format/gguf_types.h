// The tensor types a GGUF file may name: identity, block and size of each.
//
// All types are known by name, so that a file can be described whatever it holds; ComputeType()
// says which of them the ops compute with. Ids and sizes are facts of the format (ggml's ggml.h, as
// published in the constants of the `gguf` package).
#pragma once
#include <cstdint>
#include <optional>
#include <span>

#include "absl/strings/string_view.h"
#include "runtime/ops/dtype.h"

namespace cormorant {

/// The value is the id in the file. Ids that are absent were withdrawn from the format.
enum class GgufType : uint32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ5_0 = 6,
  kQ5_1 = 7,
  kQ8_0 = 8,
  kQ8_1 = 9,
  kQ2_K = 10,
  kQ3_K = 11,
  kQ4_K = 12,
  kQ5_K = 13,
  kQ6_K = 14,
  kQ8_K = 15,
  kIQ2_XXS = 16,
  kIQ2_XS = 17,
  kIQ3_XXS = 18,
  kIQ1_S = 19,
  kIQ4_NL = 20,
  kIQ3_S = 21,
  kIQ2_S = 22,
  kIQ4_XS = 23,
  kI8 = 24,
  kI16 = 25,
  kI32 = 26,
  kI64 = 27,
  kF64 = 28,
  kIQ1_M = 29,
  kBF16 = 30,
  kTQ1_0 = 34,
  kTQ2_0 = 35,
  kMXFP4 = 39,
  kNVFP4 = 40,
  kQ1_0 = 41,
};

struct GgufTypeInfo {
  GgufType type;
  absl::string_view name;  // As the format's own tools write it: "Q4_1".
  uint32_t block;          // Elements in a block; 1 for plain types.
  uint32_t block_bytes;    // Bytes of a block.
};

/// All known types, in order of id.
std::span<const GgufTypeInfo> AllGgufTypes();

/// What is known of the type with this id, or nullptr.
const GgufTypeInfo* FindGgufType(uint32_t id);

/// "Q4_1", or "?" for a value that is no known type.
absl::string_view GgufTypeName(GgufType type);

/// The type ops compute with, for the tensor types that can be computed.
std::optional<DType> ComputeType(GgufType type);

}  // namespace cormorant
