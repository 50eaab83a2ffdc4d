// ReadVocabulary on files that are right, unusual and wrong.
//
// Method: a small file is written key by key, so that each test changes one key. Wrong files must
// be refused with a message that names the key; random damage must never crash. Real files, where
// they are, must be read whole.
#include "runtime/text/vocabulary.h"

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/text/tokenizer.h"
#include "tests/golden/gguf_writer.h"

namespace cormorant {
namespace {

using ::cormorant::testing::GgufWriter;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

using Strings = std::vector<std::string>;
using Ints = std::vector<int32_t>;

/// A file whose keys a test may replace or leave out.
class Keys {
 public:
  Keys() {
    Set("model", [](GgufWriter& w, const std::string& k) { w.AddString(k, "gpt2"); });
    Set("pre", [](GgufWriter& w, const std::string& k) { w.AddString(k, "llama-bpe"); });
    SetStrings("tokens", {"a", "b", "ab", "c", "abc", "<s>", "<|im_end|>", "</s>"});
    SetInts("token_type", {1, 1, 1, 1, 1, 3, 3, 1});
    SetStrings("merges", {"a b", "ab c"});
    SetId("bos_token_id", 5);
    SetId("eos_token_id", 4);
  }

  using Writes = std::function<void(GgufWriter&, const std::string& key)>;
  Keys& Set(const std::string& key, Writes writes) {
    keys_["tokenizer.ggml." + key] = std::move(writes);
    return *this;
  }
  Keys& SetStrings(const std::string& key, const Strings& values) {
    return Set(key, [=](GgufWriter& w, const std::string& k) { w.AddStrings(k, values); });
  }
  Keys& SetInts(const std::string& key, const Ints& values) {
    return Set(key, [=](GgufWriter& w, const std::string& k) { w.AddArray<int32_t>(k, values); });
  }
  Keys& SetId(const std::string& key, uint32_t id) {
    return Set(key, [=](GgufWriter& w, const std::string& k) { w.AddU32(k, id); });
  }
  Keys& SetFlag(const std::string& key, bool flag) {
    return Set(key, [=](GgufWriter& w, const std::string& k) { w.AddBool(k, flag); });
  }
  Keys& SetArchitecture(const std::string& name) {
    keys_["general.architecture"] = [=](GgufWriter& w, const std::string& k) {
      w.AddString(k, name);
    };
    return *this;
  }
  Keys& Without(const std::string& key) {
    keys_.erase("tokenizer.ggml." + key);
    return *this;
  }

  std::vector<std::byte> Serialize() const {
    GgufWriter writer;
    for (const auto& [key, writes] : keys_) writes(writer, key);
    writer.AddString("tokenizer.chat_template", "{{ 1 }}");
    return writer.Serialize();
  }
  absl::StatusOr<Vocabulary> Read() const {
    const std::vector<std::byte> bytes = Serialize();
    const auto file = GgufFile::Parse(bytes);
    if (!file.ok()) return file.status();
    return ReadVocabulary(**file);
  }

