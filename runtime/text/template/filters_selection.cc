// Filters that apply an attribute, a filter or a test to each item. See filters.h.
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "runtime/base/status.h"
#include "runtime/text/template/filters.h"
#include "runtime/text/template/interpreter.h"
#include "runtime/text/template/operators.h"
#include "runtime/text/template/unicode.h"

namespace cormorant::jinja {
namespace {

using Result = absl::StatusOr<Value>;

/// Of the arguments, those from `first` on.
Arguments Rest(const Arguments& arguments, size_t first) {
  Arguments rest;
  rest.named = arguments.named;
  for (size_t i = first; i < arguments.positional.size(); ++i) {
    rest.positional.push_back(arguments.positional[i]);
  }
  return rest;
}

/// map(attribute=..., default=...).
Result MapAttribute(NativeCall& call) {
  const Value otherwise = call.raw.Named("default");
  if (call.raw.named.size() > 1u + !otherwise.is_missing()) {
    return Error("map() takes 'attribute' and 'default'");
  }
  CORM_ASSIGN_OR_RETURN(const AttributePath path,
                        AttributePath::Parse(call.heap, call.raw.Named("attribute")));
  CORM_ASSIGN_OR_RETURN(const std::vector<Value> items, ItemsOf(call.heap, call.self));
  List* result = call.heap.NewList(Flavor::kIterator);
  for (const Value& item : items) {
    CORM_ASSIGN_OR_RETURN(const Value value, path.Get(call, item, otherwise));
    call.heap.Append(result, value);
  }
  return ListValue(result);
}

Result Map(NativeCall& call) {
  if (!IsTrue(call.self)) return ListValue(call.heap.NewList(Flavor::kIterator));
  if (call.raw.positional.empty()) {
    if (!call.raw.Named("attribute").is_missing()) return MapAttribute(call);
    return Error("map() wants the name of a filter or attribute=");
  }
  const Value name = call.raw.positional[0];
  const NativeDef* filter = name.is_text() ? FindFilter(name.AsText()) : nullptr;
  if (filter == nullptr) {
    return Error("map(): there is no filter '", name.is_text() ? name.AsText() : TypeName(name),
                 "'");
  }
  const Arguments arguments = Rest(call.raw, 1);
  CORM_ASSIGN_OR_RETURN(const std::vector<Value> items, ItemsOf(call.heap, call.self));
  List* result = call.heap.NewList(Flavor::kIterator);
  for (const Value& item : items) {
    if (!call.heap.Step()) return call.heap.failure();
    CORM_ASSIGN_OR_RETURN(const Value value, CallNative(call.run, *filter, item, arguments));
    call.heap.Append(result, value);
  }
  return ListValue(result);
}

/// select, reject and the same by attribute: items for which a test holds, or their truth.
template <bool keeps, bool by_attribute>
Result Select(NativeCall& call) {
  List* result = call.heap.NewList(Flavor::kIterator);
  if (!IsTrue(call.self)) return ListValue(result);
  const std::vector<Value>& given = call.raw.positional;
  if (by_attribute && given.empty()) return Error(call.name, "() wants the name of an attribute");
  CORM_ASSIGN_OR_RETURN(const AttributePath path,
                        AttributePath::Parse(call.heap, by_attribute ? given[0] : NoneValue()));
  const NativeDef* test = nullptr;
  if (given.size() > by_attribute) {
    const Value& name = given[by_attribute];
    test = name.is_text() ? FindTest(name.AsText()) : nullptr;
    if (test == nullptr) {
      return Error(call.name, "(): there is no test '",
                   name.is_text() ? name.AsText() : TypeName(name), "'");
    }
  }
  const Arguments arguments = Rest(call.raw, 1 + by_attribute);
  CORM_ASSIGN_OR_RETURN(const std::vector<Value> items, ItemsOf(call.heap, call.self));
  for (const Value& item : items) {
    if (!call.heap.Step()) return call.heap.failure();
    CORM_ASSIGN_OR_RETURN(Value value, path.Get(call, item, Value()));
    if (test != nullptr) {
      CORM_ASSIGN_OR_RETURN(value, CallNative(call.run, *test, value, arguments));
    }
    if (IsTrue(value) == keeps) call.heap.Append(result, item);
  }
  return ListValue(result);
}

/// groupby: a list of (attribute, items), by ascending attribute.
Result GroupBy(NativeCall& call) {
  const bool is_case_sensitive = call.Flag(2);
  const Value otherwise = call.args[1].is_none() ? Value() : call.args[1];
  CORM_ASSIGN_OR_RETURN(const AttributePath path, AttributePath::Parse(call.heap, call.args[0]));
  CORM_ASSIGN_OR_RETURN(std::vector<Value> items, ItemsOf(call.heap, call.self));
  std::vector<Value> keys;
  for (const Value& item : items) {
    CORM_ASSIGN_OR_RETURN(Value key, path.Get(call, item, otherwise));
    if (key.is_text() && !is_case_sensitive) key = call.heap.NewText(Lower(key.AsText()));
    keys.push_back(key);
  }
  CORM_RETURN_IF_ERROR(SortStable(call.heap, &keys, &items));
  List* groups = call.heap.NewList();
  List* group = nullptr;
  for (size_t i = 0; i < items.size() && !call.heap.is_exhausted(); ++i) {
    if (i == 0 || !AreEqual(call.heap, keys[i], keys[i - 1])) {
      CORM_ASSIGN_OR_RETURN(const Value shown, path.Get(call, items[i], otherwise));
      group = call.heap.NewList();
      List* pair = call.heap.NewList(Flavor::kTuple);
      call.heap.Append(pair, is_case_sensitive ? keys[i] : shown);
      call.heap.Append(pair, ListValue(group));
      call.heap.Append(groups, ListValue(pair));
    }
    call.heap.Append(group, items[i]);
  }
  return ListValue(groups);
}

constexpr NativeDef kFilters[] = {
    {"groupby", "attribute default? case_sensitive?", GroupBy},
    {"map", "*", Map},
    {"reject", "*", Select<false, false>},
    {"rejectattr", "*", Select<false, true>},
    {"select", "*", Select<true, false>},
    {"selectattr", "*", Select<true, true>},
};

}  // namespace

absl::StatusOr<AttributePath> AttributePath::Parse(Heap& heap, const Value& attribute) {
  AttributePath path;
  if (attribute.is_none() || attribute.is_missing()) return path;
  if (!attribute.is_text()) {
    path.steps_.push_back(attribute);
    return path;
  }
  for (absl::string_view step : absl::StrSplit(attribute.AsText(), '.')) {
    int64_t index = 0;
    const bool is_index =
        !step.empty() && step[0] >= '0' && step[0] <= '9' && absl::SimpleAtoi(step, &index);
    path.steps_.push_back(is_index ? IntValue(index) : heap.NewTextView(step));
    if (!heap.Charge(sizeof(Value))) return heap.failure();
  }
  return path;
}

absl::StatusOr<Value> AttributePath::Get(NativeCall& call, Value item,
                                         const Value& otherwise) const {
  for (const Value& step : steps_) {
    if (!call.heap.Step()) return call.heap.failure();
    CORM_ASSIGN_OR_RETURN(item, call.run.GetItem(item, step));
    if (item.is_undefined() && !otherwise.is_missing() && !otherwise.is_none()) item = otherwise;
  }
  return item;
}

absl::StatusOr<Value> SortKey(NativeCall& call, const AttributePath& path, const Value& item,
                              bool is_case_sensitive) {
  CORM_ASSIGN_OR_RETURN(const Value key, path.Get(call, item, Value()));
  if (is_case_sensitive || !key.is_text()) return key;
  return call.heap.NewText(Lower(key.AsText()));
}

const NativeDef* FindSelectionFilter(absl::string_view name) {
  return FindIn(kFilters, name);
}

const NativeDef* FindFilter(absl::string_view name) {
  for (auto* find : {FindTextFilter, FindNumberFilter, FindSequenceFilter, FindSelectionFilter}) {
    if (const NativeDef* filter = find(name)) return filter;
  }
  return nullptr;
}

}  // namespace cormorant::jinja
