// Arithmetic, iteration and slices. See operators.h.
#include "runtime/text/template/operators.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "runtime/base/status.h"
#include "runtime/text/template/format.h"
#include "runtime/text/template/native.h"
#include "runtime/text/template/text_form.h"
#include "runtime/text/template/unicode.h"

namespace cormorant::jinja {
namespace {

absl::string_view Sign(Operator op) {
  constexpr absl::string_view kSigns[] = {"+", "-", "*", "/", "//", "%", "**"};
  return kSigns[static_cast<size_t>(op)];
}

absl::Status Overflow() {
  return Error("an integer outgrows 64 bits");
}

absl::Status NoOperation(Operator op, const Value& a, const Value& b) {
  if (a.is_undefined()) return UndefinedError(a);
  if (b.is_undefined()) return UndefinedError(b);
  if (op == Operator::kAdd && a.is_text()) {
    return Error("can only add str to str, not ", TypeName(b), "; use '~' to join anything");
  }
  return Error("'", Sign(op), "' does not work on ", TypeName(a), " and ", TypeName(b));
}

absl::StatusOr<Value> IntegerPower(int64_t base, int64_t exponent) {
  if (exponent < 0) {
    if (base == 0) return Error("zero to a negative power");
    return FloatValue(std::pow(static_cast<double>(base), static_cast<double>(exponent)));
  }
  int64_t result = 1;
  for (int64_t square = base; exponent > 0; exponent >>= 1) {
    if ((exponent & 1) != 0 && __builtin_mul_overflow(result, square, &result)) return Overflow();
    if (exponent > 1 && __builtin_mul_overflow(square, square, &square)) return Overflow();
  }
  return IntValue(result);
}

absl::StatusOr<Value> IntegerArithmetic(Operator op, int64_t a, int64_t b) {
  int64_t result = 0;
  switch (op) {
    case Operator::kAdd:
      if (__builtin_add_overflow(a, b, &result)) return Overflow();
      return IntValue(result);
    case Operator::kSubtract:
      if (__builtin_sub_overflow(a, b, &result)) return Overflow();
      return IntValue(result);
    case Operator::kMultiply:
      if (__builtin_mul_overflow(a, b, &result)) return Overflow();
      return IntValue(result);
    case Operator::kPower: return IntegerPower(a, b);
    default: break;
  }
  if (b == 0) return Error("division by zero");
  if (op == Operator::kDivide) return FloatValue(static_cast<double>(a) / static_cast<double>(b));
  if (b == -1) {  // The smallest integer has no counterpart.
    if (op == Operator::kModulo) return IntValue(0);
    if (__builtin_sub_overflow(int64_t{0}, a, &result)) return Overflow();
    return IntValue(result);
  }
  // C++ rounds towards zero, Python down.
  const bool rounds_down = a % b != 0 && (a % b < 0) != (b < 0);
  if (op == Operator::kFloorDivide) return IntValue(a / b - rounds_down);
  return IntValue(a % b + (rounds_down ? b : 0));
}

absl::StatusOr<Value> FloatArithmetic(Operator op, double a, double b) {
  switch (op) {
    case Operator::kAdd: return FloatValue(a + b);
    case Operator::kSubtract: return FloatValue(a - b);
    case Operator::kMultiply: return FloatValue(a * b);
    case Operator::kPower:
      if (a < 0 && b != std::floor(b)) return Error("a negative number to a broken power");
      if (a == 0 && b < 0) return Error("zero to a negative power");
      return FloatValue(std::pow(a, b));
    default: break;
  }
  if (b == 0) return Error("division by zero");
  if (op == Operator::kDivide) return FloatValue(a / b);
  double rest = std::fmod(a, b);
  if (rest != 0 && (rest < 0) != (b < 0)) rest += b;
  if (op == Operator::kModulo) return FloatValue(rest == 0 ? std::copysign(0.0, b) : rest);
  const double quotient = (a - rest) / b;
  const double floor = std::floor(quotient);
  return FloatValue(quotient - floor > 0.5 ? floor + 1 : floor);
}

Value Joined(Heap& heap, const Value& a, const Value& b) {
  const bool is_markup = a.text->is_markup || b.text->is_markup;
  TextBuilder out(heap);
  for (const Value* part : {&a, &b}) {
    if (is_markup && !part->text->is_markup) {
      AppendEscaped(part->AsText(), &out);
    } else {
      out.Append(part->AsText());
    }
  }
  return out.Finish(is_markup);
}

/// A text or sequence, several times.
Value Repeated(Heap& heap, const Value& value, int64_t times) {
  const uint64_t count = times < 0 ? 0 : static_cast<uint64_t>(times);
  if (value.is_text()) {
    TextBuilder out(heap);
    out.Fill(value.AsText(), count);
    return out.Finish(value.text->is_markup);
  }
  List* list = heap.NewList(value.list->flavor);
  if (value.list->items.empty()) return ListValue(list);
  for (uint64_t i = 0; i < count && !heap.is_exhausted(); ++i) {
    for (const Value& item : value.list->items) heap.Append(list, item);
  }
  return ListValue(list);
}

struct Range {
  int64_t start, stop, step;
};

/// The rules of Python's slices for a sequence of `length` items.
absl::StatusOr<Range> SliceRange(const Value& start, const Value& stop, const Value& step,
                                 int64_t length) {
  for (const Value* part : {&start, &stop, &step}) {
    if (part->is_undefined()) return UndefinedError(*part);
    if (!part->is_missing() && !part->is_none() && !part->is_integral()) {
      return Error("the parts of a slice are integers, not ", TypeName(*part));
    }
  }
  const auto is_given = [](const Value& v) { return !v.is_missing() && !v.is_none(); };
  Range range{0, 0, is_given(step) ? step.AsInteger() : 1};
  if (range.step == 0) return Error("the step of a slice cannot be zero");
  // Steps past both ends are the same; the limit keeps the sums below from overflowing.
  range.step = std::clamp<int64_t>(range.step, -length - 1, length + 1);
  const bool is_backwards = range.step < 0;
  const int64_t low = is_backwards ? -1 : 0;
  const int64_t high = is_backwards ? length - 1 : length;
  const auto place = [&](const Value& value, int64_t otherwise) {
    if (!is_given(value)) return otherwise;
    const int64_t index = value.AsInteger();
    return std::clamp(index < 0 ? std::max(index, -length - 1) + length : index, low, high);
  };
  range.start = place(start, is_backwards ? high : low);
  range.stop = place(stop, is_backwards ? low : high);
  return range;
}

Value SlicedText(Heap& heap, const Text& text, const Range& range) {
  if (range.step == 1) {
    const size_t begin = ByteOfChar(text.bytes, static_cast<size_t>(range.start));
    const absl::string_view rest = text.bytes.substr(begin);
    const int64_t chars = std::max<int64_t>(range.stop - range.start, 0);
    return heap.NewTextView(rest.substr(0, ByteOfChar(rest, static_cast<size_t>(chars))),
                            text.is_markup);
  }
  heap.Charge(text.chars * sizeof(size_t));
  std::vector<size_t> places;
  for (size_t at = 0; at < text.bytes.size(); at += CharBytes(text.bytes[at])) places.push_back(at);
  TextBuilder out(heap);
  for (int64_t i = range.start; range.step < 0 ? i > range.stop : i < range.stop; i += range.step) {
    const size_t at = places[static_cast<size_t>(i)];
    out.Append(text.bytes.substr(at, CharBytes(text.bytes[at])));
  }
  return out.Finish(text.is_markup);
}

}  // namespace

absl::StatusOr<Value> Arithmetic(Heap& heap, Operator op, const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) {
    if (a.is_integral() && b.is_integral()) {
      return IntegerArithmetic(op, a.AsInteger(), b.AsInteger());
    }
    return FloatArithmetic(op, a.AsDouble(), b.AsDouble());
  }
  if (op == Operator::kModulo && a.is_text()) return FormatPercent(heap, a, b);
  if (op == Operator::kAdd) {
    if (a.is_text() && b.is_text()) return Joined(heap, a, b);
    if (IsPlainSequence(a) && IsPlainSequence(b) && a.list->flavor == b.list->flavor) {
      List* list = heap.NewList(a.list->flavor);
      for (const Value& item : a.list->items) heap.Append(list, item);
      for (const Value& item : b.list->items) heap.Append(list, item);
      return ListValue(list);
    }
  }
  if (op == Operator::kMultiply) {
    if (b.is_integral() && (a.is_text() || IsPlainSequence(a))) {
      return Repeated(heap, a, b.AsInteger());
    }
    if (a.is_integral() && (b.is_text() || IsPlainSequence(b))) {
      return Repeated(heap, b, a.AsInteger());
    }
  }
  return NoOperation(op, a, b);
}

