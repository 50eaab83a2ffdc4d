// Equality, order, membership and sorting. See operators.h.
#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "runtime/base/status.h"
#include "runtime/text/template/native.h"
#include "runtime/text/template/operators.h"
#include "runtime/text/template/unicode.h"

namespace cormorant::jinja {
namespace {

bool IsTooDeep(Heap& heap, uint32_t depth) {
  if (depth > heap.limits().depth) heap.Exhaust("values nest too deeply to be compared");
  return !heap.Step();
}

bool AreEqualNumbers(const Value& a, const Value& b) {
  if (a.is_integral() && b.is_integral()) return a.AsInteger() == b.AsInteger();
  return a.AsDouble() == b.AsDouble();
}

bool AreEqualLists(Heap& heap, const List& a, const List& b, uint32_t depth) {
  if (a.flavor != b.flavor || a.items.size() != b.items.size()) return false;
  if (a.flavor == Flavor::kIterator || a.flavor == Flavor::kValues) return false;
  for (size_t i = 0; i < a.items.size(); ++i) {
    if (!AreEqual(heap, a.items[i], b.items[i], depth + 1)) return false;
  }
  return true;
}

bool AreEqualDicts(Heap& heap, const Dict& a, const Dict& b, uint32_t depth) {
  if (a.size() != b.size()) return false;
  for (const auto& [key, value] : a.entries()) {
    const Value other = b.Find(key);
    if (other.is_missing() || !AreEqual(heap, value, other, depth + 1)) return false;
  }
  return true;
}

absl::Status Unordered(const Value& a, const Value& b) {
  if (a.is_undefined()) return UndefinedError(a);
  if (b.is_undefined()) return UndefinedError(b);
  return Error("values of the types ", TypeName(a), " and ", TypeName(b), " have no order");
}

}  // namespace

absl::Status UndefinedError(const Value& undefined) {
  return Error(undefined.undefined->reason);
}

bool AreEqual(Heap& heap, const Value& a, const Value& b, uint32_t depth) {
  if (IsTooDeep(heap, depth)) return false;
  if (a.is_number() && b.is_number()) return AreEqualNumbers(a, b);
  if (a.kind != b.kind) return false;
  switch (a.kind) {
    case Kind::kUndefined:
    case Kind::kNone: return true;
    case Kind::kText:
      heap.Work(std::min(a.AsText().size(), b.AsText().size()));
      return a.AsText() == b.AsText();
    case Kind::kList: return a.list == b.list || AreEqualLists(heap, *a.list, *b.list, depth);
    case Kind::kDict: return a.dict == b.dict || AreEqualDicts(heap, *a.dict, *b.dict, depth);
    case Kind::kNative:
      return a.native->def == b.native->def && a.native->self.kind == b.native->self.kind &&
             a.native->self.integer == b.native->self.integer;
    default: return a.integer == b.integer;  // The same object.
  }
}

absl::StatusOr<bool> IsLess(Heap& heap, const Value& a, const Value& b, uint32_t depth) {
  if (IsTooDeep(heap, depth)) return heap.failure();
  if (a.is_number() && b.is_number()) {
    if (a.is_integral() && b.is_integral()) return a.AsInteger() < b.AsInteger();
    return a.AsDouble() < b.AsDouble();
  }
  if (a.is_text() && b.is_text()) {
    heap.Work(std::min(a.AsText().size(), b.AsText().size()));
    return a.AsText() < b.AsText();  // UTF-8 sorts as its code points do.
  }
  if (!IsPlainSequence(a) || !IsPlainSequence(b) || a.list->flavor != b.list->flavor) {
    return Unordered(a, b);
  }
  const std::vector<Value>& x = a.list->items;
  const std::vector<Value>& y = b.list->items;
  for (size_t i = 0; i < x.size() && i < y.size(); ++i) {
    if (!AreEqual(heap, x[i], y[i], depth + 1)) return IsLess(heap, x[i], y[i], depth + 1);
  }
  return x.size() < y.size();
}

absl::StatusOr<bool> Contains(Heap& heap, const Value& container, const Value& item) {
  switch (container.kind) {
    case Kind::kUndefined: return false;
    case Kind::kText:
      if (!item.is_text()) {
        return Error("'in <string>' wants a string on its left side, not ", TypeName(item));
      }
      heap.Work(container.AsText().size() + item.AsText().size());
      return FindText(container.AsText(), item.AsText()) != absl::string_view::npos;
    case Kind::kDict:
      if (!IsKey(item)) return Error("a ", TypeName(item), " cannot be a key of a dict");
      if (!item.is_text()) heap.Work(container.dict->size() * sizeof(Dict::Entry));
      return !container.dict->Find(item).is_missing();
    default: break;
  }
  if (!container.Is(Kind::kList)) {
    return Error("'in' does not work on ", TypeName(container));
  }
  List& list = *container.list;
  const bool is_iterator = list.flavor == Flavor::kIterator;
  for (size_t i = list.read_count; i < list.items.size(); ++i) {
    if (is_iterator) list.read_count = i + 1;
    if (AreEqual(heap, list.items[i], item)) return true;
    if (heap.is_exhausted()) return heap.failure();
  }
  return false;
}

absl::StatusOr<bool> Compare(Heap& heap, Operator op, const Value& a, const Value& b) {
  const bool are_numbers = a.is_number() && b.is_number();
  switch (op) {
    case Operator::kEqual: return AreEqual(heap, a, b);
    case Operator::kNotEqual: return !AreEqual(heap, a, b);
    case Operator::kLess: return IsLess(heap, a, b);
    case Operator::kGreater: return IsLess(heap, b, a);
    case Operator::kIn: return Contains(heap, b, a);
    case Operator::kNotIn: {
      CORM_ASSIGN_OR_RETURN(const bool is_in, Contains(heap, b, a));
      return !is_in;
    }
    default: break;
  }
  const bool is_less_equal = op == Operator::kLessEqual;
  // Nothing is less than or equal to what is not a number.
  if (are_numbers && (std::isnan(a.AsDouble()) || std::isnan(b.AsDouble()))) return false;
  CORM_ASSIGN_OR_RETURN(const bool is_beyond,
                        is_less_equal ? IsLess(heap, b, a) : IsLess(heap, a, b));
  return !is_beyond;
}

absl::Status SortStable(Heap& heap, std::vector<Value>* keys, std::vector<Value>* values) {
  const size_t count = keys->size();
  if (!heap.Charge(count * 3 * sizeof(size_t))) return heap.failure();
  std::vector<size_t> order(count), merged(count);
  for (size_t i = 0; i < count; ++i) order[i] = i;
  for (size_t width = 1; width < count; width *= 2) {
    for (size_t begin = 0; begin < count; begin += 2 * width) {
      const size_t middle = std::min(begin + width, count);
      const size_t end = std::min(begin + 2 * width, count);
      size_t left = begin, right = middle;
      for (size_t at = begin; at < end; ++at) {
        bool takes_right = left == middle;
        if (left < middle && right < end) {
          CORM_ASSIGN_OR_RETURN(takes_right,
                                IsLess(heap, (*keys)[order[right]], (*keys)[order[left]]));
        }
        merged[at] = takes_right ? order[right++] : order[left++];
      }
    }
    order.swap(merged);
  }
  const auto arrange = [&](std::vector<Value>* items) {
    std::vector<Value> sorted;
    sorted.reserve(count);
    for (size_t index : order) sorted.push_back((*items)[index]);
    items->swap(sorted);
  };
  arrange(keys);
  if (values != nullptr) arrange(values);
  return absl::OkStatus();
}

}  // namespace cormorant::jinja
