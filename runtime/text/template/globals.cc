// Functions a template finds without being given them. See native.h.
#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "runtime/base/status.h"
#include "runtime/text/template/clock_text.h"
#include "runtime/text/template/interpreter.h"
#include "runtime/text/template/operators.h"
#include "runtime/text/template/text_form.h"
#include "runtime/text/template/text_functions.h"

namespace cormorant::jinja {
namespace {

using Result = absl::StatusOr<Value>;

constexpr uint64_t kRangeMax = 100'000;  // The sandbox's limit.

Result RaiseException(NativeCall& call) {
  const Value message = call.args[0];
  return absl::FailedPreconditionError(StrBytes(call.heap, message));
}

Result StrftimeNow(NativeCall& call) {
  CORM_ASSIGN_OR_RETURN(const absl::string_view format, TextArgument(call, 0));
  call.heap.Charge(format.size() * 32);
  if (call.heap.is_exhausted()) return call.heap.failure();
  CORM_ASSIGN_OR_RETURN(const std::string text,
                        ClockText(format, call.run.unix_seconds(), call.run.utc_offset_seconds()));
  return call.heap.NewText(text);
}

/// Puts a mapping or pairs, then named arguments, into a dict: what dict() and namespace() take.
absl::Status FillDict(const NativeCall& call, Dict* dict) {
  if (call.raw.positional.size() > 1) return Error(call.name, "() takes at most one value");
  for (const Value& source : call.raw.positional) {
    if (source.Is(Kind::kDict)) {
      for (const auto& [key, value] : source.dict->entries()) call.heap.Set(dict, key, value);
      continue;
    }
    CORM_ASSIGN_OR_RETURN(const std::vector<Value> pairs, ItemsOf(call.heap, source));
    for (const Value& pair : pairs) {
      CORM_ASSIGN_OR_RETURN(const std::vector<Value> parts, ItemsOf(call.heap, pair));
      if (parts.size() != 2) return Error(call.name, "() wants pairs of key and value");
      if (!IsKey(parts[0])) {
        return Error("a ", TypeName(parts[0]), " cannot be a key of a dict");
      }
      call.heap.Set(dict, parts[0], parts[1]);
    }
  }
  for (const auto& [name, value] : call.raw.named) {
    call.heap.Set(dict, call.heap.NewTextView(name), value);
  }
  return absl::OkStatus();
}

Result MakeDict(NativeCall& call) {
  Dict* dict = call.heap.NewDict();
  CORM_RETURN_IF_ERROR(FillDict(call, dict));
  return DictValue(dict);
}

Result MakeNamespace(NativeCall& call) {
  Namespace* names = call.heap.NewNamespace();
  CORM_RETURN_IF_ERROR(FillDict(call, &names->attributes));
  for (const auto& [name, value] : names->attributes.entries()) {
    if (name.is_text() && absl::StartsWith(name.AsText(), "_")) {
      return Error("an attribute of a namespace cannot begin with '_': '", name.AsText(), "'");
    }
  }
  Value result;
  result.kind = Kind::kNamespace;
  result.names = names;
  return result;
}

Result MakeRange(NativeCall& call) {
  CORM_ASSIGN_OR_RETURN(const int64_t first, IntegerArgument(call, 0, 0));
  CORM_ASSIGN_OR_RETURN(const int64_t second, IntegerArgument(call, 1, 0));
  CORM_ASSIGN_OR_RETURN(const int64_t step, IntegerArgument(call, 2, 1));
  if (step == 0) return Error("the step of range() cannot be zero");
  const int64_t start = call.Has(1) ? first : 0;
  const int64_t stop = call.Has(1) ? second : first;
  const bool is_empty = step > 0 ? start >= stop : start <= stop;
  const uint64_t from = static_cast<uint64_t>(start), to = static_cast<uint64_t>(stop);
  const uint64_t distance = step > 0 ? to - from : from - to;
  const uint64_t stride = step > 0 ? static_cast<uint64_t>(step) : 0 - static_cast<uint64_t>(step);
  const uint64_t count = is_empty ? 0 : (distance - 1) / stride + 1;
  if (count > kRangeMax) return Error("range() gives at most ", kRangeMax, " numbers");
  List* list = call.heap.NewList(Flavor::kRange);
  list->start = start;
  list->stop = stop;
  list->step = step;
  for (uint64_t i = 0; i < count; ++i) {
    call.heap.Append(list, IntValue(static_cast<int64_t>(from + i * static_cast<uint64_t>(step))));
  }
  return ListValue(list);
}

/// A joiner is a function that gives nothing the first time. Its state is an iterator over that
/// nothing: it has been read or not.
Result CallJoiner(NativeCall& call) {
  List* state = call.self.list;
  const bool is_used = std::exchange(state->read_count, 1) != 0;
  return is_used ? state->items[0] : call.heap.NewTextView("");
}
constexpr NativeDef kJoiner = {"joiner", "", CallJoiner};

Result MakeJoiner(NativeCall& call) {
  List* state = call.heap.NewList(Flavor::kIterator);
  call.heap.Append(state, call.Or(0, call.heap.NewTextView(", ")));
  if (call.heap.is_exhausted()) return call.heap.failure();
  Native* joiner = call.heap.NewNative();
  joiner->def = &kJoiner;
  joiner->self = ListValue(state);
  Value result;
  result.kind = Kind::kNative;
  result.native = joiner;
  return result;
}

Result MakeCycler(NativeCall& call) {
  if (call.raw.positional.empty()) return Error("cycler() wants at least one item");
  if (!call.heap.Charge(call.raw.positional.size() * sizeof(Value))) return call.heap.failure();
  Cycler* cycler = call.heap.NewCycler();
  cycler->items = call.raw.positional;
  Value result;
  result.kind = Kind::kCycler;
  result.cycler = cycler;
  return result;
}

constexpr NativeDef kGlobals[] = {
    {"raise_exception", "message", RaiseException},
    {"strftime_now", "format", StrftimeNow},
    {"dict", "*", MakeDict},
    {"namespace", "*", MakeNamespace},
    {"range", "start stop? step?", MakeRange},
    {"joiner", "sep?", MakeJoiner},
    {"cycler", "*", MakeCycler},
};

}  // namespace

const NativeDef* FindGlobal(absl::string_view name) {
  return FindIn(kGlobals, name);
}

}  // namespace cormorant::jinja
