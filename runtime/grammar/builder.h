// Expressions and rules, compiled to a Grammar: what its notations are made into first.
//
// Expressions are numbers of one builder and may be used any number of times. Nothing is checked
// before Build().
#pragma once
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "runtime/grammar/grammar.h"

namespace cormorant {

/// Code points, both included.
struct CharRange {
  uint32_t first = 0, last = 0;
};
inline constexpr uint32_t kCharMax = 0x10ffff;

/// Ascending, apart from each other, without surrogates, which UTF-8 has no bytes for.
std::vector<CharRange> Normalized(std::vector<CharRange> ranges);
/// All other characters.
std::vector<CharRange> Inverted(std::vector<CharRange> ranges);

class GrammarBuilder {
 public:
  using Expr = uint32_t;
  using Rule = uint32_t;
  static constexpr uint32_t kUnlimited = std::numeric_limits<uint32_t>::max();

  /// These bytes.
  Expr Text(absl::string_view bytes);
  /// One character of these; of none, nothing matches.
  Expr Chars(std::vector<CharRange> ranges);
  Expr Sequence(std::vector<Expr> parts);
  /// Of no parts, nothing matches.
  Expr Choice(std::vector<Expr> parts);
  Expr Repeat(Expr what, uint32_t least, uint32_t most = kUnlimited);
  Expr Optional(Expr what) { return Repeat(what, 0, 1); }
  /// A text of a rule.
  Expr Of(Rule rule);

  /// The rule of this name; made where there is none yet.
  Rule Named(absl::string_view name);
  void Define(Rule rule, Expr expr) { rules_[rule].expr = expr; }
  bool is_defined(Rule rule) const { return rules_[rule].expr != kNone; }
  const std::string& name(Rule rule) const { return rules_[rule].name; }

  /// Every rule must be defined. INVALID_ARGUMENT where the root matches no text, or a rule begins
  /// with itself; RESOURCE_EXHAUSTED for too many states.
  absl::StatusOr<std::shared_ptr<const Grammar>> Build(Rule root) const;

 private:
  friend class GrammarCompiler;
  static constexpr Expr kNone = std::numeric_limits<Expr>::max();
  enum class Kind : uint8_t { kText, kChars, kSequence, kChoice, kRepeat, kRule };
  struct Node {
    Kind kind = Kind::kText;
    std::string text = {};
    std::vector<CharRange> chars = {};
    std::vector<Expr> parts = {};
    uint32_t least = 0, most = 0;
    Rule rule = 0;
  };
  struct RuleDef {
    std::string name;
    Expr expr = kNone;
  };
  Expr Add(Node node);

  std::vector<Node> nodes_;
  std::vector<RuleDef> rules_;
  absl::flat_hash_map<std::string, Rule> by_name_;
};

}  // namespace cormorant