 private:
  std::map<std::string, Writes> keys_;
};

void ExpectRefusal(const Keys& keys, const Strings& parts,
                   absl::StatusCode code = absl::StatusCode::kInvalidArgument) {
  const auto vocabulary = keys.Read();
  ASSERT_FALSE(vocabulary.ok()) << parts[0];
  EXPECT_EQ(vocabulary.status().code(), code) << vocabulary.status();
  for (const std::string& part : parts) {
    EXPECT_THAT(std::string(vocabulary.status().message()), HasSubstr(part));
  }
}

TEST(Vocabulary, IsReadWhole) {
  const auto v = Keys().Read();
  ASSERT_TRUE(v.ok()) << v.status();
  EXPECT_EQ(v->model, "gpt2");
  EXPECT_EQ(v->pre, "llama-bpe");
  EXPECT_EQ(v->chat_template, "{{ 1 }}");
  ASSERT_EQ(v->tokens.size(), 8u);
  EXPECT_EQ(v->tokens[4], "abc");
  EXPECT_EQ(v->types[4], TokenType::kNormal);
  EXPECT_EQ(v->types[5], TokenType::kControl);
  ASSERT_EQ(v->merges.size(), 2u);
  EXPECT_EQ(v->merges[1].left, 2u);
  EXPECT_EQ(v->merges[1].right, 3u);
  EXPECT_EQ(v->merges[1].merged, 4u);
  EXPECT_EQ(v->bos, 5u);
  EXPECT_EQ(v->eos, 4u);
  EXPECT_EQ(v->eot, std::nullopt);
  EXPECT_TRUE(CheckVocabulary(*v).ok());
}

TEST(Vocabulary, EndsAreTheNamedIdsAndWellKnownControlTokens) {
  const auto v = Keys().SetId("eot_token_id", 1).SetId("eom_token_id", 1).Read();
  ASSERT_TRUE(v.ok()) << v.status();
  // </s> is a normal token here and no end.
  EXPECT_THAT(v->end_of_generation, ElementsAre(1, 4, 6));
}

TEST(Vocabulary, DefaultsDependOnTheModelAndTheFileHasTheLastWord) {
  EXPECT_TRUE(Keys().Read()->add_bos);
  EXPECT_FALSE(Keys().Read()->add_eos);
  EXPECT_FALSE(Keys().Read()->add_space_prefix);
  EXPECT_FALSE(Keys().SetFlag("add_bos_token", false).Read()->add_bos);
  EXPECT_FALSE(Keys().Without("bos_token_id").Read()->add_bos);
  const auto old = Keys().Without("pre").Without("token_type").Without("eos_token_id").Read();
  ASSERT_TRUE(old.ok()) << old.status();
  EXPECT_EQ(old->pre, "default");
  EXPECT_FALSE(old->add_bos);
  EXPECT_EQ(old->types[5], TokenType::kNormal);
  EXPECT_THAT(old->end_of_generation, IsEmpty());
  EXPECT_TRUE(Keys().Without("pre").SetFlag("add_bos_token", true).Read()->add_bos);
  EXPECT_TRUE(Keys().SetFlag("add_eos_token", true).Read()->add_eos);
  EXPECT_TRUE(Keys().SetFlag("add_space_prefix", true).Read()->add_space_prefix);
}

TEST(Vocabulary, OtherModelsAreReadThoughNothingEncodesThem) {
  Keys keys;
  keys.Set("model", [](GgufWriter& w, const std::string& k) { w.AddString(k, "bert"); });
  const auto v = keys.Without("merges").Read();
  ASSERT_TRUE(v.ok()) << v.status();
  const auto made = Tokenizer::Create(*v);
  EXPECT_EQ(made.status().code(), absl::StatusCode::kUnimplemented);
  for (const char* part : {"'bert'", "'gpt2'", "'llama'"}) {
    EXPECT_THAT(std::string(made.status().message()), HasSubstr(part));
  }
}

Keys SentencePieceKeys() {
  Keys keys;
  keys.Set("model", [](GgufWriter& w, const std::string& k) { w.AddString(k, "llama"); });
  return keys.Without("merges")
      .Without("pre")
      .SetId("unknown_token_id", 3)
      .Set("scores", [](GgufWriter& w, const std::string& k) {
        w.AddArray<float>(k, {-1, -2, -3, -4, -5, 0, 0, 0});
      });
}

TEST(Vocabulary, SentencePieceHasScores) {
  const auto v = SentencePieceKeys().Read();
  ASSERT_TRUE(v.ok()) << v.status();
  EXPECT_TRUE(v->add_bos);
  EXPECT_TRUE(v->add_space_prefix);
  EXPECT_FALSE(v->remove_extra_whitespaces);
  EXPECT_THAT(v->scores, ElementsAre(-1, -2, -3, -4, -5, 0, 0, 0));
  EXPECT_EQ(v->unknown, 3u);
  EXPECT_THAT(v->right_strip, IsEmpty());
  EXPECT_TRUE(Tokenizer::Create(*v).ok());
  EXPECT_TRUE(SentencePieceKeys()
                  .SetFlag("remove_extra_whitespaces", true)
                  .Read()
                  ->remove_extra_whitespaces);
  const auto with = [](std::vector<float> scores) {
    return SentencePieceKeys().Set(
        "scores", [=](GgufWriter& w, const std::string& k) { w.AddArray<float>(k, scores); });
  };
  ExpectRefusal(SentencePieceKeys().Without("scores"), {"tokenizer.ggml.scores"},
                absl::StatusCode::kNotFound);
  ExpectRefusal(with({1, 2}), {"tokenizer.ggml.scores", "2 scores", "8 tokens"});
  ExpectRefusal(with({0, 0, 0, std::nanf(""), 0, 0, 0, 0}), {"scores", "token 3", "no number"});
}

TEST(Vocabulary, TokensOfPhi3TakeTheWhiteSpaceAfterThem) {
  const auto v = SentencePieceKeys().SetArchitecture("phi3").Read();
  ASSERT_TRUE(v.ok()) << v.status();
  EXPECT_THAT(v->right_strip, ElementsAre(6));  // Not <s>; </s> is a normal token here.
  EXPECT_THAT(SentencePieceKeys().SetArchitecture("llama").Read()->right_strip, IsEmpty());
  EXPECT_THAT(Keys().SetArchitecture("phi3").Read()->right_strip, IsEmpty());
}

TEST(Vocabulary, MissingKeysAreNamed) {
  for (const char* key : {"model", "tokens", "merges"}) {
    ExpectRefusal(Keys().Without(key), {absl::StrCat("tokenizer.ggml.", key)},
                  absl::StatusCode::kNotFound);
  }
}

TEST(Vocabulary, WrongTypesAreNamed) {
  const auto text = [](GgufWriter& w, const std::string& k) { w.AddString(k, "many"); };
  const auto number = [](GgufWriter& w, const std::string& k) { w.AddU32(k, 7); };
  for (const char* key :
       {"tokens", "token_type", "merges", "bos_token_id", "eos_token_id", "eot_token_id",
        "eom_token_id", "add_bos_token", "add_eos_token", "add_space_prefix"}) {
    ExpectRefusal(Keys().Set(key, text), {absl::StrCat("tokenizer.ggml.", key), "string"});
  }
  for (const char* key : {"model", "pre", "tokens", "add_bos_token"}) {
    ExpectRefusal(Keys().Set(key, number), {absl::StrCat("tokenizer.ggml.", key), "u32"});
  }
  ExpectRefusal(Keys().SetInts("tokens", {1, 2}), {"tokenizer.ggml.tokens", "array of i32"});
  ExpectRefusal(Keys().SetInts("merges", {1, 2}), {"tokenizer.ggml.merges", "array of i32"});
  ExpectRefusal(Keys().SetStrings("token_type", {"1"}), {"tokenizer.ggml.token_type", "string"});
}

TEST(Vocabulary, WrongNumbersAreNamed) {
  for (const char* key : {"bos_token_id", "eos_token_id", "eot_token_id", "eom_token_id"}) {
    const std::string whole = absl::StrCat("tokenizer.ggml.", key);
    ExpectRefusal(Keys().SetId(key, 8), {whole, "token 8", "8 tokens"});
    ExpectRefusal(Keys().SetId(key, 0xffffffffu), {whole, "4294967295"});
    ExpectRefusal(Keys().Set(key, [](GgufWriter& w, const std::string& k) { w.AddI32(k, -1); }),
                  {whole, "-1"});
  }
  ExpectRefusal(Keys().SetStrings("tokens", {}), {"tokenizer.ggml.tokens", "no tokens"});
  ExpectRefusal(Keys().SetInts("token_type", {1, 1}), {"token_type", "2 types", "8 tokens"});
  for (const int32_t type : {-1, 7, 1 << 20}) {
    ExpectRefusal(Keys().SetInts("token_type", {1, 1, 1, 1, 1, 1, 1, type}),
                  {"token_type", "token 7", absl::StrCat(type)});
  }
  ExpectRefusal(Keys().Without("bos_token_id").SetFlag("add_bos_token", true),
                {"add_bos_token", "bos_token_id"});
  ExpectRefusal(Keys().Without("eos_token_id").SetFlag("add_eos_token", true),
                {"add_eos_token", "eos_token_id"});
}

TEST(Vocabulary, WrongMergesAreNamed) {
  for (const char* merge : {"", " ", "a", "a ", " b", "ab"}) {
    ExpectRefusal(Keys().SetStrings("merges", {"a b", merge}), {"merges", "merge 1", "two tokens"});
  }
  ExpectRefusal(Keys().SetStrings("merges", {"a x"}), {"merge 0 'a x'", "'x' is not in"});
  ExpectRefusal(Keys().SetStrings("merges", {"x a"}), {"merge 0 'x a'", "'x' is not in"});
  ExpectRefusal(Keys().SetStrings("merges", {"b a"}), {"merge 0 'b a'", "'ba' is not in"});
  ExpectRefusal(Keys().SetStrings("merges", {"a b c"}), {"merge 0 'a b c'", "'b c' is not in"});
}

TEST(Vocabulary, HandMadeOnesAreChecked) {
  const Vocabulary whole = *Keys().Read();
  const std::vector<std::function<void(Vocabulary&)>> changes = {
      [](Vocabulary& v) { v.types.pop_back(); },
      [](Vocabulary& v) { v.bos = 8; },
      [](Vocabulary& v) { v.eom = 9; },
      [](Vocabulary& v) { v.merges[1].merged = 8; },
      [](Vocabulary& v) { v.end_of_generation.push_back(8); },
      [](Vocabulary& v) { v.unknown = 8; },
      [](Vocabulary& v) { v.right_strip.push_back(8); },
      [](Vocabulary& v) { v.model = "llama"; },
      [](Vocabulary& v) { v.scores.push_back(std::nanf("")); },
  };
  EXPECT_TRUE(CheckVocabulary(whole).ok());
  for (const auto& change : changes) {
    Vocabulary changed = whole;
    change(changed);
    EXPECT_EQ(Tokenizer::Create(changed).status().code(), absl::StatusCode::kInvalidArgument);
  }
}

TEST(Vocabulary, DamageNeverCrashes) {
  const std::vector<std::byte> whole = Keys().Serialize();
  std::mt19937_64 random(5);
  size_t read = 0, made = 0;
  for (size_t round = 0; round < 20000; ++round) {
    std::vector<std::byte> bytes = whole;
    for (uint64_t flips = 1 + random() % 3; flips > 0; --flips) {
      bytes[random() % bytes.size()] ^= std::byte{1} << (random() % 8);
    }
    const auto file = GgufFile::Parse(bytes);
    if (!file.ok()) continue;
    auto vocabulary = ReadVocabulary(**file);
    if (!vocabulary.ok()) {
      EXPECT_TRUE(absl::StrContains(vocabulary.status().message(), "tokenizer."));
      continue;
    }
    ++read;
    const auto tokenizer = Tokenizer::Create(*std::move(vocabulary));
    if (!tokenizer.ok()) continue;
    ++made;
    std::vector<uint32_t> ids;
    const absl::Status status = (*tokenizer)->Encode("abc<s>a b", {true, true}, &ids);
    for (const uint32_t id : ids) ASSERT_LT(id, (*tokenizer)->size());
  }
  EXPECT_GT(read, 1000u);
  EXPECT_GT(made, 100u);
}

TEST(Vocabulary, RealFilesAreRead) {
  const char* folder = std::getenv("CORMORANT_SHARED_DATA");
  if (folder == nullptr) GTEST_SKIP() << "CORMORANT_SHARED_DATA is not set";
  const std::string vocabularies = absl::StrCat(folder, "/tokenizers");
  if (!std::filesystem::is_directory(vocabularies)) GTEST_SKIP() << "no " << vocabularies;
  size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(vocabularies)) {
    if (entry.path().extension() != ".gguf") continue;
    const auto file = GgufFile::Open(entry.path().string());
    ASSERT_TRUE(file.ok()) << file.status();
    const auto v = ReadVocabulary(**file);
    ASSERT_TRUE(v.ok()) << entry.path() << ": " << v.status();
    EXPECT_GE(v->tokens.size(), 32000u);
    EXPECT_FALSE(v->end_of_generation.empty()) << entry.path();
    ++files;
  }
  EXPECT_GT(files, 0u);
}

}  // namespace
}  // namespace cormorant
