// Metadata by key, converted to what the caller needs. See gguf.h.
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "runtime/base/status.h"
#include "runtime/format/gguf.h"

namespace cormorant {
namespace {

absl::Status Mismatch(absl::string_view key, const GgufValue& value, absl::string_view expected) {
  return absl::InvalidArgumentError(
      absl::StrCat("byte ", value.offset, ", metadata ", Quoted(key), ": is ", GgufTypeText(value),
                   " ", RenderGgufValue(value, 40), ", expected ", expected));
}

GgufScalar Scalar(const GgufValue& value) {
  return LoadGgufScalar(value.type, value.payload.data());
}

bool IsInteger(GgufValueType type) {
  return GgufScalarBytes(type) != 0 && type != GgufValueType::kBool &&
         type != GgufValueType::kF32 && type != GgufValueType::kF64;
}

bool IsFloat(GgufValueType type) {
  return type == GgufValueType::kF32 || type == GgufValueType::kF64;
}

bool IsString(GgufValueType type) {
  return type == GgufValueType::kString;
}

}  // namespace

const GgufValue* GgufFile::FindValue(absl::string_view key) const {
  const auto found = entry_by_key_.find(key);
  return found == entry_by_key_.end() ? nullptr : &entries_[found->second].value;
}

absl::StatusOr<const GgufValue*> GgufFile::Value(absl::string_view key) const {
  const GgufValue* value = FindValue(key);
  if (value != nullptr) return value;
  return absl::NotFoundError(absl::StrCat("metadata ", Quoted(key), " is missing from the file"));
}

absl::StatusOr<const GgufValue*> GgufFile::Array(absl::string_view key, absl::string_view expected,
                                                 bool (*is_fit)(GgufValueType)) const {
  CORM_ASSIGN_OR_RETURN(const GgufValue* value, Value(key));
  if (value->type == GgufValueType::kArray && is_fit(value->element_type)) return value;
  return Mismatch(key, *value, expected);
}

absl::StatusOr<uint64_t> GgufFile::Unsigned(absl::string_view key) const {
  CORM_ASSIGN_OR_RETURN(const GgufValue* value, Value(key));
  if (IsInteger(value->type)) {
    const GgufScalar scalar = Scalar(*value);
    if (const auto* number = std::get_if<uint64_t>(&scalar)) return *number;
    const int64_t number = *std::get_if<int64_t>(&scalar);
    if (number >= 0) return static_cast<uint64_t>(number);
  }
  return Mismatch(key, *value, "an integer of 0 or more");
}

absl::StatusOr<double> GgufFile::Number(absl::string_view key) const {
  CORM_ASSIGN_OR_RETURN(const GgufValue* value, Value(key));
  if (!IsInteger(value->type) && !IsFloat(value->type)) return Mismatch(key, *value, "a number");
  const GgufScalar scalar = Scalar(*value);
  if (const auto* number = std::get_if<uint64_t>(&scalar)) return static_cast<double>(*number);
  if (const auto* number = std::get_if<int64_t>(&scalar)) return static_cast<double>(*number);
  return *std::get_if<double>(&scalar);
}

absl::StatusOr<bool> GgufFile::Bool(absl::string_view key) const {
  CORM_ASSIGN_OR_RETURN(const GgufValue* value, Value(key));
  if (value->type != GgufValueType::kBool) return Mismatch(key, *value, "a bool");
  const GgufScalar scalar = Scalar(*value);
  return *std::get_if<bool>(&scalar);
}

absl::StatusOr<absl::string_view> GgufFile::String(absl::string_view key) const {
  CORM_ASSIGN_OR_RETURN(const GgufValue* value, Value(key));
  if (!IsString(value->type)) return Mismatch(key, *value, "a string");
  return GgufText(*value);
}

absl::StatusOr<std::vector<absl::string_view>> GgufFile::Strings(absl::string_view key) const {
  CORM_ASSIGN_OR_RETURN(const GgufValue* value, Array(key, "an array of strings", IsString));
  return GgufTexts(*value, value->count);
}

absl::StatusOr<std::vector<int64_t>> GgufFile::Integers(absl::string_view key) const {
  CORM_ASSIGN_OR_RETURN(const GgufValue* value, Array(key, "an array of integers", IsInteger));
  const uint64_t size = GgufScalarBytes(value->element_type);
  std::vector<int64_t> numbers;
  numbers.reserve(value->count);
  for (uint64_t i = 0; i < value->count; ++i) {
    const std::byte* from = value->payload.data() + i * size;
    const GgufScalar scalar = LoadGgufScalar(value->element_type, from);
    if (const auto* number = std::get_if<int64_t>(&scalar)) {
      numbers.push_back(*number);
      continue;
    }
    const uint64_t number = *std::get_if<uint64_t>(&scalar);
    if (number > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      return Mismatch(key, *value, "integers below 2^63");
    }
    numbers.push_back(static_cast<int64_t>(number));
  }
  return numbers;
}

absl::StatusOr<std::vector<float>> GgufFile::Floats(absl::string_view key) const {
  CORM_ASSIGN_OR_RETURN(const GgufValue* value, Array(key, "an array of floats", IsFloat));
  const uint64_t size = GgufScalarBytes(value->element_type);
  std::vector<float> numbers;
  numbers.reserve(value->count);
  for (uint64_t i = 0; i < value->count; ++i) {
    const std::byte* from = value->payload.data() + i * size;
    const GgufScalar scalar = LoadGgufScalar(value->element_type, from);
    const double number = *std::get_if<double>(&scalar);
    if (std::isfinite(number) && std::abs(number) > std::numeric_limits<float>::max()) {
      return Mismatch(key, *value, "numbers that f32 can hold");
    }
    numbers.push_back(static_cast<float>(number));
  }
  return numbers;
}

}  // namespace cormorant
