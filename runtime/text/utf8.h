// UTF-8 one character at a time: whole, cut off at the end, or wrong.
//
// Wrong bytes are counted as the Unicode standard advises (3.9, "maximal subparts"): the longest
// beginning of some character that goes no further is one mistake, so that every decoder that
// follows the advice writes the same number of U+FFFD.
#pragma once
#include <cstddef>
#include <cstdint>

#include "absl/strings/string_view.h"

namespace cormorant {

inline constexpr char kReplacementChar[] = "\xef\xbf\xbd";  // U+FFFD.

struct Utf8Part {
  enum class Kind : uint8_t { kChar, kCut, kWrong };
  Kind kind = Kind::kWrong;
  size_t bytes = 0;  // From 1 to 4. Of a kCut: all that is left of the text.
};

/// What a text that is not empty begins with. A kCut may become a character with more bytes.
Utf8Part FirstUtf8Part(absl::string_view text);

/// Bytes of the longest beginning of the text that is UTF-8.
size_t ValidUtf8Bytes(absl::string_view text);

}  // namespace cormorant
