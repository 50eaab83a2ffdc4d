// Writing of GGUF files for tests. See gguf_writer.h.
#include "tests/golden/gguf_writer.h"

#include <fstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/base/units.h"

namespace cormorant::testing {

ByteBuffer& ByteBuffer::PutBytes(std::span<const std::byte> bytes) {
  bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
  return *this;
}

ByteBuffer& ByteBuffer::PadTo(uint64_t alignment) {
  bytes_.resize(RoundUp(bytes_.size(), alignment));
  return *this;
}

GgufWriter& GgufWriter::AddString(absl::string_view key, absl::string_view value) {
  return AddRawValue(key, GgufValueType::kString, ByteBuffer().PutString(value).bytes());
}

GgufWriter& GgufWriter::AddStrings(absl::string_view key, std::span<const std::string> values) {
  ByteBuffer payload;
  payload.Put(GgufValueType::kString).Put<uint64_t>(values.size());
  for (const std::string& value : values) payload.PutString(value);
  return AddRawValue(key, GgufValueType::kArray, payload.bytes());
}

GgufWriter& GgufWriter::SetAlignment(uint32_t alignment) {
  alignment_ = alignment;
  return AddU32("general.alignment", alignment);
}

GgufWriter& GgufWriter::AddTensor(absl::string_view name, GgufType type,
                                  std::vector<uint64_t> shape, std::span<const std::byte> data) {
  data_.PadTo(alignment_);
  AddRawTensor(name, std::move(shape), static_cast<uint32_t>(type), data_.bytes().size());
  data_.PutBytes(data);
  return *this;
}

GgufWriter& GgufWriter::AddTensorF32(absl::string_view name, std::vector<uint64_t> shape,
                                     std::span<const float> values) {
  return AddTensor(name, GgufType::kF32, std::move(shape), std::as_bytes(values));
}

GgufWriter& GgufWriter::AddRawValue(absl::string_view key, GgufValueType type,
                                    std::span<const std::byte> payload) {
  entries_.PutString(key).Put(type).PutBytes(payload);
  ++entry_count_;
  return *this;
}

GgufWriter& GgufWriter::AddRawTensor(absl::string_view name, std::vector<uint64_t> shape,
                                     uint32_t type_id, uint64_t offset) {
  tensors_.PutString(name).Put<uint32_t>(static_cast<uint32_t>(shape.size()));
  for (const uint64_t extent : shape) tensors_.Put(extent);
  tensors_.Put(type_id).Put(offset);
  ++tensor_count_;
  return *this;
}

std::vector<std::byte> GgufWriter::Serialize() const {
  ByteBuffer file;
  file.PutText("GGUF").Put(version_).Put(tensor_count_).Put(entry_count_);
  file.PutBytes(entries_.bytes()).PutBytes(tensors_.bytes());
  if (!data_.bytes().empty()) file.PadTo(alignment_).PutBytes(data_.bytes());
  return file.bytes();
}

absl::Status GgufWriter::WriteFile(const std::string& path) const {
  const std::vector<std::byte> bytes = Serialize();
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(reinterpret_cast<const char*>(bytes.data()),
             static_cast<std::streamsize>(bytes.size()));
  file.close();
  if (file.good()) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat("cannot write '", path, "'"));
}

}  // namespace cormorant::testing
