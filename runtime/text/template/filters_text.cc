// Filters that make text. See filters.h.
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "runtime/base/status.h"
#include "runtime/text/template/filters.h"
#include "runtime/text/template/format.h"
#include "runtime/text/template/operators.h"
#include "runtime/text/template/text_form.h"
#include "runtime/text/template/text_functions.h"
#include "runtime/text/template/unicode.h"

namespace cormorant::jinja {
namespace {

using Result = absl::StatusOr<Value>;

absl::string_view SelfText(const NativeCall& call) {
  return StrBytes(call.heap, call.self);
}

bool IsMarkup(const NativeCall& call) {
  return call.self.is_text() && call.self.text->is_markup;
}

Result Trim(NativeCall& call) {
  CORM_ASSIGN_OR_RETURN(const absl::string_view text,
                        Stripped(call.heap, SelfText(call), call.args[0], Side::kBoth));
  return call.heap.NewTextView(text, IsMarkup(call));
}

template <std::string (*change)(absl::string_view)>
Result Change(NativeCall& call) {
  const absl::string_view text = SelfText(call);
  if (!call.heap.Charge(3 * text.size())) return call.heap.failure();
  return call.heap.NewText(change(text), IsMarkup(call));
}

/// Words begin after white space and after - ( { [ <; unlike in str.title, not after quotes.
std::string TitledWords(absl::string_view text) {
  std::string out;
  bool is_first = true;
  for (size_t at = 0; at < text.size();) {
    const uint32_t code = NextChar(text, &at);
    if (IsSpace(code) || (code < 0x80 && absl::string_view("-({[<").find(static_cast<char>(code)) !=
                                             absl::string_view::npos)) {
      AppendChar(code, &out);
      is_first = true;
      continue;
    }
    is_first ? AppendUpper(code, &out) : AppendLower(code, &out);
    is_first = false;
  }
  return out;
}

Result Replace(NativeCall& call) {
  CORM_ASSIGN_OR_RETURN(const int64_t count, IntegerArgument(call, 2, -1));
  return Replaced(call.heap, SelfText(call), StrBytes(call.heap, call.args[0]),
                  StrBytes(call.heap, call.args[1]), count);
}

Result ToText(NativeCall& call) {
  return IsMarkup(call) ? call.self : Str(call.heap, call.self);
}

Result Safe(NativeCall& call) {
  return call.heap.NewTextView(SelfText(call), /*is_markup=*/true);
}

Result Escape(NativeCall& call) {
  if (IsMarkup(call)) return call.self;
  TextBuilder out(call.heap);
  AppendEscaped(SelfText(call), &out);
  return out.Finish(/*is_markup=*/true);
}

Result ForceEscape(NativeCall& call) {
  TextBuilder out(call.heap);
  AppendEscaped(SelfText(call), &out);
  return out.Finish(/*is_markup=*/true);
}

Result Center(NativeCall& call) {
  CORM_ASSIGN_OR_RETURN(const int64_t width, IntegerArgument(call, 0, 80));
  return Padded(call.heap, SelfText(call), width, " ", Side::kBoth);
}

Result Indent(NativeCall& call) {
  if (!call.self.is_text()) {
    if (call.self.is_undefined()) return UndefinedError(call.self);
    return Error("indent() works on text, not on ", TypeName(call.self));
  }
  const bool indents_first = call.Flag(1), indents_blank = call.Flag(2);
  TextBuilder indention(call.heap);
  if (call.Has(0) && call.args[0].is_text()) {
    indention.Append(call.args[0].AsText());
  } else {
    CORM_ASSIGN_OR_RETURN(const int64_t width, IntegerArgument(call, 0, 4));
    indention.Fill(" ", width < 0 ? 0 : static_cast<uint64_t>(width));
  }
  TextBuilder with_newline(call.heap);  // So that the last newline makes a last, empty line.
  with_newline.Append(call.self.AsText());
  with_newline.Append('\n');
  const List* lines = SplitLines(call.heap, with_newline.bytes(), /*keeps_ends=*/false);
  TextBuilder out(call.heap);
  for (size_t i = 0; i < lines->items.size(); ++i) {
    const absl::string_view line = lines->items[i].AsText();
    if (i != 0) out.Append('\n');
    const bool is_indented = i == 0 ? indents_first : indents_blank || !line.empty();
    if (is_indented) out.Append(indention.bytes());
    out.Append(line);
  }
  return out.Finish(IsMarkup(call));
}

Result Format(NativeCall& call) {
  Value values;
  if (!call.raw.named.empty()) {
    Dict* dict = call.heap.NewDict();
    for (const auto& [name, value] : call.raw.named) {
      call.heap.Set(dict, call.heap.NewTextView(name), value);
    }
    if (!call.raw.positional.empty()) return Error("format() takes either names or places");
    values = DictValue(dict);
  } else {
    List* list = call.heap.NewList(Flavor::kTuple);
    for (const Value& value : call.raw.positional) call.heap.Append(list, value);
    values = ListValue(list);
  }
  return FormatPercent(call.heap, Str(call.heap, call.self), values);
}

/// Of a text, in characters, or of another value that has a length; else -1.
int64_t LengthOf(const Value& value) {
  if (value.is_text()) return static_cast<int64_t>(value.text->chars);
  if (value.is_undefined()) return 0;
  if (value.Is(Kind::kDict)) return static_cast<int64_t>(value.dict->size());
  const bool has_length = value.Is(Kind::kList) && value.list->flavor != Flavor::kIterator;
  return has_length ? static_cast<int64_t>(value.list->items.size()) : -1;
}

Result Truncate(NativeCall& call) {
  CORM_ASSIGN_OR_RETURN(const int64_t length, IntegerArgument(call, 0, 255));
  CORM_ASSIGN_OR_RETURN(const int64_t leeway, IntegerArgument(call, 3, 5));
  const absl::string_view end = call.Has(2) ? StrBytes(call.heap, call.args[2]) : "...";
  const int64_t kept = length - static_cast<int64_t>(CountChars(end));
  if (kept < 0 || leeway < 0) return Error("truncate() has no room for its end");
  const int64_t self_length = LengthOf(call.self);
  // Whatever is short enough is left as it is.
  if (self_length >= 0 && self_length - leeway <= length) return call.self;
  if (!call.self.is_text()) return Error("truncate() works on text");
  const absl::string_view text = call.self.AsText();
  absl::string_view cut = text.substr(0, ByteOfChar(text, static_cast<size_t>(kept)));
  if (!call.Flag(1)) cut = cut.substr(0, cut.rfind(' '));
  TextBuilder out(call.heap);
  out.Append(cut);
  out.Append(end);
  return out.Finish();
}

Result WordCount(NativeCall& call) {
  int64_t count = 0;
  bool in_word = false;
  const absl::string_view text = SelfText(call);
  for (size_t at = 0; at < text.size();) {
    const uint32_t code = NextChar(text, &at);
    const bool is_word = IsAlpha(code) || IsNumeric(code) || code == '_';
    count += is_word && !in_word;
    in_word = is_word;
  }
  return IntValue(count);
}

/// A path keeps its slashes; in a query a blank is a plus.
void AppendQuotedUrl(absl::string_view text, bool is_path, TextBuilder* out) {
  for (char c : text) {
    const bool is_plain = absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_' ||
                          c == '.' || c == '-' || c == '~' || (c == '/' && is_path);
    if (is_plain || (c == ' ' && !is_path)) {
      out->Append(is_plain ? c : '+');
    } else {
      constexpr absl::string_view kDigits = "0123456789ABCDEF";
      const uint8_t byte = static_cast<uint8_t>(c);
      out->Append('%');
      out->Append(kDigits[byte >> 4]);
      out->Append(kDigits[byte & 15]);
    }
  }
}

Result UrlEncode(NativeCall& call) {
  TextBuilder out(call.heap);
  std::vector<Value> pairs;
  if (call.self.Is(Kind::kDict)) {
    for (const auto& [key, value] : call.self.dict->entries()) {
      pairs.push_back(key);
      pairs.push_back(value);
    }
  } else if (call.self.Is(Kind::kList)) {
    CORM_ASSIGN_OR_RETURN(const std::vector<Value> items, ItemsOf(call.heap, call.self));
    for (const Value& item : items) {
      CORM_ASSIGN_OR_RETURN(const std::vector<Value> pair, ItemsOf(call.heap, item));
      if (pair.size() != 2) return Error("urlencode() wants pairs");
      pairs.insert(pairs.end(), pair.begin(), pair.end());
    }
  } else {
    AppendQuotedUrl(SelfText(call), /*is_path=*/true, &out);
    return out.Finish();
  }
  for (size_t i = 0; i < pairs.size(); ++i) {
    if (i != 0) out.Append(i % 2 == 0 ? '&' : '=');
    AppendQuotedUrl(StrBytes(call.heap, pairs[i]), /*is_path=*/false, &out);
  }
  return out.Finish();
}

Result ToJsonFilter(NativeCall& call) {
  JsonStyle style;
  style.ensure_ascii = call.Flag(0);
  style.sort_keys = call.Flag(3);
  TextBuilder indent(call.heap);
  if (call.Has(1) && !call.args[1].is_none()) {
    style.has_indent = true;
    style.item_separator = ",";
    if (call.args[1].is_text()) {
      indent.Append(call.args[1].AsText());
    } else {
      CORM_ASSIGN_OR_RETURN(const int64_t width, IntegerArgument(call, 1, 0));
      indent.Fill(" ", width < 0 ? 0 : static_cast<uint64_t>(width));
    }
    style.indent = indent.bytes();
  }
  if (call.Has(2) && !call.args[2].is_none()) {
    CORM_ASSIGN_OR_RETURN(const std::vector<Value> pair, ItemsOf(call.heap, call.args[2]));
    if (pair.size() != 2 || !pair[0].is_text() || !pair[1].is_text()) {
      return Error("tojson() wants two texts as separators");
    }
    style.item_separator = pair[0].AsText();
    style.key_separator = pair[1].AsText();
  }
  return ToJson(call.heap, call.self, style);
}

constexpr NativeDef kFilters[] = {
    {"capitalize", "", Change<Capitalized>},
    {"center", "width?", Center},
    {"e", "", Escape},
    {"escape", "", Escape},
    {"forceescape", "", ForceEscape},
    {"format", "*", Format},
    {"indent", "width? first? blank?", Indent},
    {"lower", "", Change<Lower>},
    {"replace", "old new count?", Replace},
    {"safe", "", Safe},
    {"string", "", ToText},
    {"title", "", Change<TitledWords>},
    {"tojson", "ensure_ascii? indent? separators? sort_keys?", ToJsonFilter},
    {"trim", "chars?", Trim},
    {"truncate", "length? killwords? end? leeway?", Truncate},
    {"upper", "", Change<Upper>},
    {"urlencode", "", UrlEncode},
    {"wordcount", "", WordCount},
};

}  // namespace

const NativeDef* FindTextFilter(absl::string_view name) {
  return FindIn(kFilters, name);
}

}  // namespace cormorant::jinja
