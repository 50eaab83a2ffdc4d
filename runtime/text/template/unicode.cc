// Code points and their classes. See unicode.h.
#include "runtime/text/template/unicode.h"

#include <algorithm>
#include <vector>

#include "runtime/text/template/unicode_tables.h"

namespace cormorant::jinja {
namespace {

enum ClassBits : uint32_t { kPrintable = 1, kAlpha = 2, kDecimal = 4, kDigit = 8, kNumeric = 16 };

uint32_t ClassOf(uint32_t code) {
  const uint32_t* end = kClassRuns + kClassRunsCount;
  const uint32_t* after = std::upper_bound(kClassRuns, end, code << 5 | 31u);
  return after == kClassRuns ? 0 : after[-1] & 31u;
}

uint32_t Mapped(uint32_t code, const CaseRange* ranges, size_t count) {
  const CaseRange* after = std::upper_bound(
      ranges, ranges + count, code, [](uint32_t c, const CaseRange& r) { return c < r.first; });
  if (after == ranges) return code;
  const CaseRange& range = after[-1];
  if (code > range.last || (code - range.first) % range.step != 0) return code;
  return static_cast<uint32_t>(static_cast<int64_t>(code) + range.delta);
}

const char* Special(uint32_t code, const CaseSpecial* specials, size_t count) {
  const CaseSpecial* end = specials + count;
  const CaseSpecial* at = std::lower_bound(
      specials, end, code, [](const CaseSpecial& s, uint32_t c) { return s.code < c; });
  return at != end && at->code == code ? at->text : nullptr;
}

void AppendMapped(uint32_t code, const CaseRange* ranges, size_t range_count,
                  const CaseSpecial* specials, size_t special_count, std::string* out) {
  if (const char* text = Special(code, specials, special_count)) {
    *out += text;
  } else {
    AppendChar(Mapped(code, ranges, range_count), out);
  }
}

/// Length of the valid sequence at `at`, or 0.
size_t ValidBytes(absl::string_view text, size_t at) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const size_t length = CharBytes(text[at]);
  if (byte(at) >= 0x80 && (byte(at) < 0xc2 || byte(at) > 0xf4)) return 0;
  if (at + length > text.size()) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((byte(at + i) & 0xc0) != 0x80) return 0;
  }
  if (byte(at) == 0xe0 && byte(at + 1) < 0xa0) return 0;  // Over-long.
  if (byte(at) == 0xed && byte(at + 1) > 0x9f) return 0;  // Surrogates.
  if (byte(at) == 0xf0 && byte(at + 1) < 0x90) return 0;  // Over-long.
  if (byte(at) == 0xf4 && byte(at + 1) > 0x8f) return 0;  // Past U+10FFFF.
  return length;
}

}  // namespace

size_t CharBytes(char lead) {
  const uint8_t byte = static_cast<uint8_t>(lead);
  return byte < 0xc0 ? 1 : byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
}

uint32_t NextChar(absl::string_view text, size_t* at) {
  const size_t length = std::min(CharBytes(text[*at]), text.size() - *at);
  uint32_t code = static_cast<uint8_t>(text[*at]);
  if (length > 1) code &= 0x7fu >> length;
  for (size_t i = 1; i < length; ++i) {
    code = code << 6 | (static_cast<uint8_t>(text[*at + i]) & 0x3fu);
  }
  *at += length;
  return code;
}

void AppendChar(uint32_t code, std::string* out) {
  const auto push = [out](uint32_t byte) { out->push_back(static_cast<char>(byte)); };
  if (code < 0x80) {
    push(code);
  } else if (code < 0x800) {
    push(0xc0 | code >> 6);
    push(0x80 | (code & 0x3f));
  } else if (code < 0x10000) {
    push(0xe0 | code >> 12);
    push(0x80 | (code >> 6 & 0x3f));
    push(0x80 | (code & 0x3f));
  } else {
    push(0xf0 | code >> 18);
    push(0x80 | (code >> 12 & 0x3f));
    push(0x80 | (code >> 6 & 0x3f));
    push(0x80 | (code & 0x3f));
  }
}

size_t CountChars(absl::string_view text) {
  size_t count = 0;
  for (char c : text) count += (static_cast<uint8_t>(c) & 0xc0) != 0x80;
  return count;
}

size_t ByteOfChar(absl::string_view text, size_t chars) {
  size_t at = 0;
  while (chars > 0 && at < text.size()) {
    at += CharBytes(text[at]);
    --chars;
  }
  return std::min(at, text.size());
}

bool IsUtf8(absl::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const size_t length = ValidBytes(text, at);
    if (length == 0) return false;
    at += length;
  }
  return true;
}

