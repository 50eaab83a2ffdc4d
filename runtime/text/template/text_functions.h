// What several filters and methods do to text, each as its Python namesake.
#pragma once
#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "runtime/text/template/heap.h"
#include "runtime/text/template/native.h"

namespace cormorant::jinja {

enum class Side : uint8_t { kLeft, kRight, kBoth };

/// str.strip and its sides; a missing or none `chars` means white space.
absl::StatusOr<absl::string_view> Stripped(Heap& heap, absl::string_view text, const Value& chars,
                                           Side side);
/// str.replace; a negative count means all.
Value Replaced(Heap& heap, absl::string_view text, absl::string_view old_text,
               absl::string_view new_text, int64_t count);
/// str.splitlines.
List* SplitLines(Heap& heap, absl::string_view text, bool keeps_ends);
/// str.center, ljust, rjust.
Value Padded(Heap& heap, absl::string_view text, int64_t width, absl::string_view fill, Side side);

/// An argument as an integer or text; the error names the function.
absl::StatusOr<int64_t> IntegerArgument(const NativeCall& call, size_t index, int64_t otherwise);
absl::StatusOr<absl::string_view> TextArgument(const NativeCall& call, size_t index);

}  // namespace cormorant::jinja
