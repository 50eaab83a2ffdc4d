// The parsed form of a template.
//
// One kind of node for expressions and one for statements, each with a tag that says which fields
// count. Nodes belong to their Template and point at each other freely; they never change after
// parsing, so any number of renderings may walk them at once.
#pragma once
#include <cstdint>
#include <deque>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "runtime/text/template/native.h"
#include "runtime/text/template/value.h"

namespace cormorant::jinja {

using NameId = uint32_t;

enum class Operator : uint8_t {
  kAdd,
  kSubtract,
  kMultiply,
  kDivide,
  kFloorDivide,
  kModulo,
  kPower,
  kEqual,
  kNotEqual,
  kLess,
  kLessEqual,
  kGreater,
  kGreaterEqual,
  kIn,
  kNotIn,
};

enum class ExprKind : uint8_t {
  kConstant,     // constant
  kName,         // name, id
  kTuple,        // parts
  kList,         // parts
  kDict,         // parts: key, value, key, value ...
  kAttribute,    // parts[0] . name
  kItem,         // parts[0] [ parts[1] ]
  kSlice,        // parts[0] [ parts[1] : parts[2] : parts[3] ], each of the last three may be null
  kCall,         // parts[0] ( arguments )
  kFilter,       // parts[0] | name(arguments); parts[0] is null in a filter block
  kTest,         // parts[0] is name(arguments)
  kNegate,       // - parts[0]
  kPlus,         // + parts[0]
  kNot,          // not parts[0]
  kBinary,       // parts[0] operators[0] parts[1]
  kAnd,          // parts[0] and parts[1]
  kOr,           // parts[0] or parts[1]
  kCompare,      // parts[0] operators[0] parts[1] operators[1] parts[2] ...
  kConcat,       // parts, joined as text
  kConditional,  // parts[1] if parts[0] else parts[2], which may be null
  kReference,    // name.attribute as a target of set: id, name is the attribute
};

struct Expr {
  ExprKind kind = ExprKind::kConstant;
  uint32_t line = 0;
  NameId id = 0;
  absl::string_view name;
  Value constant;
  const NativeDef* native = nullptr;  // Of a filter or test that exists.
  std::vector<const Expr*> parts;
  std::vector<Operator> operators;
  // Arguments: parts from the second on are the positional ones of a call, filter or test.
  std::vector<std::pair<absl::string_view, const Expr*>> named;
  const Expr* star = nullptr;
  const Expr* star_star = nullptr;
};

enum class StatementKind : uint8_t {
  kText,         // text
  kOutput,       // {{ expr }}
  kSet,          // target = expr
  kSetBlock,     // target = filters of expr (may be null) of what body prints
  kIf,           // branches; the last one's test is null for else
  kFor,          // target, expr, test (may be null), body, otherwise, is_recursive
  kMacro,        // id, name, params, body, uses_*
  kCallBlock,    // expr is the call; params, body, uses_* as of a macro
  kFilterBlock,  // expr is the filters
  kWith,         // params (targets and values), body
  kBlock,        // body in a level of names of its own: generation, block, autoescape
  kBreak,
  kContinue,
  kFail,  // text: what the tag is and why it cannot work
};

struct Statement;
using Body = std::vector<const Statement*>;

struct Branch {
  const Expr* test = nullptr;
  Body body;
};

/// A macro's parameter with its default, or a name that `with` sets.
struct Parameter {
  NameId id = 0;
  absl::string_view name;
  const Expr* value = nullptr;
  const Expr* target = nullptr;  // Of with.
};

struct Statement {
  StatementKind kind = StatementKind::kText;
  uint32_t line = 0;
  NameId id = 0;
  absl::string_view name;
  absl::string_view text;
  const Expr* target = nullptr;
  const Expr* expr = nullptr;
  const Expr* test = nullptr;
  Body body;
  Body otherwise;
  std::vector<Branch> branches;
  std::vector<Parameter> params;
  bool is_recursive = false;
  bool is_root_scoped = false;  // A {% block %} sees the outermost names only.
  bool uses_caller = false, uses_varargs = false, uses_kwargs = false;
};

/// A whole template: its nodes, its texts and its names.
struct Template {
  explicit Template(const Limits& limits) : constants(limits) {}

  std::string source;  // Newlines normalized; names and texts point into it.
  Heap constants;
  std::deque<Expr> expressions;
  std::deque<Statement> statements;
  absl::flat_hash_map<absl::string_view, NameId> names;
  Body body;
  NameId loop = 0, caller = 0, varargs = 0, kwargs = 0;  // Ids of the special names.

  NameId Intern(absl::string_view name) {
    return names.emplace(name, static_cast<NameId>(names.size())).first->second;
  }
};

}  // namespace cormorant::jinja
