// Literals of the template language: numbers and the escapes of strings, as Python writes them.
#pragma once
#include <cstddef>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "runtime/text/template/value.h"

namespace cormorant::jinja {

/// Reads the number at `*at` and moves past it; false when it is too large.
/// REQUIRES: a digit at *at.
bool ReadNumberLiteral(absl::string_view source, bool may_be_float, size_t* at, Value* value);

/// A string's inside with \n, \xhh, \uhhhh and the rest resolved. Unknown escapes stay.
absl::StatusOr<std::string> Unescaped(absl::string_view inside);

/// int(text, base) with Python's white space, signs, underscores and prefixes (base 0 or matching);
/// nothing when the text is no number or too large.
bool ParseInteger(absl::string_view text, int base, int64_t* value);
/// float(text).
bool ParseFloat(absl::string_view text, double* value);

}  // namespace cormorant::jinja