std::string Repaired(absl::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const size_t length = ValidBytes(text, at);
    if (length == 0) {
      out += "\xef\xbf\xbd";
    } else {
      out.append(text.data() + at, length);
    }
    at += std::max<size_t>(length, 1);
  }
  return out;
}

bool IsSpace(uint32_t code) {
  return (code >= 9 && code <= 13) || (code >= 0x1c && code <= 0x20) || code == 0x85 ||
         code == 0xa0 || code == 0x1680 || (code >= 0x2000 && code <= 0x200a) || code == 0x2028 ||
         code == 0x2029 || code == 0x202f || code == 0x205f || code == 0x3000;
}

absl::string_view StripSpaceLeft(absl::string_view text) {
  size_t at = 0;
  while (at < text.size()) {
    size_t next = at;
    if (!IsSpace(NextChar(text, &next))) break;
    at = next;
  }
  return text.substr(at);
}

absl::string_view StripSpaceRight(absl::string_view text) {
  size_t end = text.size();
  while (end > 0) {
    size_t begin = end - 1;
    while (begin > 0 && (static_cast<uint8_t>(text[begin]) & 0xc0) == 0x80) --begin;
    size_t at = begin;
    if (!IsSpace(NextChar(text, &at))) break;
    end = begin;
  }
  return text.substr(0, end);
}

bool IsPrintable(uint32_t code) {
  return (ClassOf(code) & kPrintable) != 0;
}
bool IsAlpha(uint32_t code) {
  return (ClassOf(code) & kAlpha) != 0;
}
bool IsDecimal(uint32_t code) {
  return (ClassOf(code) & kDecimal) != 0;
}
bool IsDigit(uint32_t code) {
  return (ClassOf(code) & kDigit) != 0;
}
bool IsNumeric(uint32_t code) {
  return (ClassOf(code) & kNumeric) != 0;
}

bool IsUpper(uint32_t code) {
  return Mapped(code, kLowerRanges, kLowerRangesCount) != code || code == 0x130;
}

bool IsLower(uint32_t code) {
  return Mapped(code, kUpperRanges, kUpperRangesCount) != code ||
         Special(code, kUpperSpecials, kUpperSpecialsCount) != nullptr || code == 0xaa ||
         code == 0xba;
}

void AppendLower(uint32_t code, std::string* out) {
  AppendMapped(code, kLowerRanges, kLowerRangesCount, kLowerSpecials, kLowerSpecialsCount, out);
}

void AppendUpper(uint32_t code, std::string* out) {
  AppendMapped(code, kUpperRanges, kUpperRangesCount, kUpperSpecials, kUpperSpecialsCount, out);
}

void AppendTitle(uint32_t code, std::string* out) {
  if (const char* text = Special(code, kTitleSpecials, kTitleSpecialsCount)) {
    *out += text;
  } else {
    AppendUpper(code, out);
  }
}

std::string Lower(absl::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) AppendLower(NextChar(text, &at), &out);
  return out;
}

std::string Upper(absl::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) AppendUpper(NextChar(text, &at), &out);
  return out;
}

std::string Capitalized(absl::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const bool is_first = at == 0;
    const uint32_t code = NextChar(text, &at);
    is_first ? AppendTitle(code, &out) : AppendLower(code, &out);
  }
  return out;
}

std::string Titled(absl::string_view text) {
  std::string out;
  out.reserve(text.size());
  bool in_word = false;
  for (size_t at = 0; at < text.size();) {
    const uint32_t code = NextChar(text, &at);
    in_word ? AppendLower(code, &out) : AppendTitle(code, &out);
    in_word = IsUpper(code) || IsLower(code);
  }
  return out;
}

size_t FindText(absl::string_view text, absl::string_view needle, size_t from) {
  constexpr size_t kShort = 32;  // The plain search costs at most this often the text.
  if (from > text.size()) return absl::string_view::npos;
  if (needle.size() <= kShort) return text.find(needle, from);
  // Knuth, Morris, Pratt: border[i] is the longest proper border of the needle's first i bytes.
  std::vector<uint32_t> border(needle.size() + 1, 0);
  for (size_t i = 1, k = 0; i < needle.size(); ++i) {
    while (k > 0 && needle[i] != needle[k]) k = border[k];
    if (needle[i] == needle[k]) ++k;
    border[i + 1] = static_cast<uint32_t>(k);
  }
  for (size_t i = from, k = 0; i < text.size(); ++i) {
    while (k > 0 && text[i] != needle[k]) k = border[k];
    if (text[i] == needle[k]) ++k;
    if (k == needle.size()) return i + 1 - k;
  }
  return absl::string_view::npos;
}

}  // namespace cormorant::jinja
