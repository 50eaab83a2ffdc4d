// What the operators of the language do to values: comparison, arithmetic, membership, slices.
#pragma once
#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/text/template/ast.h"
#include "runtime/text/template/heap.h"
#include "runtime/text/template/value.h"

namespace cormorant::jinja {

/// a == b. Lists and dicts by content; a number equals a number of another type.
bool AreEqual(Heap& heap, const Value& a, const Value& b, uint32_t depth = 0);

/// a < b; types without an order are an error.
absl::StatusOr<bool> IsLess(Heap& heap, const Value& a, const Value& b, uint32_t depth = 0);

/// One comparison of a chain, `in` and `not in` among them.
absl::StatusOr<bool> Compare(Heap& heap, Operator op, const Value& a, const Value& b);
/// item in container.
absl::StatusOr<bool> Contains(Heap& heap, const Value& container, const Value& item);

/// + - * / // % **, on everything Python has them for.
absl::StatusOr<Value> Arithmetic(Heap& heap, Operator op, const Value& a, const Value& b);
absl::StatusOr<Value> Negated(const Value& value);

/// value[start:stop:step], with missing for what was left out.
absl::StatusOr<Value> Sliced(Heap& heap, const Value& value, const Value& start, const Value& stop,
                             const Value& step);

/// The items of anything that can be iterated: an iterator is used up, a text gives its characters,
/// a dict its keys.
absl::StatusOr<std::vector<Value>> ItemsOf(Heap& heap, const Value& value);

/// Sorts `keys` and, if there are any, `values` along with them, by IsLess; equal ones keep their
/// order. Robust against orders that contradict themselves.
absl::Status SortStable(Heap& heap, std::vector<Value>* keys, std::vector<Value>* values);

/// The message when an undefined value is used, as an error.
absl::Status UndefinedError(const Value& undefined);

}  // namespace cormorant::jinja
