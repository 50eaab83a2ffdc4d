// Fuzzes the tokenizer: with any text, and with the vocabulary of any GGUF file.
//
// An input that begins with "GGUF" is a file: whatever its metadata say, there is a Status or a
// tokenizer, and a tokenizer encodes a fixed text to ids it has. Any other input is text for fixed
// vocabularies: its bytes must come back from the ids, and what a Detokenizer writes is UTF-8 at
// every moment. Texts that have U+2581 come back from SentencePiece with spaces in its place.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "runtime/format/gguf.h"
#include "runtime/text/detokenizer.h"
#include "runtime/text/tokenizer.h"
#include "runtime/text/utf8.h"
#include "tests/golden/small_vocabulary.h"

namespace {

using cormorant::Tokenizer;

void Require(bool is_true) {
  if (!is_true) __builtin_trap();
}

std::shared_ptr<const Tokenizer> Make(cormorant::Vocabulary vocabulary) {
  auto made = Tokenizer::Create(std::move(vocabulary));
  Require(made.ok());
  return *std::move(made);
}

std::vector<std::shared_ptr<const Tokenizer>> MakeAll() {
  std::vector<std::shared_ptr<const Tokenizer>> all;
  for (const char* pre : {"gpt-2", "smollm", "llama-bpe", "default", "gpt-4o", "tekken", "falcon",
                          "deepseek-llm", "deepseek-coder", "deepseek-v3", "qwen35"}) {
    all.push_back(Make(cormorant::testing::SmallVocabulary(pre)));
  }
  cormorant::Vocabulary pieces = cormorant::testing::SmallSentencePieces();
  all.push_back(Make(pieces));
  pieces.add_space_prefix = false;
  // A piece with a space inside: text is not cut before spaces then.
  cormorant::testing::AddToken("o\u2581h", cormorant::TokenType::kNormal, &pieces);
  pieces.scores.push_back(-2);
  all.push_back(Make(pieces));
  return all;
}

void EncodeText(const Tokenizer& tokenizer, absl::string_view text, bool parse_special) {
  std::vector<uint32_t> ids;
  Require(
      tokenizer.Encode(text, {.add_special = false, .parse_special = parse_special}, &ids).ok());
  std::string bytes, shown;
  cormorant::Detokenizer detokenizer(tokenizer);
  for (const uint32_t id : ids) {
    Require(id < tokenizer.size());
    absl::StrAppend(&bytes, tokenizer.Piece(id));
    const size_t before = shown.size();
    detokenizer.Push(id, &shown, /*show_special=*/true);
    const absl::string_view added = absl::string_view(shown).substr(before);
    Require(cormorant::ValidUtf8Bytes(added) == added.size());
  }
  detokenizer.Flush(&shown);
  const bool is_sentencepiece = tokenizer.vocabulary().model == "llama";
  if (is_sentencepiece && absl::StrContains(text, cormorant::kSentencePieceSpace)) return;
  Require(is_sentencepiece || bytes == text);
  if (cormorant::ValidUtf8Bytes(text) == text.size()) Require(shown == text);
}

void ReadFile(std::span<const std::byte> bytes) {
  const auto file = cormorant::GgufFile::Parse(bytes);
  if (!file.ok()) return;
  auto vocabulary = cormorant::ReadVocabulary(**file);
  if (!vocabulary.ok()) return;
  const auto tokenizer = Tokenizer::Create(*std::move(vocabulary));
  if (!tokenizer.ok()) return;
  std::vector<uint32_t> ids;
  const absl::Status status =
      (*tokenizer)->Encode("hello <s>world</s> 123\xff", {true, true}, &ids);
  Require(status.ok() || ids.empty());
  for (const uint32_t id : ids) Require(id < (*tokenizer)->size());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const auto& tokenizers = *new std::vector<std::shared_ptr<const Tokenizer>>(MakeAll());
  const absl::string_view text(reinterpret_cast<const char*>(data), size);
  if (text.substr(0, 4) == "GGUF") {
    // A copy that ends where the input ends, aligned as a mapped file is.
    const std::vector<std::byte> bytes(reinterpret_cast<const std::byte*>(data),
                                       reinterpret_cast<const std::byte*>(data) + size);
    ReadFile(bytes);
    return 0;
  }
  // Both vocabularies of SentencePiece, which come last, and one of the others: all take too long.
  const size_t others = tokenizers.size() - 2;
  const size_t chosen = size == 0 ? 0 : data[size - 1] % others;
  for (const size_t i : {chosen, others, others + 1}) {
    EncodeText(*tokenizers[i], text, false);
    EncodeText(*tokenizers[i], text, true);
  }
  return 0;
}
