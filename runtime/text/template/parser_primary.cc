// Names, literals and what stands in brackets. See parser.h.
#include "absl/strings/str_cat.h"
#include "runtime/base/status.h"
#include "runtime/text/template/parser.h"

namespace cormorant::jinja {

Parser::ExprResult Parser::ParsePrimary(bool may_reference) {
  const Token& token = current();
  switch (token.kind) {
    case TokenKind::kName: return ParseNameOrWord(may_reference);
    case TokenKind::kText: return ParseText();
    case TokenKind::kInteger:
    case TokenKind::kFloat: {
      Expr* number = NewExpr(ExprKind::kConstant, token.line);
      number->constant = token.value;
      Skip();
      return number;
    }
    default: break;
  }
  if (token.IsOperator("[")) return ParseListLiteral();
  if (token.IsOperator("{")) return ParseDictLiteral();
  if (!SkipOperator("(")) return Unexpected("a value");
  TupleRules rules;
  rules.in_parentheses = true;
  CORM_ASSIGN_OR_RETURN(Expr * inside, ParseTuple(rules));
  CORM_RETURN_IF_ERROR(Expect(")"));
  return inside;
}

Parser::ExprResult Parser::ParseNameOrWord(bool may_reference) {
  const Token token = current();
  Skip();
  Expr* expr = NewExpr(ExprKind::kConstant, token.line);
  const absl::string_view word = token.text;
  if (word == "true" || word == "True" || word == "false" || word == "False") {
    expr->constant = BoolValue(word == "true" || word == "True");
  } else if (word == "none" || word == "None") {
    expr->constant = NoneValue();
  } else if (may_reference && SkipOperator(".")) {
    expr->kind = ExprKind::kReference;
    expr->id = out_.Intern(word);
    CORM_ASSIGN_OR_RETURN(expr->name, ExpectName());
  } else {
    expr->kind = ExprKind::kName;
    expr->name = word;
    expr->id = out_.Intern(word);
    NoteSpecialName(word);
  }
  return expr;
}

Parser::ExprResult Parser::ParseText() {
  Expr* text = NewExpr(ExprKind::kConstant, current().line);
  text->constant = current().value;
  Skip();
  if (current().kind != TokenKind::kText) return text;
  std::string joined(text->constant.AsText());  // Neighbouring strings are one.
  while (current().kind == TokenKind::kText) {
    absl::StrAppend(&joined, current().value.AsText());
    Skip();
  }
  text->constant = out_.constants.NewText(joined);
  return text;
}

Parser::ExprResult Parser::ParseListLiteral() {
  Expr* list = NewExpr(ExprKind::kList, current().line);
  CORM_RETURN_IF_ERROR(Expect("["));
  while (!current().IsOperator("]")) {
    if (!list->parts.empty()) CORM_RETURN_IF_ERROR(Expect(","));
    if (current().IsOperator("]")) break;
    CORM_ASSIGN_OR_RETURN(Expr * item, ParseExpression());
    list->parts.push_back(item);
  }
  CORM_RETURN_IF_ERROR(Expect("]"));
  return list;
}

Parser::ExprResult Parser::ParseDictLiteral() {
  Expr* dict = NewExpr(ExprKind::kDict, current().line);
  CORM_RETURN_IF_ERROR(Expect("{"));
  while (!current().IsOperator("}")) {
    if (!dict->parts.empty()) CORM_RETURN_IF_ERROR(Expect(","));
    if (current().IsOperator("}")) break;
    CORM_ASSIGN_OR_RETURN(Expr * key, ParseExpression());
    CORM_RETURN_IF_ERROR(Expect(":"));
    CORM_ASSIGN_OR_RETURN(Expr * value, ParseExpression());
    dict->parts.push_back(key);
    dict->parts.push_back(value);
  }
  CORM_RETURN_IF_ERROR(Expect("}"));
  return dict;
}

}  // namespace cormorant::jinja
