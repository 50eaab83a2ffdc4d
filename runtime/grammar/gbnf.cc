// Reads GBNF. See grammar.h.
#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "runtime/base/status.h"
#include "runtime/format/byte_reader.h"
#include "runtime/grammar/builder.h"
#include "runtime/text/template/unicode.h"
#include "runtime/text/utf8.h"

namespace cormorant {
namespace {

bool IsNameChar(char c) {
  return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_';
}

class GbnfParser {
 public:
  explicit GbnfParser(absl::string_view text) : text_(text) {}
  absl::StatusOr<std::shared_ptr<const Grammar>> Run();

 private:
  using Expr = GrammarBuilder::Expr;
  enum class Lines { kOne, kAny };  // Whether what is read may go on in the next line.

  absl::Status Error(size_t at, absl::string_view what) const;
  bool is_at_end() const { return at_ == text_.size(); }
  char Peek() const { return is_at_end() ? '\0' : text_[at_]; }
  bool Take(absl::string_view word);
  /// White space and comments.
  void Skip(Lines lines);
  absl::string_view ReadName();
  absl::Status ReadRule();
  absl::StatusOr<Expr> ReadChoice(Lines lines, uint32_t depth);
  absl::StatusOr<Expr> ReadSequence(Lines lines, uint32_t depth);
  /// Nothing where no element begins.
  absl::StatusOr<std::optional<Expr>> ReadElement(uint32_t depth);
  absl::StatusOr<Expr> ReadText();
  absl::StatusOr<Expr> ReadClass();
  absl::StatusOr<uint32_t> ReadChar();
  absl::StatusOr<uint32_t> ReadHex(size_t digits);
  /// What follows an element: * + ? {m} {m,} {m,n}, any number of times.
  absl::StatusOr<Expr> ReadRepetitions(Expr what, Lines lines);
  absl::StatusOr<Expr> ReadBraces(Expr what);
  absl::StatusOr<uint32_t> ReadCount();

  const absl::string_view text_;
  size_t at_ = 0;
  GrammarBuilder builder_;
  std::vector<size_t> first_use_;  // By rule: where it stands first.
};

absl::Status GbnfParser::Error(size_t at, absl::string_view what) const {
  const absl::string_view before = text_.substr(0, at);
  const size_t line = 1 + static_cast<size_t>(std::count(before.begin(), before.end(), '\n'));
  const size_t begin = line == 1 ? 0 : before.rfind('\n') + 1;
  return absl::InvalidArgumentError(
      absl::StrCat("grammar, line ", line, ", column ", at - begin + 1, ": ", what));
}

bool GbnfParser::Take(absl::string_view word) {
  if (text_.substr(at_, word.size()) != word) return false;
  at_ += word.size();
  return true;
}

void GbnfParser::Skip(Lines lines) {
  for (; !is_at_end(); ++at_) {
    if (Peek() == '#') at_ = std::min(text_.find('\n', at_), text_.size());
    if (is_at_end()) return;
    const bool is_line_end = Peek() == '\n' || Peek() == '\r';
    if (is_line_end ? lines == Lines::kOne : Peek() != ' ' && Peek() != '\t') return;
  }
}

absl::string_view GbnfParser::ReadName() {
  const size_t from = at_;
  while (!is_at_end() && IsNameChar(Peek())) ++at_;
  return text_.substr(from, at_ - from);
}

absl::StatusOr<std::shared_ptr<const Grammar>> GbnfParser::Run() {
  if (text_.size() > kGrammarBytesMax) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "the grammar has ", text_.size(), " bytes; at most ", kGrammarBytesMax, " are read"));
  }
  if (const size_t valid = ValidUtf8Bytes(text_); valid != text_.size()) {
    return Error(valid, "this is not UTF-8");
  }
  const GrammarBuilder::Rule root = builder_.Named("root");
  first_use_.push_back(0);
  for (Skip(Lines::kAny); !is_at_end(); Skip(Lines::kAny)) CORM_RETURN_IF_ERROR(ReadRule());
  if (!builder_.is_defined(root)) {
    return absl::InvalidArgumentError("grammar: there is no rule 'root', where texts begin");
  }
  for (uint32_t rule = 0; rule < first_use_.size(); ++rule) {
    if (builder_.is_defined(rule)) continue;
    return Error(first_use_[rule],
                 absl::StrCat("rule ", Quoted(builder_.name(rule)), " is not defined"));
  }
  absl::StatusOr<std::shared_ptr<const Grammar>> grammar = builder_.Build(root);
  return grammar.ok() ? std::move(grammar) : At("grammar", grammar.status());
}

