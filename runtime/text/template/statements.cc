// Statements but loops and macros. See interpreter.h.
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "runtime/base/status.h"
#include "runtime/text/template/interpreter.h"
#include "runtime/text/template/operators.h"
#include "runtime/text/template/text_form.h"

namespace cormorant::jinja {

absl::Status Interpreter::ExecuteBody(const Body& body, Scope* scope) {
  const Level level(this);
  for (const Statement* statement : body) {
    CORM_RETURN_IF_ERROR(Execute(*statement, scope));
    if (flow_ != Flow::kNormal) break;
  }
  return absl::OkStatus();
}

absl::Status Interpreter::Execute(const Statement& statement, Scope* scope) {
  CORM_RETURN_IF_ERROR(Step(statement.line));
  switch (statement.kind) {
    case StatementKind::kText: Write(statement.text); return absl::OkStatus();
    case StatementKind::kOutput: return ExecuteOutput(statement, scope);
    case StatementKind::kSet: return ExecuteSet(statement, scope);
    case StatementKind::kSetBlock: return ExecuteSetBlock(statement, scope);
    case StatementKind::kIf: return ExecuteIf(statement, scope);
    case StatementKind::kFor: return ExecuteFor(statement, scope);
    case StatementKind::kMacro: return ExecuteMacro(statement, scope);
    case StatementKind::kCallBlock: return ExecuteCallBlock(statement, scope);
    case StatementKind::kFilterBlock: return ExecuteFilterBlock(statement, scope);
    case StatementKind::kWith: return ExecuteWith(statement, scope);
    case StatementKind::kBlock: return ExecuteBlock(statement, scope);
    case StatementKind::kBreak: flow_ = Flow::kBreak; return absl::OkStatus();
    case StatementKind::kContinue: flow_ = Flow::kContinue; return absl::OkStatus();
    case StatementKind::kFail:
      return Error("{% ", statement.text, " %} cannot work: a chat template stands alone");
  }
  return absl::OkStatus();
}

absl::Status Interpreter::ExecuteOutput(const Statement& statement, Scope* scope) {
  CORM_ASSIGN_OR_RETURN(const Value value, Evaluate(*statement.expr, scope));
  if (value.is_text()) {
    Write(value.AsText());
  } else {
    AppendStr(heap_, value, out_);
    Write("");
  }
  return absl::OkStatus();
}

absl::Status Interpreter::AssignTuple(const Expr& target, const Value& value, Scope* scope) {
  if (value.is_none() || value.is_number()) {
    return Error("a ", TypeName(value), " cannot be unpacked");
  }
  CORM_ASSIGN_OR_RETURN(const std::vector<Value> items, ItemsOf(heap_, value));
  if (items.size() != target.parts.size()) {
    return Error("expected ", target.parts.size(), " values to unpack, got ", items.size());
  }
  for (size_t i = 0; i < items.size(); ++i) {
    CORM_RETURN_IF_ERROR(Assign(*target.parts[i], items[i], scope));
  }
  return absl::OkStatus();
}

absl::Status Interpreter::Assign(const Expr& target, const Value& value, Scope* scope) {
  const Level level(this);
  CORM_RETURN_IF_ERROR(Step(target.line));
  switch (target.kind) {
    case ExprKind::kTuple: return AssignTuple(target, value, scope);
    case ExprKind::kReference: {
      const Value names = scope->Find(target.id);
      if (!names.Is(Kind::kNamespace)) {
        return Error("attributes can only be set on a namespace, not on ", TypeName(names));
      }
      if (absl::StartsWith(target.name, "_")) {
        return Error("an attribute of a namespace cannot begin with '_': '", target.name, "'");
      }
      heap_.Set(&names.names->attributes, heap_.NewTextView(target.name), value);
      return absl::OkStatus();
    }
    default:
      heap_.Charge(sizeof(scope->names[0]));
      scope->Set(target.id, value);
      return absl::OkStatus();
  }
}

absl::Status Interpreter::ExecuteSet(const Statement& statement, Scope* scope) {
  CORM_ASSIGN_OR_RETURN(const Value value, Evaluate(*statement.expr, scope));
  return Assign(*statement.target, value, scope);
}

absl::StatusOr<Value> Interpreter::Capture(const Body& body, Scope* scope) {
  TextBuilder captured(heap_);
  TextBuilder* outer = std::exchange(out_, &captured);
  const absl::Status status = ExecuteBody(body, scope);
  out_ = outer;
  if (!status.ok()) return status;
  return captured.Finish();
}

absl::Status Interpreter::ExecuteSetBlock(const Statement& statement, Scope* scope) {
  Scope* inner = heap_.NewScope(scope);
  CORM_ASSIGN_OR_RETURN(Value value, Capture(statement.body, inner));
  if (flow_ != Flow::kNormal) return absl::OkStatus();  // A loop ended inside: nothing is set.
  if (statement.expr != nullptr) {
    CORM_ASSIGN_OR_RETURN(value, EvaluateFilter(*statement.expr, inner, &value));
  }
  return Assign(*statement.target, value, scope);
}

absl::Status Interpreter::ExecuteIf(const Statement& statement, Scope* scope) {
  for (const Branch& branch : statement.branches) {
    if (branch.test != nullptr) {
      CORM_ASSIGN_OR_RETURN(const Value test, Evaluate(*branch.test, scope));
      if (!IsTrue(test)) continue;
    }
    return ExecuteBody(branch.body, scope);
  }
  return absl::OkStatus();
}

absl::Status Interpreter::ExecuteFilterBlock(const Statement& statement, Scope* scope) {
  Scope* inner = heap_.NewScope(scope);
  CORM_ASSIGN_OR_RETURN(const Value text, Capture(statement.body, inner));
  if (flow_ != Flow::kNormal) return absl::OkStatus();
  CORM_ASSIGN_OR_RETURN(const Value value, EvaluateFilter(*statement.expr, inner, &text));
  AppendStr(heap_, value, out_);
  return absl::OkStatus();
}

absl::Status Interpreter::ExecuteWith(const Statement& statement, Scope* scope) {
  Scope* inner = heap_.NewScope(scope);
  for (const Parameter& param : statement.params) {  // Values see the names outside.
    CORM_ASSIGN_OR_RETURN(const Value value, Evaluate(*param.value, scope));
    CORM_RETURN_IF_ERROR(Assign(*param.target, value, inner));
  }
  return ExecuteBody(statement.body, inner);
}

absl::Status Interpreter::ExecuteBlock(const Statement& statement, Scope* scope) {
  if (statement.is_root_scoped) {
    while (scope->parent != root_ && scope->parent != nullptr) scope = scope->parent;
  }
  return ExecuteBody(statement.body, heap_.NewScope(scope));
}

}  // namespace cormorant::jinja
