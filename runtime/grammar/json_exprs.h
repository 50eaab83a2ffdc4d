// The pieces that JSON texts are made of, as expressions of a grammar.
//
// White space is what people and models write: none, a space, or a line break with some indent.
// Bounds are on numbers' values, exact: digit by digit, no rounding.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"
#include "runtime/grammar/builder.h"

namespace cormorant {

/// A limit of numbers.
struct NumberBound {
  bool is_negative = false;
  uint64_t whole = 0;
  std::string fraction;    // Digits behind the point, the last of them not 0.
  bool is_strict = false;  // The limit itself is beyond it.
};
/// Of a JSON number; UNIMPLEMENTED for more than 15 digits before or after the point.
absl::StatusOr<NumberBound> ToNumberBound(const nlohmann::ordered_json& number, bool is_strict);
/// Whether a is below b, or they are the same and neither is strict.
bool LeavesRoom(const NumberBound& low, const NumberBound& high);

class JsonExprs {
 public:
  using Expr = GrammarBuilder::Expr;
  explicit JsonExprs(GrammarBuilder* builder) : builder_(*builder) {}

  Expr Space();
  /// A string of `least` to `most` characters.
  Expr String(uint32_t least, uint32_t most);
  /// A string that is none of these and has no escapes.
  Expr StringBut(std::vector<std::string> names);
  /// The characters of a class, inside a string.
  Expr Chars(const std::vector<CharRange>& ranges);
  Expr Quoted(Expr inside);
  Expr Integer(const std::optional<NumberBound>& low, const std::optional<NumberBound>& high);
  Expr Number(const std::optional<NumberBound>& low, const std::optional<NumberBound>& high);
  Expr Value();
  Expr Object();
  Expr Array();
  /// key ":" value
  Expr Member(Expr key, Expr value);
  /// "{" inside "}", where `inside` begins and ends with something.
  Expr Braced(absl::string_view open, Expr inside, absl::string_view close);
  /// One and more, with commas between.
  Expr List(Expr item);

 private:
  /// A rule that is defined when it is first used.
  template <class F>
  Expr Shared(absl::string_view name, F&& make) {
    // No place in a schema has such a name.
    const GrammarBuilder::Rule rule = builder_.Named(absl::StrCat("json ", name));
    if (!builder_.is_defined(rule)) {
      builder_.Define(rule, builder_.Text(""));  // It may come back to itself.
      builder_.Define(rule, make());
    }
    return builder_.Of(rule);
  }
  Expr Escaped();
  Expr Digits(uint32_t least, uint32_t most);
  Expr Digit(char first, char last);
  Expr DigitsBetween(absl::string_view low, absl::string_view high);
  Expr Whole(uint64_t low, std::optional<uint64_t> high);
  Expr Fraction(const NumberBound* low, const NumberBound* high);
  Expr Magnitude(const NumberBound& low, const std::optional<NumberBound>& high, bool is_integer);
  Expr Bounded(const std::optional<NumberBound>& low, const std::optional<NumberBound>& high,
               bool is_integer);

  GrammarBuilder& builder_;
};

}  // namespace cormorant
