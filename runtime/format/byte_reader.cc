// Bounds-checked reads. See byte_reader.h.
#include "runtime/format/byte_reader.h"

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace cormorant {

std::string Quoted(absl::string_view text, size_t bytes_max) {
  absl::string_view shown = text.substr(0, bytes_max);
  if (shown.size() < text.size()) {  // Not in the middle of a UTF-8 character.
    while (!shown.empty() && (text[shown.size()] & 0xc0) == 0x80) shown.remove_suffix(1);
  }
  return absl::StrCat("'", absl::Utf8SafeCHexEscape(shown), shown.size() < text.size() ? "…" : "",
                      "'");
}

absl::StatusOr<std::span<const std::byte>> ByteReader::ReadBytes(absl::string_view field,
                                                                 uint64_t bytes) {
  if (remaining() < bytes) return CutShort(field, bytes);
  const std::span<const std::byte> found = bytes_.subspan(at_, bytes);
  at_ += bytes;
  return found;
}

absl::StatusOr<absl::string_view> ByteReader::ReadString(absl::string_view field,
                                                         uint64_t bytes_max) {
  const uint64_t start = offset();
  CORM_ASSIGN_OR_RETURN(const uint64_t length, Read<uint64_t>(field));
  if (length > bytes_max) {
    return Error(start, field,
                 absl::StrCat("has a length of ", length, " bytes, at most ", bytes_max,
                              " are allowed; the file is damaged, get it again"));
  }
  CORM_ASSIGN_OR_RETURN(const std::span<const std::byte> text, ReadBytes(field, length));
  return absl::string_view(reinterpret_cast<const char*>(text.data()), text.size());
}

absl::Status ByteReader::Error(uint64_t offset, absl::string_view field,
                               absl::string_view what) const {
  std::string subject;
  if (!subject_.name.empty()) {
    subject = absl::StrCat(subject_.kind, " ", Quoted(subject_.name), ", ");
  } else if (!subject_.kind.empty()) {
    subject = absl::StrCat(subject_.kind, " ", subject_.index, ", ");
  }
  return absl::DataLossError(absl::StrCat("byte ", offset, ", ", subject, field, ": ", what));
}

absl::Status ByteReader::CutShort(absl::string_view field, uint64_t bytes) const {
  return Error(offset(), field,
               absl::StrCat("needs ", bytes, " bytes, the file has ", remaining(),
                            " more; it is cut short or damaged, get it again"));
}

}  // namespace cormorant
