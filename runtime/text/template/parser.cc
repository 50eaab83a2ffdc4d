// The tokens of a template, and bodies made of text and tags. See parser.h.
#include "runtime/text/template/parser.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/base/status.h"
#include "runtime/text/template/unicode.h"

namespace cormorant::jinja {
namespace {

constexpr size_t kSourceBytesMax = 1 << 20;  // The largest known chat template has 20 KiB.

absl::string_view Described(const Token& token) {
  switch (token.kind) {
    case TokenKind::kData: return "text";
    case TokenKind::kOutputBegin: return "{{";
    case TokenKind::kOutputEnd: return "}}";
    case TokenKind::kTagBegin: return "{%";
    case TokenKind::kTagEnd: return "%}";
    case TokenKind::kEnd: return "the end of the template";
    default: return token.text;
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<Template>> ParseTemplate(absl::string_view source) {
  if (source.size() > kSourceBytesMax) {
    return Error("a template of ", source.size(), " bytes is longer than the ", kSourceBytesMax,
                 " that are read");
  }
  if (!IsUtf8(source)) return Error("the template is not UTF-8 text");
  auto parsed = std::make_unique<Template>(Limits());
  parsed->source = NormalizedSource(source);
  CORM_RETURN_IF_ERROR(Parser(parsed.get()).Run());
  if (parsed->constants.is_exhausted()) return parsed->constants.failure();
  return parsed;
}

absl::Status Parser::Run() {
  out_.loop = out_.Intern("loop");
  out_.caller = out_.Intern("caller");
  out_.varargs = out_.Intern("varargs");
  out_.kwargs = out_.Intern("kwargs");
  CORM_ASSIGN_OR_RETURN(tokens_, Tokenize(&out_));
  CORM_ASSIGN_OR_RETURN(out_.body, ParseBody({}));
  return unknown_.empty() ? absl::OkStatus() : unknown_.front().error;
}

absl::Status Parser::Fail(absl::string_view what) const {
  return Error("line ", current().line, ": ", what);
}

absl::Status Parser::Unexpected(absl::string_view expected) const {
  return Fail(absl::StrCat("expected ", expected, ", found '", Described(current()), "'"));
}

bool Parser::SkipName(absl::string_view word) {
  const bool is_it = current().IsName(word);
  if (is_it) Skip();
  return is_it;
}

bool Parser::SkipOperator(absl::string_view sign) {
  const bool is_it = current().IsOperator(sign);
  if (is_it) Skip();
  return is_it;
}

absl::Status Parser::Expect(absl::string_view sign) {
  return SkipOperator(sign) ? absl::OkStatus() : Unexpected(absl::StrCat("'", sign, "'"));
}

absl::Status Parser::ExpectWord(absl::string_view word) {
  return SkipName(word) ? absl::OkStatus() : Unexpected(absl::StrCat("'", word, "'"));
}

absl::Status Parser::ExpectTagEnd() {
  if (current().kind != TokenKind::kTagEnd) return Unexpected("'%}'");
  Skip();
  return absl::OkStatus();
}

absl::StatusOr<absl::string_view> Parser::ExpectName() {
  if (current().kind != TokenKind::kName) return Unexpected("a name");
  const absl::string_view name = current().text;
  Skip();
  return name;
}

Statement* Parser::NewStatement(StatementKind kind, uint32_t line) {
  Statement& statement = out_.statements.emplace_back();
  statement.kind = kind;
  statement.line = line;
  return &statement;
}

absl::StatusOr<Body> Parser::ParseBody(std::initializer_list<absl::string_view> end_words) {
  const Nesting nesting(this);
  if (nesting.is_too_deep()) return TooDeep();
  Body body;
  while (current().kind != TokenKind::kEnd) {
    const Token& token = current();
    if (token.kind == TokenKind::kData) {
      Statement* text = NewStatement(StatementKind::kText, token.line);
      text->text = token.text;
      body.push_back(text);
      Skip();
    } else if (token.kind == TokenKind::kOutputBegin) {
      Skip();
      Statement* output = NewStatement(StatementKind::kOutput, token.line);
      CORM_ASSIGN_OR_RETURN(output->expr, ParseTuple({}));
      if (current().kind != TokenKind::kOutputEnd) return Unexpected("'}}'");
      Skip();
      body.push_back(output);
    } else {
      Skip();  // {%
      const auto is_current = [&](absl::string_view word) { return current().IsName(word); };
      if (std::any_of(end_words.begin(), end_words.end(), is_current)) return body;
      CORM_ASSIGN_OR_RETURN(Statement * statement, ParseStatement());
      body.push_back(statement);
      CORM_RETURN_IF_ERROR(ExpectTagEnd());
    }
  }
  if (end_words.size() == 0) return body;
  return Fail(
      absl::StrCat("the template ends inside a tag that wants {% ", *end_words.begin(), " %}"));
}

absl::StatusOr<Body> Parser::ParseInnerBody(absl::string_view end_word, bool is_function) {
  SkipOperator(":");
  CORM_RETURN_IF_ERROR(ExpectTagEnd());
  const uint32_t outer_frame = std::exchange(frame_, ++frame_count_);
  const uint32_t outer_loops = is_function ? std::exchange(loop_depth_, 0) : loop_depth_;
  CORM_ASSIGN_OR_RETURN(Body body, ParseBody({end_word}));
  frame_ = outer_frame;
  loop_depth_ = outer_loops;
  Skip();
  return body;
}

}  // namespace cormorant::jinja
