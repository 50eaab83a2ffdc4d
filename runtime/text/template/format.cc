// Formats as a whole: what stands between the values. See format.h.
#include "runtime/text/template/format.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "runtime/base/status.h"
#include "runtime/text/template/interpreter.h"
#include "runtime/text/template/operators.h"
#include "runtime/text/template/text_form.h"

namespace cormorant::jinja {
namespace {

constexpr size_t kNpos = absl::string_view::npos;

/// Walks over a format of % and takes its values.
class PercentFormatter {
 public:
  PercentFormatter(Heap& heap, absl::string_view format, const Value& values)
      : heap_(heap), format_(format), values_(values), out_(heap) {}

  absl::StatusOr<Value> Run(bool is_markup) {
    while (true) {
      const size_t percent = format_.find('%', at_);
      out_.Append(format_.substr(at_, percent == kNpos ? kNpos : percent - at_));
      if (percent == kNpos) break;
      at_ = percent + 1;
      CORM_RETURN_IF_ERROR(Field());
    }
    if (IsList(values_, Flavor::kTuple) && taken_ < values_.list->items.size()) {
      return Error("not all values were used by the format");
    }
    const bool is_single = !IsList(values_, Flavor::kTuple) && !values_.Is(Kind::kDict);
    if (is_single && taken_ == 0 && !values_.Is(Kind::kList)) {
      return Error("not all values were used by the format");
    }
    return out_.Finish(is_markup);
  }

 private:
  absl::StatusOr<Value> Next() {
    if (IsList(values_, Flavor::kTuple)) {
      if (taken_ < values_.list->items.size()) return values_.list->items[taken_++];
    } else if (taken_++ == 0) {
      return values_;
    }
    return Error("the format wants more values than there are");
  }

  absl::StatusOr<Value> Named() {
    const size_t end = format_.find(')', at_);
    if (end == kNpos) return Error("a format ends inside a name");
    const absl::string_view name = format_.substr(at_ + 1, end - at_ - 1);
    at_ = end + 1;
    if (!values_.Is(Kind::kDict)) return Error("the format wants a mapping");
    const Value value = values_.dict->Find(name);
    if (value.is_missing()) return Error("the format names '", name, "', which is not there");
    return value;
  }

  absl::Status Field() {
    Value value;
    if (at_ < format_.size() && format_[at_] == '(') {
      CORM_ASSIGN_OR_RETURN(value, Named());
    }
    std::string flags, spec_text;
    while (at_ < format_.size() && absl::StrContains("#0- +", format_[at_])) {
      flags.push_back(format_[at_++]);
    }
    while (at_ < format_.size() &&
           (absl::ascii_isdigit(static_cast<unsigned char>(format_[at_])) || format_[at_] == '.')) {
      spec_text.push_back(format_[at_++]);
    }
    if (at_ >= format_.size()) return Error("a format ends inside a field");
    const char type = format_[at_++];
    if (type == '%') {
      out_.Append('%');
      return absl::OkStatus();
    }
    CORM_ASSIGN_OR_RETURN(FormatSpec spec, ParseFormatSpec(spec_text));
    const bool is_left = absl::StrContains(flags, '-');
    spec.is_percent_style = true;
    spec.align = is_left ? '<' : '>';
    if (absl::StrContains(flags, ' ')) spec.sign = ' ';
    if (absl::StrContains(flags, '+')) spec.sign = '+';
    spec.is_alternate = absl::StrContains(flags, '#');
    if (value.is_missing()) {
      CORM_ASSIGN_OR_RETURN(value, Next());
    }
    return AppendField(value, type, absl::StrContains(flags, '0') && !is_left, spec);
  }

  absl::Status AppendField(Value value, char type, bool fills_zeros, FormatSpec spec) {
    if (type == 's' || type == 'r' || type == 'a') {
      spec.type = 's';
      if (type != 's') {
        TextBuilder repr(heap_);
        AppendRepr(heap_, value, &repr);
        value = repr.Finish();
      }
      return AppendFormatted(heap_, value, spec, &out_);
    }
    if (!absl::StrContains("diuoxXeEfFgG", type)) {
      return Error("'%", std::string(1, type), "' is not supported in a format");
    }
    if (value.is_undefined()) return UndefinedError(value);
    if (!value.is_number()) {
      return Error("'%", std::string(1, type), "' wants a number, not ", TypeName(value));
    }
    if (fills_zeros) {
      spec.fill = "0";
      spec.align = '=';
    }
    spec.type = type == 'i' || type == 'u' ? 'd' : type;
    return AppendFormatted(heap_, value, spec, &out_);
  }

