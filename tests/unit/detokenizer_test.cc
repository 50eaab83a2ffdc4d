// Detokenizer: whole characters only, and the same text however its bytes were spread over tokens.
//
// Method: a vocabulary of single bytes and of a few longer tokens, so that every way to cut a text
// can be pushed. What wrong bytes become is taken from the Unicode standard's own examples.
#include "runtime/text/detokenizer.h"

#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "gtest/gtest.h"
#include "runtime/text/utf8.h"
#include "tests/golden/small_vocabulary.h"

namespace cormorant {
namespace {

using ::cormorant::testing::SmallVocabulary;
using ::cormorant::testing::TokenOf;

#define FFFD "\xef\xbf\xbd"

std::shared_ptr<const Tokenizer> Make() {
  auto made = Tokenizer::Create(SmallVocabulary());
  EXPECT_TRUE(made.ok()) << made.status();
  return *std::move(made);
}

/// Byte by byte; every state in between must be UTF-8.
std::string Decoded(const Tokenizer& tokenizer, const std::string& bytes) {
  Detokenizer detokenizer(tokenizer);
  std::string out;
  for (const char byte : bytes) {
    detokenizer.Push(static_cast<uint8_t>(byte), &out);
    EXPECT_EQ(ValidUtf8Bytes(out), out.size());
  }
  detokenizer.Flush(&out);
  EXPECT_EQ(ValidUtf8Bytes(out), out.size());
  return out;
}

TEST(Detokenizer, HoldsBackTheBeginningOfACharacter) {
  const auto tokenizer = Make();
  Detokenizer detokenizer(*tokenizer);
  std::string out;
  const std::string steps[] = {"a", "a", "a", "a", "a😀", "a😀b"};
  const std::string bytes = "a😀b";
  for (size_t i = 0; i < bytes.size(); ++i) {
    detokenizer.Push(static_cast<uint8_t>(bytes[i]), &out);
    EXPECT_EQ(out, steps[i]) << i;
  }
  detokenizer.Flush(&out);
  EXPECT_EQ(out, bytes);
}

TEST(Detokenizer, TextOnlyGrowsAtItsEnd) {
  const auto tokenizer = Make();
  Detokenizer detokenizer(*tokenizer);
  std::string out = "before ";
  detokenizer.Push(TokenOf("hello", tokenizer->vocabulary()), &out);
  EXPECT_EQ(out, "before hello");
  detokenizer.Push(12345, &out);  // Does not exist.
  detokenizer.Flush(&out);
  EXPECT_EQ(out, "before hello");
}

TEST(Detokenizer, WrongBytesBecomeReplacementCharacters) {
  const auto tokenizer = Make();
  const std::pair<const char*, const char*> cases[] = {
      {"\xff", FFFD},
      {"a\x80z", "a" FFFD "z"},
      {"\xe4\xbd", FFFD},                   // Cut off by the end.
      {"\xe4\xbd\xe4\xbd\xa0", FFFD "你"},  // Cut off by a character.
      {"\xf0\x9f\x98 ", FFFD " "},
      {"\xed\xa0\x80", FFFD FFFD FFFD},           // A surrogate.
      {"\xe0\x80\x80", FFFD FFFD FFFD},           // Over-long.
      {"\xf4\x90\x80\x80", FFFD FFFD FFFD FFFD},  // Past U+10FFFF.
      // Tables 3-8 to 3-11 of the Unicode standard, version 15.
      {"\xc0\xaf\xe0\x80\xbf\xf0\x81\x82\x41", FFFD FFFD FFFD FFFD FFFD FFFD FFFD FFFD "A"},
      {"\xed\xa0\x80\xed\xbf\xbf\xed\xaf\x41", FFFD FFFD FFFD FFFD FFFD FFFD FFFD FFFD "A"},
      {"\xf4\x91\x92\x93\xff\x41\x80\xbf\x42", FFFD FFFD FFFD FFFD FFFD "A" FFFD FFFD "B"},
      {"\xe1\x80\xe2\xf0\x91\x92\xf1\xbf\x41", FFFD FFFD FFFD FFFD "A"},
      {"\xef\xbf\xbd\xf4\x8f\xbf\xbf\xed\x9f\xbf", FFFD "\xf4\x8f\xbf\xbf\xed\x9f\xbf"},
  };
  for (const auto& [bytes, text] : cases) EXPECT_EQ(Decoded(*tokenizer, bytes), text);
}

TEST(Detokenizer, SpecialTokensEndACharacterAndShowOnRequest) {
  const auto tokenizer = Make();
  const Vocabulary& vocabulary = tokenizer->vocabulary();
  for (const bool show : {false, true}) {
    Detokenizer detokenizer(*tokenizer);
    std::string out;
    detokenizer.Push(0xe4, &out, show);
    EXPECT_EQ(out, "");
    detokenizer.Push(TokenOf("<|im_end|>", vocabulary), &out, show);
    detokenizer.Push(0xbd, &out, show);
    detokenizer.Push(TokenOf("<tool>", vocabulary), &out, show);  // User-defined: text.
    detokenizer.Push(*vocabulary.bos, &out, show);
    detokenizer.Flush(&out);
    EXPECT_EQ(out, show ? FFFD "<|im_end|>" FFFD "<tool><s>" : FFFD FFFD "<tool>");
  }
}

TEST(Detokenizer, StartsAgainAfterFlush) {
  const auto tokenizer = Make();
  Detokenizer detokenizer(*tokenizer);
  std::string out;
  detokenizer.Push(0xc3, &out);
  detokenizer.Flush(&out);
  detokenizer.Flush(&out);
  detokenizer.Push('x', &out);
  EXPECT_EQ(out, FFFD "x");
}

TEST(Detokenizer, HowBytesAreSpreadDoesNotMatter) {
  // Tokens of one to three random bytes, against the same bytes pushed one by one.
  Vocabulary vocabulary = cormorant::testing::ByteVocabulary("gpt-2");
  std::mt19937_64 random(11);
  constexpr uint8_t kBytes[] = {'a',  0xc3, 0xa9, 0xe4, 0xbd, 0xa0, 0xf0, 0x9f,
                                0x98, 0x80, 0xff, 0xed, 0xa0, 0xf4, 0x8f};
  for (size_t i = 0; i < 400; ++i) {
    std::string bytes;
    for (uint64_t n = 2 + random() % 2; n > 0; --n) bytes += kBytes[random() % sizeof(kBytes)];
    cormorant::testing::AddToken(cormorant::testing::ByteLevelText(bytes), TokenType::kNormal,
                                 &vocabulary);
  }
  const auto tokenizer = *Tokenizer::Create(std::move(vocabulary));
  for (size_t round = 0; round < 2000; ++round) {
    Detokenizer detokenizer(*tokenizer);
    std::string out, bytes;
    for (uint64_t n = random() % 8; n > 0; --n) {
      const uint32_t id = static_cast<uint32_t>(random() % tokenizer->size());
      detokenizer.Push(id, &out);
      const absl::string_view piece = tokenizer->Piece(id);
      bytes.append(piece.data(), piece.size());
      ASSERT_EQ(ValidUtf8Bytes(out), out.size());
    }
    detokenizer.Flush(&out);
    ASSERT_EQ(out, Decoded(*tokenizer, bytes));
  }
}

}  // namespace
}  // namespace cormorant