absl::Status GbnfParser::ReadRule() {
  const size_t from = at_;
  const absl::string_view name = ReadName();
  if (name.empty()) return Error(at_, "expected a rule, as name ::= ...");
  Skip(Lines::kOne);
  if (!Take("::=")) return Error(at_, absl::StrCat("expected ::= behind ", Quoted(name)));
  const GrammarBuilder::Rule rule = builder_.Named(name);
  if (rule == first_use_.size()) first_use_.push_back(from);
  if (builder_.is_defined(rule)) {
    return Error(from, absl::StrCat("rule ", Quoted(name), " is defined above already"));
  }
  Skip(Lines::kAny);
  CORM_ASSIGN_OR_RETURN(const Expr expr, ReadChoice(Lines::kOne, 0));
  builder_.Define(rule, expr);
  if (is_at_end() || Peek() == '\n' || Peek() == '\r') return absl::OkStatus();
  return Error(at_, "expected a literal, a class, a rule, a group, | or the end of the line");
}

absl::StatusOr<GbnfParser::Expr> GbnfParser::ReadChoice(Lines lines, uint32_t depth) {
  std::vector<Expr> parts;
  for (;;) {
    CORM_ASSIGN_OR_RETURN(const Expr part, ReadSequence(lines, depth));
    parts.push_back(part);
    const size_t end = at_;
    Skip(Lines::kAny);
    if (!Take("|")) {
      at_ = end;
      return parts.size() == 1 ? parts[0] : builder_.Choice(std::move(parts));
    }
    Skip(Lines::kAny);
  }
}

absl::StatusOr<GbnfParser::Expr> GbnfParser::ReadSequence(Lines lines, uint32_t depth) {
  std::vector<Expr> parts;
  for (;;) {
    // Behind ::= and | a line may have ended; what looks like the next rule is it.
    const size_t from = at_;
    if (lines == Lines::kOne && !ReadName().empty()) {
      Skip(Lines::kOne);
      const bool is_rule = text_.substr(at_, 3) == "::=";
      at_ = from;
      if (is_rule) {
        while (at_ > 0 && absl::ascii_isspace(static_cast<unsigned char>(text_[at_ - 1]))) --at_;
        break;
      }
    }
    at_ = from;
    CORM_ASSIGN_OR_RETURN(const std::optional<Expr> element, ReadElement(depth));
    if (!element) break;
    Skip(lines);
    CORM_ASSIGN_OR_RETURN(const Expr repeated, ReadRepetitions(*element, lines));
    parts.push_back(repeated);
  }
  return parts.size() == 1 ? parts[0] : builder_.Sequence(std::move(parts));
}

absl::StatusOr<std::optional<GbnfParser::Expr>> GbnfParser::ReadElement(uint32_t depth) {
  const size_t from = at_;
  if (Take("\"")) return ReadText();
  if (Take("[")) return ReadClass();
  if (Take(".")) return builder_.Chars({{0, kCharMax}});
  if (Take("(")) {
    if (depth == kGrammarDepthMax) {
      return Error(from, absl::StrCat("more than ", kGrammarDepthMax, " groups in each other"));
    }
    Skip(Lines::kAny);
    CORM_ASSIGN_OR_RETURN(const Expr inner, ReadChoice(Lines::kAny, depth + 1));
    Skip(Lines::kAny);
    if (!Take(")")) return Error(from, "this group is not closed");
    return inner;
  }
  const absl::string_view name = ReadName();
  if (name.empty()) return std::nullopt;
  const GrammarBuilder::Rule rule = builder_.Named(name);
  if (rule == first_use_.size()) first_use_.push_back(from);
  return builder_.Of(rule);
}

absl::StatusOr<GbnfParser::Expr> GbnfParser::ReadText() {
  const size_t from = at_ - 1;
  std::string bytes;
  while (!Take("\"")) {
    if (is_at_end() || Peek() == '\n') return Error(from, "this literal is not closed");
    CORM_ASSIGN_OR_RETURN(const uint32_t code, ReadChar());
    jinja::AppendChar(code, &bytes);
  }
  return builder_.Text(bytes);
}

