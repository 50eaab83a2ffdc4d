// Numbers and escapes. See literals.h.
#include "runtime/text/template/literals.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "runtime/text/template/native.h"
#include "runtime/text/template/unicode.h"

namespace cormorant::jinja {
namespace {

bool IsDigitOf(char c, int base) {
  const int digit = absl::ascii_isdigit(static_cast<unsigned char>(c)) ? c - '0'
                    : absl::ascii_isalpha(static_cast<unsigned char>(c))
                        ? absl::ascii_tolower(static_cast<unsigned char>(c)) - 'a' + 10
                        : 99;
  return digit < base;
}

/// Past digits that may have single underscores between them; `at` itself when there is no digit.
size_t SkipDigits(absl::string_view text, size_t at, int base) {
  size_t end = at;
  while (end < text.size()) {
    const size_t digit = end > at && text[end] == '_' ? end + 1 : end;
    if (digit >= text.size() || !IsDigitOf(text[digit], base)) break;
    end = digit + 1;
  }
  return end;
}

std::string WithoutUnderscores(absl::string_view text) {
  std::string out(text);
  out.erase(std::remove(out.begin(), out.end(), '_'), out.end());
  return out;
}

/// The end of a float at `at`, or `at` when there is none.
size_t SkipFloat(absl::string_view source, size_t at) {
  const size_t whole = SkipDigits(source, at, 10);
  size_t end = whole;
  if (end + 1 < source.size() && source[end] == '.' && IsDigitOf(source[end + 1], 10)) {
    end = SkipDigits(source, end + 1, 10);
  }
  const bool has_fraction = end != whole;
  if (end < source.size() && (source[end] == 'e' || source[end] == 'E')) {
    size_t digits = end + 1;
    if (digits < source.size() && (source[digits] == '+' || source[digits] == '-')) ++digits;
    const size_t after = SkipDigits(source, digits, 10);
    if (after != digits) return after;
  }
  return has_fraction ? end : at;
}

/// The base that a prefix as 0x names, or 10.
int PrefixBase(absl::string_view text) {
  if (text.size() < 2 || text[0] != '0') return 10;
  const char c = absl::ascii_tolower(static_cast<unsigned char>(text[1]));
  return c == 'x' ? 16 : c == 'o' ? 8 : c == 'b' ? 2 : 10;
}

absl::StatusOr<uint32_t> HexEscape(absl::string_view inside, size_t* at, size_t digits) {
  uint32_t code = 0;
  const absl::string_view hex = inside.substr(std::min(*at, inside.size()), digits);
  const auto read = std::from_chars(hex.data(), hex.data() + hex.size(), code, 16);
  if (hex.size() < digits || read.ptr != hex.data() + digits) {
    return Error("an escape as \\x in a string wants ", digits, " hexadecimal digits");
  }
  if (code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) {
    return Error("an escape in a string names U+", hex, ", which is no character");
  }
  *at += digits;
  return code;
}

}  // namespace

bool ReadNumberLiteral(absl::string_view source, bool may_be_float, size_t* at, Value* value) {
  const size_t begin = *at;
  const size_t float_end = may_be_float ? SkipFloat(source, begin) : begin;
  if (float_end != begin) {
    *at = float_end;
    double number = 0;
    if (!ParseFloat(source.substr(begin, float_end - begin), &number)) return false;
    *value = FloatValue(number);
    return true;
  }
  const int base = PrefixBase(source.substr(begin));
  size_t end = begin;
  if (base != 10) end = SkipDigits(source, begin + 2, base);
  if (end <= begin + 2) {
    // A zero stands alone: 012 is two numbers.
    end = SkipDigits(source, begin, source[begin] == '0' ? 1 : 10);
  }
  *at = end;
  int64_t integer = 0;
  if (!ParseInteger(source.substr(begin, end - begin), 0, &integer)) return false;
  *value = IntValue(integer);
  return true;
}

absl::StatusOr<std::string> Unescaped(absl::string_view inside) {
  constexpr absl::string_view kLetters = "\\'\"abfnrtv";
  constexpr absl::string_view kMeanings = "\\'\"\a\b\f\n\r\t\v";
  std::string out;
  for (size_t at = 0; at < inside.size();) {
    if (inside[at] != '\\' || at + 1 >= inside.size()) {
      out.push_back(inside[at++]);
      continue;
    }
    const char letter = inside[at + 1];
    at += 2;
    const size_t simple = kLetters.find(letter);
    if (letter == '\n') continue;  // A line that goes on.
    if (simple != absl::string_view::npos) {
      out.push_back(kMeanings[simple]);
    } else if (letter >= '0' && letter <= '7') {
      uint32_t code = static_cast<uint32_t>(letter - '0');
      for (int i = 0; i < 2 && at < inside.size() && IsDigitOf(inside[at], 8); ++i) {
        code = code * 8 + static_cast<uint32_t>(inside[at++] - '0');
      }
      AppendChar(code, &out);
    } else if (letter == 'x' || letter == 'u' || letter == 'U') {
      const auto code = HexEscape(inside, &at, letter == 'x' ? 2 : letter == 'u' ? 4 : 8);
      if (!code.ok()) return code.status();
      AppendChar(*code, &out);
    } else if (letter == 'N') {
      return Error("\\N{...} in a string is not supported; write the character itself");
    } else {
      out.push_back('\\');
      out.push_back(letter);
    }
  }
  return out;
}

bool ParseInteger(absl::string_view text, int base, int64_t* value) {
  text = StripSpaceRight(StripSpaceLeft(text));
  const bool is_negative = absl::ConsumePrefix(&text, "-");
  if (!is_negative) absl::ConsumePrefix(&text, "+");
  const int prefix = PrefixBase(text);
  if (prefix != 10 && (base == 0 || base == prefix)) {
    text.remove_prefix(2);
    absl::ConsumePrefix(&text, "_");
    base = prefix;
  }
  if (base == 0) base = 10;
  if (base < 2 || base > 36) return false;
  if (text.empty() || SkipDigits(text, 0, base) != text.size()) return false;
  const std::string digits = WithoutUnderscores(text);
  uint64_t magnitude = 0;
  const auto read = std::from_chars(digits.data(), digits.data() + digits.size(), magnitude, base);
  const uint64_t limit = uint64_t{1} << 63;
  if (read.ec != std::errc() || magnitude > limit - !is_negative) return false;
  *value = static_cast<int64_t>(is_negative ? 0 - magnitude : magnitude);
  return true;
}

bool ParseFloat(absl::string_view text, double* value) {
  text = StripSpaceRight(StripSpaceLeft(text));
  const bool is_negative = absl::ConsumePrefix(&text, "-");
  if (!is_negative) absl::ConsumePrefix(&text, "+");
  if (absl::EqualsIgnoreCase(text, "inf") || absl::EqualsIgnoreCase(text, "infinity")) {
    *value = std::numeric_limits<double>::infinity();
  } else if (absl::EqualsIgnoreCase(text, "nan")) {
    *value = std::numeric_limits<double>::quiet_NaN();
  } else {
    const std::string digits = WithoutUnderscores(text);
    if (digits.empty() || !(IsDigitOf(digits[0], 10) || digits[0] == '.')) return false;
    const auto read = std::from_chars(digits.data(), digits.data() + digits.size(), *value);
    if (read.ptr != digits.data() + digits.size()) return false;
    if (read.ec == std::errc::result_out_of_range) {
      // Too large or too small; the exponent's sign tells which.
      *value = absl::StrContains(digits, "e-") ? 0.0 : std::numeric_limits<double>::infinity();
    } else if (read.ec != std::errc()) {
      return false;
    }
  }
  if (is_negative) *value = -*value;
  return true;
}

}  // namespace cormorant::jinja
