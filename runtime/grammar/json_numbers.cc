// Numbers between bounds, digit by digit. See json_exprs.h.
//
// A range of whole numbers is one of digits for each length; a number with a fraction is beside a
// bound when its whole part is the bound's, and free when it is between. Next to a bound fractions
// have as many digits as the bound's, or more.
#include <algorithm>
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "runtime/grammar/json_exprs.h"

namespace cormorant {
namespace {

constexpr uint32_t kDigitsMax = 16;       // Where nothing else ends them.
constexpr uint32_t kBoundDigitsMax = 15;  // Below 2^53, and so exact in any reader.
constexpr uint64_t kWholeMax = 9'999'999'999'999'999;

std::string Padded(const std::string& fraction, size_t digits) {
  return absl::StrCat(fraction, std::string(digits - fraction.size(), '0'));
}

}  // namespace

absl::StatusOr<NumberBound> ToNumberBound(const nlohmann::ordered_json& number, bool is_strict) {
  NumberBound bound;
  bound.is_strict = is_strict;
  std::string text = number.dump();
  if (text.front() == '-') {
    bound.is_negative = true;
    text.erase(0, 1);
  }
  // "12.5e-3": the digits, and where the point is among them.
  long exponent = 0;
  if (const size_t e = text.find_first_of("eE"); e != std::string::npos) {
    exponent = std::strtol(text.c_str() + e + 1, nullptr, 10);
    text.resize(e);
  }
  const size_t point = std::min(text.find('.'), text.size());
  std::string whole = text.substr(0, point);
  if (point < text.size()) bound.fraction = text.substr(point + 1);
  exponent = std::clamp(exponent, -400l, 400l);
  for (; exponent > 0; --exponent) {
    whole += bound.fraction.empty() ? '0' : bound.fraction.front();
    if (!bound.fraction.empty()) bound.fraction.erase(0, 1);
  }
  for (; exponent < 0; ++exponent) {
    bound.fraction.insert(0, 1, whole.empty() ? '0' : whole.back());
    if (!whole.empty()) whole.pop_back();
  }
  while (!bound.fraction.empty() && bound.fraction.back() == '0') bound.fraction.pop_back();
  whole.erase(0, std::min(whole.find_first_not_of('0'), whole.size()));
  if (whole.size() > kBoundDigitsMax || bound.fraction.size() > kBoundDigitsMax) {
    return absl::UnimplementedError(absl::StrCat(number.dump(), " has more than ", kBoundDigitsMax,
                                                 " digits before or after the point"));
  }
  bound.whole = whole.empty() ? 0 : std::strtoull(whole.c_str(), nullptr, 10);
  if (bound.whole == 0 && bound.fraction.empty()) bound.is_negative = false;
  return bound;
}

bool LeavesRoom(const NumberBound& low, const NumberBound& high) {
  if (low.is_negative != high.is_negative) return low.is_negative;
  const auto& [small, great] = low.is_negative ? std::pair(high, low) : std::pair(low, high);
  if (small.whole != great.whole) return small.whole < great.whole;
  if (small.fraction != great.fraction) return small.fraction < great.fraction;
  return !low.is_strict && !high.is_strict;
}

JsonExprs::Expr JsonExprs::Digit(char first, char last) {
  return builder_.Chars({{static_cast<uint32_t>(first), static_cast<uint32_t>(last)}});
}

JsonExprs::Expr JsonExprs::Digits(uint32_t least, uint32_t most) {
  return builder_.Repeat(Digit('0', '9'), least, most);
}

/// Of one length, both included. Along either bound a digit may leave it, and then all are free.
JsonExprs::Expr JsonExprs::DigitsBetween(absl::string_view low, absl::string_view high) {
  const auto digits = static_cast<uint32_t>(low.size());
  const auto along = [&](absl::string_view bound, uint32_t from, bool is_low) {
    Expr expr = builder_.Text("");
    for (uint32_t i = digits; i-- > from;) {
      std::vector<Expr> choices = {builder_.Sequence({builder_.Text(bound.substr(i, 1)), expr})};
      const char first = is_low ? static_cast<char>(bound[i] + 1) : '0';
      const char last = is_low ? '9' : static_cast<char>(bound[i] - 1);
      const uint32_t rest = digits - 1 - i;
      if (first <= last) {
        choices.push_back(builder_.Sequence({Digit(first, last), Digits(rest, rest)}));
      }
      expr = builder_.Choice(std::move(choices));
    }
    return expr;
  };
  uint32_t same = 0;
  while (same < digits && low[same] == high[same]) ++same;
  const Expr shared = builder_.Text(low.substr(0, same));
  if (same == digits) return shared;
  std::vector<Expr> choices;
  const auto part = [&](char digit, Expr rest) {
    choices.push_back(builder_.Sequence({Digit(digit, digit), rest}));
  };
  part(low[same], along(low, same + 1, true));
  part(high[same], along(high, same + 1, false));
  const char first = static_cast<char>(low[same] + 1), last = static_cast<char>(high[same] - 1);
  const uint32_t rest = digits - 1 - same;
  if (first <= last) {
    choices.push_back(builder_.Sequence({Digit(first, last), Digits(rest, rest)}));
  }
  return builder_.Sequence({shared, builder_.Choice(std::move(choices))});
}

JsonExprs::Expr JsonExprs::Whole(uint64_t low, std::optional<uint64_t> high) {
  const std::string first = absl::StrCat(low), last = absl::StrCat(high.value_or(kWholeMax));
  std::vector<Expr> choices;
  if (low > high.value_or(kWholeMax)) return builder_.Choice({});
  for (size_t length = first.size(); length <= last.size(); ++length) {
    const std::string from =
        length == first.size() ? first : absl::StrCat("1", std::string(length - 1, '0'));
    const std::string to = length == last.size() ? last : std::string(length, '9');
    choices.push_back(DigitsBetween(from, to));
  }
  return builder_.Choice(std::move(choices));
}

/// The point and what is behind it, or nothing, for a whole part that is that of the bounds given.
JsonExprs::Expr JsonExprs::Fraction(const NumberBound* low, const NumberBound* high) {
  const Expr zeros = builder_.Repeat(builder_.Text("0"), 0, kDigitsMax);
  const Expr any = Digits(0, kDigitsMax);
  const Expr positive = builder_.Sequence({zeros, Digit('1', '9'), any});
  const Expr nothing = builder_.Choice({});
  const size_t digits = std::max({size_t{1}, low != nullptr ? low->fraction.size() : 0,
                                  high != nullptr ? high->fraction.size() : 0});
  const std::string from = low != nullptr ? Padded(low->fraction, digits) : "";
  const std::string to = high != nullptr ? Padded(high->fraction, digits) : "";
  const auto value = [](const std::string& text) {
    return std::strtoull(text.c_str(), nullptr, 10);
  };
  const auto text = [digits](uint64_t number) {
    const std::string shown = absl::StrCat(number);
    return absl::StrCat(std::string(digits - shown.size(), '0'), shown);
  };
  std::vector<Expr> choices;
  const auto add = [&](const std::string& beginning, Expr rest) {
    choices.push_back(builder_.Sequence({builder_.Text(beginning), rest}));
  };
  if (low != nullptr && high != nullptr && from == to) {
    add(from, low->is_strict || high->is_strict ? nothing : zeros);
  } else {
    if (low != nullptr) add(from, low->is_strict ? positive : any);
    if (high != nullptr) add(to, high->is_strict ? nothing : zeros);
    const uint64_t first = low != nullptr ? value(from) + 1 : 0;
    const uint64_t end = high != nullptr ? value(to) : value(std::string(digits, '9')) + 1;
    if (first < end) {
      choices.push_back(builder_.Sequence({DigitsBetween(text(first), text(end - 1)), any}));
    }
  }
  const Expr fraction =
      builder_.Sequence({builder_.Text("."), builder_.Choice(std::move(choices))});
  const bool may_be_zero = (low == nullptr || (low->fraction.empty() && !low->is_strict)) &&
                           (high == nullptr || !high->fraction.empty() || !high->is_strict);
  return may_be_zero ? builder_.Optional(fraction) : fraction;
}

/// Numbers that are not negative; neither are the bounds.
JsonExprs::Expr JsonExprs::Magnitude(const NumberBound& low, const std::optional<NumberBound>& high,
                                     bool is_integer) {
  if (high && !LeavesRoom(low, *high)) return builder_.Choice({});
  if (is_integer) {
    const uint64_t first = low.whole + (low.is_strict || !low.fraction.empty() ? 1 : 0);
    if (!high) return Whole(first, std::nullopt);
    const bool is_beyond = high->is_strict && high->fraction.empty();
    if (is_beyond && high->whole == 0) return builder_.Choice({});
    return Whole(first, high->whole - (is_beyond ? 1 : 0));
  }
  const auto whole = [&](uint64_t number) { return builder_.Text(absl::StrCat(number)); };
  if (high && high->whole == low.whole) {
    return builder_.Sequence({whole(low.whole), Fraction(&low, &*high)});
  }
  std::vector<Expr> choices = {builder_.Sequence({whole(low.whole), Fraction(&low, nullptr)})};
  const std::optional<uint64_t> last = high ? std::optional(high->whole - 1) : std::nullopt;
  choices.push_back(builder_.Sequence({Whole(low.whole + 1, last), Fraction(nullptr, nullptr)}));
  if (high) choices.push_back(builder_.Sequence({whole(high->whole), Fraction(nullptr, &*high)}));
  return builder_.Choice(std::move(choices));
}

JsonExprs::Expr JsonExprs::Bounded(const std::optional<NumberBound>& low,
                                   const std::optional<NumberBound>& high, bool is_integer) {
  std::vector<Expr> choices;
  const auto mirrored = [](NumberBound bound) {
    bound.is_negative = false;
    return bound;
  };
  const NumberBound zero;
  if (!high || !high->is_negative) {
    choices.push_back(Magnitude(low && !low->is_negative ? *low : zero, high, is_integer));
  }
  if (!low || low->is_negative) {
    NumberBound least = zero;
    least.is_strict = true;  // There is 0 without a sign.
    if (high && high->is_negative) least = mirrored(*high);
    const std::optional<NumberBound> most = low ? std::optional(mirrored(*low)) : std::nullopt;
    choices.push_back(builder_.Sequence({builder_.Text("-"), Magnitude(least, most, is_integer)}));
  }
  return builder_.Choice(std::move(choices));
}

JsonExprs::Expr JsonExprs::Integer(const std::optional<NumberBound>& low,
                                   const std::optional<NumberBound>& high) {
  return Bounded(low, high, true);
}

JsonExprs::Expr JsonExprs::Number(const std::optional<NumberBound>& low,
                                  const std::optional<NumberBound>& high) {
  if (low || high) return Bounded(low, high, false);
  return Shared("number", [&] {
    const Expr sign = builder_.Optional(builder_.Text("-"));
    const Expr whole = builder_.Choice(
        {builder_.Text("0"), builder_.Sequence({Digit('1', '9'), Digits(0, kDigitsMax - 1)})});
    const Expr fraction = builder_.Sequence({builder_.Text("."), Digits(1, kDigitsMax)});
    const Expr exponent = builder_.Sequence(
        {builder_.Chars({{'e', 'e'}, {'E', 'E'}}),
         builder_.Optional(builder_.Chars({{'+', '+'}, {'-', '-'}})), Digits(1, 2)});
    return builder_.Sequence(
        {sign, whole, builder_.Optional(fraction), builder_.Optional(exponent)});
  });
}

}  // namespace cormorant
