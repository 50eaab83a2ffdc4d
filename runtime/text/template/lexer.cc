// Tags and white space first, then the tokens inside a tag. See lexer.h.
#include "runtime/text/template/lexer.h"

#include <algorithm>
#include <charconv>

#include "absl/strings/ascii.h"
#include "absl/strings/str_replace.h"
#include "runtime/base/status.h"
#include "runtime/text/template/literals.h"
#include "runtime/text/template/unicode.h"

namespace cormorant::jinja {
namespace {

constexpr size_t kNpos = absl::string_view::npos;

/// The parts of the source that stand between tags, and the tags.
class Lexer {
 public:
  explicit Lexer(Template* out) : out_(*out), source_(out->source) {}

  absl::StatusOr<std::vector<Token>> Run() {
    while (at_ < source_.size()) {
      const size_t tag = NextTag();
      if (tag == kNpos) {
        AddData(source_.substr(at_));
        break;
      }
      CORM_RETURN_IF_ERROR(ReadTag(tag));
    }
    AddToken(TokenKind::kEnd, "");
    return std::move(tokens_);
  }

 private:
  absl::Status Fail(absl::string_view what) const { return Error("line ", line_, ": ", what); }

  void AddToken(TokenKind kind, absl::string_view text, const Value& value = Value()) {
    tokens_.push_back({kind, line_, text, value});
  }

  void AddData(absl::string_view text) {
    if (!text.empty()) AddToken(TokenKind::kData, text);
  }

  /// Moves on to `to`, counting lines.
  void Advance(size_t to) {
    line_ += static_cast<uint32_t>(std::count(source_.begin() + at_, source_.begin() + to, '\n'));
    if (to > at_) at_line_start_ = source_[to - 1] == '\n';
    at_ = to;
  }

  size_t NextTag() const {
    for (size_t at = source_.find('{', at_); at != kNpos; at = source_.find('{', at + 1)) {
      if (at + 1 >= source_.size()) return kNpos;
      const char next = source_[at + 1];
      if (next == '{' || next == '%' || next == '#') return at;
    }
    return kNpos;
  }

  size_t SkipSpace(size_t at) const {
    return source_.size() - StripSpaceLeft(source_.substr(at)).size();
  }

  /// The text before a tag, without what its sign or lstrip_blocks takes.
  absl::string_view TextBefore(size_t tag, char sign, bool is_output) const {
    const absl::string_view text = source_.substr(at_, tag - at_);
    if (sign == '-') return StripSpaceRight(text);
    if (sign == '+' || is_output) return text;
    const size_t newline = text.rfind('\n');
    const size_t line = newline == kNpos ? 0 : newline + 1;
    if (line == 0 && !at_line_start_) return text;
    return StripSpaceLeft(text.substr(line)).empty() ? text.substr(0, line) : text;
  }

  /// Behind the end of a tag at `end` (where -, + or the bracket stands), and what follows goes.
  size_t AfterEnd(size_t end, bool trims_newline) const {
    if (source_[end] == '-') return SkipSpace(end + 3);
    if (source_[end] == '+') return end + 3;
    const size_t after = end + 2;
    return trims_newline && after < source_.size() && source_[after] == '\n' ? after + 1 : after;
  }

  /// Whether a tag's end begins at `at`: its bracket, perhaps with a sign before it.
  bool IsEnd(size_t at, absl::string_view bracket, bool may_plus) const {
    if (at >= source_.size()) return false;
    const bool is_signed = source_[at] == '-' || (may_plus && source_[at] == '+');
    return source_.substr(at + is_signed, 2) == bracket;
  }

  absl::Status ReadTag(size_t tag) {
    const char type = source_[tag + 1];
    const char sign = tag + 2 < source_.size() ? source_[tag + 2] : '\0';
    const bool is_signed = sign == '-' || sign == '+';
    const size_t inside = tag + 2 + is_signed;
    if (type == '%') {
      const size_t raw = AfterWordTag(inside, "raw", /*trims_newline=*/false);
      if (raw != kNpos) {
        AddData(TextBefore(tag, sign, false));
        Advance(raw);
        return ReadRaw();
      }
    }
    AddData(TextBefore(tag, sign, type == '{'));
    Advance(inside);
    if (type == '#') return SkipComment();
    return ReadTokens(type == '{');
  }

  absl::Status SkipComment() {
    const size_t bracket = source_.find("#}", at_);
    if (bracket == kNpos) return Fail("a comment has no end: expected '#}'");
    const bool is_signed =
        bracket > at_ && (source_[bracket - 1] == '-' || source_[bracket - 1] == '+');
    Advance(AfterEnd(bracket - is_signed, /*trims_newline=*/true));
    return absl::OkStatus();
  }

  /// If `inside` a tag stands only that word: the place behind the tag.
  size_t AfterWordTag(size_t inside, absl::string_view word, bool trims_newline) const {
    const size_t at = SkipSpace(inside);
    if (source_.substr(at, word.size()) != word) return kNpos;
    const size_t end = SkipSpace(at + word.size());
    if (!IsEnd(end, "%}", trims_newline)) return kNpos;
    return AfterEnd(end, trims_newline);
  }

