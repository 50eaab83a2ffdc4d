// Tokens to nodes, by recursive descent; the grammar is Jinja's.
//
// Errors name the line. The depth of nesting is bounded, so hostile input cannot exhaust the stack.
// Statements are in parser_statements.cc, expressions in parser_expressions.cc.
#pragma once
#include <initializer_list>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "runtime/text/template/ast.h"
#include "runtime/text/template/lexer.h"

namespace cormorant::jinja {

/// Parses a template. Filters and tests that do not exist are errors where Jinja makes them errors:
/// anywhere but under a condition, where only running into one is.
absl::StatusOr<std::unique_ptr<Template>> ParseTemplate(absl::string_view source);

class Parser {
 public:
  explicit Parser(Template* out) : out_(*out) {}

  absl::Status Run();

 private:
  using ExprResult = absl::StatusOr<Expr*>;
  using StatementResult = absl::StatusOr<Statement*>;

  // What a tuple may be made of, and what ends it beside a closing bracket or tag.
  struct TupleRules {
    bool only_targets = false;
    bool may_be_conditional = true;
    bool in_parentheses = false;
    bool may_reference = false;
    absl::string_view end_word;
  };

  // Counts nesting while it lives.
  class Nesting {
   public:
    explicit Nesting(Parser* parser) : parser_(*parser) { ++parser_.depth_; }
    ~Nesting() { --parser_.depth_; }
    Nesting(const Nesting&) = delete;
    Nesting& operator=(const Nesting&) = delete;
    bool is_too_deep() const { return parser_.depth_ > kDepthMax; }

   private:
    Parser& parser_;
  };
  static constexpr int kDepthMax = 150;

  // The tokens.
  const Token& current() const { return tokens_[at_]; }
  const Token& next() const { return tokens_[at_ + 1 < tokens_.size() ? at_ + 1 : at_]; }
  void Skip() {
    if (at_ + 1 < tokens_.size()) ++at_;
  }
  bool SkipName(absl::string_view word);
  bool SkipOperator(absl::string_view sign);
  absl::Status Expect(absl::string_view sign);
  absl::Status ExpectWord(absl::string_view word);
  absl::Status ExpectTagEnd();
  absl::StatusOr<absl::string_view> ExpectName();
  absl::Status Fail(absl::string_view what) const;
  absl::Status Unexpected(absl::string_view expected) const;
  absl::Status TooDeep() const { return Fail("the template nests too deeply"); }

  Expr* NewExpr(ExprKind kind, uint32_t line);
  Statement* NewStatement(StatementKind kind, uint32_t line);

  // Statements.
  absl::StatusOr<Body> ParseBody(std::initializer_list<absl::string_view> end_words);
  /// A body in a level of names of its own, with the end word read.
  absl::StatusOr<Body> ParseInnerBody(absl::string_view end_word, bool is_function);
  StatementResult ParseStatement();
  StatementResult ParseSet();
  StatementResult ParseFor();
  StatementResult ParseIf();
  StatementResult ParseMacro();
  StatementResult ParseCallBlock();
  StatementResult ParseFilterBlock();
  StatementResult ParseWith();
  StatementResult ParseBlock();
  StatementResult ParseAutoescape();
  StatementResult ParseGeneration();
  StatementResult ParseLoopControl(StatementKind kind);
  StatementResult ParseUnsupported();
  absl::Status ParseParameters(Statement* macro);
  absl::Status ParseMacroBody(Statement* macro, absl::string_view end_word);
  absl::Status ParseForParts(Statement* loop);

  // Expressions, from the weakest binding to the strongest.
  ExprResult ParseTuple(const TupleRules& rules);
  ExprResult ParseTarget(bool may_reference, absl::string_view end_word);
  ExprResult ParseExpression() { return ParseConditional(); }
  ExprResult ParseConditional();
  ExprResult ParseOr();
  ExprResult ParseAnd();
  ExprResult ParseNot();
  ExprResult ParseComparison();
  ExprResult ParseSum();
  ExprResult ParseConcat();
  ExprResult ParseProduct();
  ExprResult ParsePower();
  ExprResult ParseUnary(bool with_filters);
  ExprResult ParsePrimary(bool may_reference);
  ExprResult ParseNameOrWord(bool may_reference);
  ExprResult ParseText();
  ExprResult ParseListLiteral();
  ExprResult ParseDictLiteral();
  ExprResult ParsePostfix(Expr* expr);
  ExprResult ParseFilters(Expr* expr);
  ExprResult ParseFilter(Expr* input);
  ExprResult ParseTest(Expr* input);
  ExprResult ParseSubscript(Expr* input);
  ExprResult ParseSlice(Expr* input);
  absl::Status ParseArguments(Expr* call);
  absl::Status ParseArgument(Expr* call);
  bool TakeComparison(Operator* found);
  bool BeginsTestArgument() const;

  // Filters and tests that do not exist, by the frame and the moment they were met.
  struct UnknownName {
    uint32_t frame = 0;
    absl::Status error;
  };
  void NoteUnknown(absl::string_view what, absl::string_view name);
  /// Forgives what was met in the current frame since `mark`: it stood under a condition.
  void ForgiveUnknown(size_t mark);
  void NoteSpecialName(absl::string_view name);

  Template& out_;
  std::vector<Token> tokens_;
  size_t at_ = 0;
  int depth_ = 0;
  uint32_t loop_depth_ = 0;
  uint32_t frame_ = 0, frame_count_ = 0;
  std::vector<UnknownName> unknown_;
  std::vector<Statement*> macros_;  // Those whose body is being read.
};

}  // namespace cormorant::jinja
