// Whole, cut and wrong characters. See utf8.h.
#include "runtime/text/utf8.h"

#include <cstring>

namespace cormorant {
namespace {

/// Bytes 0x80..0xbf that must follow the first one, and the narrower range of the first of them:
/// it rules out over-long forms, surrogates and what lies past U+10FFFF.
struct Lead {
  uint8_t following;
  uint8_t low;
  uint8_t high;
};

Lead LeadOf(uint8_t byte) {
  if (byte < 0xc2 || byte > 0xf4) return {0, 0, 0};
  if (byte < 0xe0) return {1, 0x80, 0xbf};
  if (byte == 0xe0) return {2, 0xa0, 0xbf};
  if (byte == 0xed) return {2, 0x80, 0x9f};
  if (byte < 0xf0) return {2, 0x80, 0xbf};
  if (byte == 0xf0) return {3, 0x90, 0xbf};
  if (byte == 0xf4) return {3, 0x80, 0x8f};
  return {3, 0x80, 0xbf};
}

}  // namespace

Utf8Part FirstUtf8Part(absl::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  if (byte(0) < 0x80) return {Utf8Part::Kind::kChar, 1};
  const Lead lead = LeadOf(byte(0));
  if (lead.following == 0) return {Utf8Part::Kind::kWrong, 1};
  for (size_t i = 1; i <= lead.following; ++i) {
    if (i == text.size()) return {Utf8Part::Kind::kCut, i};
    const uint8_t low = i == 1 ? lead.low : 0x80;
    const uint8_t high = i == 1 ? lead.high : 0xbf;
    if (byte(i) < low || byte(i) > high) return {Utf8Part::Kind::kWrong, i};
  }
  return {Utf8Part::Kind::kChar, size_t{1} + lead.following};
}

size_t ValidUtf8Bytes(absl::string_view text) {
  constexpr uint64_t kHighBits = 0x8080808080808080;
  size_t at = 0;
  while (at < text.size()) {
    uint64_t word;
    if (text.size() - at >= sizeof(word)) {  // Most text is ASCII: eight at once.
      std::memcpy(&word, text.data() + at, sizeof(word));
      if ((word & kHighBits) == 0) {
        at += sizeof(word);
        continue;
      }
    }
    const Utf8Part part = FirstUtf8Part(text.substr(at));
    if (part.kind != Utf8Part::Kind::kChar) break;
    at += part.bytes;
  }
  return at;
}

}  // namespace cormorant
