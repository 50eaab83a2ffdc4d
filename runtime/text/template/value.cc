// Dicts, truth and type names. See value.h.
#include "runtime/text/template/value.h"

#include "runtime/base/check.h"

namespace cormorant::jinja {
namespace {

constexpr size_t kAbsent = ~size_t{0};
constexpr int kKeyDepthMax = 50;

/// Equality of two keys; tuples item by item. Keys are shallow: IsKey bounds their depth.
bool SameKey(const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) {
    if (a.is_integral() && b.is_integral()) return a.AsInteger() == b.AsInteger();
    return a.AsDouble() == b.AsDouble();
  }
  if (a.kind != b.kind) return false;
  switch (a.kind) {
    case Kind::kText: return a.AsText() == b.AsText();
    case Kind::kUndefined:
    case Kind::kNone: return true;
    case Kind::kList: {
      if (a.list == b.list) return true;
      if (!IsList(a, Flavor::kTuple) || !IsList(b, Flavor::kTuple)) return false;
      if (a.list->items.size() != b.list->items.size()) return false;
      for (size_t i = 0; i < a.list->items.size(); ++i) {
        if (!SameKey(a.list->items[i], b.list->items[i])) return false;
      }
      return true;
    }
    default: return a.integer == b.integer;  // The same object.
  }
}

}  // namespace

bool IsKey(const Value& value, int depth) {
  if (value.is_missing() || value.Is(Kind::kDict) || depth > kKeyDepthMax) return false;
  if (!value.Is(Kind::kList)) return true;
  if (IsList(value, Flavor::kIterator)) return true;
  if (!IsList(value, Flavor::kTuple)) return false;
  for (const Value& item : value.list->items) {
    if (!IsKey(item, depth + 1)) return false;
  }
  return true;
}

size_t Dict::IndexOfText(absl::string_view key) const {
  if (!text_index_.empty()) {
    const auto found = text_index_.find(key);
    return found == text_index_.end() ? kAbsent : found->second;
  }
  for (size_t i = 0; i < entries_.size(); ++i) {
    if (entries_[i].first.is_text() && entries_[i].first.AsText() == key) return i;
  }
  return kAbsent;
}

size_t Dict::IndexOf(const Value& key) const {
  if (key.is_text()) return IndexOfText(key.AsText());
  for (size_t i = 0; i < entries_.size(); ++i) {
    if (SameKey(entries_[i].first, key)) return i;
  }
  return kAbsent;
}

Value Dict::Find(absl::string_view key) const {
  const size_t index = IndexOfText(key);
  return index == kAbsent ? Value() : entries_[index].second;
}

Value Dict::Find(const Value& key) const {
  const size_t index = IndexOf(key);
  return index == kAbsent ? Value() : entries_[index].second;
}

void Dict::Set(const Value& key, const Value& value) {
  CORM_DCHECK(IsKey(key));
  const size_t index = IndexOf(key);
  if (index != kAbsent) {
    entries_[index].second = value;
    return;
  }
  entries_.emplace_back(key, value);
  if (entries_.size() == kIndexFrom) {
    for (size_t i = 0; i < entries_.size(); ++i) {
      if (entries_[i].first.is_text()) text_index_.emplace(entries_[i].first.AsText(), i);
    }
  } else if (entries_.size() > kIndexFrom && key.is_text()) {
    // Without a text key so far the index is empty and would not be asked: then it is made here.
    text_index_.emplace(key.AsText(), entries_.size() - 1);
  }
}

absl::string_view TypeName(const Value& value) {
  switch (value.kind) {
    case Kind::kMissing: return "nothing";
    case Kind::kUndefined: return "Undefined";
    case Kind::kNone: return "NoneType";
    case Kind::kBool: return "bool";
    case Kind::kInt: return "int";
    case Kind::kFloat: return "float";
    case Kind::kText: return value.text->is_markup ? "Markup" : "str";
    case Kind::kDict: return "dict";
    case Kind::kNamespace: return "Namespace";
    case Kind::kNative: return "function";
    case Kind::kMacro: return "Macro";
    case Kind::kLoop: return "LoopContext";
    case Kind::kCycler: return "Cycler";
    case Kind::kList: break;
  }
  constexpr absl::string_view kNames[] = {"list",        "tuple",      "range",    "dict_keys",
                                          "dict_values", "dict_items", "generator"};
  return kNames[static_cast<size_t>(value.list->flavor)];
}

bool IsTrue(const Value& value) {
  switch (value.kind) {
    case Kind::kMissing:
    case Kind::kUndefined:
    case Kind::kNone: return false;
    case Kind::kBool: return value.boolean;
    case Kind::kInt: return value.integer != 0;
    case Kind::kFloat: return value.number != 0;
    case Kind::kText: return !value.AsText().empty();
    case Kind::kList: return value.list->flavor == Flavor::kIterator || !value.list->items.empty();
    case Kind::kDict: return value.dict->size() != 0;
    default: return true;
  }
}

bool IsList(const Value& value, Flavor flavor) {
  return value.Is(Kind::kList) && value.list->flavor == flavor;
}

bool IsPlainSequence(const Value& value) {
  return IsList(value, Flavor::kList) || IsList(value, Flavor::kTuple);
}

}  // namespace cormorant::jinja
