// JSON in and out, as Python's json module writes it. See text_form.h.
#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "runtime/base/status.h"
#include "runtime/text/template/native.h"
#include "runtime/text/template/operators.h"
#include "runtime/text/template/text_form.h"
#include "runtime/text/template/unicode.h"

namespace cormorant::jinja {
namespace {

class JsonWriter {
 public:
  JsonWriter(Heap& heap, const JsonStyle& style) : heap_(heap), style_(style), out_(heap) {}

  absl::Status Write(const Value& value, uint32_t depth) {
    if (depth > heap_.limits().depth) heap_.Exhaust("a value nests too deeply for tojson");
    if (!heap_.Step()) return heap_.failure();
    switch (value.kind) {
      case Kind::kNone: out_.Append("null"); return absl::OkStatus();
      case Kind::kBool: out_.Append(value.boolean ? "true" : "false"); return absl::OkStatus();
      case Kind::kInt: out_.Append(absl::StrCat(value.integer)); return absl::OkStatus();
      case Kind::kFloat: out_.Append(Number(value.number)); return absl::OkStatus();
      case Kind::kText: WriteText(value.AsText()); return absl::OkStatus();
      case Kind::kList:
        if (IsPlainSequence(value)) return WriteList(*value.list, depth);
        break;
      case Kind::kDict: return WriteDict(*value.dict, depth);
      default: break;
    }
    return Error("tojson: a value of type ", TypeName(value), " has no JSON form");
  }

  Value Finish() const { return out_.Finish(); }

 private:
  static std::string Number(double number) {
    if (std::isnan(number)) return "NaN";
    if (std::isinf(number)) return number < 0 ? "-Infinity" : "Infinity";
    return FloatText(number);
  }

  void WriteText(absl::string_view text) {
    constexpr absl::string_view kSpecial = "\"\\\n\r\t\f\b";
    constexpr absl::string_view kLetters = "\"\\nrtfb";
    out_.Append('"');
    for (size_t at = 0; at < text.size();) {
      const size_t begin = at;
      const uint32_t code = NextChar(text, &at);
      const size_t special =
          code < 0x80 ? kSpecial.find(static_cast<char>(code)) : absl::string_view::npos;
      if (special != absl::string_view::npos) {
        out_.Append('\\');
        out_.Append(kLetters[special]);
      } else if (code < 0x20 || (style_.ensure_ascii && code >= 0x7f && code < 0x10000)) {
        // Python leaves DEL alone: it is ASCII.
        out_.Append(code == 0x7f ? std::string("\x7f")
                                 : absl::StrCat("\\u", absl::Hex(code, absl::kZeroPad4)));
      } else if (style_.ensure_ascii && code >= 0x10000) {
        const uint32_t rest = code - 0x10000;
        out_.Append(absl::StrCat("\\u", absl::Hex(0xd800 + (rest >> 10)), "\\u",
                                 absl::Hex(0xdc00 + (rest & 0x3ff))));
      } else {
        out_.Append(text.substr(begin, at - begin));
      }
    }
    out_.Append('"');
  }

  void NewLine(uint32_t depth) {
    if (!style_.has_indent) return;
    out_.Append('\n');
    out_.Fill(style_.indent, depth);
  }

  absl::Status WriteList(const List& list, uint32_t depth) {
    if (list.items.empty()) {
      out_.Append("[]");
      return absl::OkStatus();
    }
    out_.Append('[');
    for (size_t i = 0; i < list.items.size(); ++i) {
      if (i != 0) out_.Append(style_.item_separator);
      NewLine(depth + 1);
      CORM_RETURN_IF_ERROR(Write(list.items[i], depth + 1));
    }
    NewLine(depth);
    out_.Append(']');
    return absl::OkStatus();
  }

