// Objects, blocks of text and counters. See heap.h.
#include "runtime/text/template/heap.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "runtime/text/template/scope.h"
#include "runtime/text/template/unicode.h"

namespace cormorant::jinja {

namespace {

constexpr size_t kBlockBytes = 16 << 10;

/// Objects of one type. `sink` is what allocation gives when the heap has run out: the rendering is
/// about to stop, and it is only there to be pointed at.
template <class T>
struct Pool {
  std::deque<T> objects;
  T sink;

  T* Next(Heap& heap) {
    if (!heap.Charge(sizeof(T))) return &sink;
    objects.emplace_back();
    return &objects.back();
  }
};

}  // namespace

struct Heap::Objects {
  Pool<Text> texts;
  Pool<Undefined> undefined;
  Pool<List> lists;
  Pool<Dict> dicts;
  Pool<Namespace> namespaces;
  Pool<Cycler> cyclers;
  Pool<Macro> macros;
  Pool<Loop> loops;
  Pool<Scope> scopes;
  Pool<Native> natives;
};

Heap::Heap(const Limits& limits) : limits_(limits), objects_(std::make_unique<Objects>()) {}
Heap::~Heap() = default;

void Heap::Exhaust(absl::string_view reason) {
  if (failure_.ok()) failure_ = absl::ResourceExhaustedError(reason);
}

bool Heap::Charge(uint64_t bytes) {
  if (bytes > limits_.bytes - bytes_used_) {
    Exhaust(absl::StrCat("the template takes more than the ", limits_.bytes,
                         " bytes one rendering may take"));
    return false;
  }
  if (is_exhausted()) return false;
  bytes_used_ += bytes;
  return true;
}

bool Heap::Step(uint64_t count) {
  if (count > limits_.steps - steps_used_) {
    steps_used_ = limits_.steps;
    Exhaust(absl::StrCat("the template takes more than the ", limits_.steps,
                         " steps one rendering may take; does it end?"));
  } else {
    steps_used_ += count;
  }
  return !is_exhausted();
}

absl::string_view Heap::CopyBytes(absl::string_view bytes) {
  if (bytes.empty() || !Charge(bytes.size())) return "";
  if (bytes.size() > block_left_) {
    const size_t size = std::max(bytes.size(), kBlockBytes);
    blocks_.push_back(std::make_unique<char[]>(size));
    if (size > kBlockBytes) {  // A block of its own; the current one stays in use.
      std::memcpy(blocks_.back().get(), bytes.data(), bytes.size());
      return absl::string_view(blocks_.back().get(), bytes.size());
    }
    block_at_ = blocks_.back().get();
    block_left_ = size;
  }
  std::memcpy(block_at_, bytes.data(), bytes.size());
  const absl::string_view copy(block_at_, bytes.size());
  block_at_ += bytes.size();
  block_left_ -= bytes.size();
  return copy;
}

Value Heap::NewText(absl::string_view bytes, bool is_markup) {
  return NewTextView(CopyBytes(bytes), is_markup);
}

Value Heap::NewTextView(absl::string_view bytes, bool is_markup) {
  Work(bytes.size());
  Text* text = objects_->texts.Next(*this);
  text->bytes = bytes;
  text->chars = CountChars(bytes);
  text->is_markup = is_markup;
  return TextValue(text);
}

List* Heap::NewList(Flavor flavor) {
  List* list = objects_->lists.Next(*this);
  list->flavor = flavor;
  return list;
}

Dict* Heap::NewDict() {
  return objects_->dicts.Next(*this);
}
Namespace* Heap::NewNamespace() {
  return objects_->namespaces.Next(*this);
}
Cycler* Heap::NewCycler() {
  return objects_->cyclers.Next(*this);
}
Macro* Heap::NewMacro() {
  return objects_->macros.Next(*this);
}
Loop* Heap::NewLoop() {
  return objects_->loops.Next(*this);
}
Native* Heap::NewNative() {
  return objects_->natives.Next(*this);
}

Scope* Heap::NewScope(Scope* parent) {
  Scope* scope = objects_->scopes.Next(*this);
  scope->parent = parent == scope ? nullptr : parent;
  return scope;
}

Value Heap::NewUndefined(absl::string_view reason, bool is_unsafe) {
  Undefined* undefined = objects_->undefined.Next(*this);
  undefined->reason = CopyBytes(reason);
  undefined->is_unsafe = is_unsafe;
  Value v;
  v.kind = Kind::kUndefined;
  v.undefined = undefined;
  return v;
}

void Heap::Append(List* list, const Value& value) {
  // Twice the size of a value: a vector that grows keeps up to that much.
  if (Charge(2 * sizeof(Value))) list->items.push_back(value);
}

void Heap::Set(Dict* dict, const Value& key, const Value& value) {
  // A key that is not a text is looked for one by one.
  if (!key.is_text()) Work(dict->size() * sizeof(Dict::Entry));
  if (Charge(3 * sizeof(Dict::Entry))) dict->Set(key, value);
}

void TextBuilder::Append(absl::string_view bytes) {
  if (heap_.Charge(bytes.size())) bytes_.append(bytes.data(), bytes.size());
}

void TextBuilder::AppendChar(uint32_t code) {
  if (heap_.Charge(4)) jinja::AppendChar(code, &bytes_);
}

void TextBuilder::Fill(absl::string_view bytes, uint64_t times) {
  if (bytes.empty() || times == 0) return;
  const bool is_huge = times > heap_.limits().bytes / bytes.size();
  if (!heap_.Charge(is_huge ? ~uint64_t{0} : times * bytes.size())) return;
  bytes_.reserve(bytes_.size() + times * bytes.size());
  for (uint64_t i = 0; i < times; ++i) bytes_.append(bytes.data(), bytes.size());
}

}  // namespace cormorant::jinja
