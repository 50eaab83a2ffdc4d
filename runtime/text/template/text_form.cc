// str() and repr(). See text_form.h.
#include "runtime/text/template/text_form.h"

#include <charconv>
#include <cmath>
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "runtime/text/template/scope.h"
#include "runtime/text/template/unicode.h"

namespace cormorant::jinja {
namespace {

/// A text in quotes: single ones unless it holds single but no double quotes.
void AppendQuoted(absl::string_view text, TextBuilder* out) {
  const bool has_single = text.find('\'') != absl::string_view::npos;
  const bool has_double = text.find('"') != absl::string_view::npos;
  const char quote = has_single && !has_double ? '"' : '\'';
  out->Append(quote);
  for (size_t at = 0; at < text.size();) {
    const size_t begin = at;
    const uint32_t code = NextChar(text, &at);
    if (code == static_cast<uint32_t>(quote) || code == '\\') {
      out->Append('\\');
      out->Append(static_cast<char>(code));
    } else if (code == '\n') {
      out->Append("\\n");
    } else if (code == '\r') {
      out->Append("\\r");
    } else if (code == '\t') {
      out->Append("\\t");
    } else if (IsPrintable(code)) {
      out->Append(text.substr(begin, at - begin));
    } else if (code < 0x100) {
      out->Append(absl::StrCat("\\x", absl::Hex(code, absl::kZeroPad2)));
    } else if (code < 0x10000) {
      out->Append(absl::StrCat("\\u", absl::Hex(code, absl::kZeroPad4)));
    } else {
      out->Append(absl::StrCat("\\U", absl::Hex(code, absl::kZeroPad8)));
    }
  }
  out->Append(quote);
}

void AppendItems(Heap& heap, const std::vector<Value>& items, TextBuilder* out, uint32_t depth) {
  for (size_t i = 0; i < items.size() && !heap.is_exhausted(); ++i) {
    if (i != 0) out->Append(", ");
    AppendRepr(heap, items[i], out, depth);
  }
}

void AppendList(Heap& heap, const List& list, TextBuilder* out, uint32_t depth) {
  switch (list.flavor) {
    case Flavor::kList:
      out->Append('[');
      AppendItems(heap, list.items, out, depth);
      return out->Append(']');
    case Flavor::kTuple:
      out->Append('(');
      AppendItems(heap, list.items, out, depth);
      return out->Append(list.items.size() == 1 ? ",)" : ")");
    case Flavor::kRange:
      out->Append(absl::StrCat("range(", list.start, ", ", list.stop));
      if (list.step != 1) out->Append(absl::StrCat(", ", list.step));
      return out->Append(')');
    case Flavor::kIterator: return out->Append("<generator object>");
    default: break;
  }
  out->Append(list.flavor == Flavor::kKeys     ? "dict_keys(["
              : list.flavor == Flavor::kValues ? "dict_values(["
                                               : "dict_items([");
  AppendItems(heap, list.items, out, depth);
  out->Append("])");
}

void AppendDict(Heap& heap, const Dict& dict, TextBuilder* out, uint32_t depth) {
  out->Append('{');
  bool is_first = true;
  for (const auto& [key, value] : dict.entries()) {
    if (heap.is_exhausted()) return;
    if (!is_first) out->Append(", ");
    AppendRepr(heap, key, out, depth);
    out->Append(": ");
    AppendRepr(heap, value, out, depth);
    is_first = false;
  }
  out->Append('}');
}

}  // namespace

std::string FloatText(double number) {
  if (std::isnan(number)) return "nan";
  if (std::isinf(number)) return number < 0 ? "-inf" : "inf";
  if (number == 0) return std::signbit(number) ? "-0.0" : "0.0";
  char buffer[40];
  const auto end =
      std::to_chars(buffer, buffer + sizeof(buffer), number, std::chars_format::scientific);
  const absl::string_view text(buffer, static_cast<size_t>(end.ptr - buffer));
  const size_t e = text.find('e');
  std::string digits;
  for (char c : text.substr(0, e)) {
    if (c >= '0' && c <= '9') digits.push_back(c);
  }
  const int exponent = std::atoi(std::string(text.substr(e + 1)).c_str());
  std::string out = number < 0 ? "-" : "";
  const int count = static_cast<int>(digits.size());
  if (exponent < -4 || exponent >= 16) {
    absl::StrAppend(&out, digits.substr(0, 1), count > 1 ? "." : "", digits.substr(1),
                    exponent < 0 ? "e-" : "e+", absl::Dec(std::abs(exponent), absl::kZeroPad2));
  } else if (exponent < 0) {
    absl::StrAppend(&out, "0.", std::string(static_cast<size_t>(-exponent - 1), '0'), digits);
  } else if (count <= exponent + 1) {
    absl::StrAppend(&out, digits, std::string(static_cast<size_t>(exponent + 1 - count), '0'),
                    ".0");
  } else {
    const size_t point = static_cast<size_t>(exponent + 1);
    absl::StrAppend(&out, digits.substr(0, point), ".", digits.substr(point));
  }
  return out;
}

void AppendRepr(Heap& heap, const Value& value, TextBuilder* out, uint32_t depth) {
  if (depth > heap.limits().depth) return heap.Exhaust("a value nests too deeply to be printed");
  if (!heap.Step()) return;
  switch (value.kind) {
    case Kind::kText:
      if (value.text->is_markup) {
        out->Append("Markup(");
        AppendQuoted(value.AsText(), out);
        return out->Append(')');
      }
      return AppendQuoted(value.AsText(), out);
    case Kind::kUndefined: return out->Append("Undefined");
    case Kind::kMissing:
    case Kind::kNone: return out->Append("None");
    case Kind::kBool: return out->Append(value.boolean ? "True" : "False");
    case Kind::kInt: return out->Append(absl::StrCat(value.integer));
    case Kind::kFloat: return out->Append(FloatText(value.number));
    case Kind::kList: return AppendList(heap, *value.list, out, depth + 1);
    case Kind::kDict: return AppendDict(heap, *value.dict, out, depth + 1);
    case Kind::kNamespace:
      out->Append("<Namespace ");
      AppendDict(heap, value.names->attributes, out, depth + 1);
      return out->Append('>');
    case Kind::kMacro:
      out->Append("<Macro ");
      AppendQuoted(value.macro->statement->name, out);
      return out->Append('>');
    default: return out->Append(absl::StrCat("<", TypeName(value), ">"));
  }
}

void AppendStr(Heap& heap, const Value& value, TextBuilder* out) {
  if (value.is_text()) return out->Append(value.AsText());
  if (value.is_undefined() || value.is_missing()) return;
  AppendRepr(heap, value, out);
}

Value Str(Heap& heap, const Value& value) {
  if (value.is_text() && !value.text->is_markup) return value;
  if (value.is_text()) return heap.NewTextView(value.AsText());
  TextBuilder out(heap);
  AppendStr(heap, value, &out);
  return out.Finish();
}

absl::string_view StrBytes(Heap& heap, const Value& value) {
  return value.is_text() ? value.AsText() : Str(heap, value).AsText();
}

void AppendEscaped(absl::string_view text, TextBuilder* out) {
  for (char c : text) {
    switch (c) {
      case '&': out->Append("&amp;"); break;
      case '<': out->Append("&lt;"); break;
      case '>': out->Append("&gt;"); break;
      case '\'': out->Append("&#39;"); break;
      case '"': out->Append("&#34;"); break;
      default: out->Append(c);
    }
  }
}

}  // namespace cormorant::jinja
