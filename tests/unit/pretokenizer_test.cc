// Pre-tokenizers: pieces as Hugging Face's tokenizers cut them, and time that is linear.
//
// Method: tests/golden/make_pretokenizer_cases.py put the rules together as the models' own files
// have them and cut texts, random Unicode among them; every piece must be the same, with compiled
// and with interpreted expressions. Long runs of one kind of character, on which an expression may
// try every place again, must be cut within the limits.
#include "runtime/text/pretokenizer.h"

#include <chrono>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "runtime/text/utf8.h"

namespace cormorant {
namespace {

using Json = nlohmann::json;

/// In characters.
std::vector<size_t> Lengths(const std::vector<absl::string_view>& pieces) {
  std::vector<size_t> lengths;
  for (absl::string_view piece : pieces) {
    size_t count = 0;
    for (; !piece.empty(); ++count) piece.remove_prefix(FirstUtf8Part(piece).bytes);
    lengths.push_back(count);
  }
  return lengths;
}

TEST(PreTokenizer, PiecesAreThoseOfTheModelsOwnTokenizers) {
  std::ifstream file(absl::StrCat(CORMORANT_TEST_DIR, "/golden/pretokenizer_cases.json"));
  const Json all = Json::parse(file, nullptr, false);
  ASSERT_TRUE(all.is_object()) << "tests/golden/pretokenizer_cases.json cannot be read";
  ASSERT_GE(all["rules"].size(), 10u);
  for (const auto& [name, wanted] : all["rules"].items()) {
    const PreTokenizerRule* rule = FindPreTokenizerRule(name);
    ASSERT_NE(rule, nullptr) << name;
    for (const auto jit : {PreTokenizer::Jit::kWhereAllowed, PreTokenizer::Jit::kOff}) {
      const auto made = PreTokenizer::Create(*rule, jit);
      ASSERT_TRUE(made.ok()) << made.status();
      PreTokenizer::Scratch scratch;
      std::vector<absl::string_view> pieces;
      for (size_t i = 0; i < all["texts"].size(); ++i) {
        const std::string text = all["texts"][i];
        const absl::Status status = (*made)->Split(text, &scratch, &pieces);
        ASSERT_TRUE(status.ok()) << status;
        EXPECT_EQ(Lengths(pieces), wanted[i].get<std::vector<size_t>>()) << name << ": " << text;
      }
    }
  }
}

TEST(PreTokenizer, LongRunsAreCutInLinearTime) {
  const std::string units[] = {" ",      "\n",     "a",      "A",      "1",  ".",
                               "\u0301", "\u4e16", "\u05d0", "'",      "'s", " a",
                               "A1",     "\r\n",   "\u01c5", "\u00bd", "[a", "\xe2\x80\x83"};
  for (const char* name : {"default", "gpt-2", "smollm", "llama-bpe", "qwen2", "qwen35", "gpt-4o",
                           "tekken", "falcon", "deepseek-llm", "deepseek-coder", "deepseek-v3"}) {
    // Interpreted: it is what counts against the limits.
    const auto made = PreTokenizer::Create(*FindPreTokenizerRule(name), PreTokenizer::Jit::kOff);
    ASSERT_TRUE(made.ok()) << made.status();
    PreTokenizer::Scratch scratch;
    std::vector<absl::string_view> pieces;
    for (const std::string& unit : units) {
      std::string text;
      while (text.size() < 20'000) text += unit;
      for (const char* last : {"", "x", "X", " ", "\n", "."}) {
        const auto start = std::chrono::steady_clock::now();
        const std::string whole = text + last;
        const absl::Status status = (*made)->Split(whole, &scratch, &pieces);
        ASSERT_TRUE(status.ok()) << name << " on a run of '" << unit << "': " << status;
        const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
        EXPECT_LT(seconds.count(), 5) << name << " on a run of '" << unit << "'";
      }
    }
  }
}

}  // namespace
}  // namespace cormorant
