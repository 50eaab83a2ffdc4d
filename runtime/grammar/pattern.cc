// Reads regular expressions. See pattern.h.
#include "runtime/grammar/pattern.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "runtime/base/status.h"
#include "runtime/text/template/unicode.h"

namespace cormorant {
namespace {

using Ranges = std::vector<CharRange>;

/// The classes that have a letter; nothing for another one.
std::optional<Ranges> ClassOf(char letter) {
  switch (letter) {
    case 'd': return Ranges{{'0', '9'}};
    case 'w': return Ranges{{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
    case 's': return Ranges{{'\t', '\r'}, {' ', ' '}};
    case 'D':
    case 'W':
    case 'S': return Inverted(*ClassOf(absl::ascii_tolower(static_cast<unsigned char>(letter))));
  }
  return std::nullopt;
}

class PatternParser {
 public:
  PatternParser(absl::string_view text, GrammarBuilder* builder, JsonExprs* json)
      : text_(text), builder_(*builder), json_(*json) {}
  absl::StatusOr<GrammarBuilder::Expr> Run();

 private:
  using Expr = GrammarBuilder::Expr;

  absl::Status Wrong(size_t at, absl::string_view what) const {
    return absl::InvalidArgumentError(absl::StrCat("pattern, byte ", at, ": ", what));
  }
  absl::Status Unknown(size_t at, absl::string_view what) const {
    return absl::UnimplementedError(
        absl::StrCat("pattern, byte ", at, ": ", what, " is not supported"));
  }
  bool is_at_end() const { return at_ == text_.size(); }
  char Peek() const { return is_at_end() ? '\0' : text_[at_]; }
  bool Take(char c) {
    if (is_at_end() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  absl::StatusOr<Expr> ReadChoice(uint32_t depth);
  absl::StatusOr<Expr> ReadSequence(uint32_t depth);
  absl::StatusOr<Expr> ReadElement(uint32_t depth);
  absl::StatusOr<Expr> ReadGroup(uint32_t depth);
  absl::StatusOr<Ranges> ReadClass();
  /// A character, or of several where an escape is one of those.
  absl::StatusOr<Ranges> ReadEscape();
  absl::StatusOr<uint32_t> ReadHex(size_t digits);
  absl::StatusOr<Expr> ReadRepetition(Expr what);
  /// Whether {m}, {m,} or {m,n} follows, which is then read.
  bool ReadBraces(uint32_t* least, uint32_t* most);

  const absl::string_view text_;
  size_t at_ = 0;
  GrammarBuilder& builder_;
  JsonExprs& json_;
};

absl::StatusOr<GrammarBuilder::Expr> PatternParser::Run() {
  CORM_ASSIGN_OR_RETURN(const Expr expr, ReadChoice(0));
  if (!is_at_end()) return Wrong(at_, "this ) closes nothing");
  return expr;
}

absl::StatusOr<GrammarBuilder::Expr> PatternParser::ReadChoice(uint32_t depth) {
  if (depth > kGrammarDepthMax) return Wrong(at_, "too many groups in each other");
  std::vector<Expr> parts;
  const Expr anything = builder_.Repeat(json_.Chars({{0, kCharMax}}), 0);
  do {
    std::vector<Expr> part;
    if (depth == 0 && !Take('^')) part.push_back(anything);
    CORM_ASSIGN_OR_RETURN(const Expr sequence, ReadSequence(depth));
    part.push_back(sequence);
    if (depth == 0 && !Take('$')) part.push_back(anything);
    parts.push_back(builder_.Sequence(std::move(part)));
  } while (Take('|'));
  return builder_.Choice(std::move(parts));
}

absl::StatusOr<GrammarBuilder::Expr> PatternParser::ReadSequence(uint32_t depth) {
  std::vector<Expr> parts;
  while (!is_at_end() && Peek() != '|' && Peek() != ')') {
    const bool is_last = at_ + 1 == text_.size() || text_[at_ + 1] == '|';
    if (depth == 0 && Peek() == '$' && is_last) break;
    CORM_ASSIGN_OR_RETURN(const Expr element, ReadElement(depth));
    CORM_ASSIGN_OR_RETURN(const Expr repeated, ReadRepetition(element));
    parts.push_back(repeated);
  }
  return builder_.Sequence(std::move(parts));
}

absl::StatusOr<GrammarBuilder::Expr> PatternParser::ReadElement(uint32_t depth) {
  const size_t from = at_;
  if (Take('(')) return ReadGroup(depth);
  if (Take('[')) {
    CORM_ASSIGN_OR_RETURN(const Ranges ranges, ReadClass());
    return json_.Chars(ranges);
  }
  if (Take('\\')) {
    CORM_ASSIGN_OR_RETURN(const Ranges ranges, ReadEscape());
    return json_.Chars(ranges);
  }
  if (Take('.')) return json_.Chars(Inverted({{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}}));
  switch (Peek()) {
    case '^':
    case '$': return Unknown(from, "an anchor that is not at an end of the pattern");
    case '*':
    case '+':
    case '?':
    case '{': return Wrong(from, "there is nothing to repeat");
  }
  const uint32_t code = jinja::NextChar(text_, &at_);
  return json_.Chars({{code, code}});
}

absl::StatusOr<GrammarBuilder::Expr> PatternParser::ReadGroup(uint32_t depth) {
  const size_t from = at_ - 1;
  if (Take('?') && !Take(':')) return Unknown(from, "a group with ? other than (?:");
  CORM_ASSIGN_OR_RETURN(const Expr inner, ReadChoice(depth + 1));
  if (!Take(')')) return Wrong(from, "this group is not closed");
  return inner;
}

absl::StatusOr<Ranges> PatternParser::ReadClass() {
  const size_t from = at_ - 1;
  const bool is_inverted = Take('^');
  Ranges ranges;
  while (!Take(']')) {
    if (is_at_end()) return Wrong(from, "this class is not closed");
    const auto read = [&]() -> absl::StatusOr<Ranges> {
      if (Take('\\')) return ReadEscape();
      const uint32_t code = jinja::NextChar(text_, &at_);
      return Ranges{{code, code}};
    };
    const size_t begin = at_;
    CORM_ASSIGN_OR_RETURN(Ranges first, read());
    const auto is_char = [](const Ranges& r) { return r.size() == 1 && r[0].first == r[0].last; };
    if (Peek() == '-' && at_ + 1 < text_.size() && text_[at_ + 1] != ']') {
      ++at_;
      CORM_ASSIGN_OR_RETURN(const Ranges last, read());
      if (!is_char(first) || !is_char(last) || last[0].last < first[0].first) {
        return Wrong(begin, "this is not a range");
      }
      first[0].last = last[0].last;
    }
    ranges.insert(ranges.end(), first.begin(), first.end());
  }
  return is_inverted ? Inverted(std::move(ranges)) : ranges;
}

absl::StatusOr<Ranges> PatternParser::ReadEscape() {
  const size_t from = at_ - 1;
  const char letter = Peek();
  if (!is_at_end()) ++at_;
  if (std::optional<Ranges> known = ClassOf(letter)) return *std::move(known);
  const auto one = [](uint32_t code) { return Ranges{{code, code}}; };
  switch (letter) {
    case 'n': return one('\n');
    case 'r': return one('\r');
    case 't': return one('\t');
    case 'f': return one('\f');
    case 'v': return one('\v');
    case 'x':
    case 'u': {
      CORM_ASSIGN_OR_RETURN(const uint32_t code, ReadHex(letter == 'x' ? 2 : 4));
      return one(code);
    }
  }
  if (absl::ascii_ispunct(static_cast<unsigned char>(letter))) {
    return one(static_cast<uint32_t>(letter));
  }
  return Unknown(from, "this escape");
}

absl::StatusOr<uint32_t> PatternParser::ReadHex(size_t digits) {
  const size_t from = at_;
  uint32_t code = 0;
  for (size_t i = 0; i < digits; ++i, ++at_) {
    if (!absl::ascii_isxdigit(static_cast<unsigned char>(Peek()))) {
      return Wrong(from, absl::StrCat("expected ", digits, " hexadecimal digits"));
    }
    const char lower = absl::ascii_tolower(static_cast<unsigned char>(Peek()));
    code = code * 16 + static_cast<uint32_t>(lower <= '9' ? lower - '0' : lower - 'a' + 10);
  }
  if (code >= 0xd800 && code <= 0xdfff) return Unknown(from, "half of a surrogate pair");
  return code;
}

bool PatternParser::ReadBraces(uint32_t* least, uint32_t* most) {
  const size_t from = at_;
  const auto number = [&](uint32_t* to) {
    const size_t begin = at_;
    *to = 0;
    for (; absl::ascii_isdigit(static_cast<unsigned char>(Peek())); ++at_) {
      *to = std::min(*to * 10 + static_cast<uint32_t>(Peek() - '0'), kGrammarStatesMax);
    }
    return at_ > begin;
  };
  if (Take('{') && number(least)) {
    *most = *least;
    if (Take(',') && !number(most)) *most = GrammarBuilder::kUnlimited;
    if (Take('}')) return true;
  }
  at_ = from;
  return false;
}

absl::StatusOr<GrammarBuilder::Expr> PatternParser::ReadRepetition(Expr what) {
  const size_t from = at_;
  uint32_t least = 0, most = GrammarBuilder::kUnlimited;
  if (Take('+')) {
    least = 1;
  } else if (Take('?')) {
    most = 1;
  } else if (!Take('*') && !ReadBraces(&least, &most)) {
    return what;
  }
  if (most < least) return Wrong(from, "this repetition ends before it begins");
  Take('?');
  return builder_.Repeat(what, least, most);
}

}  // namespace

absl::StatusOr<GrammarBuilder::Expr> ReadPattern(absl::string_view pattern, GrammarBuilder* builder,
                                                 JsonExprs* json) {
  return PatternParser(pattern, builder, json).Run();
}

}  // namespace cormorant
