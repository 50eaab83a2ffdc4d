// Text in, text out. See text_functions.h.
#include "runtime/text/template/text_functions.h"

#include "absl/strings/str_cat.h"
#include "runtime/base/status.h"
#include "runtime/text/template/operators.h"
#include "runtime/text/template/unicode.h"

namespace cormorant::jinja {
namespace {

/// Whether the code point that begins at `at` is one of `chars`.
bool IsIn(absl::string_view text, size_t at, absl::string_view chars) {
  const absl::string_view one = text.substr(at, CharBytes(text[at]));
  return chars.find(one) != absl::string_view::npos;
}

size_t LastCharAt(absl::string_view text) {
  size_t at = text.size() - 1;
  while (at > 0 && (static_cast<uint8_t>(text[at]) & 0xc0) == 0x80) --at;
  return at;
}

/// Where a line may end, beyond \n: str.splitlines knows more ends than files do.
bool IsLineEnd(uint32_t code) {
  return (code >= 0x0a && code <= 0x0d) || (code >= 0x1c && code <= 0x1e) || code == 0x85 ||
         code == 0x2028 || code == 0x2029;
}

}  // namespace

absl::StatusOr<absl::string_view> Stripped(Heap& heap, absl::string_view text, const Value& chars,
                                           Side side) {
  if (chars.is_missing() || chars.is_none()) {
    if (side != Side::kRight) text = StripSpaceLeft(text);
    if (side != Side::kLeft) text = StripSpaceRight(text);
    return text;
  }
  if (chars.is_undefined()) return UndefinedError(chars);
  if (!chars.is_text()) return Error("strip() wants text, not ", TypeName(chars));
  const absl::string_view set = chars.AsText();
  const size_t before = text.size();
  while (side != Side::kRight && !text.empty() && IsIn(text, 0, set)) {
    text.remove_prefix(CharBytes(text[0]));
  }
  while (side != Side::kLeft && !text.empty() && IsIn(text, LastCharAt(text), set)) {
    text = text.substr(0, LastCharAt(text));
  }
  heap.Work((before - text.size()) * set.size());
  return text;
}

Value Replaced(Heap& heap, absl::string_view text, absl::string_view old_text,
               absl::string_view new_text, int64_t count) {
  heap.Work(text.size());
  TextBuilder out(heap);
  size_t at = 0;
  if (old_text.empty()) {  // Between all characters, and at both ends.
    for (; count != 0 && !heap.is_exhausted(); --count) {
      out.Append(new_text);
      if (at >= text.size()) break;
      const size_t bytes = CharBytes(text[at]);
      out.Append(text.substr(at, bytes));
      at += bytes;
    }
    if (at < text.size()) out.Append(text.substr(at));
    return out.Finish();
  }
  for (; count != 0 && !heap.is_exhausted(); --count) {
    const size_t found = FindText(text, old_text, at);
    if (found == absl::string_view::npos) break;
    if (old_text.size() > 32) heap.Work(old_text.size());
    out.Append(text.substr(at, found - at));
    out.Append(new_text);
    at = found + old_text.size();
  }
  if (at == 0) return heap.NewTextView(text);
  out.Append(text.substr(at));
  return out.Finish();
}

List* SplitLines(Heap& heap, absl::string_view text, bool keeps_ends) {
  List* lines = heap.NewList();
  for (size_t begin = 0; begin < text.size() && !heap.is_exhausted();) {
    size_t end = begin, next = begin;
    uint32_t code = 0;
    while (end < text.size()) {
      code = NextChar(text, &next);
      if (IsLineEnd(code)) break;
      end = next;
    }
    if (code == '\r' && next < text.size() && text[next] == '\n') ++next;
    heap.Append(lines, heap.NewTextView(text.substr(begin, (keeps_ends ? next : end) - begin)));
    begin = next;
  }
  return lines;
}

Value Padded(Heap& heap, absl::string_view text, int64_t width, absl::string_view fill, Side side) {
  const int64_t chars = static_cast<int64_t>(CountChars(text));
  if (width <= chars) return heap.NewTextView(text);
  const uint64_t padding = static_cast<uint64_t>(width - chars);
  // The odd blank of a centred text goes left where the width is odd, as Python has it.
  const uint64_t left = side == Side::kRight ? padding
                        : side == Side::kLeft
                            ? 0
                            : padding / 2 + (padding & static_cast<uint64_t>(width) & 1);
  TextBuilder out(heap);
  out.Fill(fill, left);
  out.Append(text);
  out.Fill(fill, padding - left);
  return out.Finish();
}

absl::StatusOr<int64_t> IntegerArgument(const NativeCall& call, size_t index, int64_t otherwise) {
  if (!call.Has(index) || call.args[index].is_none()) return otherwise;
  const Value& value = call.args[index];
  if (value.is_undefined()) return UndefinedError(value);
  if (!value.is_integral()) return Error(call.name, "() wants an integer, not ", TypeName(value));
  return value.AsInteger();
}

absl::StatusOr<absl::string_view> TextArgument(const NativeCall& call, size_t index) {
  const Value& value = call.args[index];
  if (value.is_undefined()) return UndefinedError(value);
  if (!value.is_text()) return Error(call.name, "() wants text, not ", TypeName(value));
  return value.AsText();
}

}  // namespace cormorant::jinja
