// Setting up a rendering, attributes and items. See interpreter.h.
#include "runtime/text/template/interpreter.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "runtime/base/status.h"
#include "runtime/text/template/operators.h"
#include "runtime/text/template/text_form.h"
#include "runtime/text/template/unicode.h"

namespace cormorant::jinja {
namespace {

bool IsOneOf(absl::string_view name, std::initializer_list<absl::string_view> names) {
  for (absl::string_view other : names) {
    if (name == other) return true;
  }
  return false;
}

/// What the sandbox keeps away: whatever changes a list or dict, and Python's own insides.
bool IsUnsafe(const Value& value, absl::string_view name) {
  if (absl::StartsWith(name, "__") && absl::EndsWith(name, "__") && name.size() > 4) return true;
  if (value.Is(Kind::kDict)) {
    return IsOneOf(name, {"clear", "pop", "popitem", "setdefault", "update"});
  }
  return IsList(value, Flavor::kList) &&
         IsOneOf(name, {"append", "clear", "pop", "reverse", "insert", "sort", "extend", "remove"});
}

const NativeDef* FindMethod(const Value& value, absl::string_view name) {
  switch (value.kind) {
    case Kind::kText: return FindTextMethod(name);
    case Kind::kDict: return FindDictMethod(name);
    case Kind::kList:
      return IsPlainSequence(value) || IsList(value, Flavor::kRange) ? FindListMethod(name)
                                                                     : nullptr;
    case Kind::kLoop: return FindLoopMethod(name);
    case Kind::kCycler: return FindCyclerMethod(name);
    default: return nullptr;
  }
}

std::string Owner(const Value& value) {
  return value.is_none() ? "None" : absl::StrCat(TypeName(value), " object");
}

}  // namespace

Interpreter::Interpreter(const Template& source, const Limits& limits)
    : template_(source), heap_(limits) {
  root_ = heap_.NewScope(nullptr);
  for (const auto& [name, id] : template_.names) {
    const NativeDef* def = FindGlobal(name);
    if (def == nullptr) continue;
    Native* native = heap_.NewNative();
    native->def = def;
    Value value;
    value.kind = Kind::kNative;
    value.native = native;
    root_->Set(id, value);
  }
}

void Interpreter::SetVariable(absl::string_view name, const Value& value) {
  const auto found = template_.names.find(name);
  if (found != template_.names.end()) root_->Set(found->second, value);
}

absl::StatusOr<std::string> Interpreter::Run() {
  TextBuilder out(heap_);
  out_ = &out;
  CORM_RETURN_IF_ERROR(ExecuteBody(template_.body, heap_.NewScope(root_)));
  if (heap_.is_exhausted()) return heap_.failure();
  return std::move(out.string());
}

absl::Status Interpreter::Step(uint32_t line) {
  line_ = line;
  if (depth_ > heap_.limits().depth) heap_.Exhaust("the template calls itself too deeply");
  return heap_.Step() ? absl::OkStatus() : heap_.failure();
}

void Interpreter::Write(absl::string_view text) {
  out_->Append(text);
  if (out_->bytes().size() > heap_.limits().output_bytes) {
    heap_.Exhaust(
        absl::StrCat("the template prints more than ", heap_.limits().output_bytes, " bytes"));
  }
}

absl::StatusOr<Value> Interpreter::FindAttribute(const Value& value, absl::string_view name) {
  if (value.Is(Kind::kNamespace)) return value.names->attributes.Find(name);
  if (value.Is(Kind::kLoop)) {
    CORM_ASSIGN_OR_RETURN(const Value found, LoopAttribute(value.loop, name));
    if (!found.is_missing()) return found;
  }
  if (value.Is(Kind::kCycler) && name == "current") return value.cycler->items[value.cycler->at];
  if (value.Is(Kind::kMacro) && name == "name") {
    return heap_.NewTextView(value.macro->statement->name);
  }
  if (IsUnsafe(value, name)) {
    return heap_.NewUndefined(absl::StrCat("access to attribute '", name, "' of '", TypeName(value),
                                           "' object is unsafe"),
                              /*is_unsafe=*/true);
  }
  const NativeDef* method = FindMethod(value, name);
  if (method == nullptr) return Value();
  Native* native = heap_.NewNative();
  native->def = method;
  native->self = value;
  Value bound;
  bound.kind = Kind::kNative;
  bound.native = native;
  return bound;
}

absl::StatusOr<Value> Interpreter::GetAttribute(const Value& value, absl::string_view name) {
  if (value.is_undefined()) return UndefinedError(value);
  CORM_ASSIGN_OR_RETURN(Value found, FindAttribute(value, name));
  if (found.is_missing() && value.Is(Kind::kDict)) found = value.dict->Find(name);
  if (!found.is_missing()) return found;
  return heap_.NewUndefined(absl::StrCat("'", Owner(value), "' has no attribute '", name, "'"));
}

absl::StatusOr<Value> Interpreter::GetItem(const Value& value, const Value& key) {
  if (value.is_undefined()) return UndefinedError(value);
  if (value.Is(Kind::kDict) && IsKey(key)) {
    if (!key.is_text()) heap_.Work(value.dict->size() * sizeof(Dict::Entry));
    const Value found = value.dict->Find(key);
    if (!found.is_missing()) return found;
  }
  if (key.is_integral()) {
    int64_t index = key.AsInteger();
    const bool is_sequence = IsPlainSequence(value) || IsList(value, Flavor::kRange);
    const int64_t length = value.is_text() ? static_cast<int64_t>(value.text->chars)
                           : is_sequence   ? static_cast<int64_t>(value.list->items.size())
                                           : 0;
    if (index < 0) index += length;
    if (index >= 0 && index < length) {
      if (is_sequence) return value.list->items[static_cast<size_t>(index)];
      return Sliced(heap_, value, IntValue(index), IntValue(index + 1), Value());
    }
  }
  if (key.is_text()) {
    CORM_ASSIGN_OR_RETURN(const Value found, FindAttribute(value, key.AsText()));
    if (!found.is_missing()) return found;
    return heap_.NewUndefined(
        absl::StrCat("'", Owner(value), "' has no attribute '", key.AsText(), "'"));
  }
  TextBuilder text(heap_);
  AppendRepr(heap_, key, &text);
  return heap_.NewUndefined(absl::StrCat(Owner(value), " has no element ", text.bytes()));
}

absl::StatusOr<Value> Interpreter::Call(const Value& callee, const Arguments& arguments) {
  const Level level(this);
  CORM_RETURN_IF_ERROR(Step(line_));
  switch (callee.kind) {
    case Kind::kNative:
      return CallNative(*this, *callee.native->def, callee.native->self, arguments);
    case Kind::kMacro: return CallMacro(*callee.macro, arguments);
    case Kind::kLoop:
      if (arguments.positional.size() != 1) return Error("loop() wants the items to loop over");
      return Recurse(*callee.loop, arguments.positional[0]);
    case Kind::kUndefined: return UndefinedError(callee);
    default: return Error("a ", TypeName(callee), " cannot be called");
  }
}

}  // namespace cormorant::jinja
