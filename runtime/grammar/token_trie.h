// All tokens of a vocabulary as one tree of bytes, to be walked beside an automaton.
//
// Tokens that are text: control and unknown ones, unused ones and those that end generation are
// left out, as are those that are cut out of text where white space behind them is not kept. The
// tree is one list in the order of a walk: a node, what hangs on it, the next. Immutable.
#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/strings/string_view.h"
#include "runtime/text/tokenizer.h"

namespace cormorant {

class TokenTrie {
 public:
  struct Node {
    uint32_t after = 0;        // The first node that does not hang on this one.
    uint32_t first_token = 0;  // In the list of tokens; the next node's is the end.
    uint32_t depth = 0;        // Bytes up to here: 1 and more.
    uint8_t byte = 0;
  };

  explicit TokenTrie(std::shared_ptr<const Tokenizer> tokenizer);

  const Tokenizer& tokenizer() const { return *tokenizer_; }
  std::span<const Node> nodes() const { return std::span(nodes_).first(nodes_.size() - 1); }
  /// Tokens whose bytes end at a node.
  std::span<const uint32_t> tokens_at(size_t node) const {
    const uint32_t first = nodes_[node].first_token;
    return std::span(tokens_).subspan(first, nodes_[node + 1].first_token - first);
  }
  uint32_t depth_max() const { return depth_max_; }
  /// Whether a token is in the tree.
  bool has(uint32_t id) const;

 private:
  const std::shared_ptr<const Tokenizer> tokenizer_;
  std::vector<Node> nodes_;  // And one more behind the last.
  std::vector<uint32_t> tokens_;
  uint32_t depth_max_ = 0;
};

}  // namespace cormorant
