// Binding arguments to the parameters of native functions. See native.h.
#include "runtime/text/template/native.h"

#include "absl/strings/str_cat.h"
#include "runtime/base/status.h"
#include "runtime/text/template/interpreter.h"
#include "runtime/text/template/text_form.h"

namespace cormorant::jinja {
namespace {

/// Takes the next name from a parameter list; "?" at its end is reported apart.
absl::string_view TakeParameter(absl::string_view* params, bool* is_optional) {
  const size_t end = std::min(params->find(' '), params->size());
  absl::string_view name = params->substr(0, end);
  params->remove_prefix(std::min(end + 1, params->size()));
  *is_optional = !name.empty() && name.back() == '?';
  if (*is_optional) name.remove_suffix(1);
  return name;
}

absl::Status BindArguments(const NativeDef& def, const Arguments& given, std::vector<Value>* args) {
  absl::string_view params = def.params;
  size_t named_count = 0;
  while (!params.empty()) {
    bool is_optional = false;
    const absl::string_view name = TakeParameter(&params, &is_optional);
    const Value named = given.Named(name);
    if (args->size() < given.positional.size()) {
      if (!named.is_missing()) return Error(def.name, "() has two values for '", name, "'");
      args->push_back(given.positional[args->size()]);
      continue;
    }
    if (named.is_missing() && !is_optional) return Error(def.name, "() wants '", name, "'");
    named_count += !named.is_missing();
    args->push_back(named);
  }
  if (given.positional.size() > args->size()) {
    return Error(def.name, "() takes at most ", args->size(), " arguments, got ",
                 given.positional.size());
  }
  if (named_count == given.named.size()) return absl::OkStatus();
  return Error(def.name, "() got an argument name it does not have, one of ", given.named.size());
}

Value Escaped(Heap& heap, const Value& value) {
  if (!value.is_text() || value.text->is_markup) return value;
  TextBuilder out(heap);
  AppendEscaped(value.AsText(), &out);
  return out.Finish(/*is_markup=*/true);
}

Value AsMarkup(Heap& heap, const Value& value) {
  if (value.is_text()) return heap.NewTextView(value.AsText(), /*is_markup=*/true);
  if (!IsPlainSequence(value)) return value;
  List* list = heap.NewList(value.list->flavor);
  for (const Value& item : value.list->items) heap.Append(list, AsMarkup(heap, item));
  return ListValue(list);
}

/// A method of marked text: its arguments are escaped, its texts are marked.
absl::StatusOr<Value> CallMarkupMethod(NativeCall& call, const NativeDef& def) {
  for (Value& arg : call.args) arg = Escaped(call.heap, arg);
  CORM_ASSIGN_OR_RETURN(const Value result, def.function(call));
  return AsMarkup(call.heap, result);
}

}  // namespace

Value Arguments::Named(absl::string_view name) const {
  for (const auto& [other, value] : named) {
    if (other == name) return value;
  }
  return Value();
}

absl::StatusOr<Value> CallNative(Interpreter& run, const NativeDef& def, const Value& self,
                                 const Arguments& arguments) {
  NativeCall call{run, run.heap(), def.name, self, {}, arguments};
  if (def.params != "*") CORM_RETURN_IF_ERROR(BindArguments(def, arguments, &call.args));
  const bool is_markup_method =
      self.is_text() && self.text->is_markup && FindTextMethod(def.name) == &def;
  return is_markup_method ? CallMarkupMethod(call, def) : def.function(call);
}

}  // namespace cormorant::jinja
