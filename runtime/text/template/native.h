// Functions of the language that are written in C++: filters, tests, methods and globals.
#pragma once
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "runtime/text/template/heap.h"
#include "runtime/text/template/value.h"

namespace cormorant::jinja {

class Interpreter;

/// The arguments of a call as the template wrote them.
struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<absl::string_view, Value>> named;

  /// Missing when there is no such argument.
  Value Named(absl::string_view name) const;
};

/// One call of a native function. `args` are bound to its parameters in their order; one that was
/// not given is missing. A function that takes anything finds its arguments in `raw`.
struct NativeCall {
  Interpreter& run;
  Heap& heap;
  absl::string_view name;
  Value self;
  std::vector<Value> args;
  const Arguments& raw;

  bool Has(size_t i) const { return !args[i].is_missing(); }
  Value Or(size_t i, const Value& otherwise) const { return Has(i) ? args[i] : otherwise; }
  bool Flag(size_t i) const { return Has(i) && IsTrue(args[i]); }
};

/// A filter, test or method has a value it is applied to: `self`. `params` names the others, with
/// spaces between: "old new count?" (? is optional), or "*" for anything.
struct NativeDef {
  absl::string_view name;
  absl::string_view params;
  absl::StatusOr<Value> (*function)(NativeCall& call);
};

/// A function as a value, with what it is bound to.
struct Native {
  const NativeDef* def = nullptr;
  Value self;
};

/// Binds the arguments and calls; TypeError messages name the function.
absl::StatusOr<Value> CallNative(Interpreter& run, const NativeDef& def, const Value& self,
                                 const Arguments& arguments);

// The tables; nullptr where there is no such name.
const NativeDef* FindFilter(absl::string_view name);
const NativeDef* FindTest(absl::string_view name);
const NativeDef* FindGlobal(absl::string_view name);
const NativeDef* FindTextMethod(absl::string_view name);
const NativeDef* FindTextSearchMethod(absl::string_view name);  // Part of the one above.
const NativeDef* FindListMethod(absl::string_view name);
const NativeDef* FindDictMethod(absl::string_view name);
const NativeDef* FindLoopMethod(absl::string_view name);
const NativeDef* FindCyclerMethod(absl::string_view name);

/// Looks a name up in a table.
template <size_t N>
const NativeDef* FindIn(const NativeDef (&table)[N], absl::string_view name) {
  for (const NativeDef& def : table) {
    if (def.name == name) return &def;
  }
  return nullptr;
}

/// An error of the kind Python's TypeError and ValueError are.
template <class... Parts>
absl::Status Error(const Parts&... parts) {
  return absl::InvalidArgumentError(absl::StrCat(parts...));
}

}  // namespace cormorant::jinja
