// Values as text: str() and repr() of Python, and JSON in both directions.
#pragma once
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"
#include "runtime/text/template/heap.h"
#include "runtime/text/template/value.h"

namespace cormorant::jinja {

/// str(number): the shortest text that reads back as the same number, with Python's exponents.
std::string FloatText(double number);

/// str(value); a text gives itself, undefined the empty text.
void AppendStr(Heap& heap, const Value& value, TextBuilder* out);
Value Str(Heap& heap, const Value& value);
/// The bytes of str(value), for functions that take anything as text.
absl::string_view StrBytes(Heap& heap, const Value& value);
/// repr(value): as it stands inside a list.
void AppendRepr(Heap& heap, const Value& value, TextBuilder* out, uint32_t depth = 0);

/// Text with & < > ' " replaced by references of HTML.
void AppendEscaped(absl::string_view text, TextBuilder* out);

struct JsonStyle {
  bool ensure_ascii = false;
  bool sort_keys = false;
  bool has_indent = false;
  absl::string_view indent;  // Of one level.
  absl::string_view item_separator = ", ";
  absl::string_view key_separator = ": ";
};
/// json.dumps(value).
absl::StatusOr<Value> ToJson(Heap& heap, const Value& value, const JsonStyle& style);

/// What the application passes in. Text that is not UTF-8 is repaired.
absl::StatusOr<Value> FromJson(Heap& heap, const nlohmann::ordered_json& json, uint32_t depth = 0);

}  // namespace cormorant::jinja
