// Walks over untrusted little-endian bytes; nothing is read before it is known to be there.
//
// Every read names its field, so that an error says which field of what, at which byte of the file.
// Text is made only when a read fails. The bytes are never copied.
#pragma once
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <type_traits>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "runtime/base/status.h"

namespace cormorant {

static_assert(std::endian::native == std::endian::little, "GGUF is read as it lies in memory");

/// The text in quotes, control characters escaped, cut to at most `bytes_max` bytes.
std::string Quoted(absl::string_view text, size_t bytes_max = 80);

template <class T>
T LoadUnaligned(const std::byte* from) {
  static_assert(std::is_trivially_copyable_v<T>);
  T value;
  std::memcpy(&value, from, sizeof(T));
  return value;
}

class ByteReader {
 public:
  /// `offset` is where `bytes` begin in the file: errors count from the file's start.
  explicit ByteReader(std::span<const std::byte> bytes, uint64_t offset = 0)
      : bytes_(bytes), offset_(offset) {}

  uint64_t offset() const { return offset_ + at_; }
  uint64_t remaining() const { return bytes_.size() - at_; }

  /// What is being read, for errors: "metadata" 3, and its name once that is known. `name` must
  /// outlive the reads.
  void SetSubject(absl::string_view kind, uint64_t index) { subject_ = {kind, index, {}}; }
  void SetSubjectName(absl::string_view name) { subject_.name = name; }

  /// DATA_LOSS when the bytes end before the value does.
  template <class T>
  absl::StatusOr<T> Read(absl::string_view field) {
    if (remaining() < sizeof(T)) return CutShort(field, sizeof(T));
    const T value = LoadUnaligned<T>(bytes_.data() + at_);
    at_ += sizeof(T);
    return value;
  }

  absl::StatusOr<std::span<const std::byte>> ReadBytes(absl::string_view field, uint64_t bytes);
  /// A u64 length and that many bytes, at most `bytes_max`.
  absl::StatusOr<absl::string_view> ReadString(absl::string_view field, uint64_t bytes_max);

  /// "byte 40, metadata 'a.b', length: <what>".
  absl::Status Error(uint64_t offset, absl::string_view field, absl::string_view what) const;

 private:
  struct Subject {
    absl::string_view kind;
    uint64_t index = 0;
    absl::string_view name;
  };

  absl::Status CutShort(absl::string_view field, uint64_t bytes) const;

  std::span<const std::byte> bytes_;
  uint64_t offset_;
  uint64_t at_ = 0;  // Never past the end of bytes_.
  Subject subject_;
};

}  // namespace cormorant
