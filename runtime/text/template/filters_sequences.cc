// Filters on sequences and dicts as a whole. See filters.h.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "runtime/base/status.h"
#include "runtime/text/template/filters.h"
#include "runtime/text/template/interpreter.h"
#include "runtime/text/template/operators.h"
#include "runtime/text/template/text_form.h"
#include "runtime/text/template/text_functions.h"
#include "runtime/text/template/unicode.h"

namespace cormorant::jinja {
namespace {

using Result = absl::StatusOr<Value>;

Value NewList(Heap& heap, const std::vector<Value>& items, Flavor flavor = Flavor::kList) {
  List* list = heap.NewList(flavor);
  for (const Value& item : items) heap.Append(list, item);
  return ListValue(list);
}

Result First(NativeCall& call) {
  // Of an iterator, the rest stays to be read.
  if (IsList(call.self, Flavor::kIterator)) {
    List& list = *call.self.list;
    if (list.read_count < list.items.size()) return list.items[list.read_count++];
  } else if (call.self.is_text() && call.self.text->chars > 0) {
    return Sliced(call.heap, call.self, IntValue(0), IntValue(1), Value());
  } else {
    CORM_ASSIGN_OR_RETURN(const std::vector<Value> items, ItemsOf(call.heap, call.self));
    if (!items.empty()) return items.front();
  }
  return call.heap.NewUndefined("No first item, sequence was empty.");
}

Result Last(NativeCall& call) {
  if (IsList(call.self, Flavor::kIterator)) {
    return Error("last() wants a sequence, not ", TypeName(call.self));
  }
  if (call.self.is_text() && call.self.text->chars > 0) {
    return Sliced(call.heap, call.self, IntValue(-1), Value(), Value());
  }
  CORM_ASSIGN_OR_RETURN(const std::vector<Value> items, ItemsOf(call.heap, call.self));
  if (!items.empty()) return items.back();
  return call.heap.NewUndefined("No last item, sequence was empty.");
}

Result ToList(NativeCall& call) {
  CORM_ASSIGN_OR_RETURN(const std::vector<Value> items, ItemsOf(call.heap, call.self));
  return NewList(call.heap, items);
}

Result Items(NativeCall& call) {
  List* pairs = call.heap.NewList(Flavor::kIterator);
  if (call.self.is_undefined()) return ListValue(pairs);
  if (!call.self.Is(Kind::kDict)) return Error("items() wants a mapping");
  for (const auto& [key, value] : call.self.dict->entries()) {
    call.heap.Append(pairs, NewList(call.heap, {key, value}, Flavor::kTuple));
  }
  return ListValue(pairs);
}

Result Join(NativeCall& call) {
  CORM_ASSIGN_OR_RETURN(const AttributePath path,
                        AttributePath::Parse(call.heap, call.Or(1, NoneValue())));
  const absl::string_view separator = call.Has(0) ? StrBytes(call.heap, call.args[0]) : "";
  CORM_ASSIGN_OR_RETURN(const std::vector<Value> items, ItemsOf(call.heap, call.self));
  TextBuilder out(call.heap);
  for (size_t i = 0; i < items.size(); ++i) {
    CORM_ASSIGN_OR_RETURN(const Value item, path.Get(call, items[i], Value()));
    if (i != 0) out.Append(separator);
    AppendStr(call.heap, item, &out);
  }
  return out.Finish();
}

Result Reverse(NativeCall& call) {
  if (call.self.is_text()) {
    return Sliced(call.heap, call.self, Value(), Value(), IntValue(-1));
  }
  CORM_ASSIGN_OR_RETURN(std::vector<Value> items, ItemsOf(call.heap, call.self));
  std::reverse(items.begin(), items.end());
  const bool was_iterator = IsList(call.self, Flavor::kIterator);
  return NewList(call.heap, items, was_iterator ? Flavor::kList : Flavor::kIterator);
}

/// Keys to sort by; of several attributes ("a,b") a list.
absl::Status MakeKeys(NativeCall& call, const Value& attribute, bool is_case_sensitive,
                      const std::vector<Value>& items, std::vector<Value>* keys) {
  std::vector<AttributePath> paths;
  std::vector<Value> names = {attribute};
  if (attribute.is_text()) {
    names.clear();
    for (absl::string_view name : absl::StrSplit(attribute.AsText(), ',')) {
      names.push_back(call.heap.NewTextView(name));
    }
  }
  for (const Value& name : names) {
    CORM_ASSIGN_OR_RETURN(AttributePath path, AttributePath::Parse(call.heap, name));
    paths.push_back(std::move(path));
  }
  for (const Value& item : items) {
    List* key = call.heap.NewList();
    for (const AttributePath& path : paths) {
      CORM_ASSIGN_OR_RETURN(const Value part, SortKey(call, path, item, is_case_sensitive));
      call.heap.Append(key, part);
    }
    keys->push_back(ListValue(key));
    if (call.heap.is_exhausted()) return call.heap.failure();
  }
  return absl::OkStatus();
}

absl::Status SortBy(NativeCall& call, const Value& attribute, bool is_case_sensitive,
                    bool is_reversed, std::vector<Value>* items) {
  if (!call.heap.Charge(items->size() * 2 * sizeof(Value))) return call.heap.failure();
  // Equal items keep their order also when the largest come first.
  if (is_reversed) std::reverse(items->begin(), items->end());
  std::vector<Value> keys;
  CORM_RETURN_IF_ERROR(MakeKeys(call, attribute, is_case_sensitive, *items, &keys));
  CORM_RETURN_IF_ERROR(SortStable(call.heap, &keys, items));
  if (is_reversed) std::reverse(items->begin(), items->end());
  return absl::OkStatus();
}

Result Sort(NativeCall& call) {
  CORM_ASSIGN_OR_RETURN(std::vector<Value> items, ItemsOf(call.heap, call.self));
  CORM_RETURN_IF_ERROR(SortBy(call, call.Or(2, NoneValue()), call.Flag(1), call.Flag(0), &items));
  return NewList(call.heap, items);
}

Result DictSort(NativeCall& call) {
  const absl::string_view by = call.Has(1) ? StrBytes(call.heap, call.args[1]) : "key";
  if (by != "key" && by != "value") return Error("dictsort() sorts by 'key' or 'value'");
  if (call.self.is_undefined()) return UndefinedError(call.self);
  if (!call.self.Is(Kind::kDict)) return Error("dictsort() wants a mapping");
  std::vector<Value> pairs;
  for (const auto& [key, value] : call.self.dict->entries()) {
    pairs.push_back(NewList(call.heap, {key, value}, Flavor::kTuple));
  }
  if (call.heap.is_exhausted()) return call.heap.failure();
  CORM_RETURN_IF_ERROR(SortBy(call, IntValue(by == "value"), call.Flag(0), call.Flag(2), &pairs));
  return NewList(call.heap, pairs);
}

Result Unique(NativeCall& call) {
  CORM_ASSIGN_OR_RETURN(const AttributePath path,
                        AttributePath::Parse(call.heap, call.Or(1, NoneValue())));
  CORM_ASSIGN_OR_RETURN(const std::vector<Value> items, ItemsOf(call.heap, call.self));
  List* unique = call.heap.NewList(Flavor::kIterator);
  Dict* seen = call.heap.NewDict();
  for (const Value& item : items) {
    CORM_ASSIGN_OR_RETURN(const Value key, SortKey(call, path, item, call.Flag(0)));
    if (!IsKey(key)) return Error("unique() does not work on ", TypeName(key));
    if (!seen->Find(key).is_missing()) continue;
    call.heap.Set(seen, key, NoneValue());
    call.heap.Append(unique, item);
    if (call.heap.is_exhausted()) return call.heap.failure();
  }
  return ListValue(unique);
}

template <bool wants_largest>
Result Extreme(NativeCall& call) {
  CORM_ASSIGN_OR_RETURN(const AttributePath path,
                        AttributePath::Parse(call.heap, call.Or(1, NoneValue())));
  CORM_ASSIGN_OR_RETURN(const std::vector<Value> items, ItemsOf(call.heap, call.self));
  if (items.empty()) return call.heap.NewUndefined("No aggregated item, sequence was empty.");
  Value best, best_key;
  for (const Value& item : items) {
    CORM_ASSIGN_OR_RETURN(const Value key, SortKey(call, path, item, call.Flag(0)));
    bool is_better = best.is_missing();
    if (!is_better) {
      CORM_ASSIGN_OR_RETURN(is_better, wants_largest ? IsLess(call.heap, best_key, key)
                                                     : IsLess(call.heap, key, best_key));
    }
    if (!is_better) continue;
    best = item;
    best_key = key;
  }
  return best;
}

Result Sum(NativeCall& call) {
  CORM_ASSIGN_OR_RETURN(const AttributePath path,
                        AttributePath::Parse(call.heap, call.Or(0, NoneValue())));
  CORM_ASSIGN_OR_RETURN(const std::vector<Value> items, ItemsOf(call.heap, call.self));
  Value sum = call.Or(1, IntValue(0));
  for (const Value& item : items) {
    CORM_ASSIGN_OR_RETURN(const Value part, path.Get(call, item, Value()));
    if (sum.is_text()) return Error("sum() does not add texts; use join");
    CORM_ASSIGN_OR_RETURN(sum, Arithmetic(call.heap, Operator::kAdd, sum, part));
  }
  return sum;
}

Result Batch(NativeCall& call) {
  CORM_ASSIGN_OR_RETURN(const int64_t count, IntegerArgument(call, 0, 1));
  CORM_ASSIGN_OR_RETURN(const std::vector<Value> items, ItemsOf(call.heap, call.self));
  List* batches = call.heap.NewList(Flavor::kIterator);
  List* batch = call.heap.NewList();
  for (const Value& item : items) {
    if (static_cast<int64_t>(batch->items.size()) == count) {
      call.heap.Append(batches, ListValue(batch));
      batch = call.heap.NewList();
    }
    call.heap.Append(batch, item);
  }
  if (batch->items.empty()) return ListValue(batches);
  const bool fills = call.Has(1) && !call.args[1].is_none();
  while (fills && static_cast<int64_t>(batch->items.size()) < count && !call.heap.is_exhausted()) {
    call.heap.Append(batch, call.args[1]);
  }
  call.heap.Append(batches, ListValue(batch));
  return ListValue(batches);
}

Result Slice(NativeCall& call) {
  CORM_ASSIGN_OR_RETURN(const int64_t slices, IntegerArgument(call, 0, 1));
  CORM_ASSIGN_OR_RETURN(const std::vector<Value> items, ItemsOf(call.heap, call.self));
  if (slices == 0) return Error("slice() wants at least one slice");
  List* result = call.heap.NewList(Flavor::kIterator);
  if (slices < 0) return ListValue(result);
  const size_t count = static_cast<size_t>(slices);
  const size_t each = items.size() / count, extra = items.size() % count;
  size_t at = 0;
  for (size_t i = 0; i < count && !call.heap.is_exhausted(); ++i) {
    List* slice = call.heap.NewList();
    for (const size_t end = at + each + (i < extra); at < end; ++at) {
      call.heap.Append(slice, items[at]);
    }
    const bool fills = call.Has(1) && !call.args[1].is_none() && i >= extra;
    if (fills) call.heap.Append(slice, call.args[1]);
    call.heap.Append(result, ListValue(slice));
  }
  return ListValue(result);
}

constexpr NativeDef kFilters[] = {
    {"batch", "linecount fill_with?", Batch},
    {"dictsort", "case_sensitive? by? reverse?", DictSort},
    {"first", "", First},
    {"items", "", Items},
    {"join", "d? attribute?", Join},
    {"last", "", Last},
    {"list", "", ToList},
    {"max", "case_sensitive? attribute?", Extreme<true>},
    {"min", "case_sensitive? attribute?", Extreme<false>},
    {"reverse", "", Reverse},
    {"slice", "slices fill_with?", Slice},
    {"sort", "reverse? case_sensitive? attribute?", Sort},
    {"sum", "attribute? start?", Sum},
    {"unique", "case_sensitive? attribute?", Unique},
};

}  // namespace

const NativeDef* FindSequenceFilter(absl::string_view name) {
  return FindIn(kFilters, name);
}

}  // namespace cormorant::jinja