absl::StatusOr<GbnfParser::Expr> GbnfParser::ReadClass() {
  const size_t from = at_ - 1;
  const bool is_inverted = Take("^");
  std::vector<CharRange> ranges;
  while (!Take("]")) {
    if (is_at_end() || Peek() == '\n') return Error(from, "this class is not closed");
    const size_t begin = at_;
    CharRange range;
    CORM_ASSIGN_OR_RETURN(range.first, ReadChar());
    range.last = range.first;
    if (Peek() == '-' && text_.substr(at_ + 1, 1) != "]") {
      ++at_;
      if (is_at_end()) return Error(from, "this class is not closed");
      CORM_ASSIGN_OR_RETURN(range.last, ReadChar());
    }
    if (range.last < range.first) return Error(begin, "this range ends before it begins");
    ranges.push_back(range);
  }
  return builder_.Chars(is_inverted ? Inverted(std::move(ranges)) : std::move(ranges));
}

absl::StatusOr<uint32_t> GbnfParser::ReadChar() {
  const size_t from = at_;
  if (!Take("\\")) {
    return jinja::NextChar(text_, &at_);
  }
  const char escaped = Peek();
  if (!is_at_end()) ++at_;
  switch (escaped) {
    case 'n': return '\n';
    case 'r': return '\r';
    case 't': return '\t';
    case 'x': return ReadHex(2);
    case 'u': return ReadHex(4);
    case 'U': return ReadHex(8);
    case '\\':
    case '"':
    case '[':
    case ']':
    case '-':
    case '^': return static_cast<uint32_t>(escaped);
  }
  return Error(from,
               "there is no such escape; there are \\n \\r \\t \\\\ \\\" \\[ \\] \\- \\^ "
               "\\xNN \\uNNNN \\UNNNNNNNN");
}

absl::StatusOr<uint32_t> GbnfParser::ReadHex(size_t digits) {
  uint64_t code = 0;
  const size_t from = at_;
  for (size_t i = 0; i < digits; ++i, ++at_) {
    if (is_at_end() || !absl::ascii_isxdigit(static_cast<unsigned char>(Peek()))) {
      return Error(from, absl::StrCat("expected ", digits, " hexadecimal digits"));
    }
    const char lower = absl::ascii_tolower(static_cast<unsigned char>(Peek()));
    code = code * 16 + static_cast<uint64_t>(lower <= '9' ? lower - '0' : lower - 'a' + 10);
  }
  if (code > kCharMax || (code >= 0xd800 && code <= 0xdfff)) {
    return Error(from, "this is not the code of a character");
  }
  return static_cast<uint32_t>(code);
}

absl::StatusOr<GbnfParser::Expr> GbnfParser::ReadRepetitions(Expr what, Lines lines) {
  for (;; Skip(lines)) {
    if (Take("*")) {
      what = builder_.Repeat(what, 0);
    } else if (Take("+")) {
      what = builder_.Repeat(what, 1);
    } else if (Take("?")) {
      what = builder_.Optional(what);
    } else if (Take("{")) {
      CORM_ASSIGN_OR_RETURN(what, ReadBraces(what));
    } else {
      return what;
    }
  }
}

absl::StatusOr<GbnfParser::Expr> GbnfParser::ReadBraces(Expr what) {
  const size_t from = at_ - 1;
  Skip(Lines::kOne);
  CORM_ASSIGN_OR_RETURN(const uint32_t least, ReadCount());
  uint32_t most = least;
  Skip(Lines::kOne);
  if (Take(",")) {
    Skip(Lines::kOne);
    most = GrammarBuilder::kUnlimited;
    if (Peek() != '}') {
      CORM_ASSIGN_OR_RETURN(most, ReadCount());
    }
    Skip(Lines::kOne);
  }
  if (!Take("}")) return Error(from, "expected {m}, {m,} or {m,n}");
  if (most < least) return Error(from, "this ends before it begins");
  return builder_.Repeat(what, least, most);
}

absl::StatusOr<uint32_t> GbnfParser::ReadCount() {
  const size_t from = at_;
  uint32_t count = 0;
  for (; absl::ascii_isdigit(static_cast<unsigned char>(Peek())); ++at_) {
    count = count * 10 + static_cast<uint32_t>(Peek() - '0');
    if (count > kGrammarStatesMax) {
      return Error(from, absl::StrCat("a repetition may be of ", kGrammarStatesMax, " at most"));
    }
  }
  if (at_ == from) return Error(from, "expected a number");
  return count;
}

}  // namespace

absl::StatusOr<std::shared_ptr<const Grammar>> ParseGbnf(absl::string_view text) {
  return GbnfParser(text).Run();
}

}  // namespace cormorant
