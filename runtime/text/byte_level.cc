// Characters back to bytes. See byte_level.h.
#include "runtime/text/byte_level.h"

#include <cstddef>
#include <cstdint>

namespace cormorant {
namespace {

bool IsItself(uint32_t code) {
  return (code >= 0x21 && code <= 0x7e) || (code >= 0xa1 && code <= 0xff && code != 0xad);
}

/// The byte that the code point stands for, or 0x100.
uint32_t ByteOf(uint32_t code) {
  constexpr uint32_t kNone = 0x100;
  if (code < 0x100) return IsItself(code) ? code : kNone;
  const uint32_t nth = code - 0x100;          // Of the bytes that are not themselves:
  if (nth <= 0x20) return nth;                // 0x00..0x20,
  if (nth <= 0x42) return nth - 0x21 + 0x7f;  // 0x7f..0xa0
  return nth == 0x43 ? 0xad : kNone;          // and 0xad.
}

}  // namespace

bool AppendByteLevelBytes(absl::string_view text, std::string* bytes) {
  const size_t before = bytes->size();
  for (size_t i = 0; i < text.size(); ++i) {
    uint32_t code = static_cast<uint8_t>(text[i]);
    // The alphabet lies in one and two bytes of UTF-8.
    if (code >= 0x80) {
      const uint32_t next = i + 1 < text.size() ? static_cast<uint8_t>(text[i + 1]) : 0;
      const bool is_two_bytes = code >= 0xc2 && code <= 0xdf && (next & 0xc0) == 0x80;
      code = is_two_bytes ? (code & 0x1f) << 6 | (next & 0x3f) : 0xffff;
      ++i;
    }
    const uint32_t byte = ByteOf(code);
    if (byte > 0xff) {
      bytes->resize(before);
      return false;
    }
    bytes->push_back(static_cast<char>(byte));
  }
  return true;
}

}  // namespace cormorant
