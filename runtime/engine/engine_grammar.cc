// Grammars over the engine's vocabulary. See engine.h.
#include <algorithm>

#include "runtime/engine/engine.h"

namespace cormorant {
namespace {

// Each keeps up to some 50 MiB of states and masks.
constexpr size_t kGrammarsMax = 4;

}  // namespace

std::shared_ptr<TokenGrammar> Engine::GrammarFor(const std::shared_ptr<const Grammar>& grammar) {
  const std::lock_guard lock(grammars_mutex_);
  const auto known = std::find_if(grammars_.begin(), grammars_.end(), [&](const auto& other) {
    return other->grammar() == grammar.get();
  });
  std::shared_ptr<TokenGrammar> found;
  if (known != grammars_.end()) {
    found = *known;
    grammars_.erase(known);
  } else {
    if (trie_ == nullptr) trie_ = std::make_shared<TokenTrie>(tokenizer_);
    found = std::make_shared<TokenGrammar>(grammar, trie_);
  }
  grammars_.push_front(found);
  if (grammars_.size() > kGrammarsMax) grammars_.pop_back();
  return found;
}

}  // namespace cormorant
