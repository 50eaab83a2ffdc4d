// Filters on numbers, and those on any value. See filters.h.
#include <charconv>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "runtime/base/status.h"
#include "runtime/text/template/filters.h"
#include "runtime/text/template/interpreter.h"
#include "runtime/text/template/literals.h"
#include "runtime/text/template/operators.h"
#include "runtime/text/template/text_functions.h"

namespace cormorant::jinja {
namespace {

using Result = absl::StatusOr<Value>;

Result Abs(NativeCall& call) {
  if (call.self.is_undefined()) return UndefinedError(call.self);
  if (!call.self.is_number()) return Error("abs() does not work on ", TypeName(call.self));
  if (call.self.Is(Kind::kFloat)) return FloatValue(std::fabs(call.self.number));
  return call.self.AsInteger() < 0 ? Negated(call.self) : IntValue(call.self.AsInteger());
}

/// A float as an integer, towards zero; `otherwise` when it is none.
Result Truncated(double number, const Value& otherwise) {
  if (!std::isfinite(number)) return otherwise;
  if (!(std::fabs(number) < 0x1p63)) return Error("an integer outgrows 64 bits");
  return IntValue(static_cast<int64_t>(number));
}

Result ToInteger(NativeCall& call) {
  const Value otherwise = call.Or(0, IntValue(0));
  CORM_ASSIGN_OR_RETURN(const int64_t base, IntegerArgument(call, 1, 10));
  const Value& value = call.self;
  if (value.is_undefined()) return UndefinedError(value);
  if (value.is_integral()) return IntValue(value.AsInteger());
  if (value.Is(Kind::kFloat)) return Truncated(value.number, otherwise);
  if (!value.is_text()) return otherwise;
  int64_t integer = 0;
  double number = 0;
  const bool is_base = base == 0 || (base >= 2 && base <= 36);
  if (is_base && ParseInteger(value.AsText(), static_cast<int>(base), &integer)) {
    return IntValue(integer);
  }
  if (ParseFloat(value.AsText(), &number)) return Truncated(number, otherwise);
  return otherwise;
}

Result ToFloat(NativeCall& call) {
  const Value& value = call.self;
  if (value.is_undefined()) return UndefinedError(value);
  if (value.is_number()) return FloatValue(value.AsDouble());
  double number = 0;
  if (value.is_text() && ParseFloat(value.AsText(), &number)) return FloatValue(number);
  return call.Or(0, FloatValue(0));
}

/// round(number, precision) on the exact binary value, halves to even.
double Rounded(double number, int64_t precision) {
  if (!std::isfinite(number) || precision > 300) return number;
  if (precision < -308) return std::copysign(0.0, number);
  if (precision < 0) {
    const double unit = std::pow(10.0, static_cast<double>(-precision));
    return std::nearbyint(number / unit) * unit;
  }
  char buffer[640 + 64];
  const auto end = std::to_chars(buffer, buffer + sizeof(buffer), number, std::chars_format::fixed,
                                 static_cast<int>(precision));
  double rounded = number;
  if (end.ec == std::errc()) std::from_chars(buffer, end.ptr, rounded);
  return rounded;
}

Result Round(NativeCall& call) {
  CORM_ASSIGN_OR_RETURN(const int64_t precision, IntegerArgument(call, 0, 0));
  const absl::string_view method =
      call.Has(1) && call.args[1].is_text() ? call.args[1].AsText() : "common";
  if (method != "common" && method != "ceil" && method != "floor") {
    return Error("round() knows 'common', 'ceil' and 'floor'");
  }
  const Value& value = call.self;
  if (value.is_undefined()) return UndefinedError(value);
  if (!value.is_number()) return Error("round() does not work on ", TypeName(value));
  if (method == "common") {
    if (value.is_integral() && precision >= 0) return IntValue(value.AsInteger());
    const double rounded = Rounded(value.AsDouble(), precision);
    return value.is_integral() ? Truncated(rounded, IntValue(0)) : FloatValue(rounded);
  }
  const double scale = std::pow(10.0, static_cast<double>(precision));
  const double scaled = value.AsDouble() * scale;
  return FloatValue((method == "ceil" ? std::ceil(scaled) : std::floor(scaled)) / scale);
}

Result Default(NativeCall& call) {
  const bool is_absent = call.self.is_undefined() || (call.Flag(1) && !IsTrue(call.self));
  return is_absent ? call.Or(0, call.heap.NewTextView("")) : call.self;
}

Result Length(NativeCall& call) {
  const Value& value = call.self;
  switch (value.kind) {
    case Kind::kUndefined: return IntValue(0);
    case Kind::kText: return IntValue(static_cast<int64_t>(value.text->chars));
    case Kind::kDict: return IntValue(static_cast<int64_t>(value.dict->size()));
    case Kind::kList:
      if (value.list->flavor != Flavor::kIterator) {
        return IntValue(static_cast<int64_t>(value.list->items.size()));
      }
      break;
    default: break;
  }
  return Error("a ", TypeName(value), " has no length");
}

Result Attribute(NativeCall& call) {
  CORM_ASSIGN_OR_RETURN(const absl::string_view name, TextArgument(call, 0));
  if (call.self.is_undefined()) return UndefinedError(call.self);
  CORM_ASSIGN_OR_RETURN(const Value found, call.run.FindAttribute(call.self, name));
  if (!found.is_missing()) return found;
  return call.heap.NewUndefined(absl::StrCat("there is no attribute '", name, "'"));
}

constexpr NativeDef kFilters[] = {
    {"abs", "", Abs},
    {"attr", "name", Attribute},
    {"count", "", Length},
    {"d", "default_value? boolean?", Default},
    {"default", "default_value? boolean?", Default},
    {"float", "default?", ToFloat},
    {"int", "default? base?", ToInteger},
    {"length", "", Length},
    {"round", "precision? method?", Round},
};

}  // namespace

const NativeDef* FindNumberFilter(absl::string_view name) {
  return FindIn(kFilters, name);
}

}  // namespace cormorant::jinja