  absl::Status WriteKey(const Value& key) {
    switch (key.kind) {
      case Kind::kText: WriteText(key.AsText()); return absl::OkStatus();
      case Kind::kNone: out_.Append("\"null\""); return absl::OkStatus();
      case Kind::kBool:
        out_.Append(key.boolean ? "\"true\"" : "\"false\"");
        return absl::OkStatus();
      case Kind::kInt: out_.Append(absl::StrCat("\"", key.integer, "\"")); return absl::OkStatus();
      case Kind::kFloat:
        out_.Append(absl::StrCat("\"", Number(key.number), "\""));
        return absl::OkStatus();
      default: return Error("tojson: a key of type ", TypeName(key), " has no JSON form");
    }
  }

  absl::Status WriteDict(const Dict& dict, uint32_t depth) {
    if (dict.size() == 0) {
      out_.Append("{}");
      return absl::OkStatus();
    }
    std::vector<Value> keys;
    for (const auto& [key, value] : dict.entries()) keys.push_back(key);
    if (style_.sort_keys) CORM_RETURN_IF_ERROR(SortStable(heap_, &keys, nullptr));
    out_.Append('{');
    for (size_t i = 0; i < keys.size(); ++i) {
      if (i != 0) out_.Append(style_.item_separator);
      NewLine(depth + 1);
      CORM_RETURN_IF_ERROR(WriteKey(keys[i]));
      out_.Append(style_.key_separator);
      const Value value = style_.sort_keys ? dict.Find(keys[i]) : dict.entries()[i].second;
      CORM_RETURN_IF_ERROR(Write(value, depth + 1));
    }
    NewLine(depth);
    out_.Append('}');
    return absl::OkStatus();
  }

  Heap& heap_;
  const JsonStyle& style_;
  TextBuilder out_;
};

Value TextOf(Heap& heap, const std::string& text) {
  return IsUtf8(text) ? heap.NewText(text) : heap.NewText(Repaired(text));
}

}  // namespace

absl::StatusOr<Value> ToJson(Heap& heap, const Value& value, const JsonStyle& style) {
  JsonWriter writer(heap, style);
  CORM_RETURN_IF_ERROR(writer.Write(value, 0));
  return writer.Finish();
}

absl::StatusOr<Value> FromJson(Heap& heap, const nlohmann::ordered_json& json, uint32_t depth) {
  if (depth > heap.limits().depth) return Error("messages or tools nest too deeply");
  switch (json.type()) {
    case nlohmann::ordered_json::value_t::boolean: return BoolValue(*json.get_ptr<const bool*>());
    case nlohmann::ordered_json::value_t::number_integer:
      return IntValue(*json.get_ptr<const int64_t*>());
    case nlohmann::ordered_json::value_t::number_unsigned: {
      const uint64_t number = *json.get_ptr<const uint64_t*>();
      if (number > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
        return Error("the number ", number, " in messages or tools does not fit into 64 bits");
      }
      return IntValue(static_cast<int64_t>(number));
    }
    case nlohmann::ordered_json::value_t::number_float:
      return FloatValue(*json.get_ptr<const double*>());
    case nlohmann::ordered_json::value_t::string:
      return TextOf(heap, *json.get_ptr<const std::string*>());
    case nlohmann::ordered_json::value_t::array: {
      List* list = heap.NewList();
      for (const auto& item : json) {
        CORM_ASSIGN_OR_RETURN(const Value value, FromJson(heap, item, depth + 1));
        heap.Append(list, value);
      }
      return ListValue(list);
    }
    case nlohmann::ordered_json::value_t::object: {
      Dict* dict = heap.NewDict();
      for (auto item = json.begin(); item != json.end(); ++item) {
        CORM_ASSIGN_OR_RETURN(const Value value, FromJson(heap, item.value(), depth + 1));
        heap.Set(dict, TextOf(heap, item.key()), value);
      }
      return DictValue(dict);
    }
    default: return NoneValue();
  }
}

}  // namespace cormorant::jinja
