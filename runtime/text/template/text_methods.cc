// Methods of str but those that search. See native.h.
#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "runtime/base/status.h"
#include "runtime/text/template/format.h"
#include "runtime/text/template/operators.h"
#include "runtime/text/template/text_functions.h"
#include "runtime/text/template/unicode.h"

namespace cormorant::jinja {
namespace {

using Result = absl::StatusOr<Value>;

absl::string_view SelfText(const NativeCall& call) {
  return call.self.AsText();
}

template <Side side>
Result Strip(NativeCall& call) {
  CORM_ASSIGN_OR_RETURN(const absl::string_view text,
                        Stripped(call.heap, SelfText(call), call.args[0], side));
  return call.heap.NewTextView(text);
}

template <std::string (*change)(absl::string_view)>
Result Change(NativeCall& call) {
  // Case mappings triple a text at most.
  if (!call.heap.Charge(3 * SelfText(call).size())) return call.heap.failure();
  return call.heap.NewText(change(SelfText(call)));
}

std::string SwappedCase(absl::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const uint32_t code = NextChar(text, &at);
    IsUpper(code) ? AppendLower(code, &out) : AppendUpper(code, &out);
  }
  return out;
}

Result Replace(NativeCall& call) {
  CORM_ASSIGN_OR_RETURN(const absl::string_view old_text, TextArgument(call, 0));
  CORM_ASSIGN_OR_RETURN(const absl::string_view new_text, TextArgument(call, 1));
  CORM_ASSIGN_OR_RETURN(const int64_t count, IntegerArgument(call, 2, -1));
  return Replaced(call.heap, SelfText(call), old_text, new_text, count);
}

Result Join(NativeCall& call) {
  CORM_ASSIGN_OR_RETURN(const std::vector<Value> items, ItemsOf(call.heap, call.args[0]));
  TextBuilder out(call.heap);
  for (size_t i = 0; i < items.size(); ++i) {
    if (!items[i].is_text()) return Error("join() wants texts, not ", TypeName(items[i]));
    if (i != 0) out.Append(SelfText(call));
    out.Append(items[i].AsText());
  }
  return out.Finish();
}

template <bool (*is_of)(uint32_t)>
Result AllAre(NativeCall& call) {
  const absl::string_view text = SelfText(call);
  call.heap.Work(text.size());
  for (size_t at = 0; at < text.size();) {
    if (!is_of(NextChar(text, &at))) return BoolValue(false);
  }
  return BoolValue(!text.empty());
}

bool IsAlphaOrNumber(uint32_t code) {
  return IsAlpha(code) || IsDecimal(code) || IsDigit(code) || IsNumeric(code);
}

bool IsAscii(uint32_t code) {
  return code < 0x80;
}

/// isupper and islower: characters without case do not count.
template <bool (*is_of)(uint32_t), bool (*is_other)(uint32_t)>
Result AllCasedAre(NativeCall& call) {
  bool has_one = false;
  for (size_t at = 0; at < SelfText(call).size();) {
    const uint32_t code = NextChar(SelfText(call), &at);
    if (is_other(code)) return BoolValue(false);
    has_one |= is_of(code);
  }
  return BoolValue(has_one);
}

template <Side side>
Result Pad(NativeCall& call) {
  CORM_ASSIGN_OR_RETURN(const int64_t width, IntegerArgument(call, 0, 0));
  absl::string_view fill = " ";
  if (call.Has(1)) {
    CORM_ASSIGN_OR_RETURN(fill, TextArgument(call, 1));
  }
  if (CountChars(fill) != 1) return Error(call.name, "() pads with exactly one character");
  return Padded(call.heap, SelfText(call), width, fill, side);
}

Result FillZeros(NativeCall& call) {
  CORM_ASSIGN_OR_RETURN(const int64_t width, IntegerArgument(call, 0, 0));
  const absl::string_view text = SelfText(call);
  const bool is_signed = !text.empty() && (text[0] == '-' || text[0] == '+');
  const Value digits =
      Padded(call.heap, text.substr(is_signed), width - is_signed, "0", Side::kRight);
  return call.heap.NewText(absl::StrCat(text.substr(0, is_signed), digits.AsText()));
}

template <bool at_end>
Result RemoveAffix(NativeCall& call) {
  CORM_ASSIGN_OR_RETURN(const absl::string_view affix, TextArgument(call, 0));
  absl::string_view text = SelfText(call);
  if (at_end && absl::EndsWith(text, affix)) text.remove_suffix(affix.size());
  if (!at_end && absl::StartsWith(text, affix)) text.remove_prefix(affix.size());
  return call.heap.NewTextView(text);
}

Result Format(NativeCall& call) {
  return FormatBraces(call.run, call.heap, call.self, call.raw);
}

constexpr NativeDef kMethods[] = {
    {"capitalize", "", Change<Capitalized>},
    {"casefold", "", Change<Lower>},
    {"center", "width fillchar?", Pad<Side::kBoth>},
    {"format", "*", Format},
    {"isalnum", "", AllAre<IsAlphaOrNumber>},
    {"isalpha", "", AllAre<IsAlpha>},
    {"isascii", "", AllAre<IsAscii>},
    {"isdecimal", "", AllAre<IsDecimal>},
    {"isdigit", "", AllAre<IsDigit>},
    {"islower", "", AllCasedAre<IsLower, IsUpper>},
    {"isnumeric", "", AllAre<IsNumeric>},
    {"isspace", "", AllAre<IsSpace>},
    {"isupper", "", AllCasedAre<IsUpper, IsLower>},
    {"join", "iterable", Join},
    {"ljust", "width fillchar?", Pad<Side::kLeft>},
    {"lower", "", Change<Lower>},
    {"lstrip", "chars?", Strip<Side::kLeft>},
    {"removeprefix", "prefix", RemoveAffix<false>},
    {"removesuffix", "suffix", RemoveAffix<true>},
    {"replace", "old new count?", Replace},
    {"rjust", "width fillchar?", Pad<Side::kRight>},
    {"rstrip", "chars?", Strip<Side::kRight>},
    {"strip", "chars?", Strip<Side::kBoth>},
    {"swapcase", "", Change<SwappedCase>},
    {"title", "", Change<Titled>},
    {"upper", "", Change<Upper>},
    {"zfill", "width", FillZeros},
};

}  // namespace

const NativeDef* FindTextMethod(absl::string_view name) {
  const NativeDef* method = FindIn(kMethods, name);
  return method != nullptr ? method : FindTextSearchMethod(name);
}

}  // namespace cormorant::jinja
