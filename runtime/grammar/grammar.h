// A compiled grammar: which texts there may be, as a pushdown automaton over bytes.
//
// Each rule is a finite automaton whose edges read a byte, read nothing, or read a text of another
// rule. Characters are ranges of UTF-8 bytes, so a text may be cut anywhere, as tokens cut it.
// Whatever a grammar is made from, after Build(): from every state some text leads on to an end,
// and no rule comes back to itself without reading anything (no left recursion), so that the
// states that are reached without reading are finitely many. See automaton.h for what runs it.
//
// Immutable: any number of threads may use one Grammar.
#pragma once
#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace cormorant {

/// Of a grammar's text, or a schema's.
inline constexpr size_t kGrammarBytesMax = size_t{1} << 20;
/// Groups, or schemas, inside each other.
inline constexpr uint32_t kGrammarDepthMax = 128;
/// Of a compiled grammar; repetitions are copies of what is repeated.
inline constexpr uint32_t kGrammarStatesMax = 1u << 18;

class Grammar {
 public:
  enum class EdgeKind : uint8_t { kBytes, kNothing, kRule };
  struct Edge {
    EdgeKind kind = EdgeKind::kNothing;
    uint8_t low = 0, high = 0;  // kBytes: one of these, both included.
    uint32_t rule = 0;          // kRule: the state in which the rule begins.
    uint32_t to = 0;
  };

  uint32_t root() const { return root_; }
  size_t states() const { return ends_.size(); }
  std::span<const Edge> edges(uint32_t state) const {
    return std::span(edges_).subspan(first_edge_[state],
                                     first_edge_[state + 1] - first_edge_[state]);
  }
  /// A text of the state's rule may end here.
  bool ends(uint32_t state) const { return ends_[state]; }
  /// It must: nothing more is read.
  bool only_ends(uint32_t state) const { return only_ends_[state]; }
  /// Bytes that no state tells apart are of one class, below class_count().
  uint8_t class_of(uint8_t byte) const { return classes_[byte]; }
  uint32_t class_count() const { return class_count_; }
  /// Some byte of the class.
  uint8_t byte_of(uint32_t byte_class) const { return class_bytes_[byte_class]; }

 private:
  friend class GrammarCompiler;
  Grammar() = default;

  uint32_t root_ = 0;
  std::vector<uint32_t> first_edge_;  // By state, and one more.
  std::vector<Edge> edges_;
  std::vector<bool> ends_, only_ends_;
  std::array<uint8_t, 256> classes_{}, class_bytes_{};
  uint32_t class_count_ = 0;
};

/// From GBNF, the notation of llama.cpp: rules `name ::= ...`, of which `root` is where a text
/// begins; "literals", [classes] with ranges and ^, `.`, groups, | and * + ? {m} {m,} {m,n};
/// escapes \n \r \t \\ \" \[ \] \- \^ \xNN \uNNNN \UNNNNNNNN; # comments. A rule may go on in the
/// next line behind `::=` or |, before |, and in parentheses. INVALID_ARGUMENT names line and
/// column; RESOURCE_EXHAUSTED for more than the limits above.
absl::StatusOr<std::shared_ptr<const Grammar>> ParseGbnf(absl::string_view text);

/// The JSON texts that a JSON Schema allows, in a usual form: little white space, properties in the
/// order of the schema, properties that it does not name only where additionalProperties says so,
/// numbers of at most 16 digits before and after the point. What it accepts is valid by the schema.
/// INVALID_ARGUMENT for what is not a schema, UNIMPLEMENTED for a keyword that is not supported;
/// both name the place, as "#/properties/a/items".
absl::StatusOr<std::shared_ptr<const Grammar>> ParseJsonSchema(absl::string_view text);

}  // namespace cormorant
