// Runs a parsed template.
//
// One Interpreter is one rendering: it owns the heap, so everything a template makes goes when it
// goes. The template itself is only read. Statements write text to the current output, which set
// blocks, macros and filter blocks divert. Any error stops the rendering; `line` then tells where.
//
// Every expression and statement takes a step and a level of depth, so limits hold however the
// template is built. Not thread-safe; several interpreters may run one template at once.
#pragma once
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "runtime/text/template/ast.h"
#include "runtime/text/template/heap.h"
#include "runtime/text/template/native.h"
#include "runtime/text/template/scope.h"

namespace cormorant::jinja {

class Interpreter {
 public:
  Interpreter(const Template& source, const Limits& limits);

  /// Gives the template a variable; one it does not mention costs nothing.
  void SetVariable(absl::string_view name, const Value& value);
  absl::StatusOr<std::string> Run();

  Heap& heap() { return heap_; }
  /// Where the rendering is, or where it failed.
  uint32_t line() const { return line_; }

  /// The clock of strftime_now: seconds since 1970 in UTC, and those to add for local time.
  void SetTime(int64_t unix_seconds, int64_t utc_offset_seconds) {
    unix_seconds_ = unix_seconds;
    utc_offset_seconds_ = utc_offset_seconds;
  }
  int64_t unix_seconds() const { return unix_seconds_; }
  int64_t utc_offset_seconds() const { return utc_offset_seconds_; }

  // For native functions.
  absl::StatusOr<Value> Call(const Value& callee, const Arguments& arguments);
  /// value.name: methods and attributes before items, as Jinja does for a dot.
  absl::StatusOr<Value> GetAttribute(const Value& value, absl::string_view name);
  /// value[key]: items before attributes.
  absl::StatusOr<Value> GetItem(const Value& value, const Value& key);
  /// A method or attribute, never an item; missing when there is none.
  absl::StatusOr<Value> FindAttribute(const Value& value, absl::string_view name);
  /// loop(items) in a recursive loop.
  absl::StatusOr<Value> Recurse(const Loop& loop, const Value& items);

 private:
  enum class Flow : uint8_t { kNormal, kBreak, kContinue };

  // Counts depth while it lives.
  class Level {
   public:
    explicit Level(Interpreter* run) : run_(*run) { ++run_.depth_; }
    ~Level() { --run_.depth_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;

   private:
    Interpreter& run_;
  };
  /// Takes a step at this line; an error when limits are reached.
  absl::Status Step(uint32_t line);

  // Statements (statements.cc, loops.cc, macros.cc).
  absl::Status ExecuteBody(const Body& body, Scope* scope);
  absl::Status Execute(const Statement& statement, Scope* scope);
  absl::Status ExecuteOutput(const Statement& statement, Scope* scope);
  absl::Status ExecuteSet(const Statement& statement, Scope* scope);
  absl::Status ExecuteSetBlock(const Statement& statement, Scope* scope);
  absl::Status ExecuteIf(const Statement& statement, Scope* scope);
  absl::Status ExecuteFilterBlock(const Statement& statement, Scope* scope);
  absl::Status ExecuteWith(const Statement& statement, Scope* scope);
  absl::Status ExecuteBlock(const Statement& statement, Scope* scope);
  absl::Status ExecuteFor(const Statement& statement, Scope* scope);
  absl::Status RunLoop(const Statement& statement, Scope* scope, const Value& iterable,
                       int64_t depth0);
  absl::Status RunLoopTurns(Loop* loop, bool* has_run);
  absl::Status ExecuteMacro(const Statement& statement, Scope* scope);
  absl::Status ExecuteCallBlock(const Statement& statement, Scope* scope);
  absl::Status Assign(const Expr& target, const Value& value, Scope* scope);
  absl::Status AssignTuple(const Expr& target, const Value& value, Scope* scope);
  /// What a body prints, as a value.
  absl::StatusOr<Value> Capture(const Body& body, Scope* scope);
  void Write(absl::string_view text);

  // Loops.
  absl::StatusOr<Value> NextItem(Loop* loop);
  absl::Status KnowLength(Loop* loop);
  absl::StatusOr<Value> LoopAttribute(Loop* loop, absl::string_view name);
  absl::StatusOr<Value> LoopItemAttribute(Loop* loop, absl::string_view name);

  // Macros.
  absl::StatusOr<Value> CallMacro(const Macro& macro, const Arguments& arguments);
  absl::Status BindSpecialNames(const Macro& macro, const Arguments& arguments,
                                const std::vector<bool>& taken, Scope* scope);
  Value NewMacroValue(const Statement& statement, Scope* scope);

  // Expressions (expressions.cc).
  absl::StatusOr<Value> Evaluate(const Expr& expr, Scope* scope);
  absl::StatusOr<Value> EvaluateKind(const Expr& expr, Scope* scope);
  absl::StatusOr<Value> EvaluateName(const Expr& expr, Scope* scope);
  absl::StatusOr<Value> EvaluateItems(const Expr& expr, Flavor flavor, Scope* scope);
  absl::StatusOr<Value> EvaluateDict(const Expr& expr, Scope* scope);
  absl::StatusOr<Value> EvaluateItem(const Expr& expr, Scope* scope);
  absl::StatusOr<Value> EvaluateSlice(const Expr& expr, Scope* scope);
  absl::StatusOr<Value> EvaluateCall(const Expr& expr, Scope* scope, const Value& caller);
  absl::StatusOr<Value> EvaluateFilter(const Expr& expr, Scope* scope, const Value* input);
  absl::StatusOr<Value> EvaluateTest(const Expr& expr, Scope* scope);
  absl::StatusOr<Value> EvaluateUnary(const Expr& expr, Scope* scope);
  absl::StatusOr<Value> EvaluateBinary(const Expr& expr, Scope* scope);
  absl::StatusOr<Value> EvaluateLogic(const Expr& expr, Scope* scope);
  absl::StatusOr<Value> EvaluateComparison(const Expr& expr, Scope* scope);
  absl::StatusOr<Value> EvaluateConcat(const Expr& expr, Scope* scope);
  absl::StatusOr<Value> EvaluateConditional(const Expr& expr, Scope* scope);
  absl::Status EvaluateArguments(const Expr& expr, Scope* scope, Arguments* arguments);
  absl::Status SpreadArguments(const Expr& expr, Scope* scope, Arguments* arguments);

  const Template& template_;
  Heap heap_;
  Scope* root_ = nullptr;  // Globals and variables; the template's own names are one level in.
  TextBuilder* out_ = nullptr;
  Flow flow_ = Flow::kNormal;
  uint32_t line_ = 1;
  uint32_t depth_ = 0;
  int64_t unix_seconds_ = 0;
  int64_t utc_offset_seconds_ = 0;
};

}  // namespace cormorant::jinja