absl::StatusOr<Value> Negated(const Value& value) {
  if (value.is_undefined()) return UndefinedError(value);
  if (value.Is(Kind::kFloat)) return FloatValue(-value.number);
  if (!value.is_integral()) return Error("'-' does not work on ", TypeName(value));
  return IntegerArithmetic(Operator::kSubtract, 0, value.AsInteger());
}

absl::StatusOr<Value> Sliced(Heap& heap, const Value& value, const Value& start, const Value& stop,
                             const Value& step) {
  if (value.is_undefined()) return UndefinedError(value);
  const bool is_range = IsList(value, Flavor::kRange);
  if (!value.is_text() && !IsPlainSequence(value) && !is_range) {
    return Error("a ", TypeName(value), " cannot be sliced");
  }
  const int64_t length =
      static_cast<int64_t>(value.is_text() ? value.text->chars : value.list->items.size());
  CORM_ASSIGN_OR_RETURN(const Range range, SliceRange(start, stop, step, length));
  if (value.is_text()) return SlicedText(heap, *value.text, range);
  List* list = heap.NewList(value.list->flavor);
  list->start = value.list->start + range.start * value.list->step;
  list->stop = value.list->start + range.stop * value.list->step;
  list->step = value.list->step * range.step;
  for (int64_t i = range.start; range.step < 0 ? i > range.stop : i < range.stop; i += range.step) {
    heap.Append(list, value.list->items[static_cast<size_t>(i)]);
  }
  return ListValue(list);
}