  Heap& heap_;
  const absl::string_view format_;
  const Value values_;
  size_t at_ = 0;
  size_t taken_ = 0;
  TextBuilder out_;
};

/// Walks over a format of braces.
class BraceFormatter {
 public:
  BraceFormatter(Interpreter& run, Heap& heap, const Arguments& arguments)
      : run_(run), heap_(heap), arguments_(arguments) {}

  absl::Status Run(absl::string_view format, int depth, TextBuilder* out) {
    if (depth > 1) return Error("a format nests too deeply");
    for (size_t at = 0; at < format.size();) {
      const size_t brace = format.find_first_of("{}", at);
      out->Append(format.substr(at, brace == kNpos ? kNpos : brace - at));
      if (brace == kNpos) break;
      at = brace + 1;
      if (at < format.size() && format[at] == format[brace]) {
        out->Append(format[at++]);
        continue;
      }
      if (format[brace] == '}') return Error("a single '}' in a format; write '}}'");
      size_t end = at;
      for (int open = 1; end < format.size(); ++end) {
        open += (format[end] == '{') - (format[end] == '}');
        if (open == 0) break;
      }
      if (end >= format.size()) return Error("a '{' in a format is not closed");
      CORM_RETURN_IF_ERROR(Field(format.substr(at, end - at), depth, out));
      at = end + 1;
    }
    return absl::OkStatus();
  }

 private:
  absl::Status Field(absl::string_view field, int depth, TextBuilder* out) {
    const size_t colon = field.find(':');
    absl::string_view path = field.substr(0, colon);
    const absl::string_view spec_format = colon == kNpos ? "" : field.substr(colon + 1);
    char conversion = '\0';
    if (path.size() >= 2 && path[path.size() - 2] == '!') {
      conversion = path.back();
      path.remove_suffix(2);
    }
    CORM_ASSIGN_OR_RETURN(Value value, Lookup(path));
    if (conversion == 's') value = Str(heap_, value);
    if (conversion == 'r' || conversion == 'a') {
      TextBuilder repr(heap_);
      AppendRepr(heap_, value, &repr);
      value = repr.Finish();
    }
    TextBuilder spec_text(heap_);
    if (!spec_format.empty()) CORM_RETURN_IF_ERROR(Run(spec_format, depth + 1, &spec_text));
    if (spec_text.bytes().empty()) {
      AppendStr(heap_, value, out);
      return absl::OkStatus();
    }
    CORM_ASSIGN_OR_RETURN(const FormatSpec spec, ParseFormatSpec(spec_text.bytes()));
    return AppendFormatted(heap_, value, spec, out);
  }

  absl::StatusOr<Value> Argument(absl::string_view name) {
    if (name.empty()) name = heap_.NewText(absl::StrCat(automatic_++)).AsText();
    uint32_t index = 0;
    if (absl::SimpleAtoi(name, &index)) {
      if (index < arguments_.positional.size()) return arguments_.positional[index];
      return Error("the format wants argument ", index, ", which is not there");
    }
    const Value value = arguments_.Named(name);
    if (value.is_missing()) return Error("the format wants '", name, "', which is not there");
    return value;
  }

  absl::StatusOr<Value> Lookup(absl::string_view path) {
    size_t at = std::min(path.find_first_of(".["), path.size());
    CORM_ASSIGN_OR_RETURN(Value value, Argument(path.substr(0, at)));
    while (at < path.size()) {
      const bool is_item = path[at] == '[';
      const size_t begin = at + 1;
      const size_t end =
          is_item ? path.find(']', begin) : std::min(path.find_first_of(".[", begin), path.size());
      if (end == kNpos) return Error("a '[' in a format is not closed");
      const absl::string_view name = path.substr(begin, end - begin);
      int64_t index = 0;
      if (is_item) {
        const Value key = absl::SimpleAtoi(name, &index) ? IntValue(index) : heap_.NewText(name);
        CORM_ASSIGN_OR_RETURN(value, run_.GetItem(value, key));
      } else {
        CORM_ASSIGN_OR_RETURN(value, run_.GetAttribute(value, name));
      }
      at = is_item ? end + 1 : end;
    }
    return value;
  }

  Interpreter& run_;
  Heap& heap_;
  const Arguments& arguments_;
  uint32_t automatic_ = 0;
};

}  // namespace

absl::StatusOr<Value> FormatPercent(Heap& heap, const Value& format, const Value& values) {
  return PercentFormatter(heap, format.AsText(), values).Run(format.text->is_markup);
}

absl::StatusOr<Value> FormatBraces(Interpreter& run, Heap& heap, const Value& format,
                                   const Arguments& arguments) {
  TextBuilder out(heap);
  CORM_RETURN_IF_ERROR(BraceFormatter(run, heap, arguments).Run(format.AsText(), 0, &out));
  return out.Finish(format.text->is_markup);
}

}  // namespace cormorant::jinja
