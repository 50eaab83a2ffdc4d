// SentencePiece's BPE: ids as SentencePiece gives them, and by hand where it is silent.
//
// Method: tests/golden/make_sentencepiece_cases.py trained small vocabularies as the families of
// models have them (with and without a space first, user-defined pieces, pieces of several words,
// no bytes, extra white space removed) and encoded texts, random Unicode among them. What GGUF
// adds, tokens cut out and the white space around them, is said by hand. Merging is compared with
// its definition carried out naively, equal scores included. Hostile vocabularies must be refused.
#include "runtime/text/sentencepiece.h"

#include <algorithm>
#include <fstream>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "runtime/text/detokenizer.h"
#include "runtime/text/tokenizer.h"
#include "tests/golden/small_vocabulary.h"

namespace cormorant {
namespace {

using ::cormorant::testing::AddToken;
using ::cormorant::testing::SmallSentencePieces;
using ::cormorant::testing::TokenOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

using Ids = std::vector<uint32_t>;
using Json = nlohmann::json;

std::shared_ptr<const Tokenizer> Make(Vocabulary vocabulary) {
  auto made = Tokenizer::Create(std::move(vocabulary));
  EXPECT_TRUE(made.ok()) << made.status();
  return *std::move(made);
}

Ids Encoded(const Tokenizer& tokenizer, const std::string& text, EncodeOptions options = {}) {
  Ids ids;
  const absl::Status status = tokenizer.Encode(text, options, &ids);
  EXPECT_TRUE(status.ok()) << status;
  return ids;
}

std::string Decoded(const Tokenizer& tokenizer, const Ids& ids, bool show_special = false,
                    std::optional<uint32_t> after = std::nullopt) {
  Detokenizer detokenizer(tokenizer, after);
  std::string text;
  for (const uint32_t id : ids) detokenizer.Push(id, &text, show_special);
  detokenizer.Flush(&text);
  return text;
}

std::vector<std::string> Pieces(const Tokenizer& tokenizer, const std::string& text,
                                EncodeOptions options = {}) {
  std::vector<std::string> pieces;
  for (const uint32_t id : Encoded(tokenizer, text, options)) {
    pieces.emplace_back(tokenizer.Piece(id));
  }
  return pieces;
}

Vocabulary FromCase(const Json& one) {
  Vocabulary v;
  v.model = "llama";
  v.tokens = one["tokens"];
  v.scores = one["scores"].get<std::vector<float>>();
  for (const int type : one["types"]) v.types.push_back(static_cast<TokenType>(type));
  v.unknown = 0;
  v.add_space_prefix = one["add_space_prefix"];
  v.remove_extra_whitespaces = one["remove_extra_whitespaces"];
  return v;
}

TEST(SentencePiece, IdsAreThoseOfSentencePiece) {
  std::ifstream file(absl::StrCat(CORMORANT_TEST_DIR, "/golden/sentencepiece_cases.json"));
  const Json all = Json::parse(file, nullptr, false);
  ASSERT_TRUE(all.is_object()) << "tests/golden/sentencepiece_cases.json cannot be read";
  ASSERT_GE(all["vocabularies"].size(), 4u);
  for (const auto& [name, one] : all["vocabularies"].items()) {
    const auto tokenizer = Make(FromCase(one));
    for (size_t i = 0; i < all["texts"].size(); ++i) {
      const std::string text = all["texts"][i];
      const Ids ids = Encoded(*tokenizer, text);
      EXPECT_EQ(ids, one["ids"][i].get<Ids>()) << name << ": '" << text << "'";
      // SentencePiece shows an unknown token, a Detokenizer does not.
      if (std::find(ids.begin(), ids.end(), 0u) != ids.end()) continue;
      EXPECT_EQ(Decoded(*tokenizer, ids), one["decoded"][i].get<std::string>()) << name;
    }
  }
}

TEST(SentencePiece, MergesByScoreAndEqualOnesFromTheLeft) {
  const auto tokenizer = Make(SmallSentencePieces());
  EXPECT_THAT(Pieces(*tokenizer, "hello hell"), ElementsAre(" hello", " hell"));
  EXPECT_THAT(Pieces(*tokenizer, ""), ElementsAre());
  // "ab" and "bc" have the same score.
  EXPECT_THAT(Pieces(*tokenizer, "abc"), ElementsAre(" ", "ab", "c"));
  EXPECT_THAT(Pieces(*tokenizer, "bcab"), ElementsAre(" ", "bc", "ab"));
  // "y" is no piece, but "xy" is.
  EXPECT_THAT(Pieces(*tokenizer, "xyy"), ElementsAre(" ", "xy", "y"));
  EXPECT_EQ(Encoded(*tokenizer, "y").back(), TokenOf("<0x79>", tokenizer->vocabulary()));
}

TEST(SentencePiece, BytesThatAreNoUtf8ComeBack) {
  const auto tokenizer = Make(SmallSentencePieces());
  for (const std::string text : {"\xff", "a\xf0\x9f", "\xc3(", "h\x80\x80 hello\xe2\x96"}) {
    std::string bytes;
    for (const uint32_t id : Encoded(*tokenizer, text))
      absl::StrAppend(&bytes, tokenizer->Piece(id));
    EXPECT_EQ(bytes, " " + text);
  }
}

TEST(SentencePiece, ASpaceComesFirstWhereTextBegins) {
  const auto tokenizer = Make(SmallSentencePieces());
  const Vocabulary& v = tokenizer->vocabulary();
  const EncodeOptions parse = {.parse_special = true};
  const uint32_t tool = TokenOf("<tool>", v), end = TokenOf("<end>", v);
  EXPECT_THAT(Pieces(*tokenizer, "hello<end>hello", parse),
              ElementsAre(" hello", "<end>", " hello"));
  EXPECT_THAT(Pieces(*tokenizer, "<tool>hello"), ElementsAre("<tool>", " hello"));
  EXPECT_THAT(Pieces(*tokenizer, "hello", {.after = tool}), ElementsAre(" hello"));
  EXPECT_THAT(Pieces(*tokenizer, "hello", {.after = end}), ElementsAre(" hello"));
  EXPECT_THAT(Pieces(*tokenizer, "hello", {.after = TokenOf("hell", v)}), ElementsAre("hello"));
  // And goes again where it was put.
  for (const std::string text :
       {"hello<end>hello", " hello<end> hello", "<end>", "a <tool> b<tool>c  ", "<end>\n<end>\n"}) {
    EXPECT_EQ(Decoded(*tokenizer, Encoded(*tokenizer, text, parse), true), text);
  }
  const Ids hello = Encoded(*tokenizer, "hello");
  EXPECT_EQ(Decoded(*tokenizer, hello), "hello");
  EXPECT_EQ(Decoded(*tokenizer, hello, false, end), "hello");
  EXPECT_EQ(Decoded(*tokenizer, hello, false, hello[0]), " hello");

  Vocabulary without = SmallSentencePieces();
  without.add_space_prefix = false;
  const auto plain = Make(std::move(without));
  EXPECT_THAT(Pieces(*plain, "hello hello"), ElementsAre("hello", " hello"));
  EXPECT_EQ(Decoded(*plain, Encoded(*plain, " hello")), " hello");
}

TEST(SentencePiece, TokensMayDropTheWhiteSpaceAfterThem) {
  Vocabulary vocabulary = SmallSentencePieces();
  const uint32_t end = TokenOf("<end>", vocabulary);
  vocabulary.right_strip = {end};
  const auto tokenizer = Make(std::move(vocabulary));
  const EncodeOptions parse = {.parse_special = true};
  EXPECT_THAT(Pieces(*tokenizer, "<end>\n \t\u3000hello<end>\n<end> ", parse),
              ElementsAre("<end>", " hello", "<end>", "<end>"));
  EXPECT_THAT(Pieces(*tokenizer, "<tool> hello"), ElementsAre("<tool>", " ", " hello"));
  EXPECT_THAT(Pieces(*tokenizer, "\nhello", {.after = end}), ElementsAre(" hello"));
}

TEST(SentencePiece, BosAndEosAsTheVocabularyAsks) {
  Vocabulary vocabulary = SmallSentencePieces();
  vocabulary.add_bos = vocabulary.add_eos = true;
  const auto tokenizer = Make(std::move(vocabulary));
  EXPECT_THAT(Pieces(*tokenizer, "hello", {.add_special = true}),
              ElementsAre("<s>", " hello", "</s>"));
  EXPECT_THAT(Pieces(*tokenizer, "", {.add_special = true}), ElementsAre("<s>", "</s>"));
}

TEST(SentencePiece, ControlTokensAreNotMadeByMerging) {
  Vocabulary vocabulary = SmallSentencePieces();
  vocabulary.types[TokenOf("\u2581hello", vocabulary)] = TokenType::kControl;
  vocabulary.types[TokenOf("ab", vocabulary)] = TokenType::kUnused;
  const auto tokenizer = Make(std::move(vocabulary));
  EXPECT_THAT(Pieces(*tokenizer, "hello ab"), ElementsAre(" ", "hello", " ", "a", "b"));
}

TEST(SentencePiece, WhatHasNoTokenIsUnknownOrAnError) {
  Vocabulary vocabulary = SmallSentencePieces();
  for (TokenType& type : vocabulary.types) {
    if (type == TokenType::kByte) type = TokenType::kUnused;
  }
  const auto tokenizer = Make(vocabulary);
  const uint32_t unknown = *vocabulary.unknown;
  EXPECT_EQ(Encoded(*tokenizer, "aéüb"),
            (Ids{TokenOf("\u2581", vocabulary), TokenOf("a", vocabulary), unknown,
                 TokenOf("b", vocabulary)}));
  vocabulary.unknown.reset();
  Ids ids = {1};
  const absl::Status status = Make(vocabulary)->Encode("aé", {}, &ids);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("no token"));
  EXPECT_THAT(ids, ElementsAre(1));
}

/// The definition: of all neighbours that make a piece, the leftmost of highest score.
Ids NaivelyMerged(const Vocabulary& vocabulary, const std::string& letters) {
  std::vector<std::string> symbols;
  for (const char letter : letters) symbols.emplace_back(1, letter);
  for (;;) {
    size_t best = symbols.size();
    float best_score = 0;
    for (size_t i = 0; i + 1 < symbols.size(); ++i) {
      const uint32_t id = TokenOf(symbols[i] + symbols[i + 1], vocabulary);
      if (id == vocabulary.tokens.size()) continue;
      if (best == symbols.size() || vocabulary.scores[id] > best_score) {
        best = i;
        best_score = vocabulary.scores[id];
      }
    }
    if (best == symbols.size()) break;
    symbols[best] += symbols[best + 1];
    symbols.erase(symbols.begin() + static_cast<ptrdiff_t>(best) + 1);
  }
  Ids ids;
  for (const std::string& symbol : symbols) ids.push_back(TokenOf(symbol, vocabulary));
  return ids;
}

TEST(SentencePiece, MergingIsItsDefinition) {
  std::mt19937_64 random(11);
  const auto letters = [&](size_t most) {
    std::string text;
    for (uint64_t n = 1 + random() % most; n > 0; --n)
      text += static_cast<char>('a' + random() % 3);
    return text;
  };
  for (size_t round = 0; round < 40; ++round) {
    Vocabulary vocabulary;
    vocabulary.model = "llama";
    for (const char* letter : {"a", "b", "c"}) AddToken(letter, TokenType::kNormal, &vocabulary);
    for (size_t i = 0; i < 40; ++i) {
      const std::string piece = letters(6);
      if (TokenOf(piece, vocabulary) != vocabulary.tokens.size()) continue;
      AddToken(piece, TokenType::kNormal, &vocabulary);
    }
    // Few different scores, so that many are equal.
    for (size_t i = 0; i < vocabulary.tokens.size(); ++i) {
      vocabulary.scores.push_back(-static_cast<float>(random() % 5));
    }
    const auto tokenizer = Make(vocabulary);
    for (size_t i = 0; i < 50; ++i) {
      const std::string text = letters(100);
      ASSERT_EQ(Encoded(*tokenizer, text), NaivelyMerged(vocabulary, text)) << text;
    }
  }
}

TEST(SentencePiece, AMegabyteWithoutASpaceIsQuick) {
  Vocabulary vocabulary = SmallSentencePieces();
  for (const size_t length : {2, 4, 8, 16, 256, 512}) {
    AddToken(std::string(length, 'z'), TokenType::kNormal, &vocabulary);
    vocabulary.scores.push_back(-100);
  }
  const auto tokenizer = Make(std::move(vocabulary));
  const std::string text(1 << 20, 'z');
  EXPECT_EQ(Decoded(*tokenizer, Encoded(*tokenizer, text)), text);
}

TEST(SentencePiece, VocabulariesBeyondLimitsAreRefused) {
  Vocabulary vocabulary = SmallSentencePieces();
  AddToken(std::string(kSentencePieceBytesMax + 1, 'z'), TokenType::kNormal, &vocabulary);
  vocabulary.scores.push_back(0);
  const auto made = Tokenizer::Create(vocabulary);
  EXPECT_EQ(made.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(made.status().message()), HasSubstr("513 bytes"));
  vocabulary.types.back() = TokenType::kUserDefined;  // Those are not merged.
  EXPECT_TRUE(Tokenizer::Create(vocabulary).ok());

  // All runs of a letter on both sides of another: every cut of a piece leaves two pieces.
  Vocabulary dense;
  dense.model = "llama";
  for (size_t left = 0; left < 256; ++left) {
    for (size_t right = 0; right < 256; ++right) {
      const std::string piece = std::string(left, 'a') + (right > 0 ? "b" : "") +
                                std::string(right > 0 ? right - 1 : 0, 'a');
      AddToken(piece, TokenType::kNormal, &dense);
    }
  }
  dense.scores.assign(dense.tokens.size(), 0.0f);
  const auto too_many = Tokenizer::Create(dense);
  EXPECT_EQ(too_many.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(too_many.status().message()), HasSubstr("merge in more than"));
}

}  // namespace
}  // namespace cormorant
