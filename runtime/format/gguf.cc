// Parsing of GGUF files. See gguf.h; values are read in gguf_value.cc, getters in gguf_get.cc.
//
// Order in the file: magic, version, counts; metadata; tensor descriptions; padding; tensor data.
// The data begins at the first multiple of the alignment, so where a tensor lies is known only when
// all descriptions are read: PlaceTensors() comes last.
#include "runtime/format/gguf.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "runtime/base/check.h"
#include "runtime/base/hash.h"
#include "runtime/base/status.h"
#include "runtime/base/units.h"

namespace cormorant {
namespace {

// The least bytes an entry or a tensor description takes in the file.
constexpr uint64_t kEntryBytesMin = 8 + 1 + 4 + 1;           // Key, type, value.
constexpr uint64_t kTensorBytesMin = 8 + 1 + 4 + 8 + 4 + 8;  // Name, one dimension, type, offset.

struct Counts {
  uint64_t tensors = 0;
  uint64_t entries = 0;
};

/// What a file that is no GGUF may be instead.
absl::string_view GuessFormat(absl::string_view head) {
  if (absl::StartsWith(head, "version https://git-lfs")) {
    return "it is a Git LFS pointer: fetch the file itself with git lfs pull";
  }
  if (absl::StartsWith(head, "<")) return "it is a web page: download the file itself";
  if (absl::StartsWith(head, "lmgg") || absl::StartsWith(head, "tjgg") ||
      absl::StartsWith(head, "fmgg")) {
    return "it is of the ggml format that came before: convert the model again";
  }
  return "expected the 4 bytes 'GGUF'; name a .gguf file";
}

absl::Status CheckMagic(ByteReader& reader, std::span<const std::byte> bytes) {
  const absl::string_view head(reinterpret_cast<const char*>(bytes.data()),
                               std::min<size_t>(bytes.size(), 64));
  if (!absl::StartsWith(head, "GGUF")) {
    return absl::InvalidArgumentError(absl::StrCat(
        "not a GGUF file: it begins with ", Quoted(head.substr(0, 4)), "; ", GuessFormat(head)));
  }
  return reader.ReadBytes("magic", 4).status();
}

absl::StatusOr<uint32_t> ReadVersion(ByteReader& reader) {
  const uint64_t offset = reader.offset();
  CORM_ASSIGN_OR_RETURN(const uint32_t version, reader.Read<uint32_t>("version"));
  if (version == 2 || version == 3) return version;
  const std::string at = absl::StrCat("byte ", offset, ", version: ");
  if (version != 0 && (version & 0xffffu) == 0) {
    return absl::UnimplementedError(
        absl::StrCat(at, "the file is big-endian; only little-endian files are read: convert it"));
  }
  if (version == 1) {
    return absl::UnimplementedError(
        absl::StrCat(at, "is 1; only 2 and 3 are read: convert the model again"));
  }
  return absl::UnimplementedError(
      absl::StrCat(at, "is ", version, "; only 2 and 3 are read: the file is damaged or newer"));
}

/// Reads a count of things that take at least `least` bytes each.
absl::StatusOr<uint64_t> ReadCount(ByteReader& reader, absl::string_view field, uint64_t count_max,
                                   uint64_t least) {
  const uint64_t offset = reader.offset();
  CORM_ASSIGN_OR_RETURN(const uint64_t count, reader.Read<uint64_t>(field));
  if (count > count_max) {
    return reader.Error(
        offset, field,
        absl::StrCat("is ", count, ", at most ", count_max, " are allowed; the file is damaged"));
  }
  if (count > reader.remaining() / least) {
    return reader.Error(offset, field,
                        absl::StrCat("is ", count, ", the remaining ", reader.remaining(),
                                     " bytes hold at most ", reader.remaining() / least,
                                     "; the file is cut short or damaged, get it again"));
  }
  return count;
}

absl::StatusOr<std::vector<uint64_t>> ReadShape(ByteReader& reader) {
  const uint64_t start = reader.offset();
  CORM_ASSIGN_OR_RETURN(const uint32_t rank, reader.Read<uint32_t>("dimension count"));
  if (rank < 1 || rank > kGgufDimensionsMax) {
    return reader.Error(start, "dimension count",
                        absl::StrCat("is ", rank, ", expected 1 to ", kGgufDimensionsMax));
  }
  std::vector<uint64_t> shape;
  uint64_t elements = 1;
  for (uint32_t i = 0; i < rank; ++i) {
    const uint64_t offset = reader.offset();
    CORM_ASSIGN_OR_RETURN(const uint64_t extent, reader.Read<uint64_t>("dimension"));
    if (extent == 0) {
      return reader.Error(offset, "dimension", absl::StrCat("number ", i, " is 0"));
    }
    constexpr uint64_t kElementsMax = std::numeric_limits<int64_t>::max();
    if (extent > kElementsMax / elements) {
      return reader.Error(offset, "dimension",
                          absl::StrCat("number ", i, " is ", extent, ", after ", elements,
                                       " elements: their product overflows"));
    }
    elements *= extent;
    shape.push_back(extent);
  }
  return shape;
}

absl::StatusOr<const GgufTypeInfo*> ReadType(ByteReader& reader, absl::string_view name) {
  const uint64_t offset = reader.offset();
  CORM_ASSIGN_OR_RETURN(const uint32_t id, reader.Read<uint32_t>("tensor type"));
  const GgufTypeInfo* info = FindGgufType(id);
  if (info != nullptr) return info;
  return absl::UnimplementedError(
      absl::StrCat("byte ", offset, ", tensor ", Quoted(name), ", tensor type: is ", id,
                   ", which is not known (withdrawn, or newer than this version); convert the "
                   "model to a current type such as Q8_0 or Q4_1"));
}

}  // namespace

uint64_t GgufTensor::elements() const {
  uint64_t product = 1;
  for (const uint64_t extent : shape) product *= extent;
  return product;
}

absl::StatusOr<std::unique_ptr<GgufFile>> GgufFile::Open(const std::string& path) {
  CORM_ASSIGN_OR_RETURN(std::unique_ptr<MappedFile> mapped, MappedFile::Open(path));
  absl::StatusOr<std::unique_ptr<GgufFile>> file = Parse(mapped->bytes());
  if (!file.ok()) return At(Quoted(path, path.size()), file.status());
  (*file)->file_ = std::move(mapped);
  return file;
}

absl::StatusOr<std::unique_ptr<GgufFile>> GgufFile::Parse(std::span<const std::byte> bytes) {
  std::unique_ptr<GgufFile> file(new GgufFile(bytes));
  CORM_RETURN_IF_ERROR(file->ParseAll());
  return file;
}

absl::Status GgufFile::ParseAll() {
  ByteReader reader(bytes_);
  CORM_RETURN_IF_ERROR(CheckMagic(reader, bytes_));
  CORM_ASSIGN_OR_RETURN(version_, ReadVersion(reader));
  CORM_ASSIGN_OR_RETURN(const uint64_t tensor_count,
                        ReadCount(reader, "tensor count", kGgufTensorsMax, kTensorBytesMin));
  CORM_ASSIGN_OR_RETURN(const uint64_t entry_count,
                        ReadCount(reader, "metadata count", kGgufEntriesMax, kEntryBytesMin));

  for (uint64_t i = 0; i < entry_count; ++i) CORM_RETURN_IF_ERROR(ParseEntry(reader, i));
  CORM_RETURN_IF_ERROR(ReadAlignment());
  for (uint64_t i = 0; i < tensor_count; ++i) CORM_RETURN_IF_ERROR(ParseTensor(reader, i));
  return PlaceTensors(reader);
}

absl::Status GgufFile::ParseEntry(ByteReader& reader, uint64_t index) {
  const uint64_t start = reader.offset();
  reader.SetSubject("metadata", index);
  CORM_ASSIGN_OR_RETURN(const absl::string_view key, reader.ReadString("key", kGgufKeyBytesMax));
  if (key.empty()) return reader.Error(start, "key", "is empty; the file is damaged");
  reader.SetSubjectName(key);
  if (!entry_by_key_.emplace(key, entries_.size()).second) {
    return reader.Error(start, "key", "appears twice; the file is damaged or was edited badly");
  }
  CORM_ASSIGN_OR_RETURN(const uint32_t id, reader.Read<uint32_t>("value type"));
  CORM_ASSIGN_OR_RETURN(const GgufValue value,
                        ReadGgufValue(reader, static_cast<GgufValueType>(id)));
  entries_.push_back({key, value});
  return absl::OkStatus();
}

absl::Status GgufFile::ReadAlignment() {
  constexpr absl::string_view kKey = "general.alignment";
  if (!Has(kKey)) return absl::OkStatus();
  CORM_ASSIGN_OR_RETURN(alignment_, Unsigned(kKey));
  if (alignment_ < kGgufAlignmentMin || !std::has_single_bit(alignment_) ||
      alignment_ > std::numeric_limits<uint32_t>::max()) {
    return absl::DataLossError(absl::StrCat("byte ", FindValue(kKey)->offset, ", metadata '", kKey,
                                            "': is ", alignment_, ", expected a power of two of ",
                                            kGgufAlignmentMin, " or more, in 32 bits"));
  }
  return absl::OkStatus();
}

absl::Status GgufFile::ParseTensor(ByteReader& reader, uint64_t index) {
  const uint64_t start = reader.offset();
  reader.SetSubject("tensor", index);
  CORM_ASSIGN_OR_RETURN(const absl::string_view name,
                        reader.ReadString("name", kGgufTensorNameBytesMax));
  if (name.empty()) return reader.Error(start, "name", "is empty; the file is damaged");
  reader.SetSubjectName(name);
  if (!tensor_by_name_.emplace(name, tensors_.size()).second) {
    return reader.Error(start, "name", "appears twice; the file is damaged or was edited badly");
  }
  GgufTensor tensor;
  tensor.name = std::string(name);
  CORM_ASSIGN_OR_RETURN(tensor.shape, ReadShape(reader));
  const uint64_t type_offset = reader.offset();
  CORM_ASSIGN_OR_RETURN(const GgufTypeInfo* type, ReadType(reader, name));
  tensor.type = type->type;
  if (tensor.shape[0] % type->block != 0) {
    return reader.Error(
        type_offset, "tensor type",
        absl::StrCat("rows of ", tensor.shape[0], " elements are no multiple of the ", type->block,
                     " elements in a block of ", type->name));
  }
  const uint64_t blocks = tensor.elements() / type->block;
  if (blocks > std::numeric_limits<uint64_t>::max() / type->block_bytes) {
    return reader.Error(type_offset, "tensor type",
                        absl::StrCat(blocks, " blocks of ", type->name, " overflow"));
  }
  tensor.bytes = blocks * type->block_bytes;
  const uint64_t offset_offset = reader.offset();
  CORM_ASSIGN_OR_RETURN(tensor.offset, reader.Read<uint64_t>("data offset"));  // Not yet placed.
  if (tensor.offset % alignment_ != 0) {
    return reader.Error(
        offset_offset, "data offset",
        absl::StrCat("is ", tensor.offset, ", no multiple of the alignment ", alignment_));
  }
  tensors_.push_back(std::move(tensor));
  return absl::OkStatus();
}

absl::Status GgufFile::PlaceTensors(const ByteReader& reader) {
  const uint64_t data = RoundUp(reader.offset(), alignment_);
  for (GgufTensor& tensor : tensors_) {
    const uint64_t room = data < bytes_.size() ? bytes_.size() - data : 0;
    if (tensor.offset > room || tensor.bytes > room - tensor.offset) {
      return absl::DataLossError(
          absl::StrCat("tensor ", Quoted(tensor.name), ", data: ", tensor.bytes,
                       " bytes from byte ", data, " + ", tensor.offset, " on, the file has ",
                       bytes_.size(), " bytes; it is cut short or damaged, get it again"));
    }
    tensor.offset += data;
  }
  return absl::OkStatus();
}

const GgufTensor* GgufFile::FindTensor(absl::string_view name) const {
  const auto found = tensor_by_name_.find(name);
  return found == tensor_by_name_.end() ? nullptr : &tensors_[found->second];
}

std::span<const std::byte> GgufFile::Data(const GgufTensor& tensor) const {
  CORM_CHECK(tensor.offset <= bytes_.size() && tensor.bytes <= bytes_.size() - tensor.offset);
  return bytes_.subspan(tensor.offset, tensor.bytes);
}

uint64_t GgufFile::Fingerprint() const {
  constexpr uint64_t kHead = 256;
  const absl::string_view all(reinterpret_cast<const char*>(bytes_.data()), bytes_.size());
  uint64_t data = all.size();
  for (const GgufTensor& tensor : tensors_) data = std::min(data, tensor.offset);
  uint64_t hash = Fnv1a(all.substr(0, data));
  for (const GgufTensor& tensor : tensors_) {
    hash = Fnv1a(all.substr(tensor.offset, std::min(tensor.bytes, kHead)), hash);
  }
  return Fnv1a(absl::StrCat(all.size()), hash);
}

void GgufFile::DropPages(const GgufTensor& tensor) const {
  if (file_ != nullptr) file_->DropPages(tensor.offset, tensor.bytes);
}

}  // namespace cormorant
