// Tags. See parser.h.
#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/base/status.h"
#include "runtime/text/template/parser.h"

namespace cormorant::jinja {

Parser::StatementResult Parser::ParseStatement() {
  if (current().kind != TokenKind::kName) return Unexpected("the name of a tag");
  const absl::string_view tag = current().text;
  if (tag == "set") return ParseSet();
  if (tag == "if") return ParseIf();
  if (tag == "for") return ParseFor();
  if (tag == "macro") return ParseMacro();
  if (tag == "call") return ParseCallBlock();
  if (tag == "filter") return ParseFilterBlock();
  if (tag == "with") return ParseWith();
  if (tag == "block") return ParseBlock();
  if (tag == "autoescape") return ParseAutoescape();
  if (tag == "generation") return ParseGeneration();
  if (tag == "break") return ParseLoopControl(StatementKind::kBreak);
  if (tag == "continue") return ParseLoopControl(StatementKind::kContinue);
  if (tag == "print") {
    Statement* output = NewStatement(StatementKind::kOutput, current().line);
    Skip();
    CORM_ASSIGN_OR_RETURN(output->expr, ParseExpression());
    return output;
  }
  if (tag == "include" || tag == "import" || tag == "from" || tag == "extends") {
    return ParseUnsupported();
  }
  return Fail(absl::StrCat("unknown tag '", tag, "'"));
}

Parser::StatementResult Parser::ParseSet() {
  const uint32_t line = current().line;
  Skip();
  CORM_ASSIGN_OR_RETURN(Expr * target, ParseTarget(/*may_reference=*/true, ""));
  if (SkipOperator("=")) {
    Statement* set = NewStatement(StatementKind::kSet, line);
    set->target = target;
    CORM_ASSIGN_OR_RETURN(set->expr, ParseTuple({}));
    return set;
  }
  Statement* set = NewStatement(StatementKind::kSetBlock, line);
  set->target = target;
  if (current().IsOperator("|")) {
    Expr* filters = nullptr;
    while (SkipOperator("|")) {
      CORM_ASSIGN_OR_RETURN(filters, ParseFilter(filters));
    }
    set->expr = filters;
  }
  CORM_ASSIGN_OR_RETURN(set->body, ParseInnerBody("endset", /*is_function=*/false));
  return set;
}

Parser::StatementResult Parser::ParseIf() {
  Statement* result = NewStatement(StatementKind::kIf, current().line);
  const size_t mark = unknown_.size();
  while (true) {
    const bool is_else = current().IsName("else");
    Skip();  // if, elif or else
    Branch branch;
    if (!is_else) {
      TupleRules rules;
      rules.may_be_conditional = false;
      CORM_ASSIGN_OR_RETURN(branch.test, ParseTuple(rules));
    }
    SkipOperator(":");
    CORM_RETURN_IF_ERROR(ExpectTagEnd());
    if (is_else) {
      CORM_ASSIGN_OR_RETURN(branch.body, ParseBody({"endif"}));
    } else {
      CORM_ASSIGN_OR_RETURN(branch.body, ParseBody({"endif", "elif", "else"}));
    }
    result->branches.push_back(std::move(branch));
    if (current().IsName("endif")) break;
  }
  Skip();
  ForgiveUnknown(mark);
  return result;
}

absl::Status Parser::ParseForParts(Statement* loop) {
  CORM_ASSIGN_OR_RETURN(loop->target, ParseTarget(/*may_reference=*/false, "in"));
  CORM_RETURN_IF_ERROR(ExpectWord("in"));
  TupleRules rules;
  rules.may_be_conditional = false;
  rules.end_word = "recursive";
  CORM_ASSIGN_OR_RETURN(loop->expr, ParseTuple(rules));
  if (SkipName("if")) {
    CORM_ASSIGN_OR_RETURN(loop->test, ParseExpression());
  }
  loop->is_recursive = SkipName("recursive");
  SkipOperator(":");
  return ExpectTagEnd();
}

Parser::StatementResult Parser::ParseFor() {
  Statement* loop = NewStatement(StatementKind::kFor, current().line);
  Skip();
  CORM_RETURN_IF_ERROR(ParseForParts(loop));
  const uint32_t outer_frame = std::exchange(frame_, ++frame_count_);
  ++loop_depth_;
  CORM_ASSIGN_OR_RETURN(loop->body, ParseBody({"endfor", "else"}));
  --loop_depth_;
  const bool has_else = SkipName("else");
  if (has_else) {
    SkipOperator(":");
    CORM_RETURN_IF_ERROR(ExpectTagEnd());
    CORM_ASSIGN_OR_RETURN(loop->otherwise, ParseBody({"endfor"}));
  }
  frame_ = outer_frame;
  Skip();
  return loop;
}

absl::Status Parser::ParseParameters(Statement* macro) {
  CORM_RETURN_IF_ERROR(Expect("("));
  while (!current().IsOperator(")")) {
    if (!macro->params.empty()) CORM_RETURN_IF_ERROR(Expect(","));
    Parameter param;
    CORM_ASSIGN_OR_RETURN(param.name, ExpectName());
    param.id = out_.Intern(param.name);
    if (SkipOperator("=")) {
      CORM_ASSIGN_OR_RETURN(param.value, ParseExpression());
    } else if (!macro->params.empty() && macro->params.back().value != nullptr) {
      return Fail("a parameter without default follows one with a default");
    }
    macro->params.push_back(param);
  }
  return Expect(")");
}

absl::Status Parser::ParseMacroBody(Statement* macro, absl::string_view end_word) {
  macros_.push_back(macro);
  CORM_ASSIGN_OR_RETURN(macro->body, ParseInnerBody(end_word, /*is_function=*/true));
  macros_.pop_back();
  return absl::OkStatus();
}

Parser::StatementResult Parser::ParseMacro() {
  Statement* macro = NewStatement(StatementKind::kMacro, current().line);
  Skip();
  CORM_ASSIGN_OR_RETURN(macro->name, ExpectName());
  macro->id = out_.Intern(macro->name);
  CORM_RETURN_IF_ERROR(ParseParameters(macro));
  CORM_RETURN_IF_ERROR(ParseMacroBody(macro, "endmacro"));
  return macro;
}

Parser::StatementResult Parser::ParseCallBlock() {
  Statement* block = NewStatement(StatementKind::kCallBlock, current().line);
  block->name = "caller";
  Skip();
  if (current().IsOperator("(")) CORM_RETURN_IF_ERROR(ParseParameters(block));
  CORM_ASSIGN_OR_RETURN(block->expr, ParseExpression());
  if (block->expr->kind != ExprKind::kCall) return Fail("{% call %} wants the call of a macro");
  CORM_RETURN_IF_ERROR(ParseMacroBody(block, "endcall"));
  return block;
}

Parser::StatementResult Parser::ParseFilterBlock() {
  Statement* block = NewStatement(StatementKind::kFilterBlock, current().line);
  Skip();
  Expr* filters = nullptr;
  do {
    CORM_ASSIGN_OR_RETURN(filters, ParseFilter(filters));
  } while (SkipOperator("|"));
  block->expr = filters;
  CORM_ASSIGN_OR_RETURN(block->body, ParseInnerBody("endfilter", /*is_function=*/false));
  return block;
}

Parser::StatementResult Parser::ParseWith() {
  Statement* with = NewStatement(StatementKind::kWith, current().line);
  Skip();
  while (current().kind != TokenKind::kTagEnd) {
    if (!with->params.empty()) CORM_RETURN_IF_ERROR(Expect(","));
    Parameter param;
    CORM_ASSIGN_OR_RETURN(param.target, ParseTarget(/*may_reference=*/false, ""));
    CORM_RETURN_IF_ERROR(Expect("="));
    CORM_ASSIGN_OR_RETURN(param.value, ParseExpression());
    with->params.push_back(param);
  }
  CORM_ASSIGN_OR_RETURN(with->body, ParseInnerBody("endwith", /*is_function=*/false));
  return with;
}

Parser::StatementResult Parser::ParseBlock() {
  Statement* block = NewStatement(StatementKind::kBlock, current().line);
  Skip();
  CORM_ASSIGN_OR_RETURN(block->name, ExpectName());
  block->is_root_scoped = !SkipName("scoped");
  SkipName("required");
  CORM_ASSIGN_OR_RETURN(block->body, ParseInnerBody("endblock", /*is_function=*/true));
  SkipName(block->name);
  return block;
}

Parser::StatementResult Parser::ParseAutoescape() {
  Statement* block = NewStatement(StatementKind::kBlock, current().line);
  Skip();
  CORM_ASSIGN_OR_RETURN(Expr * choice, ParseExpression());
  const bool is_off = choice->kind == ExprKind::kConstant && !IsTrue(choice->constant);
  if (!is_off) return Fail("{% autoescape %} is only supported as {% autoescape false %}");
  CORM_ASSIGN_OR_RETURN(block->body, ParseInnerBody("endautoescape", /*is_function=*/false));
  return block;
}

Parser::StatementResult Parser::ParseGeneration() {
  Statement* block = NewStatement(StatementKind::kBlock, current().line);
  Skip();
  CORM_ASSIGN_OR_RETURN(block->body, ParseInnerBody("endgeneration", /*is_function=*/true));
  return block;
}

Parser::StatementResult Parser::ParseLoopControl(StatementKind kind) {
  if (loop_depth_ == 0) return Fail(absl::StrCat("'", current().text, "' outside of a loop"));
  Statement* statement = NewStatement(kind, current().line);
  Skip();
  return statement;
}

Parser::StatementResult Parser::ParseUnsupported() {
  Statement* statement = NewStatement(StatementKind::kFail, current().line);
  statement->text = current().text;
  while (current().kind != TokenKind::kTagEnd && current().kind != TokenKind::kEnd) Skip();
  return statement;
}

}  // namespace cormorant::jinja