absl::StatusOr<std::vector<Value>> ItemsOf(Heap& heap, const Value& value) {
  std::vector<Value> items;
  switch (value.kind) {
    case Kind::kUndefined: return items;
    case Kind::kList: {
      List& list = *value.list;
      if (!heap.Charge(list.items.size() * sizeof(Value))) return heap.failure();
      items.assign(list.items.begin() + static_cast<ptrdiff_t>(list.read_count), list.items.end());
      if (list.flavor == Flavor::kIterator) list.read_count = list.items.size();
      return items;
    }
    case Kind::kDict:
      if (!heap.Charge(value.dict->size() * sizeof(Value))) return heap.failure();
      for (const auto& [key, item] : value.dict->entries()) items.push_back(key);
      return items;
    case Kind::kText: {
      if (!heap.Charge(value.text->chars * sizeof(Value))) return heap.failure();
      const absl::string_view text = value.AsText();
      for (size_t at = 0; at < text.size() && !heap.is_exhausted();) {
        const size_t bytes = CharBytes(text[at]);
        items.push_back(heap.NewTextView(text.substr(at, bytes), value.text->is_markup));
        at += bytes;
      }
      return items;
    }
    default: return Error("a ", TypeName(value), " cannot be iterated over");
  }
}

}  // namespace cormorant::jinja
