// Expressions, from the weakest binding to the strongest. See parser.h.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "runtime/base/status.h"
#include "runtime/text/template/parser.h"

namespace cormorant::jinja {

Expr* Parser::NewExpr(ExprKind kind, uint32_t line) {
  Expr& expr = out_.expressions.emplace_back();
  expr.kind = kind;
  expr.line = line;
  return &expr;
}

void Parser::NoteUnknown(absl::string_view what, absl::string_view name) {
  unknown_.push_back({frame_, Fail(absl::StrCat("there is no ", what, " '", name, "'"))});
}

void Parser::ForgiveUnknown(size_t mark) {
  const auto is_forgiven = [this](const UnknownName& u) { return u.frame == frame_; };
  unknown_.erase(std::remove_if(unknown_.begin() + mark, unknown_.end(), is_forgiven),
                 unknown_.end());
}

void Parser::NoteSpecialName(absl::string_view name) {
  for (Statement* macro : macros_) {
    macro->uses_caller |= name == "caller";
    macro->uses_varargs |= name == "varargs";
    macro->uses_kwargs |= name == "kwargs";
  }
}

Parser::ExprResult Parser::ParseTuple(const TupleRules& rules) {
  const Nesting nesting(this);
  if (nesting.is_too_deep()) return TooDeep();
  Expr* tuple = NewExpr(ExprKind::kTuple, current().line);
  bool has_comma = false;
  while (true) {
    const TokenKind kind = current().kind;
    const bool is_end = kind == TokenKind::kOutputEnd || kind == TokenKind::kTagEnd ||
                        current().IsOperator(")") ||
                        (!rules.end_word.empty() && current().IsName(rules.end_word));
    if (is_end) break;
    Expr* part = nullptr;
    if (rules.only_targets) {
      CORM_ASSIGN_OR_RETURN(part, ParsePrimary(rules.may_reference));
    } else if (rules.may_be_conditional) {
      CORM_ASSIGN_OR_RETURN(part, ParseConditional());
    } else {
      CORM_ASSIGN_OR_RETURN(part, ParseOr());
    }
    tuple->parts.push_back(part);
    if (!SkipOperator(",")) break;
    has_comma = true;
  }
  if (has_comma) return tuple;
  if (!tuple->parts.empty()) return const_cast<Expr*>(tuple->parts[0]);
  if (!rules.in_parentheses) return Unexpected("an expression");
  return tuple;
}

Parser::ExprResult Parser::ParseTarget(bool may_reference, absl::string_view end_word) {
  TupleRules rules;
  rules.only_targets = true;
  rules.may_reference = may_reference;
  rules.end_word = end_word;
  CORM_ASSIGN_OR_RETURN(Expr * target, ParseTuple(rules));
  std::vector<const Expr*> open = {target};
  while (!open.empty()) {
    const Expr* part = open.back();
    open.pop_back();
    if (part->kind == ExprKind::kTuple) {
      open.insert(open.end(), part->parts.begin(), part->parts.end());
    } else if (part->kind != ExprKind::kName && part->kind != ExprKind::kReference) {
      return Fail("only names, tuples of names and attributes of a namespace can be assigned to");
    } else if (part->id == out_.loop && part->kind == ExprKind::kName && !may_reference) {
      return Fail("'loop' cannot be the variable of a loop");
    }
  }
  return target;
}

Parser::ExprResult Parser::ParseConditional() {
  const Nesting nesting(this);
  if (nesting.is_too_deep()) return TooDeep();
  const size_t mark = unknown_.size();
  CORM_ASSIGN_OR_RETURN(Expr * value, ParseOr());
  while (current().IsName("if")) {
    Expr* conditional = NewExpr(ExprKind::kConditional, current().line);
    Skip();
    CORM_ASSIGN_OR_RETURN(Expr * test, ParseOr());
    Expr* otherwise = nullptr;
    if (SkipName("else")) {
      CORM_ASSIGN_OR_RETURN(otherwise, ParseConditional());
    }
    conditional->parts = {test, value, otherwise};
    value = conditional;
    ForgiveUnknown(mark);
  }
  return value;
}

Parser::ExprResult Parser::ParseOr() {
  CORM_ASSIGN_OR_RETURN(Expr * left, ParseAnd());
  while (current().IsName("or")) {
    Expr* both = NewExpr(ExprKind::kOr, current().line);
    Skip();
    CORM_ASSIGN_OR_RETURN(Expr * right, ParseAnd());
    both->parts = {left, right};
    left = both;
  }
  return left;
}

Parser::ExprResult Parser::ParseAnd() {
  CORM_ASSIGN_OR_RETURN(Expr * left, ParseNot());
  while (current().IsName("and")) {
    Expr* both = NewExpr(ExprKind::kAnd, current().line);
    Skip();
    CORM_ASSIGN_OR_RETURN(Expr * right, ParseNot());
    both->parts = {left, right};
    left = both;
  }
  return left;
}

Parser::ExprResult Parser::ParseNot() {
  const Nesting nesting(this);
  if (nesting.is_too_deep()) return TooDeep();
  if (!current().IsName("not")) return ParseComparison();
  Expr* negation = NewExpr(ExprKind::kNot, current().line);
  Skip();
  CORM_ASSIGN_OR_RETURN(Expr * value, ParseNot());
  negation->parts = {value};
  return negation;
}

bool Parser::TakeComparison(Operator* found) {
  constexpr std::pair<absl::string_view, Operator> kSigns[] = {
      {"==", Operator::kEqual},     {"!=", Operator::kNotEqual}, {"<", Operator::kLess},
      {"<=", Operator::kLessEqual}, {">", Operator::kGreater},   {">=", Operator::kGreaterEqual}};
  for (const auto& [sign, op] : kSigns) {
    if (SkipOperator(sign)) {
      *found = op;
      return true;
    }
  }
  if (SkipName("in")) {
    *found = Operator::kIn;
    return true;
  }
  if (!current().IsName("not") || !next().IsName("in")) return false;
  Skip();
  Skip();
  *found = Operator::kNotIn;
  return true;
}

Parser::ExprResult Parser::ParseComparison() {
  const uint32_t line = current().line;
  CORM_ASSIGN_OR_RETURN(Expr * first, ParseSum());
  Operator op;
  Expr* comparison = nullptr;
  while (TakeComparison(&op)) {
    if (comparison == nullptr) {
      comparison = NewExpr(ExprKind::kCompare, line);
      comparison->parts = {first};
    }
    CORM_ASSIGN_OR_RETURN(Expr * operand, ParseSum());
    comparison->operators.push_back(op);
    comparison->parts.push_back(operand);
  }
  return comparison == nullptr ? first : comparison;
}

Parser::ExprResult Parser::ParseSum() {
  CORM_ASSIGN_OR_RETURN(Expr * left, ParseConcat());
  while (current().IsOperator("+") || current().IsOperator("-")) {
    Expr* sum = NewExpr(ExprKind::kBinary, current().line);
    sum->operators = {current().IsOperator("+") ? Operator::kAdd : Operator::kSubtract};
    Skip();
    CORM_ASSIGN_OR_RETURN(Expr * right, ParseConcat());
    sum->parts = {left, right};
    left = sum;
  }
  return left;
}

Parser::ExprResult Parser::ParseConcat() {
  CORM_ASSIGN_OR_RETURN(Expr * first, ParseProduct());
  if (!current().IsOperator("~")) return first;
  Expr* concat = NewExpr(ExprKind::kConcat, current().line);
  concat->parts = {first};
  while (SkipOperator("~")) {
    CORM_ASSIGN_OR_RETURN(Expr * part, ParseProduct());
    concat->parts.push_back(part);
  }
  return concat;
}

Parser::ExprResult Parser::ParseProduct() {
  constexpr std::pair<absl::string_view, Operator> kSigns[] = {{"*", Operator::kMultiply},
                                                               {"/", Operator::kDivide},
                                                               {"//", Operator::kFloorDivide},
                                                               {"%", Operator::kModulo}};
  CORM_ASSIGN_OR_RETURN(Expr * left, ParsePower());
  while (true) {
    const auto* sign = std::find_if(std::begin(kSigns), std::end(kSigns), [&](const auto& pair) {
      return current().IsOperator(pair.first);
    });
    if (sign == std::end(kSigns)) return left;
    Expr* product = NewExpr(ExprKind::kBinary, current().line);
    product->operators = {sign->second};
    Skip();
    CORM_ASSIGN_OR_RETURN(Expr * right, ParsePower());
    product->parts = {left, right};
    left = product;
  }
}

Parser::ExprResult Parser::ParsePower() {
  CORM_ASSIGN_OR_RETURN(Expr * left, ParseUnary(/*with_filters=*/true));
  while (current().IsOperator("**")) {  // From the left: 2**3**2 is 64, unlike in Python.
    Expr* power = NewExpr(ExprKind::kBinary, current().line);
    power->operators = {Operator::kPower};
    Skip();
    CORM_ASSIGN_OR_RETURN(Expr * right, ParseUnary(/*with_filters=*/true));
    power->parts = {left, right};
    left = power;
  }
  return left;
}

Parser::ExprResult Parser::ParseUnary(bool with_filters) {
  const Nesting nesting(this);
  if (nesting.is_too_deep()) return TooDeep();
  Expr* value = nullptr;
  if (current().IsOperator("-") || current().IsOperator("+")) {
    value =
        NewExpr(current().IsOperator("-") ? ExprKind::kNegate : ExprKind::kPlus, current().line);
    Skip();
    CORM_ASSIGN_OR_RETURN(Expr * operand, ParseUnary(/*with_filters=*/false));
    value->parts = {operand};
  } else {
    CORM_ASSIGN_OR_RETURN(value, ParsePrimary(/*may_reference=*/false));
  }
  CORM_ASSIGN_OR_RETURN(value, ParsePostfix(value));
  if (!with_filters) return value;
  return ParseFilters(value);
}

}  // namespace cormorant::jinja
