// Writes GGUF files for tests: tiny models with random weights, and files that are damaged on
// purpose.
//
// What it writes is well-formed as long as only the typed calls are used; AddRawValue() and
// AddRawTensor() write whatever they are told.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "runtime/format/gguf_types.h"
#include "runtime/format/gguf_value.h"

namespace cormorant::testing {

/// Little-endian bytes that grow at the end.
class ByteBuffer {
 public:
  template <class T>
  ByteBuffer& Put(T value) {
    static_assert(std::is_trivially_copyable_v<T>);
    return PutBytes(std::as_bytes(std::span<const T>(&value, 1)));
  }
  ByteBuffer& PutBytes(std::span<const std::byte> bytes);
  ByteBuffer& PutText(absl::string_view text) {
    return PutBytes(std::as_bytes(std::span<const char>(text.data(), text.size())));
  }
  /// A u64 length and the text.
  ByteBuffer& PutString(absl::string_view text) { return Put<uint64_t>(text.size()).PutText(text); }
  ByteBuffer& PadTo(uint64_t alignment);
  const std::vector<std::byte>& bytes() const { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
};

/// The id of a C++ type in metadata.
template <class T>
constexpr GgufValueType ValueTypeOf() {
  if constexpr (std::is_same_v<T, uint8_t>) return GgufValueType::kU8;
  if constexpr (std::is_same_v<T, int8_t>) return GgufValueType::kI8;
  if constexpr (std::is_same_v<T, uint16_t>) return GgufValueType::kU16;
  if constexpr (std::is_same_v<T, int16_t>) return GgufValueType::kI16;
  if constexpr (std::is_same_v<T, uint32_t>) return GgufValueType::kU32;
  if constexpr (std::is_same_v<T, int32_t>) return GgufValueType::kI32;
  if constexpr (std::is_same_v<T, uint64_t>) return GgufValueType::kU64;
  if constexpr (std::is_same_v<T, int64_t>) return GgufValueType::kI64;
  if constexpr (std::is_same_v<T, float>) return GgufValueType::kF32;
  if constexpr (std::is_same_v<T, double>) return GgufValueType::kF64;
  if constexpr (std::is_same_v<T, bool>) return GgufValueType::kBool;
  static_assert(std::is_arithmetic_v<T>);
}

class GgufWriter {
 public:
  explicit GgufWriter(uint32_t version = 3) : version_(version) {}

  /// Any number or bool; T decides the type in the file.
  template <class T>
  GgufWriter& Add(absl::string_view key, T value) {
    return AddRawValue(key, ValueTypeOf<T>(), ByteBuffer().Put(value).bytes());
  }
  GgufWriter& AddU32(absl::string_view key, uint32_t value) { return Add(key, value); }
  GgufWriter& AddU64(absl::string_view key, uint64_t value) { return Add(key, value); }
  GgufWriter& AddI32(absl::string_view key, int32_t value) { return Add(key, value); }
  GgufWriter& AddF32(absl::string_view key, float value) { return Add(key, value); }
  GgufWriter& AddBool(absl::string_view key, bool value) { return Add(key, value); }
  GgufWriter& AddString(absl::string_view key, absl::string_view value);
  GgufWriter& AddStrings(absl::string_view key, std::span<const std::string> values);
  template <class T>
  GgufWriter& AddArray(absl::string_view key, const std::vector<T>& values) {
    ByteBuffer payload;
    payload.Put(ValueTypeOf<T>()).template Put<uint64_t>(values.size());
    for (const T value : values) payload.Put(value);
    return AddRawValue(key, GgufValueType::kArray, payload.bytes());
  }
  /// Also writes the key general.alignment.
  GgufWriter& SetAlignment(uint32_t alignment);

  /// `shape` has the fastest dimension first; `data` is as the type stores it.
  GgufWriter& AddTensor(absl::string_view name, GgufType type, std::vector<uint64_t> shape,
                        std::span<const std::byte> data);
  GgufWriter& AddTensorF32(absl::string_view name, std::vector<uint64_t> shape,
                           std::span<const float> values);

  /// A key, a type id and these bytes, well-formed or not.
  GgufWriter& AddRawValue(absl::string_view key, GgufValueType type,
                          std::span<const std::byte> payload);
  /// A tensor description that need not fit anything; adds no data.
  GgufWriter& AddRawTensor(absl::string_view name, std::vector<uint64_t> shape, uint32_t type_id,
                           uint64_t offset);

  /// The last tensor is not padded: every byte of the result is needed.
  std::vector<std::byte> Serialize() const;
  absl::Status WriteFile(const std::string& path) const;

 private:
  uint32_t version_;
  uint32_t alignment_ = 32;
  uint64_t entry_count_ = 0;
  uint64_t tensor_count_ = 0;
  ByteBuffer entries_;
  ByteBuffer tensors_;
  ByteBuffer data_;
};

}  // namespace cormorant::testing
