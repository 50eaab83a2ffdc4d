// Vocabularies made by hand, small enough that a test can say what they must do.
//
// Of the byte-level ones, ids 0..255 are the bytes; behind them come the tokens of the merges, in
// order, and then the special ones. Needs no file, so that fuzz targets can use it too.
#pragma once
#include <algorithm>
#include <array>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "runtime/text/vocabulary.h"

namespace cormorant::testing {

/// The visible character that stands for a byte in a vocabulary file.
inline std::string ByteLevelChar(uint8_t byte) {
  static const auto& chars = *new std::array<std::string, 256>([] {
    std::array<std::string, 256> made;
    uint32_t next = 0x100;
    for (uint32_t b = 0; b < 256; ++b) {
      const bool is_visible = (b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
      const uint32_t code = is_visible ? b : next++;
      if (code < 0x80) {
        made[b] = std::string(1, static_cast<char>(code));
      } else {
        made[b] = {static_cast<char>(0xc0 | code >> 6), static_cast<char>(0x80 | (code & 0x3f))};
      }
    }
    return made;
  }());
  return chars[byte];
}

inline std::string ByteLevelText(const std::string& bytes) {
  std::string text;
  for (const char byte : bytes) text += ByteLevelChar(static_cast<uint8_t>(byte));
  return text;
}

inline uint32_t AddToken(const std::string& text, TokenType type, Vocabulary* vocabulary) {
  vocabulary->tokens.push_back(text);
  vocabulary->types.push_back(type);
  return static_cast<uint32_t>(vocabulary->tokens.size() - 1);
}

/// The id of the token with this text in the file's alphabet; the test must know that there is one.
inline uint32_t TokenOf(const std::string& text, const Vocabulary& vocabulary) {
  const auto& tokens = vocabulary.tokens;
  return static_cast<uint32_t>(std::find(tokens.begin(), tokens.end(), text) - tokens.begin());
}

/// Merges `left` and `right`, given as plain bytes, into a token that is added if it is new.
inline void AddMerge(const std::string& left, const std::string& right, Vocabulary* vocabulary) {
  const std::string merged = ByteLevelText(left + right);
  if (TokenOf(merged, *vocabulary) == vocabulary->tokens.size()) {
    AddToken(merged, TokenType::kNormal, vocabulary);
  }
  vocabulary->merges.push_back({TokenOf(ByteLevelText(left), *vocabulary),
                                TokenOf(ByteLevelText(right), *vocabulary),
                                TokenOf(merged, *vocabulary)});
}

/// Only the 256 bytes.
inline Vocabulary ByteVocabulary(const std::string& pre) {
  Vocabulary vocabulary;
  vocabulary.model = "gpt2";
  vocabulary.pre = pre;
  for (uint32_t byte = 0; byte < 256; ++byte) {
    AddToken(ByteLevelChar(static_cast<uint8_t>(byte)), TokenType::kNormal, &vocabulary);
  }
  return vocabulary;
}

/// The bytes, a few merges, <s> and </s> as BOS and EOS, more control tokens and two user-defined
/// ones, of which one begins like the other.
inline Vocabulary SmallVocabulary(const std::string& pre = "gpt-2") {
  Vocabulary vocabulary = ByteVocabulary(pre);
  const std::pair<const char*, const char*> merges[] = {
      {"h", "e"},           {"l", "l"},       {"he", "ll"},         {" ", "w"},
      {"hell", "o"},        {"o", "r"},       {"l", "d"},           {" w", "or"},
      {" wor", "ld"},       {"1", "2"},       {"12", "3"},          {" ", " "},
      {"  ", "  "},         {"\n", "\n"},     {"\xc3", "\xa9"},     {"\xf0", "\x9f"},
      {"\xf0\x9f", "\x98"}, {"\xef", "\xbf"}, {"\xef\xbf", "\xbd"},
  };
  for (const auto& [left, right] : merges) AddMerge(left, right, &vocabulary);
  vocabulary.bos = AddToken("<s>", TokenType::kControl, &vocabulary);
  vocabulary.eos = AddToken("</s>", TokenType::kControl, &vocabulary);
  AddToken("<|im_start|>", TokenType::kControl, &vocabulary);
  AddToken("<|im_end|>", TokenType::kControl, &vocabulary);
  AddToken("<tool>", TokenType::kUserDefined, &vocabulary);
  AddToken("<tool>call", TokenType::kUserDefined, &vocabulary);
  vocabulary.end_of_generation = {*vocabulary.eos, TokenOf("<|im_end|>", vocabulary)};
  return vocabulary;
}

/// A vocabulary of SentencePiece: <unk>, <s>, </s>, the bytes, letters and a few pieces, one of
/// them with a letter that is no piece; a control token and a user-defined one.
inline Vocabulary SmallSentencePieces() {
  Vocabulary vocabulary;
  vocabulary.model = "llama";
  vocabulary.add_space_prefix = true;
  const auto add = [&](const std::string& text, TokenType type, float score) {
    vocabulary.scores.push_back(score);
    return AddToken(text, type, &vocabulary);
  };
  vocabulary.unknown = add("<unk>", TokenType::kUnknown, 0);
  vocabulary.bos = add("<s>", TokenType::kControl, 0);
  vocabulary.eos = add("</s>", TokenType::kControl, 0);
  for (int byte = 0; byte < 256; ++byte) {
    constexpr char kDigits[] = "0123456789ABCDEF";
    add(std::string("<0x") + kDigits[byte / 16] + kDigits[byte % 16] + ">", TokenType::kByte, 0);
  }
  const std::string space = "\xe2\x96\x81";
  const std::pair<std::string, float> pieces[] = {
      {"he", -1},
      {"ll", -2},
      {"hell", -3},
      {"hello", -4},
      {space + "he", -5},
      {"ab", -6},
      {"bc", -6},
      {"xy", -7},
      {space + "hell", -8},
      {space, -20},
      {space + "hello", -9},
      {space + space, -10},
      {"o", -20},
      {"h", -20},
      {"e", -20},
      {"l", -20},
      {"a", -20},
      {"b", -20},
      {"c", -20},
      {"x", -20},
      {"z", -20},
  };
  for (const auto& [text, score] : pieces) add(text, TokenType::kNormal, score);
  add("<end>", TokenType::kControl, 0);
  add("<tool>", TokenType::kUserDefined, 0);
  vocabulary.end_of_generation = {*vocabulary.eos};
  return vocabulary;
}

}  // namespace cormorant::testing
