// Fuzzes grammars: the input is GBNF, or a JSON Schema where it begins with a brace, and behind a
// line of === a text to match.
//
// Whatever they are there is a Status or a grammar; the text is read, and then a text is written
// along what the grammar allows, where the mask of all tokens and the answers about single ones
// must agree and something must be allowed.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/string_view.h"
#include "runtime/grammar/grammar.h"
#include "runtime/grammar/token_filter.h"
#include "tests/golden/small_vocabulary.h"

namespace {

using cormorant::Automaton;

void Require(bool is_true) {
  if (!is_true) __builtin_trap();
}

std::shared_ptr<const cormorant::TokenTrie> MakeTrie() {
  cormorant::Vocabulary vocabulary = cormorant::testing::SmallVocabulary();
  const uint32_t end =
      cormorant::testing::AddToken("<|end|>", cormorant::TokenType::kControl, &vocabulary);
  vocabulary.end_of_generation = {end};
  return std::make_shared<cormorant::TokenTrie>(
      *cormorant::Tokenizer::Create(std::move(vocabulary)));
}

/// Goes on from where a text may go, in a way that depends on its bytes.
void Write(std::shared_ptr<const cormorant::Grammar> grammar, absl::string_view seed) {
  static const auto& trie = *new std::shared_ptr<const cormorant::TokenTrie>(MakeTrie());
  const auto over = std::make_shared<cormorant::TokenGrammar>(std::move(grammar), trie);
  cormorant::TokenFilter filter(over, false);
  const auto size = static_cast<uint32_t>(trie->tokenizer().size());
  uint32_t random = 1;
  for (size_t step = 0; step < 24; ++step) {
    const std::span<const uint64_t> mask = filter.Mask();
    if (!filter.status().ok()) return;
    random =
        random * 1664525 + 1013904223 + (step < seed.size() ? static_cast<uint8_t>(seed[step]) : 0);
    uint32_t chosen = size;
    for (uint32_t i = 0; i < size; ++i) {
      const uint32_t id = (random / 7 + i) % size;
      const bool is_set = (mask[id / 64] >> (id % 64) & 1) != 0;
      if (i % 16 == 0) Require(filter.Allows(id) == is_set);
      if (is_set && chosen == size) chosen = id;
    }
    if (!filter.status().ok()) return;
    Require(chosen < size || step > 0);  // Later the depth may be all used.
    if (chosen == size || trie->tokenizer().is_end_of_generation(chosen)) return;
    filter.Accept(chosen);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  constexpr size_t kBytesMax = 4096;  // A run is short, and what can be said in so much is enough.
  const absl::string_view input(reinterpret_cast<const char*>(data), std::min(size, kBytesMax));
  const size_t cut = input.find("\n===\n");
  const absl::string_view source = input.substr(0, cut);
  const absl::string_view text = cut == input.npos ? "" : input.substr(cut + 5);
  const auto grammar = absl::StartsWith(source, "{") ? cormorant::ParseJsonSchema(source)
                                                     : cormorant::ParseGbnf(source);
  if (!grammar.ok()) return 0;
  auto automaton = std::make_unique<Automaton>(*grammar);
  Require(automaton->start() != Automaton::kDead || !automaton->status().ok() ||
          (*grammar)->states() > Automaton::kDepthMax);
  uint32_t state = automaton->start();
  for (const char byte : text.substr(0, 256)) {
    state = automaton->Next(state, static_cast<uint8_t>(byte));
    if (state == Automaton::kDead) break;
  }
  if (state != Automaton::kDead && automaton->status().ok()) {
    Automaton other(*grammar);
    Require(other.can_end(other.CopyState(*automaton, state)) == automaton->can_end(state));
  }
  Write(*grammar, text);
  return 0;
}
