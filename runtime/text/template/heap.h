// The memory and the limits of one rendering.
//
// Whatever a template makes lives here until the rendering ends, so the sum of all that was made
// is the memory in use, and one limit on it bounds both. Work is limited the same way: a step for
// each expression and statement, and one for each kStepBytes of text or items that an operation
// walks over.
//
// Running out is a state, not a return value: allocation then gives empty objects and builders drop
// what they are given, so nothing grows any more; the interpreter sees it at its next step and
// stops with that error. Code that allocates needs no checks of its own, except before loops that
// are longer than their input.
#pragma once
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "runtime/text/template/value.h"

namespace cormorant::jinja {

struct Limits {
  uint64_t steps = 20'000'000;           // About two seconds of work.
  uint64_t bytes = uint64_t{256} << 20;  // All texts and objects ever made by one rendering.
  uint64_t output_bytes = uint64_t{64} << 20;
  uint32_t depth = 400;  // Of nested expressions, statements, calls and values.
};

struct Scope;

class Heap {
 public:
  static constexpr uint64_t kStepBytes = 64;

  explicit Heap(const Limits& limits);
  Heap(const Heap&) = delete;
  Heap& operator=(const Heap&) = delete;
  ~Heap();

  const Limits& limits() const { return limits_; }
  bool is_exhausted() const { return !failure_.ok(); }
  const absl::Status& failure() const { return failure_; }
  /// Makes the heap exhausted for another reason, as a structure too deep to walk.
  void Exhaust(absl::string_view reason);

  /// Takes bytes; false, and exhausted, when they are not there.
  bool Charge(uint64_t bytes);
  /// Counts the work of walking over so many bytes.
  bool Work(uint64_t bytes) { return Step(1 + bytes / kStepBytes); }
  bool Step(uint64_t count = 1);

  /// A copy of the text.
  Value NewText(absl::string_view bytes, bool is_markup = false);
  /// The text itself; it outlives the rendering or lies in this heap.
  Value NewTextView(absl::string_view bytes, bool is_markup = false);
  List* NewList(Flavor flavor = Flavor::kList);
  Dict* NewDict();
  Namespace* NewNamespace();
  Cycler* NewCycler();
  Macro* NewMacro();
  Loop* NewLoop();
  Scope* NewScope(Scope* parent);
  Native* NewNative();
  Value NewUndefined(absl::string_view reason, bool is_unsafe = false);

  void Append(List* list, const Value& value);
  /// REQUIRES: IsKey(key).
  void Set(Dict* dict, const Value& key, const Value& value);

 private:
  struct Objects;

  absl::string_view CopyBytes(absl::string_view bytes);

  const Limits limits_;
  uint64_t bytes_used_ = 0;
  uint64_t steps_used_ = 0;
  absl::Status failure_;
  std::unique_ptr<Objects> objects_;
  std::vector<std::unique_ptr<char[]>> blocks_;
  char* block_at_ = nullptr;
  size_t block_left_ = 0;
};

/// Grows a text within a heap's limits; drops what comes after they are reached.
class TextBuilder {
 public:
  explicit TextBuilder(Heap& heap) : heap_(heap) {}

  void Append(absl::string_view bytes);
  void Append(char c) { Append(absl::string_view(&c, 1)); }
  void AppendChar(uint32_t code);
  void Fill(absl::string_view bytes, uint64_t times);
  absl::string_view bytes() const { return bytes_; }
  std::string& string() { return bytes_; }
  Value Finish(bool is_markup = false) const { return heap_.NewText(bytes_, is_markup); }

 private:
  Heap& heap_;
  std::string bytes_;
};

}  // namespace cormorant::jinja
