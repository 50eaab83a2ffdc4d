// Methods of lists, dicts, loops and cyclers. See native.h.
#include "absl/strings/str_cat.h"
#include "runtime/base/status.h"
#include "runtime/text/template/interpreter.h"
#include "runtime/text/template/operators.h"
#include "runtime/text/template/text_functions.h"

namespace cormorant::jinja {
namespace {

using Result = absl::StatusOr<Value>;

Result ListCount(NativeCall& call) {
  int64_t count = 0;
  for (const Value& item : call.self.list->items) {
    count += AreEqual(call.heap, item, call.args[0]);
  }
  return IntValue(count);
}

Result ListIndex(NativeCall& call) {
  CORM_ASSIGN_OR_RETURN(const Value window, Sliced(call.heap, call.self, call.Or(1, NoneValue()),
                                                   call.Or(2, NoneValue()), Value()));
  CORM_ASSIGN_OR_RETURN(const int64_t start, IntegerArgument(call, 1, 0));
  const int64_t length = static_cast<int64_t>(call.self.list->items.size());
  const int64_t first = std::clamp<int64_t>(start < 0 ? start + length : start, 0, length);
  for (size_t i = 0; i < window.list->items.size(); ++i) {
    if (AreEqual(call.heap, window.list->items[i], call.args[0])) {
      return IntValue(first + static_cast<int64_t>(i));
    }
  }
  return Error("the item to find is not in the list");
}

Result ListCopy(NativeCall& call) {
  List* list = call.heap.NewList();
  for (const Value& item : call.self.list->items) call.heap.Append(list, item);
  return ListValue(list);
}

Result DictGet(NativeCall& call) {
  if (!IsKey(call.args[0])) {
    return Error("a ", TypeName(call.args[0]), " cannot be a key of a dict");
  }
  if (!call.args[0].is_text()) call.heap.Work(call.self.dict->size() * sizeof(Dict::Entry));
  const Value found = call.self.dict->Find(call.args[0]);
  return found.is_missing() ? call.Or(1, NoneValue()) : found;
}

Result DictKeys(NativeCall& call) {
  List* keys = call.heap.NewList(Flavor::kKeys);
  for (const auto& [key, value] : call.self.dict->entries()) call.heap.Append(keys, key);
  return ListValue(keys);
}

Result DictValues(NativeCall& call) {
  List* values = call.heap.NewList(Flavor::kValues);
  for (const auto& [key, value] : call.self.dict->entries()) call.heap.Append(values, value);
  return ListValue(values);
}

Result DictItems(NativeCall& call) {
  List* items = call.heap.NewList(Flavor::kItems);
  for (const auto& [key, value] : call.self.dict->entries()) {
    List* pair = call.heap.NewList(Flavor::kTuple);
    call.heap.Append(pair, key);
    call.heap.Append(pair, value);
    call.heap.Append(items, ListValue(pair));
  }
  return ListValue(items);
}

Result DictCopy(NativeCall& call) {
  Dict* copy = call.heap.NewDict();
  for (const auto& [key, value] : call.self.dict->entries()) call.heap.Set(copy, key, value);
  return DictValue(copy);
}

Result LoopCycle(NativeCall& call) {
  const std::vector<Value>& items = call.raw.positional;
  if (items.empty()) return Error("loop.cycle() wants items");
  const size_t turn = static_cast<size_t>(std::max<int64_t>(call.self.loop->index0, 0));
  return items[turn % items.size()];
}

Result LoopChanged(NativeCall& call) {
  List* now = call.heap.NewList(Flavor::kTuple);
  for (const Value& value : call.raw.positional) call.heap.Append(now, value);
  Value& before = call.self.loop->changed;
  const bool is_same = before.Is(Kind::kList) && AreEqual(call.heap, before, ListValue(now));
  before = ListValue(now);
  return BoolValue(!is_same);
}

Result CyclerNext(NativeCall& call) {
  Cycler& cycler = *call.self.cycler;
  const Value item = cycler.items[cycler.at];
  cycler.at = (cycler.at + 1) % cycler.items.size();
  return item;
}

Result CyclerReset(NativeCall& call) {
  call.self.cycler->at = 0;
  return NoneValue();
}

constexpr NativeDef kListMethods[] = {
    {"copy", "", ListCopy},
    {"count", "value", ListCount},
    {"index", "value start? stop?", ListIndex},
};

constexpr NativeDef kDictMethods[] = {
    {"copy", "", DictCopy}, {"get", "key default?", DictGet}, {"items", "", DictItems},
    {"keys", "", DictKeys}, {"values", "", DictValues},
};

constexpr NativeDef kLoopMethods[] = {
    {"changed", "*", LoopChanged},
    {"cycle", "*", LoopCycle},
};

constexpr NativeDef kCyclerMethods[] = {
    {"next", "", CyclerNext},
    {"reset", "", CyclerReset},
};

}  // namespace

const NativeDef* FindListMethod(absl::string_view name) {
  return FindIn(kListMethods, name);
}
const NativeDef* FindDictMethod(absl::string_view name) {
  return FindIn(kDictMethods, name);
}
const NativeDef* FindLoopMethod(absl::string_view name) {
  return FindIn(kLoopMethods, name);
}
const NativeDef* FindCyclerMethod(absl::string_view name) {
  return FindIn(kCyclerMethods, name);
}

}  // namespace cormorant::jinja
