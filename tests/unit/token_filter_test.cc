// Tokens under a grammar: masks against what each token's bytes say, and what the sampler chooses.
//
// The mask of a state and the answer about one token come by different ways; both are compared with
// reading the whole text again, token for token, in random walks. The sampler must choose what it
// chooses with all other logits at minus infinity.
#include "runtime/grammar/token_filter.h"

#include <cmath>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/engine/sampler.h"
#include "runtime/grammar/grammar.h"
#include "tests/golden/small_vocabulary.h"

namespace cormorant {
namespace {

using testing::AddMerge;
using testing::AddToken;
using testing::SmallSentencePieces;
using testing::SmallVocabulary;

std::shared_ptr<const Tokenizer> Make(Vocabulary vocabulary) {
  auto tokenizer = Tokenizer::Create(std::move(vocabulary));
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
  return *std::move(tokenizer);
}

/// All bytes, some tokens that JSON is made of, and one that ends the turn.
std::shared_ptr<const Tokenizer> JsonTokens() {
  Vocabulary vocabulary = SmallVocabulary();
  for (const auto& [left, right] :
       std::vector<std::pair<std::string, std::string>>{{"\"", ","},
                                                        {"\"", ":"},
                                                        {"{", "\""},
                                                        {"}", "}"},
                                                        {"}", ","},
                                                        {"]", "}"},
                                                        {"1", "2"},
                                                        {"\xc3", "\xa9"},
                                                        {"\xf0", "\x9f"},
                                                        {"a", "b"},
                                                        {"ab", "\""},
                                                        {"ab\"", ":"}}) {
    AddMerge(left, right, &vocabulary);
  }
  const uint32_t end = AddToken("<|end|>", TokenType::kControl, &vocabulary);
  vocabulary.end_of_generation = {end};
  vocabulary.eos = end;
  return Make(std::move(vocabulary));
}

std::shared_ptr<TokenGrammar> Over(std::shared_ptr<const Tokenizer> tokenizer,
                                   absl::string_view gbnf) {
  const auto grammar = ParseGbnf(gbnf);
  EXPECT_TRUE(grammar.ok()) << grammar.status();
  return std::make_shared<TokenGrammar>(*grammar, std::make_shared<TokenTrie>(tokenizer));
}

std::shared_ptr<TokenGrammar> OverSchema(std::shared_ptr<const Tokenizer> tokenizer,
                                         absl::string_view schema) {
  const auto grammar = ParseJsonSchema(schema);
  EXPECT_TRUE(grammar.ok()) << grammar.status();
  return std::make_shared<TokenGrammar>(*grammar, std::make_shared<TokenTrie>(tokenizer));
}

bool Has(std::span<const uint64_t> mask, uint32_t id) {
  return (mask[id / 64] >> (id % 64) & 1) != 0;
}

TEST(TokenTrie, HoldsEveryTextTokenOnce) {
  const auto tokenizer = JsonTokens();
  const TokenTrie trie(tokenizer);
  std::set<uint32_t> seen;
  std::string path;
  for (size_t i = 0; i < trie.nodes().size(); ++i) {
    const TokenTrie::Node& node = trie.nodes()[i];
    path.resize(node.depth - 1);
    path += static_cast<char>(node.byte);
    for (const uint32_t id : trie.tokens_at(i)) {
      EXPECT_EQ(tokenizer->Piece(id), path);
      EXPECT_TRUE(seen.insert(id).second);
    }
    EXPECT_GT(node.after, i);
  }
  for (uint32_t id = 0; id < tokenizer->size(); ++id) EXPECT_EQ(seen.contains(id), trie.has(id));
  EXPECT_FALSE(trie.has(*tokenizer->vocabulary().eos));
  EXPECT_TRUE(trie.has('a'));
}

TEST(TokenFilter, MasksAreWhatReadingTheTextSays) {
  const auto tokenizer = JsonTokens();
  const auto grammar = ParseJsonSchema(
      R"({"properties": {"ab": {"type": "string", "maxLength": 4}, "l": {"items": {}}},
          "required": ["ab"]})");
  ASSERT_TRUE(grammar.ok());
  const auto over =
      std::make_shared<TokenGrammar>(*grammar, std::make_shared<TokenTrie>(tokenizer));
  std::mt19937 random(3);
  size_t ends = 0;
  for (int walk = 0; walk < 30; ++walk) {
    TokenFilter filter(over, true);
    std::string text;
    for (int step = 0; step < 60; ++step) {
      const auto span = filter.Mask();
      const std::vector<uint64_t> mask(span.begin(), span.end());
      EXPECT_TRUE(filter.has_mask());
      Automaton automaton(*grammar);
      const uint32_t state = automaton.Read(automaton.start(), text);
      std::vector<uint32_t> allowed;
      for (uint32_t id = 0; id < tokenizer->size(); ++id) {
        const bool is_end = tokenizer->is_end_of_generation(id);
        const bool fits = is_end ? automaton.can_end(state)
                                 : !tokenizer->is_special(id) && !tokenizer->Piece(id).empty() &&
                                       automaton.Read(state, tokenizer->Piece(id)) != 0;
        ASSERT_EQ(Has(mask, id), fits) << text << " then " << tokenizer->Piece(id);
        ASSERT_EQ(filter.Allows(id), fits) << text << " then " << tokenizer->Piece(id);
        if (fits) allowed.push_back(id);
      }
      ASSERT_FALSE(allowed.empty()) << text;
      const uint32_t id = allowed[random() % allowed.size()];
      if (tokenizer->is_end_of_generation(id)) {
        ++ends;
        break;
      }
      filter.Accept(id);
      absl::StrAppend(&text, tokenizer->Piece(id));
    }
  }
  EXPECT_GT(ends, 3u);
}

TEST(TokenFilter, TheSpaceThatIsNotShownIsNotRead) {
  Vocabulary vocabulary = SmallSentencePieces();
  const auto tokenizer = Make(vocabulary);
  ASSERT_TRUE(tokenizer->puts_space_first());
  uint32_t spaced = 0;  // A token with a space before something.
  for (uint32_t id = 0; id < tokenizer->size(); ++id) {
    const absl::string_view piece = tokenizer->Piece(id);
    if (piece.size() > 1 && piece[0] == ' ' && piece[1] != ' ') spaced = id;
  }
  ASSERT_NE(spaced, 0u);
  const std::string shown(tokenizer->Piece(spaced).substr(1));
  const auto over = Over(tokenizer, "root ::= \"" + shown + "\" \" " + shown + "\"*");
  for (const bool begins : {true, false}) {
    TokenFilter filter(over, begins);
    EXPECT_EQ(filter.Allows(spaced), begins);
    EXPECT_EQ(Has(filter.Mask(), spaced), begins);
    if (!begins) continue;
    filter.Accept(spaced);
    EXPECT_TRUE(filter.can_end());
    EXPECT_TRUE(Has(filter.Mask(), spaced));  // Its space is text now.
  }
}

TEST(TokenFilter, WhatIsKnownIsBoundedAndPlacesSurvive) {
  const auto tokenizer = JsonTokens();
  const auto over = Over(tokenizer, "root ::= \"[\" root \"]\" | \"(\" root \")\" | \"x\"");
  TokenFilter other(over, false);
  other.Accept('[');
  std::mt19937 random(5);
  for (int round = 0; round < 60; ++round) {  // Far more stacks than are kept.
    TokenFilter filter(over, false);
    std::string text;
    for (int i = 0; i < 1000; ++i) {
      const char c = random() % 2 == 0 ? '[' : '(';
      ASSERT_TRUE(filter.Allows(static_cast<uint32_t>(c)));
      filter.Accept(static_cast<uint32_t>(c));
      text += c;
    }
    filter.Accept('x');
    for (; !text.empty(); text.pop_back()) {
      const char close = text.back() == '[' ? ']' : ')';
      ASSERT_FALSE(filter.Allows(static_cast<uint32_t>(close == ']' ? ')' : ']')));
      ASSERT_TRUE(filter.Allows(static_cast<uint32_t>(close)));
      filter.Accept(static_cast<uint32_t>(close));
    }
    ASSERT_TRUE(filter.can_end());
    ASSERT_TRUE(filter.status().ok());
  }
  other.Accept('x');
  EXPECT_TRUE(other.Allows(']'));
  EXPECT_FALSE(other.Allows(')'));
}

TEST(TokenFilter, AnErrorIsOneAnswersAlone) {
  const auto tokenizer = JsonTokens();
  const auto over = Over(tokenizer, "root ::= \"a\" root \"x\" | \"a\" root \"y\" | \"b\"");
  TokenFilter filter(over, false);
  for (int i = 0; i < 30 && filter.status().ok(); ++i) filter.Accept('a');
  EXPECT_EQ(filter.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_FALSE(filter.Allows('b'));
  TokenFilter next(over, false);
  EXPECT_TRUE(next.status().ok());
  EXPECT_TRUE(next.Allows('b'));
}

TEST(TokenFilter, ThreadsShareAGrammar) {
  const auto over = OverSchema(JsonTokens(), R"({"type": "object"})");
  std::vector<std::thread> threads;
  for (uint32_t seed = 0; seed < 3; ++seed) {
    threads.emplace_back([&over, seed] {
      std::mt19937 random(seed);
      TokenFilter filter(over, false);
      for (int step = 0; step < 100; ++step) {
        const auto mask = filter.Mask();
        uint32_t id = static_cast<uint32_t>(random() % (mask.size() * 64));
        for (size_t i = 0; i < mask.size() * 64 && !Has(mask, id); ++i) {
          id = (id + 1) % (mask.size() * 64);
        }
        filter.Accept(id);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(Sampler, ChoosesAsIfAllOtherTokensWereImpossible) {
  const auto tokenizer = JsonTokens();
  const auto over = OverSchema(tokenizer, R"({"type": "object"})");
  std::mt19937 random(11);
  std::normal_distribution<float> normal(0.0f, 4.0f);
  size_t unmasked = 0;
  for (int round = 0; round < 200; ++round) {
    SamplerOptions options;
    options.temperature = round % 3 == 0 ? 0.0f : 1.0f;
    options.top_k = round % 2 == 0 ? 5 : 0;
    options.repetition_penalty = round % 5 == 0 ? 1.3f : 1.0f;
    options.seed = static_cast<uint64_t>(round);
    // Answers share what is known: from the second on there are masks for some states.
    Sampler filtered(options), plain(options);
    TokenFilter filter(over, false);
    std::vector<uint32_t> history;
    for (int step = 0; step < 25; ++step) {
      std::vector<float> logits(tokenizer->size() + 3);  // As a model with padding has.
      for (float& logit : logits) logit = normal(random);
      logits[3] = NAN;
      std::vector<float> others = logits;
      const bool had_mask = filter.has_mask();
      TokenFilter copy = filter;
      const std::optional<uint32_t> id = filtered.Sample(logits, history, &filter);
      ASSERT_TRUE(id);
      if (!had_mask && !filter.has_mask()) ++unmasked;
      const auto mask = copy.Mask();
      for (uint32_t i = 0; i < others.size(); ++i) {
        if (i / 64 >= mask.size() || !Has(mask, i)) others[i] = -INFINITY;
      }
      ASSERT_EQ(*id, plain.Sample(others, history));
      if (tokenizer->is_end_of_generation(*id)) break;
      history.push_back(*id);
      filter.Accept(*id);
    }
  }
  EXPECT_GT(unmasked, 20u);
}

TEST(Sampler, NothingIsChosenWhereNothingIsAllowed) {
  Vocabulary vocabulary = SmallVocabulary();
  vocabulary.end_of_generation.clear();
  const auto over = Over(Make(vocabulary), "root ::= \"a\"");
  for (const float temperature : {0.0f, 1.0f}) {
    SamplerOptions options;
    options.temperature = temperature;
    Sampler sampler(options);
    TokenFilter filter(over, false);
    std::vector<float> logits(vocabulary.tokens.size(), 0.0f);
    logits['a'] = NAN;  // The only one that is allowed, whatever its logit.
    EXPECT_EQ(sampler.Sample(logits, {}, &filter), std::optional<uint32_t>('a'));
    filter.Accept('a');
    logits.assign(logits.size(), 0.0f);
    EXPECT_EQ(sampler.Sample(logits, {}, &filter), std::nullopt);
    EXPECT_TRUE(filter.can_end());
  }
}

}  // namespace
}  // namespace cormorant
