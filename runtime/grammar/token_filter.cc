// Masks and the way through states. See token_filter.h.
#include "runtime/grammar/token_filter.h"

#include <utility>

#include "absl/strings/strip.h"

namespace cormorant {
namespace {

void SetBit(uint32_t id, std::vector<uint64_t>* mask) {
  (*mask)[id / 64] |= uint64_t{1} << (id % 64);
}

}  // namespace

TokenGrammar::TokenGrammar(std::shared_ptr<const Grammar> grammar,
                           std::shared_ptr<const TokenTrie> trie)
    : grammar_(std::move(grammar)),
      trie_(std::move(trie)),
      mask_words_((trie_->tokenizer().size() + 63) / 64),
      known_(std::make_shared<Known>(grammar_)) {}

bool TokenGrammar::is_full(const Known& known) const {
  const size_t mask_bytes = known.masks.size() * mask_words_ * sizeof(uint64_t);
  return known.automaton.is_full() || mask_bytes > kMaskBytesMax;
}

const std::shared_ptr<TokenGrammar::Known>& TokenGrammar::Fresh() {
  if (is_full(*known_)) known_ = std::make_shared<Known>(grammar_);
  return known_;
}

TokenFilter::TokenFilter(std::shared_ptr<TokenGrammar> grammar, bool begins)
    : grammar_(std::move(grammar)),
      trie_(*grammar_->trie_),
      begins_(begins && trie_.tokenizer().puts_space_first()) {
  const std::lock_guard lock(grammar_->mutex_);
  known_ = grammar_->Fresh();
  state_ = known_->automaton.start();
  status_ = known_->automaton.status();
}

void TokenFilter::Settle() {
  if (!grammar_->is_full(*known_)) return;
  const std::shared_ptr<TokenGrammar::Known> fresh = grammar_->Fresh();
  state_ = fresh->automaton.CopyState(known_->automaton, state_);
  known_ = fresh;
}

uint32_t TokenFilter::StateAfter(uint32_t id) {
  absl::string_view bytes = trie_.tokenizer().Piece(id);
  if (begins_) absl::ConsumePrefix(&bytes, " ");
  const uint32_t state = known_->automaton.Read(state_, bytes);
  status_.Update(known_->automaton.status());
  return state;
}

bool TokenFilter::Allows(uint32_t id) {
  const std::lock_guard lock(grammar_->mutex_);
  Settle();
  if (trie_.tokenizer().is_end_of_generation(id)) return known_->automaton.can_end(state_);
  return trie_.has(id) && StateAfter(id) != Automaton::kDead;
}

std::vector<uint64_t> TokenFilter::MakeMask() {
  std::vector<uint64_t> mask(grammar_->mask_words_);
  if (known_->automaton.can_end(state_)) {
    for (const uint32_t id : trie_.tokenizer().vocabulary().end_of_generation) SetBit(id, &mask);
  }
  Automaton& automaton = known_->automaton;
  std::vector<uint32_t> states(trie_.depth_max() + 1);  // By bytes of the token.
  states[0] = state_;
  const std::span<const TokenTrie::Node> nodes = trie_.nodes();
  for (size_t i = 0; i < nodes.size();) {
    const TokenTrie::Node& node = nodes[i];
    const bool is_left_out = begins_ && node.depth == 1 && node.byte == ' ';
    const uint32_t before = states[node.depth - 1];
    const uint32_t state = is_left_out ? before : automaton.Next(before, node.byte);
    if (state == Automaton::kDead) {
      i = node.after;
      continue;
    }
    states[node.depth] = state;
    for (const uint32_t id : trie_.tokens_at(i)) SetBit(id, &mask);
    ++i;
  }
  status_.Update(automaton.status());
  return mask;
}

std::span<const uint64_t> TokenFilter::Mask() {
  const std::lock_guard lock(grammar_->mutex_);
  Settle();
  if (begins_) {
    if (first_mask_.empty()) first_mask_ = MakeMask();
    return first_mask_;
  }
  std::vector<uint64_t>& mask = known_->masks[state_];
  if (mask.empty()) mask = MakeMask();
  return mask;
}

bool TokenFilter::has_mask() {
  const std::lock_guard lock(grammar_->mutex_);
  return begins_ ? !first_mask_.empty() : known_->masks.contains(state_);
}

void TokenFilter::Accept(uint32_t id) {
  const std::lock_guard lock(grammar_->mutex_);
  if (trie_.tokenizer().is_end_of_generation(id)) return;
  Settle();
  state_ = StateAfter(id);
  begins_ = false;
}

bool TokenFilter::can_end() {
  const std::lock_guard lock(grammar_->mutex_);
  return known_->automaton.can_end(state_);
}

}  // namespace cormorant
