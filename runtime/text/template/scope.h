// Names and what they stand for while a template runs, and the objects that hold on to them.
#pragma once
#include <cstdint>
#include <utility>
#include <vector>

#include "runtime/text/template/ast.h"
#include "runtime/text/template/native.h"
#include "runtime/text/template/value.h"

namespace cormorant::jinja {

/// One level of names. A loop's turn, a macro's call and a block each have one; `if` has none.
/// Assignment goes to the innermost level, lookup walks outwards.
struct Scope {
  Scope* parent = nullptr;
  bool is_captured = false;  // A macro made here may outlive it, so it is not used again.
  std::vector<std::pair<NameId, Value>> names;

  Value Find(NameId name) const {
    for (const Scope* scope = this; scope != nullptr; scope = scope->parent) {
      for (const auto& [id, value] : scope->names) {
        if (id == name) return value;
      }
    }
    return Value();
  }
  void Set(NameId name, const Value& value) {
    for (auto& [id, old] : names) {
      if (id == name) {
        old = value;
        return;
      }
    }
    names.emplace_back(name, value);
  }
};

/// A macro or the body of a call block, with the names it sees. They are looked up when it runs.
struct Macro {
  const Statement* statement = nullptr;
  Scope* scope = nullptr;
};

/// A running for loop: the `loop` variable. Items that a condition filters are looked for one at a
/// time, because the body may change what the condition sees.
struct Loop {
  const Statement* statement = nullptr;
  Scope* outer = nullptr;
  std::vector<Value> items;
  size_t next = 0;
  bool is_filtered = false;
  int64_t index0 = -1;
  int64_t length = -1;  // Not known yet.
  int64_t depth0 = 0;
  Value before, current, after, changed;
};

}  // namespace cormorant::jinja
