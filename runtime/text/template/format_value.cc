// One value by one format specification. See format.h.
#include <algorithm>
#include <charconv>
#include <cmath>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "runtime/base/status.h"
#include "runtime/text/template/format.h"
#include "runtime/text/template/operators.h"
#include "runtime/text/template/text_form.h"
#include "runtime/text/template/unicode.h"

namespace cormorant::jinja {
namespace {

constexpr uint64_t kWidthMax = 1 << 20;
constexpr int kPrecisionMax = 1000;

bool IsAlign(char c) {
  return c == '<' || c == '>' || c == '^' || c == '=';
}

/// A number in three parts, so that padding and grouping can go between them.
struct NumberText {
  std::string sign;
  std::string digits;  // With the prefix of a base left out.
  std::string prefix;
};

void SetSign(bool is_negative, char sign, NumberText* number) {
  number->sign = is_negative ? "-" : sign == '-' ? "" : std::string(1, sign);
}

absl::StatusOr<NumberText> IntegerText(int64_t value, const FormatSpec& spec) {
  NumberText number;
  SetSign(value < 0, spec.sign, &number);
  const uint64_t magnitude =
      value < 0 ? 0 - static_cast<uint64_t>(value) : static_cast<uint64_t>(value);
  const char type = absl::ascii_tolower(static_cast<unsigned char>(spec.type));
  const int base = type == 'x' ? 16 : type == 'o' ? 8 : type == 'b' ? 2 : 10;
  char buffer[72];
  const auto end = std::to_chars(buffer, buffer + sizeof(buffer), magnitude, base);
  number.digits.assign(buffer, end.ptr);
  if (spec.is_percent_style &&
      static_cast<size_t>(std::max(spec.precision, 0)) > number.digits.size()) {
    number.digits.insert(0, static_cast<size_t>(spec.precision) - number.digits.size(), '0');
  }
  if (spec.is_alternate && base != 10) number.prefix = absl::StrCat("0", std::string(1, type));
  if (spec.type == 'X') {
    absl::AsciiStrToUpper(&number.digits);
    absl::AsciiStrToUpper(&number.prefix);
  }
  return number;
}

absl::StatusOr<NumberText> FloatTextBy(double value, const FormatSpec& spec) {
  NumberText number;
  SetSign(std::signbit(value) && !std::isnan(value), spec.sign, &number);
  double magnitude = std::fabs(value);
  const char type = absl::ascii_tolower(static_cast<unsigned char>(spec.type));
  if (std::isinf(magnitude) || std::isnan(magnitude)) {
    number.digits = std::isnan(magnitude) ? "nan" : "inf";
  } else if (type == '\0' && spec.precision < 0) {
    number.digits = FloatText(magnitude);
  } else {
    if (type == '%') magnitude *= 100;
    int precision = spec.precision < 0 ? 6 : spec.precision;
    const auto form = type == 'f' || type == '%' ? std::chars_format::fixed
                      : type == 'e'              ? std::chars_format::scientific
                                                 : std::chars_format::general;
    if (form == std::chars_format::general) precision = std::max(precision, 1);
    std::string buffer(static_cast<size_t>(precision) + 400, '\0');
    const auto end =
        std::to_chars(buffer.data(), buffer.data() + buffer.size(), magnitude, form, precision);
    number.digits.assign(buffer.data(), end.ptr);
    if (type == '%') number.digits.push_back('%');
  }
  if (spec.type == 'F' || spec.type == 'E' || spec.type == 'G') {
    absl::AsciiStrToUpper(&number.digits);
  }
  return number;
}

/// 1234567 as 1,234,567.
void Group(char separator, std::string* digits) {
  size_t end = 0;
  while (end < digits->size() && absl::ascii_isdigit(static_cast<unsigned char>((*digits)[end]))) {
    ++end;
  }
  for (size_t at = end; at > 3; at -= 3) digits->insert(at - 3, 1, separator);
}

void AppendPadded(absl::string_view text, uint64_t inner_at, char default_align,
                  const FormatSpec& spec, TextBuilder* out) {
  const uint64_t chars = CountChars(text);
  const uint64_t padding = spec.width > chars ? spec.width - chars : 0;
  const char align = spec.align == '\0' ? default_align : spec.align;
  const uint64_t before = align == '>' ? padding : align == '^' ? padding / 2 : 0;
  out->Fill(spec.fill, before);
  out->Append(text.substr(0, inner_at));
  if (align == '=') out->Fill(spec.fill, padding);
  out->Append(text.substr(inner_at));
  if (align != '=') out->Fill(spec.fill, padding - before);
}

absl::Status AppendNumber(const Value& value, const FormatSpec& spec, TextBuilder* out) {
  const bool wants_float = spec.type != '\0' && absl::StrContains("eEfFgG%", spec.type);
  const bool wants_integer = spec.type != '\0' && absl::StrContains("bdoxXc", spec.type);
  if (wants_integer && value.Is(Kind::kFloat) && !spec.is_percent_style) {
    return Error("the format '", std::string(1, spec.type), "' is for integers, not float");
  }
  NumberText number;
  if (wants_float || (value.Is(Kind::kFloat) && !wants_integer)) {
    CORM_ASSIGN_OR_RETURN(number, FloatTextBy(value.AsDouble(), spec));
  } else {
    if (value.Is(Kind::kFloat) && !(std::fabs(value.number) < 9e18)) {
      return Error("an integer outgrows 64 bits");
    }
    const int64_t integer =
        value.Is(Kind::kFloat) ? static_cast<int64_t>(value.number) : value.AsInteger();
    CORM_ASSIGN_OR_RETURN(number, IntegerText(integer, spec));
  }
  if (spec.grouping != '\0') Group(spec.grouping, &number.digits);
  const std::string head = number.sign + number.prefix;
  AppendPadded(head + number.digits, head.size(), '>', spec, out);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<FormatSpec> ParseFormatSpec(absl::string_view text) {
  FormatSpec spec;
  const absl::string_view whole = text;
  const size_t fill_bytes = text.empty() ? 0 : CharBytes(text[0]);
  if (text.size() > fill_bytes && fill_bytes > 0 && IsAlign(text[fill_bytes])) {
    spec.fill = text.substr(0, fill_bytes);
    spec.align = text[fill_bytes];
    text.remove_prefix(fill_bytes + 1);
  } else if (!text.empty() && IsAlign(text[0])) {
    spec.align = text[0];
    text.remove_prefix(1);
  }
  const auto take = [&text](absl::string_view any, char otherwise) {
    if (text.empty() || any.find(text[0]) == absl::string_view::npos) return otherwise;
    const char found = text[0];
    text.remove_prefix(1);
    return found;
  };
  const auto number = [&text](uint64_t limit, uint64_t* value) {
    while (!text.empty() && absl::ascii_isdigit(static_cast<unsigned char>(text[0]))) {
      *value = std::min(*value * 10 + static_cast<uint64_t>(text[0] - '0'), limit + 1);
      text.remove_prefix(1);
    }
    return *value <= limit;
  };
  spec.sign = take("+- ", '-');
  spec.is_alternate = take("#", '\0') != '\0';
  if (take("0", '\0') != '\0' && spec.align == '\0') {
    spec.fill = "0";
    spec.align = '=';
  }
  bool fits = number(kWidthMax, &spec.width);
  spec.grouping = take(",_", '\0');
  if (take(".", '\0') != '\0') {
    uint64_t precision = 0;
    fits = number(kPrecisionMax, &precision) && fits;
    spec.precision = static_cast<int>(precision);
  }
  spec.type = take("bcdeEfFgGnosxX%", '\0');
  if (spec.type == 'n') spec.type = '\0';
  if (!fits || !text.empty()) return Error("'", whole, "' is no format specification");
  return spec;
}

absl::Status AppendFormatted(Heap& heap, const Value& value, const FormatSpec& spec,
                             TextBuilder* out) {
  // % turns anything into text for s; braces leave that to the value's type.
  const bool is_text = spec.is_percent_style ? spec.type == 's' : value.is_text();
  const bool fits =
      is_text ? spec.type == '\0' || spec.type == 's' : value.is_number() && spec.type != 's';
  if (!fits) {
    return Error("a format does not work on ", TypeName(value), spec.type == '\0' ? "" : " as ",
                 std::string(spec.type != '\0', spec.type));
  }
  if (!is_text) return AppendNumber(value, spec, out);
  absl::string_view text = StrBytes(heap, value);
  if (spec.precision >= 0) {
    text = text.substr(0, ByteOfChar(text, static_cast<size_t>(spec.precision)));
  }
  AppendPadded(text, 0, '<', spec, out);
  return absl::OkStatus();
}

}  // namespace cormorant::jinja
