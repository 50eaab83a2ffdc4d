// Expressions. See builder.h; compiler.cc builds.
#include "runtime/grammar/builder.h"

#include <algorithm>

namespace cormorant {
namespace {

constexpr CharRange kSurrogates = {0xd800, 0xdfff};

}  // namespace

std::vector<CharRange> Normalized(std::vector<CharRange> ranges) {
  std::sort(ranges.begin(), ranges.end(),
            [](const CharRange& a, const CharRange& b) { return a.first < b.first; });
  std::vector<CharRange> joined;
  for (const CharRange& range : ranges) {
    if (!joined.empty() && range.first <= joined.back().last + 1) {
      joined.back().last = std::max(joined.back().last, range.last);
    } else {
      joined.push_back(range);
    }
  }
  std::vector<CharRange> valid;
  for (const CharRange& range : joined) {
    const CharRange below = {range.first, std::min(range.last, kSurrogates.first - 1)};
    const CharRange above = {std::max(range.first, kSurrogates.last + 1), range.last};
    if (below.first <= below.last) valid.push_back(below);
    if (above.first <= above.last) valid.push_back(above);
  }
  return valid;
}

std::vector<CharRange> Inverted(std::vector<CharRange> ranges) {
  std::vector<CharRange> others;
  uint32_t next = 0;
  for (const CharRange& range : Normalized(std::move(ranges))) {
    if (next < range.first) others.push_back({next, range.first - 1});
    next = range.last + 1;
  }
  if (next <= kCharMax) others.push_back({next, kCharMax});
  return Normalized(std::move(others));
}

GrammarBuilder::Expr GrammarBuilder::Add(Node node) {
  nodes_.push_back(std::move(node));
  return static_cast<Expr>(nodes_.size() - 1);
}

GrammarBuilder::Expr GrammarBuilder::Text(absl::string_view bytes) {
  return Add({.kind = Kind::kText, .text = std::string(bytes)});
}

GrammarBuilder::Expr GrammarBuilder::Chars(std::vector<CharRange> ranges) {
  return Add({.kind = Kind::kChars, .chars = Normalized(std::move(ranges))});
}

GrammarBuilder::Expr GrammarBuilder::Sequence(std::vector<Expr> parts) {
  return Add({.kind = Kind::kSequence, .parts = std::move(parts)});
}

GrammarBuilder::Expr GrammarBuilder::Choice(std::vector<Expr> parts) {
  return Add({.kind = Kind::kChoice, .parts = std::move(parts)});
}

GrammarBuilder::Expr GrammarBuilder::Repeat(Expr what, uint32_t least, uint32_t most) {
  return Add({.kind = Kind::kRepeat, .parts = {what}, .least = least, .most = most});
}

GrammarBuilder::Expr GrammarBuilder::Of(Rule rule) {
  return Add({.kind = Kind::kRule, .rule = rule});
}

GrammarBuilder::Rule GrammarBuilder::Named(absl::string_view name) {
  const auto [it, is_new] =
      by_name_.try_emplace(std::string(name), static_cast<Rule>(rules_.size()));
  if (is_new) rules_.push_back({.name = it->first});
  return it->second;
}

}  // namespace cormorant
