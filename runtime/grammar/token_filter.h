// Which tokens may come next: a grammar over the tokens of a vocabulary.
//
// A TokenGrammar is what all answers with one grammar and one vocabulary share: the states met so
// far, and of some of them the mask, one bit a token, found by a walk over the tree of all tokens
// beside the automaton. A TokenFilter is one answer's place in it. To ask about one token reads its
// bytes, some lookups; a mask takes a walk the first time its state is met, a millisecond or so,
// and nothing after that. So the sampler asks about the likeliest tokens first (sampler.h).
//
// Any number of threads may use one TokenGrammar, each with its own TokenFilter.
#pragma once
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "runtime/grammar/automaton.h"
#include "runtime/grammar/token_trie.h"

namespace cormorant {

class TokenGrammar {
 public:
  TokenGrammar(std::shared_ptr<const Grammar> grammar, std::shared_ptr<const TokenTrie> trie);

  const Grammar* grammar() const { return grammar_.get(); }

 private:
  friend class TokenFilter;
  static constexpr size_t kMaskBytesMax = size_t{32} << 20;
  /// States, until there are too many. Filters that are at one of them keep it.
  struct Known {
    explicit Known(std::shared_ptr<const Grammar> grammar) : automaton(std::move(grammar)) {}
    Automaton automaton;
    absl::flat_hash_map<uint32_t, std::vector<uint64_t>> masks;  // By state.
  };

  const std::shared_ptr<const Grammar> grammar_;
  const std::shared_ptr<const TokenTrie> trie_;
  const size_t mask_words_;
  bool is_full(const Known& known) const;
  /// What answers go on with; made anew when it is full. Under the lock.
  const std::shared_ptr<Known>& Fresh();

  std::mutex mutex_;
  std::shared_ptr<Known> known_;
};

class TokenFilter {
 public:
  /// `begins`: the first token's text is shown without a leading space, as Detokenizer has it.
  TokenFilter(std::shared_ptr<TokenGrammar> grammar, bool begins);

  /// Whether a token may come next. Tokens that end generation may where the grammar can end.
  bool Allows(uint32_t id);
  /// The same of all tokens: bit id % 64 of word id / 64. Valid until the next call.
  std::span<const uint64_t> Mask();
  /// Whether Mask() has been found before.
  bool has_mask();
  /// Takes an allowed token.
  void Accept(uint32_t id);
  /// Whether the text so far is complete.
  bool can_end();
  /// RESOURCE_EXHAUSTED once the text could be read in too many ways: what followed is not known.
  const absl::Status& status() const { return status_; }

 private:
  /// Goes on with states that are not too many, and no other answer's error.
  void Settle();
  /// The state behind a token that is text.
  uint32_t StateAfter(uint32_t id);
  std::vector<uint64_t> MakeMask();

  const std::shared_ptr<TokenGrammar> grammar_;
  const TokenTrie& trie_;
  std::shared_ptr<TokenGrammar::Known> known_;
  uint32_t state_;
  bool begins_;
  std::vector<uint64_t> first_mask_;  // While begins_.
  absl::Status status_;
};

}  // namespace cormorant
