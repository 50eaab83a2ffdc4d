// Values of the template language: Python's, as far as chat templates can see them.
//
// A Value is 16 bytes and copied freely. Numbers are inside; everything else is a pointer to an
// object that the Heap of one rendering owns until the rendering ends. So there is no reference
// count, a cycle through a namespace leaks nothing, and freeing a deep structure does not recurse.
// Text points into the heap, into the source of the template, or into another text.
#pragma once
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"

namespace cormorant::jinja {

enum class Kind : uint8_t {
  kMissing,  // No value at all: an argument that was not given. Never reaches a template.
  kUndefined,
  kNone,
  kBool,
  kInt,
  kFloat,
  kText,
  kList,
  kDict,
  kNamespace,
  kNative,
  kMacro,
  kLoop,
  kCycler,
};

struct Text;
struct Undefined;
struct List;
class Dict;
struct Namespace;
struct Native;
struct Macro;
struct Loop;
struct Cycler;

struct Value {
  Kind kind = Kind::kMissing;
  union {
    int64_t integer = 0;
    bool boolean;
    double number;
    const Text* text;
    const Undefined* undefined;
    List* list;
    const Dict* dict;
    Namespace* names;
    const Native* native;
    const Macro* macro;
    Loop* loop;
    Cycler* cycler;
  };

  bool Is(Kind k) const { return kind == k; }
  bool is_missing() const { return kind == Kind::kMissing; }
  bool is_undefined() const { return kind == Kind::kUndefined; }
  bool is_none() const { return kind == Kind::kNone; }
  bool is_text() const { return kind == Kind::kText; }
  /// Whole numbers and truth values: Python's bool is an int.
  bool is_integral() const { return kind == Kind::kInt || kind == Kind::kBool; }
  bool is_number() const { return is_integral() || kind == Kind::kFloat; }
  int64_t AsInteger() const { return kind == Kind::kBool ? boolean : integer; }
  double AsDouble() const {
    return kind == Kind::kFloat ? number : static_cast<double>(AsInteger());
  }
  inline absl::string_view AsText() const;
};

/// A str. `is_markup` marks what went through |safe or |escape: adding to it escapes the rest.
struct Text {
  absl::string_view bytes;
  uint64_t chars = 0;
  bool is_markup = false;
};

inline absl::string_view Value::AsText() const {
  return text->bytes;
}

/// What came of a failed lookup; it becomes an error when it is used. `reason` is that error.
struct Undefined {
  absl::string_view reason;
  bool is_unsafe = false;  // Exists, but the sandbox keeps it away.
};

enum class Flavor : uint8_t {
  kList,
  kTuple,
  kRange,
  kKeys,
  kValues,
  kItems,
  kIterator,  // Can be read once and has no length: what map, select and reverse give.
};

/// Everything with a sequence of items. Items are worked out at once, also of an iterator.
struct List {
  std::vector<Value> items;
  Flavor flavor = Flavor::kList;
  size_t read_count = 0;                  // Of an iterator.
  int64_t start = 0, stop = 0, step = 1;  // Of a range, for its text.
};

/// A dict in the order of insertion. Keys compare as in Python: 1, 1.0 and True are one key.
class Dict {
 public:
  using Entry = std::pair<Value, Value>;

  const std::vector<Entry>& entries() const { return entries_; }
  size_t size() const { return entries_.size(); }
  /// Missing when there is no such key.
  Value Find(absl::string_view key) const;
  Value Find(const Value& key) const;
  /// REQUIRES: IsKey(key).
  void Set(const Value& key, const Value& value);

 private:
  static constexpr size_t kIndexFrom = 9;  // Below that many entries a walk is faster.
  size_t IndexOf(const Value& key) const;
  size_t IndexOfText(absl::string_view key) const;

  std::vector<Entry> entries_;
  absl::flat_hash_map<absl::string_view, size_t> text_index_;
};

/// Whether a value can be a key of a dict: anything but lists, dicts and what contains them.
bool IsKey(const Value& value, int depth = 0);

struct Namespace {
  Dict attributes;
};

struct Cycler {
  std::vector<Value> items;
  size_t at = 0;
};

inline Value NoneValue() {
  Value v;
  v.kind = Kind::kNone;
  return v;
}
inline Value BoolValue(bool b) {
  Value v;
  v.kind = Kind::kBool;
  v.boolean = b;
  return v;
}
inline Value IntValue(int64_t i) {
  Value v;
  v.kind = Kind::kInt;
  v.integer = i;
  return v;
}
inline Value FloatValue(double f) {
  Value v;
  v.kind = Kind::kFloat;
  v.number = f;
  return v;
}
inline Value TextValue(const Text* text) {
  Value v;
  v.kind = Kind::kText;
  v.text = text;
  return v;
}
inline Value ListValue(List* list) {
  Value v;
  v.kind = Kind::kList;
  v.list = list;
  return v;
}
inline Value DictValue(const Dict* dict) {
  Value v;
  v.kind = Kind::kDict;
  v.dict = dict;
  return v;
}

/// Python's name of the type, for messages.
absl::string_view TypeName(const Value& value);
/// bool(value).
bool IsTrue(const Value& value);
bool IsList(const Value& value, Flavor flavor);
/// list or tuple: what Python indexes, adds and compares item by item.
bool IsPlainSequence(const Value& value);

}  // namespace cormorant::jinja
