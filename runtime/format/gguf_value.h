// One metadata value of a GGUF file: where it lies and what type it has.
//
// A value is a view into the file's bytes, checked once when the file is parsed and decoded when it
// is asked for. So a tokenizer's 49,152 strings cost nothing until someone wants them.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "runtime/format/byte_reader.h"

namespace cormorant {

/// Limits on what a file may claim. All lie far above any real model; they bound time and memory.
inline constexpr uint64_t kGgufStringBytesMax = uint64_t{64} << 20;
inline constexpr uint64_t kGgufArrayElementsMax = uint64_t{1} << 26;  // Of one array.
inline constexpr uint32_t kGgufArrayDepthMax = 4;                     // Arrays within arrays.

/// The value is the id in the file.
enum class GgufValueType : uint32_t {
  kU8 = 0,
  kI8 = 1,
  kU16 = 2,
  kI16 = 3,
  kU32 = 4,
  kI32 = 5,
  kF32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kU64 = 10,
  kI64 = 11,
  kF64 = 12,
};

/// "u32", "string", "array".
absl::string_view GgufValueTypeName(GgufValueType type);

struct GgufValue {
  GgufValueType type = GgufValueType::kU8;
  GgufValueType element_type = GgufValueType::kU8;  // Of an array; else the same as `type`.
  uint64_t count = 1;                               // Elements of an array; else 1.
  uint64_t offset = 0;                              // Of the payload, from the file's start.
  std::span<const std::byte> payload;               // A string without its length; else as stored.
};

/// "u32" or "array of string".
std::string GgufTypeText(const GgufValue& value);

/// Reads a value of this type, arrays with all their elements, and checks every part of it.
absl::StatusOr<GgufValue> ReadGgufValue(ByteReader& reader, GgufValueType type);

/// A number or bool in the widest type of its kind.
using GgufScalar = std::variant<uint64_t, int64_t, double, bool>;

/// Bytes of a number or bool; 0 for strings and arrays.
uint64_t GgufScalarBytes(GgufValueType type);
/// Decodes a number or bool; `from` holds GgufScalarBytes(type) bytes, aligned or not.
GgufScalar LoadGgufScalar(GgufValueType type, const std::byte* from);

/// The text of a string value.
absl::string_view GgufText(const GgufValue& value);
/// The texts of an array of strings, at most the first `count_max`.
absl::StatusOr<std::vector<absl::string_view>> GgufTexts(const GgufValue& value,
                                                         uint64_t count_max);

/// The value in one line for people, about `chars_max` characters: `576`, `'llama'`,
/// `['a', 'b', … 49152 in all]`.
std::string RenderGgufValue(const GgufValue& value, size_t chars_max = 80);

}  // namespace cormorant
