// Expressions. See interpreter.h.
#include "absl/strings/str_cat.h"
#include "runtime/base/status.h"
#include "runtime/text/template/interpreter.h"
#include "runtime/text/template/operators.h"
#include "runtime/text/template/text_form.h"

namespace cormorant::jinja {

absl::StatusOr<Value> Interpreter::Evaluate(const Expr& expr, Scope* scope) {
  const Level level(this);
  CORM_RETURN_IF_ERROR(Step(expr.line));
  if (expr.kind == ExprKind::kConstant) return expr.constant;
  return EvaluateKind(expr, scope);
}

absl::StatusOr<Value> Interpreter::EvaluateKind(const Expr& expr, Scope* scope) {
  switch (expr.kind) {
    case ExprKind::kName: return EvaluateName(expr, scope);
    case ExprKind::kTuple: return EvaluateItems(expr, Flavor::kTuple, scope);
    case ExprKind::kList: return EvaluateItems(expr, Flavor::kList, scope);
    case ExprKind::kDict: return EvaluateDict(expr, scope);
    case ExprKind::kAttribute: {
      CORM_ASSIGN_OR_RETURN(const Value value, Evaluate(*expr.parts[0], scope));
      return GetAttribute(value, expr.name);
    }
    case ExprKind::kItem: return EvaluateItem(expr, scope);
    case ExprKind::kSlice: return EvaluateSlice(expr, scope);
    case ExprKind::kCall: return EvaluateCall(expr, scope, Value());
    case ExprKind::kFilter: return EvaluateFilter(expr, scope, nullptr);
    case ExprKind::kTest: return EvaluateTest(expr, scope);
    case ExprKind::kNegate:
    case ExprKind::kPlus:
    case ExprKind::kNot: return EvaluateUnary(expr, scope);
    case ExprKind::kBinary: return EvaluateBinary(expr, scope);
    case ExprKind::kAnd:
    case ExprKind::kOr: return EvaluateLogic(expr, scope);
    case ExprKind::kCompare: return EvaluateComparison(expr, scope);
    case ExprKind::kConcat: return EvaluateConcat(expr, scope);
    case ExprKind::kConditional: return EvaluateConditional(expr, scope);
    case ExprKind::kConstant:
    case ExprKind::kReference: break;
  }
  return expr.constant;
}

absl::StatusOr<Value> Interpreter::EvaluateName(const Expr& expr, Scope* scope) {
  const Value value = scope->Find(expr.id);
  if (!value.is_missing()) return value;
  return heap_.NewUndefined(absl::StrCat("'", expr.name, "' is undefined"));
}

absl::StatusOr<Value> Interpreter::EvaluateItems(const Expr& expr, Flavor flavor, Scope* scope) {
  List* list = heap_.NewList(flavor);
  for (const Expr* part : expr.parts) {
    CORM_ASSIGN_OR_RETURN(const Value item, Evaluate(*part, scope));
    heap_.Append(list, item);
  }
  return ListValue(list);
}

absl::StatusOr<Value> Interpreter::EvaluateDict(const Expr& expr, Scope* scope) {
  Dict* dict = heap_.NewDict();
  for (size_t i = 0; i + 1 < expr.parts.size(); i += 2) {
    CORM_ASSIGN_OR_RETURN(const Value key, Evaluate(*expr.parts[i], scope));
    CORM_ASSIGN_OR_RETURN(const Value value, Evaluate(*expr.parts[i + 1], scope));
    if (!IsKey(key)) return Error("a ", TypeName(key), " cannot be a key of a dict");
    heap_.Set(dict, key, value);
  }
  return DictValue(dict);
}

absl::StatusOr<Value> Interpreter::EvaluateItem(const Expr& expr, Scope* scope) {
  CORM_ASSIGN_OR_RETURN(const Value value, Evaluate(*expr.parts[0], scope));
  CORM_ASSIGN_OR_RETURN(const Value key, Evaluate(*expr.parts[1], scope));
  return GetItem(value, key);
}

absl::StatusOr<Value> Interpreter::EvaluateSlice(const Expr& expr, Scope* scope) {
  Value parts[4];
  for (size_t i = 0; i < 4; ++i) {
    if (expr.parts[i] == nullptr) continue;
    CORM_ASSIGN_OR_RETURN(parts[i], Evaluate(*expr.parts[i], scope));
  }
  return Sliced(heap_, parts[0], parts[1], parts[2], parts[3]);
}

absl::Status Interpreter::SpreadArguments(const Expr& expr, Scope* scope, Arguments* arguments) {
  if (expr.star != nullptr) {
    CORM_ASSIGN_OR_RETURN(const Value star, Evaluate(*expr.star, scope));
    CORM_ASSIGN_OR_RETURN(const std::vector<Value> items, ItemsOf(heap_, star));
    arguments->positional.insert(arguments->positional.end(), items.begin(), items.end());
  }
  if (expr.star_star == nullptr) return absl::OkStatus();
  CORM_ASSIGN_OR_RETURN(const Value named, Evaluate(*expr.star_star, scope));
  if (!named.Is(Kind::kDict)) return Error("'**' wants a dict, not ", TypeName(named));
  // Names are looked for one by one: each costs as many steps as there are.
  heap_.Step(named.dict->size() * (named.dict->size() / 8 + 1));
  heap_.Charge(named.dict->size() * sizeof(Dict::Entry));
  if (heap_.is_exhausted()) return heap_.failure();
  for (const auto& [key, value] : named.dict->entries()) {
    if (!key.is_text()) return Error("names of arguments are texts, not ", TypeName(key));
    if (!arguments->Named(key.AsText()).is_missing()) {
      return Error("argument '", key.AsText(), "' is given twice");
    }
    arguments->named.emplace_back(key.AsText(), value);
  }
  return absl::OkStatus();
}

absl::Status Interpreter::EvaluateArguments(const Expr& expr, Scope* scope, Arguments* arguments) {
  for (size_t i = 1; i < expr.parts.size(); ++i) {
    CORM_ASSIGN_OR_RETURN(const Value value, Evaluate(*expr.parts[i], scope));
    arguments->positional.push_back(value);
  }
  for (const auto& [name, part] : expr.named) {
    CORM_ASSIGN_OR_RETURN(const Value value, Evaluate(*part, scope));
    arguments->named.emplace_back(name, value);
  }
  if (expr.star == nullptr && expr.star_star == nullptr) return absl::OkStatus();
  return SpreadArguments(expr, scope, arguments);
}

absl::StatusOr<Value> Interpreter::EvaluateCall(const Expr& expr, Scope* scope,
                                                const Value& caller) {
  CORM_ASSIGN_OR_RETURN(const Value callee, Evaluate(*expr.parts[0], scope));
  Arguments arguments;
  CORM_RETURN_IF_ERROR(EvaluateArguments(expr, scope, &arguments));
  if (!caller.is_missing()) arguments.named.emplace_back("caller", caller);
  line_ = expr.line;
  return Call(callee, arguments);
}

absl::StatusOr<Value> Interpreter::EvaluateFilter(const Expr& expr, Scope* scope,
                                                  const Value* input) {
  if (expr.native == nullptr) return Error("there is no filter '", expr.name, "'");
  Value value;
  if (expr.parts[0] == nullptr) {
    value = *input;  // The text of a filter block.
  } else if (input != nullptr) {
    const Level level(this);
    CORM_RETURN_IF_ERROR(Step(expr.line));
    CORM_ASSIGN_OR_RETURN(value, EvaluateFilter(*expr.parts[0], scope, input));
  } else {
    CORM_ASSIGN_OR_RETURN(value, Evaluate(*expr.parts[0], scope));
  }
  Arguments arguments;
  CORM_RETURN_IF_ERROR(EvaluateArguments(expr, scope, &arguments));
  line_ = expr.line;
  return CallNative(*this, *expr.native, value, arguments);
}

absl::StatusOr<Value> Interpreter::EvaluateTest(const Expr& expr, Scope* scope) {
  if (expr.native == nullptr) return Error("there is no test '", expr.name, "'");
  CORM_ASSIGN_OR_RETURN(const Value value, Evaluate(*expr.parts[0], scope));
  Arguments arguments;
  CORM_RETURN_IF_ERROR(EvaluateArguments(expr, scope, &arguments));
  line_ = expr.line;
  return CallNative(*this, *expr.native, value, arguments);
}

absl::StatusOr<Value> Interpreter::EvaluateUnary(const Expr& expr, Scope* scope) {
  CORM_ASSIGN_OR_RETURN(const Value value, Evaluate(*expr.parts[0], scope));
  if (expr.kind == ExprKind::kNot) return BoolValue(!IsTrue(value));
  if (expr.kind == ExprKind::kNegate) return Negated(value);
  if (value.is_undefined()) return UndefinedError(value);
  if (!value.is_number()) return Error("'+' does not work on ", TypeName(value));
  return value.Is(Kind::kFloat) ? value : IntValue(value.AsInteger());
}

absl::StatusOr<Value> Interpreter::EvaluateBinary(const Expr& expr, Scope* scope) {
  CORM_ASSIGN_OR_RETURN(const Value left, Evaluate(*expr.parts[0], scope));
  CORM_ASSIGN_OR_RETURN(const Value right, Evaluate(*expr.parts[1], scope));
  line_ = expr.line;
  return Arithmetic(heap_, expr.operators[0], left, right);
}

absl::StatusOr<Value> Interpreter::EvaluateLogic(const Expr& expr, Scope* scope) {
  CORM_ASSIGN_OR_RETURN(const Value left, Evaluate(*expr.parts[0], scope));
  if (IsTrue(left) == (expr.kind == ExprKind::kOr)) return left;
  return Evaluate(*expr.parts[1], scope);
}

absl::StatusOr<Value> Interpreter::EvaluateComparison(const Expr& expr, Scope* scope) {
  CORM_ASSIGN_OR_RETURN(Value left, Evaluate(*expr.parts[0], scope));
  for (size_t i = 0; i < expr.operators.size(); ++i) {
    CORM_ASSIGN_OR_RETURN(const Value right, Evaluate(*expr.parts[i + 1], scope));
    CORM_ASSIGN_OR_RETURN(const bool holds, Compare(heap_, expr.operators[i], left, right));
    if (!holds) return BoolValue(false);
    left = right;
  }
  return BoolValue(true);
}

absl::StatusOr<Value> Interpreter::EvaluateConcat(const Expr& expr, Scope* scope) {
  TextBuilder out(heap_);
  for (const Expr* part : expr.parts) {
    CORM_ASSIGN_OR_RETURN(const Value value, Evaluate(*part, scope));
    AppendStr(heap_, value, &out);
  }
  return out.Finish();
}

absl::StatusOr<Value> Interpreter::EvaluateConditional(const Expr& expr, Scope* scope) {
  CORM_ASSIGN_OR_RETURN(const Value test, Evaluate(*expr.parts[0], scope));
  if (IsTrue(test)) return Evaluate(*expr.parts[1], scope);
  if (expr.parts[2] != nullptr) return Evaluate(*expr.parts[2], scope);
  return heap_.NewUndefined("the inline if-expression evaluated to false and has no else");
}

}  // namespace cormorant::jinja
