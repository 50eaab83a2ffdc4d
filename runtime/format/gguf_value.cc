// Reading, decoding and showing metadata values. See gguf_value.h.
#include "runtime/format/gguf_value.h"

#include <algorithm>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "runtime/base/check.h"

namespace cormorant {
namespace {

/// The least bytes one element takes in the file: a string its length, an array its type and count.
uint64_t LeastBytes(GgufValueType type) {
  switch (type) {
    case GgufValueType::kString: return 8;
    case GgufValueType::kArray: return 12;
    default: return GgufScalarBytes(type);
  }
}

absl::Status CheckBools(const ByteReader& reader, const GgufValue& value) {
  for (uint64_t i = 0; i < value.payload.size(); ++i) {
    const uint32_t found = std::to_integer<uint32_t>(value.payload[i]);
    if (found > 1) {
      return reader.Error(value.offset + i, "bool",
                          absl::StrCat("is ", found, ", expected 0 or 1; the file is damaged"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<GgufValue> ReadValue(ByteReader& reader, GgufValueType type, uint32_t depth);

absl::StatusOr<GgufValue> ReadArray(ByteReader& reader, uint32_t depth) {
  if (depth >= kGgufArrayDepthMax) {
    return reader.Error(reader.offset(), "array",
                        absl::StrCat("lies in ", depth, " others, at most ", kGgufArrayDepthMax,
                                     " levels are allowed"));
  }
  const uint64_t type_offset = reader.offset();
  CORM_ASSIGN_OR_RETURN(const uint32_t id, reader.Read<uint32_t>("array element type"));
  const GgufValueType element = static_cast<GgufValueType>(id);
  const uint64_t least = LeastBytes(element);
  if (least == 0) {
    return reader.Error(type_offset, "array element type",
                        absl::StrCat("is ", id,
                                     ", known are 0 to 12; the file is damaged or newer "
                                     "than this version"));
  }
  const uint64_t count_offset = reader.offset();
  CORM_ASSIGN_OR_RETURN(const uint64_t count, reader.Read<uint64_t>("array length"));
  const uint64_t count_max = std::min(kGgufArrayElementsMax, reader.remaining() / least);
  if (count > count_max) {
    return reader.Error(count_offset, "array length",
                        absl::StrCat("is ", count, ", at most ", count_max,
                                     " fit here; the file is cut short or damaged, get it again"));
  }
  GgufValue value{GgufValueType::kArray, element, count, reader.offset(), {}};
  if (GgufScalarBytes(element) != 0) {
    CORM_ASSIGN_OR_RETURN(value.payload,
                          reader.ReadBytes("array", count * GgufScalarBytes(element)));
    if (element == GgufValueType::kBool) CORM_RETURN_IF_ERROR(CheckBools(reader, value));
    return value;
  }
  // Strings and arrays have no fixed size: a second reader takes what the first has walked over.
  ByteReader start = reader;
  for (uint64_t i = 0; i < count; ++i) {
    CORM_RETURN_IF_ERROR(ReadValue(reader, element, depth + 1).status());
  }
  CORM_ASSIGN_OR_RETURN(value.payload, start.ReadBytes("array", reader.offset() - value.offset));
  return value;
}

absl::StatusOr<GgufValue> ReadValue(ByteReader& reader, GgufValueType type, uint32_t depth) {
  if (type == GgufValueType::kArray) return ReadArray(reader, depth);
  GgufValue value{type, type, 1, reader.offset(), {}};
  if (type == GgufValueType::kString) {
    CORM_ASSIGN_OR_RETURN(const absl::string_view text,
                          reader.ReadString("string", kGgufStringBytesMax));
    value.offset += sizeof(uint64_t);
    value.payload = std::as_bytes(std::span<const char>(text.data(), text.size()));
    return value;
  }
  const uint64_t bytes = GgufScalarBytes(type);
  if (bytes == 0) {
    return reader.Error(reader.offset(), "value type",
                        absl::StrCat("is ", static_cast<uint32_t>(type),
                                     ", known are 0 to 12; the file is damaged or newer than this "
                                     "version"));
  }
  CORM_ASSIGN_OR_RETURN(value.payload, reader.ReadBytes("value", bytes));
  if (type == GgufValueType::kBool) CORM_RETURN_IF_ERROR(CheckBools(reader, value));
  return value;
}

std::string RenderScalar(const GgufScalar& scalar) {
  if (const auto* flag = std::get_if<bool>(&scalar)) return *flag ? "true" : "false";
  if (const auto* number = std::get_if<uint64_t>(&scalar)) return absl::StrCat(*number);
  if (const auto* number = std::get_if<int64_t>(&scalar)) return absl::StrCat(*number);
  return absl::StrCat(*std::get_if<double>(&scalar));
}

}  // namespace

absl::string_view GgufValueTypeName(GgufValueType type) {
  constexpr absl::string_view kNames[] = {"u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
                                          "bool", "string", "array", "u64", "i64", "f64"};
  const uint32_t id = static_cast<uint32_t>(type);
  return id < std::size(kNames) ? kNames[id] : "?";
}

std::string GgufTypeText(const GgufValue& value) {
  if (value.type != GgufValueType::kArray) return std::string(GgufValueTypeName(value.type));
  return absl::StrCat("array of ", GgufValueTypeName(value.element_type));
}

absl::StatusOr<GgufValue> ReadGgufValue(ByteReader& reader, GgufValueType type) {
  return ReadValue(reader, type, 0);
}

uint64_t GgufScalarBytes(GgufValueType type) {
  switch (type) {
    case GgufValueType::kU8:
    case GgufValueType::kI8:
    case GgufValueType::kBool: return 1;
    case GgufValueType::kU16:
    case GgufValueType::kI16: return 2;
    case GgufValueType::kU32:
    case GgufValueType::kI32:
    case GgufValueType::kF32: return 4;
    case GgufValueType::kU64:
    case GgufValueType::kI64:
    case GgufValueType::kF64: return 8;
    default: return 0;
  }
}

GgufScalar LoadGgufScalar(GgufValueType type, const std::byte* from) {
  switch (type) {
    case GgufValueType::kU8: return uint64_t{LoadUnaligned<uint8_t>(from)};
    case GgufValueType::kU16: return uint64_t{LoadUnaligned<uint16_t>(from)};
    case GgufValueType::kU32: return uint64_t{LoadUnaligned<uint32_t>(from)};
    case GgufValueType::kU64: return LoadUnaligned<uint64_t>(from);
    case GgufValueType::kI8: return int64_t{LoadUnaligned<int8_t>(from)};
    case GgufValueType::kI16: return int64_t{LoadUnaligned<int16_t>(from)};
    case GgufValueType::kI32: return int64_t{LoadUnaligned<int32_t>(from)};
    case GgufValueType::kI64: return LoadUnaligned<int64_t>(from);
    case GgufValueType::kF32: return double{LoadUnaligned<float>(from)};
    case GgufValueType::kF64: return LoadUnaligned<double>(from);
    case GgufValueType::kBool: return LoadUnaligned<uint8_t>(from) != 0;
    default: break;
  }
  CORM_CHECK(false);  // Strings and arrays are no scalars: the caller asks GgufScalarBytes().
  return uint64_t{0};
}

absl::string_view GgufText(const GgufValue& value) {
  CORM_CHECK(value.type == GgufValueType::kString);
  return {reinterpret_cast<const char*>(value.payload.data()), value.payload.size()};
}

absl::StatusOr<std::vector<absl::string_view>> GgufTexts(const GgufValue& value,
                                                         uint64_t count_max) {
  CORM_CHECK(value.element_type == GgufValueType::kString);
  const uint64_t count = std::min(value.count, count_max);
  std::vector<absl::string_view> texts;
  texts.reserve(count);  // ReadArray has seen that many.
  ByteReader reader(value.payload, value.offset);
  for (uint64_t i = 0; i < count; ++i) {
    CORM_ASSIGN_OR_RETURN(const absl::string_view text,
                          reader.ReadString("string", kGgufStringBytesMax));
    texts.push_back(text);
  }
  return texts;
}

std::string RenderGgufValue(const GgufValue& value, size_t chars_max) {
  if (value.type == GgufValueType::kString) return Quoted(GgufText(value), chars_max);
  if (value.type != GgufValueType::kArray) {
    return RenderScalar(LoadGgufScalar(value.type, value.payload.data()));
  }
  if (value.element_type == GgufValueType::kArray) {
    return absl::StrCat("[", value.count, " arrays]");
  }
  // An element takes two characters at the least, so no more than this many are ever shown.
  const uint64_t count = std::min<uint64_t>(value.count, chars_max / 2);
  std::vector<absl::string_view> texts;
  if (value.element_type == GgufValueType::kString) {
    absl::StatusOr<std::vector<absl::string_view>> read = GgufTexts(value, count);
    if (!read.ok()) return absl::StrCat("[damaged: ", read.status().message(), "]");
    texts = *std::move(read);
  }
  std::string line = "[";
  for (uint64_t i = 0; i < count && line.size() < chars_max; ++i) {
    const uint64_t at = i * GgufScalarBytes(value.element_type);
    absl::StrAppend(
        &line, i == 0 ? "" : ", ",
        texts.empty() ? RenderScalar(LoadGgufScalar(value.element_type, value.payload.data() + at))
                      : Quoted(texts[i], chars_max / 2));
    if (i + 1 == value.count) return absl::StrCat(line, "]");
  }
  if (value.count == 0) return "[]";
  return absl::StrCat(line, ", … ", value.count, " in all]");
}

}  // namespace cormorant
