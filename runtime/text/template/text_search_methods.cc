// Methods of str that look for a text inside another, and split there. See native.h.
#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "runtime/base/status.h"
#include "runtime/text/template/operators.h"
#include "runtime/text/template/text_functions.h"
#include "runtime/text/template/unicode.h"

namespace cormorant::jinja {
namespace {

using Result = absl::StatusOr<Value>;
constexpr size_t kNpos = absl::string_view::npos;

absl::string_view SelfText(const NativeCall& call) {
  return call.self.AsText();
}

/// The words of a text, from the left; what is left after `count` splits is the last one.
void SplitSpace(Heap& heap, absl::string_view text, int64_t count, List* parts) {
  text = StripSpaceLeft(text);
  for (; !text.empty() && count != 0 && !heap.is_exhausted(); --count) {
    size_t end = 0, next = 0;
    while (end < text.size() && !IsSpace(NextChar(text, &next))) end = next;
    heap.Append(parts, heap.NewTextView(text.substr(0, end)));
    text = StripSpaceLeft(text.substr(end));
  }
  if (!text.empty()) heap.Append(parts, heap.NewTextView(text));
}

void SplitSpaceRight(Heap& heap, absl::string_view text, int64_t count, List* parts) {
  text = StripSpaceRight(text);
  for (; !text.empty() && count != 0 && !heap.is_exhausted(); --count) {
    size_t begin = text.size();
    while (begin > 0) {
      size_t at = begin - 1;
      while (at > 0 && (static_cast<uint8_t>(text[at]) & 0xc0) == 0x80) --at;
      size_t next = at;
      if (IsSpace(NextChar(text, &next))) break;
      begin = at;
    }
    heap.Append(parts, heap.NewTextView(text.substr(begin)));
    text = StripSpaceRight(text.substr(0, begin));
  }
  if (!text.empty()) heap.Append(parts, heap.NewTextView(text));
  std::reverse(parts->items.begin(), parts->items.end());
}

/// The last place of `needle`. Long needles are looked for from the left: that is linear.
size_t FindLast(absl::string_view text, absl::string_view needle) {
  if (needle.size() <= 32) return text.rfind(needle);
  size_t last = kNpos;
  for (size_t at = FindText(text, needle); at != kNpos; at = FindText(text, needle, at + 1)) {
    last = at;
  }
  return last;
}

Result Split(NativeCall& call) {
  CORM_ASSIGN_OR_RETURN(const int64_t count, IntegerArgument(call, 1, -1));
  call.heap.Work(SelfText(call).size());
  List* parts = call.heap.NewList();
  absl::string_view text = SelfText(call);
  if (!call.Has(0) || call.args[0].is_none()) {
    SplitSpace(call.heap, text, count, parts);
    return ListValue(parts);
  }
  CORM_ASSIGN_OR_RETURN(const absl::string_view separator, TextArgument(call, 0));
  if (separator.empty()) return Error("split() wants a separator that is not empty");
  for (int64_t left = count; left != 0 && !call.heap.is_exhausted(); --left) {
    const size_t found = FindText(text, separator);
    if (found == kNpos) break;
    call.heap.Work(separator.size());
    call.heap.Append(parts, call.heap.NewTextView(text.substr(0, found)));
    text.remove_prefix(found + separator.size());
  }
  call.heap.Append(parts, call.heap.NewTextView(text));
  return ListValue(parts);
}

Result SplitFromRight(NativeCall& call) {
  CORM_ASSIGN_OR_RETURN(const int64_t count, IntegerArgument(call, 1, -1));
  call.heap.Work(SelfText(call).size());
  List* parts = call.heap.NewList();
  absl::string_view text = SelfText(call);
  if (!call.Has(0) || call.args[0].is_none()) {
    SplitSpaceRight(call.heap, text, count, parts);
    return ListValue(parts);
  }
  CORM_ASSIGN_OR_RETURN(const absl::string_view separator, TextArgument(call, 0));
  if (separator.empty()) return Error("rsplit() wants a separator that is not empty");
  for (int64_t left = count; left != 0 && !call.heap.is_exhausted(); --left) {
    if (separator.size() > 32) call.heap.Work(text.size() * 8);
    const size_t found = FindLast(text, separator);
    if (found == kNpos) break;
    call.heap.Append(parts, call.heap.NewTextView(text.substr(found + separator.size())));
    text = text.substr(0, found);
  }
  call.heap.Append(parts, call.heap.NewTextView(text));
  std::reverse(parts->items.begin(), parts->items.end());
  return ListValue(parts);
}

Result SplitToLines(NativeCall& call) {
  return ListValue(SplitLines(call.heap, SelfText(call), call.Flag(0)));
}

template <bool from_right>
Result Partition(NativeCall& call) {
  CORM_ASSIGN_OR_RETURN(const absl::string_view separator, TextArgument(call, 0));
  if (separator.empty()) return Error("partition() wants a separator that is not empty");
  const absl::string_view text = SelfText(call);
  call.heap.Work(text.size() * (from_right && separator.size() > 32 ? separator.size() : 1));
  if (call.heap.is_exhausted()) return call.heap.failure();
  const size_t found = from_right ? FindLast(text, separator) : FindText(text, separator);
  List* parts = call.heap.NewList(Flavor::kTuple);
  const auto add = [&](absl::string_view part) {
    call.heap.Append(parts, call.heap.NewTextView(part));
  };
  if (found == kNpos) {
    add(from_right ? "" : text);
    add("");
    add(from_right ? text : "");
  } else {
    add(text.substr(0, found));
    add(separator);
    add(text.substr(found + separator.size()));
  }
  return ListValue(parts);
}

/// text[start:end], as the optional arguments of startswith, find and count say.
Result Window(const NativeCall& call) {
  const auto part = [&](size_t i) { return call.Has(i) ? call.args[i] : NoneValue(); };
  return Sliced(call.heap, call.self, part(1), part(2), Value());
}

template <bool at_end>
Result HasAffix(NativeCall& call) {
  CORM_ASSIGN_OR_RETURN(const Value window, Window(call));
  std::vector<Value> affixes = {call.args[0]};
  if (IsList(call.args[0], Flavor::kTuple)) affixes = call.args[0].list->items;
  for (const Value& affix : affixes) {
    if (affix.is_undefined()) return UndefinedError(affix);
    if (!affix.is_text()) return Error(call.name, "() wants text, not ", TypeName(affix));
    const absl::string_view text = window.AsText();
    if (at_end ? absl::EndsWith(text, affix.AsText()) : absl::StartsWith(text, affix.AsText())) {
      return BoolValue(true);
    }
  }
  return BoolValue(false);
}

template <bool from_right, bool must_exist>
Result Find(NativeCall& call) {
  CORM_ASSIGN_OR_RETURN(const absl::string_view needle, TextArgument(call, 0));
  CORM_ASSIGN_OR_RETURN(const Value window, Window(call));
  const absl::string_view text = window.AsText();
  call.heap.Work(text.size() * (from_right && needle.size() > 32 ? needle.size() : 1));
  if (call.heap.is_exhausted()) return call.heap.failure();
  const size_t found = from_right ? FindLast(text, needle) : FindText(text, needle);
  if (found == kNpos) {
    if (must_exist) return Error("the text to find is not there");
    return IntValue(-1);
  }
  const size_t before = static_cast<size_t>(text.data() - SelfText(call).data()) + found;
  return IntValue(static_cast<int64_t>(CountChars(SelfText(call).substr(0, before))));
}

Result Count(NativeCall& call) {
  CORM_ASSIGN_OR_RETURN(const absl::string_view needle, TextArgument(call, 0));
  CORM_ASSIGN_OR_RETURN(const Value window, Window(call));
  if (needle.empty()) return IntValue(static_cast<int64_t>(window.text->chars) + 1);
  const absl::string_view text = window.AsText();
  call.heap.Work(text.size());
  int64_t count = 0;
  for (size_t at = FindText(text, needle); at != kNpos && !call.heap.is_exhausted();
       at = FindText(text, needle, at + needle.size())) {
    call.heap.Work(needle.size());
    ++count;
  }
  return IntValue(count);
}

constexpr NativeDef kMethods[] = {
    {"count", "sub start? end?", Count},
    {"endswith", "suffix start? end?", HasAffix<true>},
    {"find", "sub start? end?", Find<false, false>},
    {"index", "sub start? end?", Find<false, true>},
    {"partition", "sep", Partition<false>},
    {"rfind", "sub start? end?", Find<true, false>},
    {"rindex", "sub start? end?", Find<true, true>},
    {"rpartition", "sep", Partition<true>},
    {"rsplit", "sep? maxsplit?", SplitFromRight},
    {"split", "sep? maxsplit?", Split},
    {"splitlines", "keepends?", SplitToLines},
    {"startswith", "prefix start? end?", HasAffix<false>},
};

}  // namespace

const NativeDef* FindTextSearchMethod(absl::string_view name) {
  return FindIn(kMethods, name);
}

}  // namespace cormorant::jinja
