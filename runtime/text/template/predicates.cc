// Tests: what stands after `is`. See native.h.
#include "absl/strings/str_cat.h"
#include "runtime/base/status.h"
#include "runtime/text/template/operators.h"
#include "runtime/text/template/text_form.h"
#include "runtime/text/template/unicode.h"

namespace cormorant::jinja {
namespace {

using Result = absl::StatusOr<Value>;

template <Kind kind>
Result IsKind(NativeCall& call) {
  return BoolValue(call.self.Is(kind));
}

Result IsDefined(NativeCall& call) {
  return BoolValue(!call.self.is_undefined());
}

template <bool which>
Result IsBool(NativeCall& call) {
  return BoolValue(call.self.Is(Kind::kBool) && call.self.boolean == which);
}

Result IsNumber(NativeCall& call) {
  return BoolValue(call.self.is_number());
}

Result IsSequence(NativeCall& call) {
  const Value& v = call.self;
  return BoolValue(v.is_text() || v.is_undefined() || v.Is(Kind::kDict) || IsPlainSequence(v) ||
                   IsList(v, Flavor::kRange));
}

Result IsIterable(NativeCall& call) {
  const Value& v = call.self;
  return BoolValue(v.is_text() || v.is_undefined() || v.Is(Kind::kDict) || v.Is(Kind::kList) ||
                   v.Is(Kind::kLoop));
}

Result IsCallable(NativeCall& call) {
  const Value& v = call.self;
  return BoolValue(v.Is(Kind::kNative) || v.Is(Kind::kMacro) || v.Is(Kind::kLoop) ||
                   v.is_undefined());
}

Result IsMarkup(NativeCall& call) {
  return BoolValue(call.self.is_text() && call.self.text->is_markup);
}

absl::StatusOr<bool> Divides(const NativeCall& call, const Value& divisor) {
  CORM_ASSIGN_OR_RETURN(const Value rest,
                        Arithmetic(call.heap, Operator::kModulo, call.self, divisor));
  return AreEqual(call.heap, rest, IntValue(0));
}

template <bool is_odd>
Result IsOdd(NativeCall& call) {
  CORM_ASSIGN_OR_RETURN(const Value rest,
                        Arithmetic(call.heap, Operator::kModulo, call.self, IntValue(2)));
  return BoolValue(AreEqual(call.heap, rest, IntValue(is_odd)));
}

Result IsDivisible(NativeCall& call) {
  CORM_ASSIGN_OR_RETURN(const bool divides, Divides(call, call.args[0]));
  return BoolValue(divides);
}

template <Operator op>
Result Compares(NativeCall& call) {
  CORM_ASSIGN_OR_RETURN(const bool holds, Compare(call.heap, op, call.self, call.args[0]));
  return BoolValue(holds);
}

/// `is` of Python: the same object; for what has no identity of its own here, an equal one.
Result IsSame(NativeCall& call) {
  const Value& other = call.args[0];
  if (call.self.kind != other.kind) return BoolValue(false);
  if (call.self.Is(Kind::kList) || call.self.Is(Kind::kDict)) {
    return BoolValue(call.self.integer == other.integer);
  }
  return BoolValue(AreEqual(call.heap, call.self, other));
}

template <bool (*is_of)(uint32_t), bool (*is_other)(uint32_t)>
Result HasCase(NativeCall& call) {
  const absl::string_view text = StrBytes(call.heap, call.self);
  bool has_one = false;
  for (size_t at = 0; at < text.size();) {
    const uint32_t code = NextChar(text, &at);
    if (is_other(code)) return BoolValue(false);
    has_one |= is_of(code);
  }
  return BoolValue(has_one);
}

Result IsFilter(NativeCall& call) {
  return BoolValue(call.self.is_text() && FindFilter(call.self.AsText()) != nullptr);
}

Result IsTest(NativeCall& call) {
  return BoolValue(call.self.is_text() && FindTest(call.self.AsText()) != nullptr);
}

constexpr NativeDef kTests[] = {
    {"!=", "other", Compares<Operator::kNotEqual>},
    {"<", "other", Compares<Operator::kLess>},
    {"<=", "other", Compares<Operator::kLessEqual>},
    {"==", "other", Compares<Operator::kEqual>},
    {">", "other", Compares<Operator::kGreater>},
    {">=", "other", Compares<Operator::kGreaterEqual>},
    {"boolean", "", IsKind<Kind::kBool>},
    {"callable", "", IsCallable},
    {"defined", "", IsDefined},
    {"divisibleby", "num", IsDivisible},
    {"eq", "other", Compares<Operator::kEqual>},
    {"equalto", "other", Compares<Operator::kEqual>},
    {"escaped", "", IsMarkup},
    {"even", "", IsOdd<false>},
    {"false", "", IsBool<false>},
    {"filter", "", IsFilter},
    {"float", "", IsKind<Kind::kFloat>},
    {"ge", "other", Compares<Operator::kGreaterEqual>},
    {"greaterthan", "other", Compares<Operator::kGreater>},
    {"gt", "other", Compares<Operator::kGreater>},
    {"in", "seq", Compares<Operator::kIn>},
    {"integer", "", IsKind<Kind::kInt>},
    {"iterable", "", IsIterable},
    {"le", "other", Compares<Operator::kLessEqual>},
    {"lessthan", "other", Compares<Operator::kLess>},
    {"lower", "", HasCase<IsLower, IsUpper>},
    {"lt", "other", Compares<Operator::kLess>},
    {"mapping", "", IsKind<Kind::kDict>},
    {"ne", "other", Compares<Operator::kNotEqual>},
    {"none", "", IsKind<Kind::kNone>},
    {"number", "", IsNumber},
    {"odd", "", IsOdd<true>},
    {"sameas", "other", IsSame},
    {"sequence", "", IsSequence},
    {"string", "", IsKind<Kind::kText>},
    {"test", "", IsTest},
    {"true", "", IsBool<true>},
    {"undefined", "", IsKind<Kind::kUndefined>},
    {"upper", "", HasCase<IsUpper, IsLower>},
};

}  // namespace

const NativeDef* FindTest(absl::string_view name) {
  return FindIn(kTests, name);
}

}  // namespace cormorant::jinja
