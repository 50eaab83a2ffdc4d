// Macros and call blocks. See interpreter.h.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "runtime/base/status.h"
#include "runtime/text/template/interpreter.h"
#include "runtime/text/template/text_form.h"

namespace cormorant::jinja {

Value Interpreter::NewMacroValue(const Statement& statement, Scope* scope) {
  Macro* macro = heap_.NewMacro();
  macro->statement = &statement;
  macro->scope = scope;
  for (Scope* held = scope; held != nullptr; held = held->parent) held->is_captured = true;
  Value value;
  value.kind = Kind::kMacro;
  value.macro = macro;
  return value;
}

absl::Status Interpreter::ExecuteMacro(const Statement& statement, Scope* scope) {
  heap_.Charge(sizeof(scope->names[0]));
  scope->Set(statement.id, NewMacroValue(statement, scope));
  return absl::OkStatus();
}

absl::Status Interpreter::ExecuteCallBlock(const Statement& statement, Scope* scope) {
  const Value caller = NewMacroValue(statement, scope);
  CORM_ASSIGN_OR_RETURN(const Value value, EvaluateCall(*statement.expr, scope, caller));
  AppendStr(heap_, value, out_);
  return absl::OkStatus();
}

/// `caller`, `kwargs` and `varargs`, where the macro's body mentions them, take what is left of
/// the arguments; where it does not, there may be nothing left.
absl::Status Interpreter::BindSpecialNames(const Macro& macro, const Arguments& arguments,
                                           const std::vector<bool>& taken, Scope* scope) {
  const Statement& statement = *macro.statement;
  const auto is_param = [&](NameId id) {
    return std::any_of(statement.params.begin(), statement.params.end(),
                       [id](const Parameter& p) { return p.id == id; });
  };
  Dict* rest = heap_.NewDict();
  Value caller;
  for (size_t i = 0; i < arguments.named.size(); ++i) {
    const auto& [name, value] = arguments.named[i];
    if (taken[i]) continue;
    if (name == "caller" && statement.uses_caller && !is_param(template_.caller)) {
      caller = value;
    } else if (statement.uses_kwargs && !is_param(template_.kwargs)) {
      heap_.Set(rest, heap_.NewTextView(name), value);
    } else {
      return Error("macro '", statement.name, "' takes no argument '", name, "'");
    }
  }
  if (statement.uses_caller && !is_param(template_.caller)) {
    const bool has_caller = !caller.is_missing() && !caller.is_none();
    scope->Set(template_.caller, has_caller ? caller : heap_.NewUndefined("No caller defined"));
  }
  if (statement.uses_kwargs && !is_param(template_.kwargs)) {
    scope->Set(template_.kwargs, DictValue(rest));
  }
  const bool takes_more = statement.uses_varargs && !is_param(template_.varargs);
  if (!takes_more) {
    if (arguments.positional.size() <= statement.params.size()) return absl::OkStatus();
    return Error("macro '", statement.name, "' takes not more than ", statement.params.size(),
                 " arguments");
  }
  List* more = heap_.NewList(Flavor::kTuple);
  for (size_t i = statement.params.size(); i < arguments.positional.size(); ++i) {
    heap_.Append(more, arguments.positional[i]);
  }
  scope->Set(template_.varargs, ListValue(more));
  return absl::OkStatus();
}

absl::StatusOr<Value> Interpreter::CallMacro(const Macro& macro, const Arguments& arguments) {
  const Statement& statement = *macro.statement;
  Scope* scope = heap_.NewScope(macro.scope);
  std::vector<bool> taken(arguments.named.size(), false);
  std::vector<Value> given(statement.params.size());
  for (size_t i = 0; i < given.size(); ++i) {
    if (i < arguments.positional.size()) {
      given[i] = arguments.positional[i];
      continue;
    }
    for (size_t n = 0; n < arguments.named.size(); ++n) {
      if (arguments.named[n].first != statement.params[i].name) continue;
      given[i] = arguments.named[n].second;
      taken[n] = true;
    }
  }
  CORM_RETURN_IF_ERROR(BindSpecialNames(macro, arguments, taken, scope));
  heap_.Charge(given.size() * sizeof(scope->names[0]));
  for (size_t i = 0; i < given.size(); ++i) {  // A default sees the parameters before it.
    const Parameter& param = statement.params[i];
    if (given[i].is_missing() && param.value != nullptr) {
      CORM_ASSIGN_OR_RETURN(given[i], Evaluate(*param.value, scope));
    } else if (given[i].is_missing()) {
      given[i] = heap_.NewUndefined(absl::StrCat("parameter '", param.name, "' was not provided"));
    }
    scope->Set(param.id, given[i]);
  }
  return Capture(statement.body, scope);
}

}  // namespace cormorant::jinja
