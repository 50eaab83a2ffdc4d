// What follows a value: attributes, subscripts, calls, filters and tests. See parser.h.
#include "absl/strings/str_cat.h"
#include "runtime/base/status.h"
#include "runtime/text/template/parser.h"

namespace cormorant::jinja {

Parser::ExprResult Parser::ParsePostfix(Expr* expr) {
  while (true) {
    if (current().IsOperator(".") || current().IsOperator("[")) {
      CORM_ASSIGN_OR_RETURN(expr, ParseSubscript(expr));
    } else if (current().IsOperator("(")) {
      Expr* call = NewExpr(ExprKind::kCall, current().line);
      call->parts = {expr};
      CORM_RETURN_IF_ERROR(ParseArguments(call));
      expr = call;
    } else {
      return expr;
    }
  }
}

Parser::ExprResult Parser::ParseFilters(Expr* expr) {
  while (true) {
    if (SkipOperator("|")) {
      CORM_ASSIGN_OR_RETURN(expr, ParseFilter(expr));
    } else if (current().IsName("is")) {
      CORM_ASSIGN_OR_RETURN(expr, ParseTest(expr));
    } else if (current().IsOperator("(")) {
      Expr* call = NewExpr(ExprKind::kCall, current().line);
      call->parts = {expr};
      CORM_RETURN_IF_ERROR(ParseArguments(call));
      expr = call;
    } else {
      return expr;
    }
  }
}

Parser::ExprResult Parser::ParseFilter(Expr* input) {
  Expr* filter = NewExpr(ExprKind::kFilter, current().line);
  filter->parts = {input};
  CORM_ASSIGN_OR_RETURN(filter->name, ExpectName());
  filter->native = FindFilter(filter->name);
  if (filter->native == nullptr) NoteUnknown("filter", filter->name);
  if (current().IsOperator("(")) CORM_RETURN_IF_ERROR(ParseArguments(filter));
  return filter;
}

bool Parser::BeginsTestArgument() const {
  switch (current().kind) {
    case TokenKind::kName:
      return !current().IsName("else") && !current().IsName("or") && !current().IsName("and");
    case TokenKind::kText:
    case TokenKind::kInteger:
    case TokenKind::kFloat: return true;
    default: return current().IsOperator("[") || current().IsOperator("{");
  }
}

Parser::ExprResult Parser::ParseTest(Expr* input) {
  const uint32_t line = current().line;
  Skip();  // is
  const bool is_negated = SkipName("not");
  Expr* test = NewExpr(ExprKind::kTest, line);
  test->parts = {input};
  CORM_ASSIGN_OR_RETURN(test->name, ExpectName());
  test->native = FindTest(test->name);
  if (test->native == nullptr) NoteUnknown("test", test->name);
  if (current().IsOperator("(")) {
    CORM_RETURN_IF_ERROR(ParseArguments(test));
  } else if (BeginsTestArgument()) {
    if (current().IsName("is")) return Fail("tests cannot be chained with 'is'");
    CORM_ASSIGN_OR_RETURN(Expr * argument, ParsePrimary(/*may_reference=*/false));
    CORM_ASSIGN_OR_RETURN(argument, ParsePostfix(argument));
    test->parts.push_back(argument);
  }
  if (!is_negated) return test;
  Expr* negation = NewExpr(ExprKind::kNot, line);
  negation->parts = {test};
  return negation;
}

Parser::ExprResult Parser::ParseSubscript(Expr* input) {
  const uint32_t line = current().line;
  if (SkipOperator(".")) {
    if (current().kind == TokenKind::kInteger) {
      Expr* item = NewExpr(ExprKind::kItem, line);
      Expr* index = NewExpr(ExprKind::kConstant, line);
      index->constant = current().value;
      Skip();
      item->parts = {input, index};
      return item;
    }
    Expr* attribute = NewExpr(ExprKind::kAttribute, line);
    attribute->parts = {input};
    CORM_ASSIGN_OR_RETURN(attribute->name, ExpectName());
    return attribute;
  }
  CORM_RETURN_IF_ERROR(Expect("["));
  Expr* result = nullptr;
  if (current().IsOperator(":")) {
    CORM_ASSIGN_OR_RETURN(result, ParseSlice(input));
  } else {
    CORM_ASSIGN_OR_RETURN(Expr * index, ParseExpression());
    if (current().IsOperator(":")) {
      CORM_ASSIGN_OR_RETURN(result, ParseSlice(input));
      result->parts[1] = index;
    } else {
      result = NewExpr(ExprKind::kItem, line);
      result->parts = {input, index};
    }
  }
  if (current().IsOperator(",")) return Fail("several subscripts in one bracket");
  CORM_RETURN_IF_ERROR(Expect("]"));
  return result;
}

Parser::ExprResult Parser::ParseSlice(Expr* input) {
  Expr* slice = NewExpr(ExprKind::kSlice, current().line);
  slice->parts = {input, nullptr, nullptr, nullptr};
  for (size_t part = 2; part <= 3; ++part) {
    if (!SkipOperator(":")) break;
    if (current().IsOperator(":") || current().IsOperator("]")) continue;
    CORM_ASSIGN_OR_RETURN(slice->parts[part], ParseExpression());
  }
  return slice;
}

absl::Status Parser::ParseArgument(Expr* call) {
  if (SkipOperator("*")) {
    if (call->star != nullptr || call->star_star != nullptr) return Fail("'*' more than once");
    CORM_ASSIGN_OR_RETURN(call->star, ParseExpression());
  } else if (SkipOperator("**")) {
    if (call->star_star != nullptr) return Fail("'**' more than once");
    CORM_ASSIGN_OR_RETURN(call->star_star, ParseExpression());
  } else if (current().kind == TokenKind::kName && next().IsOperator("=")) {
    if (call->star_star != nullptr) return Fail("a named argument after '**'");
    const absl::string_view name = current().text;
    for (const auto& [other, value] : call->named) {
      if (other == name) return Fail(absl::StrCat("argument '", name, "' is given twice"));
    }
    Skip();
    Skip();
    CORM_ASSIGN_OR_RETURN(Expr * value, ParseExpression());
    call->named.emplace_back(name, value);
  } else {
    if (!call->named.empty() || call->star != nullptr || call->star_star != nullptr) {
      return Fail("an argument without name after named ones");
    }
    CORM_ASSIGN_OR_RETURN(Expr * value, ParseExpression());
    call->parts.push_back(value);
  }
  return absl::OkStatus();
}

absl::Status Parser::ParseArguments(Expr* call) {
  CORM_RETURN_IF_ERROR(Expect("("));
  bool is_first = true;
  while (!current().IsOperator(")")) {
    if (!is_first) CORM_RETURN_IF_ERROR(Expect(","));
    if (current().IsOperator(")")) break;
    CORM_RETURN_IF_ERROR(ParseArgument(call));
    is_first = false;
  }
  return Expect(")");
}

}  // namespace cormorant::jinja
