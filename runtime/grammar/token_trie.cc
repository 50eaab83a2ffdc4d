// Builds the tree from tokens in the order of their bytes. See token_trie.h.
#include "runtime/grammar/token_trie.h"

#include <algorithm>
#include <utility>

namespace cormorant {

bool TokenTrie::has(uint32_t id) const {
  const Tokenizer& tokenizer = *tokenizer_;
  if (tokenizer.Piece(id).empty() || tokenizer.is_special(id)) return false;
  if (tokenizer.is_end_of_generation(id)) return false;
  if (tokenizer.vocabulary().types[id] == TokenType::kUnused) return false;
  return !tokenizer.is_cut_out(id) || !tokenizer.puts_space_first();
}

TokenTrie::TokenTrie(std::shared_ptr<const Tokenizer> tokenizer)
    : tokenizer_(std::move(tokenizer)) {
  for (uint32_t id = 0; id < tokenizer_->size(); ++id) {
    if (has(id)) tokens_.push_back(id);
  }
  const auto piece = [&](uint32_t id) { return tokenizer_->Piece(id); };
  std::sort(tokens_.begin(), tokens_.end(), [&](uint32_t a, uint32_t b) {
    return piece(a) != piece(b) ? piece(a) < piece(b) : a < b;
  });
  std::vector<uint32_t> path;  // Nodes down to the last token's.
  const auto leave = [&](size_t depth) {
    for (; path.size() > depth; path.pop_back()) {
      nodes_[path.back()].after = static_cast<uint32_t>(nodes_.size());
    }
  };
  absl::string_view before;
  for (uint32_t i = 0; i < tokens_.size(); ++i) {
    const absl::string_view bytes = piece(tokens_[i]);
    const size_t most = std::min(bytes.size(), before.size());
    size_t shared = 0;
    while (shared < most && bytes[shared] == before[shared]) ++shared;
    leave(shared);
    for (size_t at = shared; at < bytes.size(); ++at) {
      path.push_back(static_cast<uint32_t>(nodes_.size()));
      nodes_.push_back({.first_token = i,
                        .depth = static_cast<uint32_t>(at + 1),
                        .byte = static_cast<uint8_t>(bytes[at])});
    }
    depth_max_ = std::max(depth_max_, static_cast<uint32_t>(bytes.size()));
    before = bytes;
  }
  leave(0);
  nodes_.push_back({.first_token = static_cast<uint32_t>(tokens_.size())});
}

}  // namespace cormorant
