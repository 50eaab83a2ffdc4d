// A GGUF model file: its metadata and its tensors, over untrusted bytes.
//
// Versions 2 and 3, little-endian. Every length, count and offset is checked before it is used, and
// nothing is reserved for more items than the remaining bytes can hold. A file that opens has known
// tensor types, unique keys and tensor names, and every tensor's data inside the file at a multiple
// of its alignment. Tensors may share bytes. What the metadata means for a model is not judged
// here; see models/model.h.
//
// Texts and tensor data are views into the mapped file and live as long as the GgufFile. Immutable
// after opening, so any thread may read it. The format is described in ggml's docs/gguf.md.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "platform/file.h"
#include "runtime/format/gguf_types.h"
#include "runtime/format/gguf_value.h"

namespace cormorant {

/// Limits on what a file may claim, beside those of gguf_value.h.
inline constexpr uint64_t kGgufEntriesMax = uint64_t{1} << 16;
inline constexpr uint64_t kGgufTensorsMax = uint64_t{1} << 17;
inline constexpr uint64_t kGgufKeyBytesMax = 65535;        // The format's own limit.
inline constexpr uint64_t kGgufTensorNameBytesMax = 1024;  // The format says 64; some exceed it.
inline constexpr uint32_t kGgufDimensionsMax = 4;
inline constexpr uint64_t kGgufAlignmentDefault = 32;
inline constexpr uint64_t kGgufAlignmentMin = 8;  // The format's own limit.

struct GgufTensor {
  std::string name;
  GgufType type = GgufType::kF32;
  std::vector<uint64_t> shape;  // 1..4 dimensions, none of them 0, the fastest first.
  uint64_t offset = 0;          // From the file's start.
  uint64_t bytes = 0;
  /// The product of the shape; fits by the checks of parsing.
  uint64_t elements() const;
};

struct GgufEntry {
  absl::string_view key;
  GgufValue value;
};

class GgufFile {
 public:
  /// The errors of MappedFile::Open() and of Parse(), after the path.
  static absl::StatusOr<std::unique_ptr<GgufFile>> Open(const std::string& path);
  /// The caller keeps the bytes alive and unchanged. INVALID_ARGUMENT when they are no GGUF at all,
  /// UNIMPLEMENTED for a version, byte order or tensor type that is not supported, DATA_LOSS for
  /// damage; the message names the byte and the field.
  static absl::StatusOr<std::unique_ptr<GgufFile>> Parse(std::span<const std::byte> bytes);

  uint32_t version() const { return version_; }
  uint64_t file_bytes() const { return bytes_.size(); }
  uint64_t alignment() const { return alignment_; }

  /// In file order.
  const std::vector<GgufTensor>& tensors() const { return tensors_; }
  /// nullptr when there is none of that name.
  const GgufTensor* FindTensor(absl::string_view name) const;
  /// The tensor's bytes as stored. Aligned to at least 8 bytes when the file was mapped.
  std::span<const std::byte> Data(const GgufTensor& tensor) const;
  /// 64 bits that tell this file from others: FNV-1a-64 over everything in front of the tensors'
  /// data (metadata, vocabulary, names, types, shapes), the first 256 bytes of each tensor in file
  /// order, and the size of the file. It reads a page a tensor, not the weights.
  uint64_t Fingerprint() const;
  /// The tensor's pages stop counting as memory of the process; see MappedFile::DropPages().
  void DropPages(const GgufTensor& tensor) const;

  /// All metadata in file order.
  const std::vector<GgufEntry>& entries() const { return entries_; }
  /// nullptr when there is none of that key.
  const GgufValue* FindValue(absl::string_view key) const;
  bool Has(absl::string_view key) const { return FindValue(key) != nullptr; }

  /// One value by key. NOT_FOUND when the key is missing; INVALID_ARGUMENT when the value has
  /// another type or does not fit, naming what was found and what was expected.
  absl::StatusOr<uint64_t> Unsigned(absl::string_view key) const;  // Any integer that is not < 0.
  absl::StatusOr<double> Number(absl::string_view key) const;      // Any integer or float.
  absl::StatusOr<bool> Bool(absl::string_view key) const;
  absl::StatusOr<absl::string_view> String(absl::string_view key) const;
  absl::StatusOr<std::vector<absl::string_view>> Strings(absl::string_view key) const;
  absl::StatusOr<std::vector<int64_t>> Integers(absl::string_view key) const;  // Of any integers.
  absl::StatusOr<std::vector<float>> Floats(absl::string_view key) const;      // Of f32 or f64.

 private:
  explicit GgufFile(std::span<const std::byte> bytes) : bytes_(bytes) {}

  absl::Status ParseAll();
  absl::Status ParseEntry(ByteReader& reader, uint64_t index);
  absl::Status ParseTensor(ByteReader& reader, uint64_t index);
  absl::Status ReadAlignment();
  absl::Status PlaceTensors(const ByteReader& reader);
  absl::StatusOr<const GgufValue*> Value(absl::string_view key) const;
  absl::StatusOr<const GgufValue*> Array(absl::string_view key, absl::string_view expected,
                                         bool (*is_fit)(GgufValueType)) const;

  std::unique_ptr<MappedFile> file_;  // Null when the caller owns the bytes.
  std::span<const std::byte> bytes_;
  uint32_t version_ = 0;
  uint64_t alignment_ = kGgufAlignmentDefault;
  std::vector<GgufEntry> entries_;
  std::vector<GgufTensor> tensors_;
  // Keyed by views into bytes_, by index into the vectors above.
  absl::flat_hash_map<absl::string_view, size_t> entry_by_key_;
  absl::flat_hash_map<absl::string_view, size_t> tensor_by_name_;
};

}  // namespace cormorant
