// For loops and the `loop` variable. See interpreter.h.
#include "absl/strings/str_cat.h"
#include "runtime/base/status.h"
#include "runtime/text/template/interpreter.h"
#include "runtime/text/template/operators.h"

namespace cormorant::jinja {

absl::StatusOr<Value> Interpreter::NextItem(Loop* loop) {
  while (loop->next < loop->items.size()) {
    const Value item = loop->items[loop->next++];
    if (!loop->is_filtered) return item;
    Scope* scope = heap_.NewScope(loop->outer);
    CORM_RETURN_IF_ERROR(Assign(*loop->statement->target, item, scope));
    CORM_ASSIGN_OR_RETURN(const Value test, Evaluate(*loop->statement->test, scope));
    if (IsTrue(test)) return item;
  }
  return Value();
}

absl::Status Interpreter::KnowLength(Loop* loop) {
  if (loop->length >= 0) return absl::OkStatus();
  std::vector<Value> rest;
  while (true) {
    CORM_ASSIGN_OR_RETURN(const Value item, NextItem(loop));
    if (item.is_missing()) break;
    if (!heap_.Charge(sizeof(Value))) return heap_.failure();
    rest.push_back(item);
  }
  loop->length = loop->index0 + 1 + static_cast<int64_t>(rest.size()) + !loop->after.is_missing();
  loop->items = std::move(rest);
  loop->next = 0;
  loop->is_filtered = false;
  return absl::OkStatus();
}

absl::StatusOr<Value> Interpreter::LoopItemAttribute(Loop* loop, absl::string_view name) {
  if (name == "previtem") {
    return loop->index0 > 0 ? loop->before : heap_.NewUndefined("there is no previous item");
  }
  if (loop->after.is_missing()) {
    CORM_ASSIGN_OR_RETURN(loop->after, NextItem(loop));
  }
  if (name == "last") return BoolValue(loop->after.is_missing());
  return loop->after.is_missing() ? heap_.NewUndefined("there is no next item") : loop->after;
}

absl::StatusOr<Value> Interpreter::LoopAttribute(Loop* loop, absl::string_view name) {
  if (name == "index0") return IntValue(loop->index0);
  if (name == "index") return IntValue(loop->index0 + 1);
  if (name == "first") return BoolValue(loop->index0 == 0);
  if (name == "depth") return IntValue(loop->depth0 + 1);
  if (name == "depth0") return IntValue(loop->depth0);
  if (name == "last" || name == "previtem" || name == "nextitem") {
    return LoopItemAttribute(loop, name);
  }
  if (name == "length" || name == "revindex" || name == "revindex0") {
    CORM_RETURN_IF_ERROR(KnowLength(loop));
    if (name == "length") return IntValue(loop->length);
    return IntValue(loop->length - loop->index0 - (name == "revindex0"));
  }
  return Value();
}

absl::Status Interpreter::RunLoopTurns(Loop* loop, bool* has_run) {
  const Statement& statement = *loop->statement;
  Value loop_value;
  loop_value.kind = Kind::kLoop;
  loop_value.loop = loop;
  Scope* scope = nullptr;
  while (true) {
    Value item = std::exchange(loop->after, Value());
    if (item.is_missing()) {
      CORM_ASSIGN_OR_RETURN(item, NextItem(loop));
    }
    if (item.is_missing()) return absl::OkStatus();
    *has_run = true;
    ++loop->index0;
    loop->before = loop->current;
    loop->current = item;
    if (scope == nullptr || scope->is_captured) {
      scope = heap_.NewScope(loop->outer);
    } else {
      scope->names.clear();
    }
    scope->Set(template_.loop, loop_value);
    CORM_RETURN_IF_ERROR(Assign(*statement.target, item, scope));
    CORM_RETURN_IF_ERROR(ExecuteBody(statement.body, scope));
    const Flow flow = std::exchange(flow_, Flow::kNormal);
    if (flow == Flow::kBreak) return absl::OkStatus();
  }
}

absl::Status Interpreter::RunLoop(const Statement& statement, Scope* scope, const Value& iterable,
                                  int64_t depth0) {
  Loop* loop = heap_.NewLoop();
  loop->statement = &statement;
  loop->outer = scope;
  CORM_ASSIGN_OR_RETURN(loop->items, ItemsOf(heap_, iterable));
  loop->is_filtered = statement.test != nullptr;
  if (!loop->is_filtered) loop->length = static_cast<int64_t>(loop->items.size());
  loop->depth0 = depth0;
  bool has_run = false;
  CORM_RETURN_IF_ERROR(RunLoopTurns(loop, &has_run));
  if (has_run || statement.otherwise.empty()) return absl::OkStatus();
  return ExecuteBody(statement.otherwise, heap_.NewScope(scope));
}

absl::Status Interpreter::ExecuteFor(const Statement& statement, Scope* scope) {
  CORM_ASSIGN_OR_RETURN(const Value iterable, Evaluate(*statement.expr, scope));
  return RunLoop(statement, scope, iterable, 0);
}

absl::StatusOr<Value> Interpreter::Recurse(const Loop& loop, const Value& items) {
  if (!loop.statement->is_recursive) {
    return Error("loop() can only be called in a loop that is marked 'recursive'");
  }
  TextBuilder captured(heap_);
  TextBuilder* outer = std::exchange(out_, &captured);
  const absl::Status status = RunLoop(*loop.statement, loop.outer, items, loop.depth0 + 1);
  out_ = outer;
  if (!status.ok()) return status;
  return captured.Finish();
}

}  // namespace cormorant::jinja