  absl::Status ReadRaw() {
    for (size_t tag = source_.find("{%", at_); tag != kNpos; tag = source_.find("{%", tag + 2)) {
      const char sign = tag + 2 < source_.size() ? source_[tag + 2] : '\0';
      const bool is_signed = sign == '-' || sign == '+';
      const size_t after = AfterWordTag(tag + 2 + is_signed, "endraw", /*trims_newline=*/true);
      if (after == kNpos) continue;
      AddData(TextBefore(tag, sign, false));
      Advance(after);
      return absl::OkStatus();
    }
    return Fail("{% raw %} has no {% endraw %}");
  }

  absl::Status ReadTokens(bool is_output) {
    AddToken(is_output ? TokenKind::kOutputBegin : TokenKind::kTagBegin, "");
    std::string open;  // Closing brackets that are due; a tag ends only outside of them.
    while (true) {
      Advance(SkipSpace(at_));
      if (at_ >= source_.size()) return Fail("a tag has no end: expected '}}' or '%}'");
      if (open.empty() && IsEnd(at_, is_output ? "}}" : "%}", /*may_plus=*/!is_output)) break;
      CORM_RETURN_IF_ERROR(ReadToken(&open));
    }
    AddToken(is_output ? TokenKind::kOutputEnd : TokenKind::kTagEnd, "");
    Advance(AfterEnd(at_, /*trims_newline=*/!is_output));
    return absl::OkStatus();
  }

  absl::Status ReadToken(std::string* open) {
    const char c = source_[at_];
    if (absl::ascii_isdigit(static_cast<unsigned char>(c))) return ReadNumber();
    if (IsNameChar(c)) return ReadName();
    if (c == '\'' || c == '"') return ReadText();
    return ReadOperator(open);
  }

  static bool IsNameChar(char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_' ||
           static_cast<uint8_t>(c) >= 0x80;
  }

  absl::Status ReadName() {
    size_t end = at_;
    while (end < source_.size() && IsNameChar(source_[end])) {
      size_t next = end;
      const uint32_t code = NextChar(source_, &next);
      if (code >= 0x80 && !IsAlpha(code) && !IsDecimal(code)) {
        if (end == at_) return Fail("unexpected character outside of quotes");
        break;
      }
      end = next;
    }
    AddToken(TokenKind::kName, source_.substr(at_, end - at_));
    Advance(end);
    return absl::OkStatus();
  }

  absl::Status ReadNumber() {
    const bool may_be_float = at_ == 0 || source_[at_ - 1] != '.';
    size_t end = at_;
    Value value;
    if (!ReadNumberLiteral(source_, may_be_float, &end, &value)) {
      return Fail("a number does not fit into 64 bits");
    }
    AddToken(value.Is(Kind::kFloat) ? TokenKind::kFloat : TokenKind::kInteger,
             source_.substr(at_, end - at_), value);
    Advance(end);
    return absl::OkStatus();
  }

  absl::Status ReadText() {
    const char quote = source_[at_];
    size_t end = at_ + 1;
    while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? 2 : 1;
    if (end >= source_.size()) return Fail("a string has no closing quote");
    const absl::string_view inside = source_.substr(at_ + 1, end - at_ - 1);
    Value value;
    if (inside.find('\\') == kNpos) {
      value = out_.constants.NewTextView(inside);
    } else {
      const absl::StatusOr<std::string> text = Unescaped(inside);
      if (!text.ok()) return Fail(text.status().message());
      value = out_.constants.NewText(*text);
    }
    AddToken(TokenKind::kText, inside, value);
    Advance(end + 1);
    return absl::OkStatus();
  }

  absl::Status ReadOperator(std::string* open) {
    constexpr absl::string_view kLong[] = {"//", "**", "==", "!=", ">=", "<="};
    constexpr absl::string_view kShort = "+-/*%~[](){}><=.:|,;";
    absl::string_view found = source_.substr(at_, 2);
    if (std::find(std::begin(kLong), std::end(kLong), found) == std::end(kLong)) {
      found = source_.substr(at_, 1);
      if (kShort.find(found[0]) == kNpos) {
        return Fail(absl::StrCat("unexpected character '", found, "'"));
      }
    }
    const char c = found[0];
    if (c == '(') open->push_back(')');
    if (c == '[') open->push_back(']');
    if (c == '{') open->push_back('}');
    if (c == ')' || c == ']' || c == '}') {
      if (open->empty() || open->back() != c) {
        return Fail(absl::StrCat("unexpected '", found, "'"));
      }
      open->pop_back();
    }
    AddToken(TokenKind::kOperator, found);
    Advance(at_ + found.size());
    return absl::OkStatus();
  }

  Template& out_;
  const absl::string_view source_;
  size_t at_ = 0;
  uint32_t line_ = 1;
  bool at_line_start_ = true;
  std::vector<Token> tokens_;
};

}  // namespace

std::string NormalizedSource(absl::string_view source) {
  std::string text = absl::StrReplaceAll(source, {{"\r\n", "\n"}, {"\r", "\n"}});
  if (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

absl::StatusOr<std::vector<Token>> Tokenize(Template* out) {
  return Lexer(out).Run();
}

}  // namespace cormorant::jinja
