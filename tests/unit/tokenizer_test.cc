// Tokenizer: ids by hand on a small vocabulary, and exact ids on real ones.
//
// Method: the small vocabulary has the 256 bytes and few merges, so what comes out can be said by
// hand; merging in general is compared with the definition carried out naively. The vocabularies of
// real models come with texts and ids from the models' own tokenizers. Hard cases: bytes that are
// no UTF-8, special tokens that begin alike, one piece of a megabyte, bytes without a token.
#include "runtime/text/tokenizer.h"

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/format/gguf.h"
#include "runtime/text/detokenizer.h"
#include "tests/golden/small_vocabulary.h"

namespace cormorant {
namespace {

using ::cormorant::testing::AddMerge;
using ::cormorant::testing::AddToken;
using ::cormorant::testing::ByteLevelText;
using ::cormorant::testing::ByteVocabulary;
using ::cormorant::testing::SmallVocabulary;
using ::cormorant::testing::TokenOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

using Ids = std::vector<uint32_t>;
using Strings = std::vector<std::string>;

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

std::string Joined(const Tokenizer& tokenizer, const Ids& ids) {
  std::string bytes;
  for (const uint32_t id : ids) absl::StrAppend(&bytes, tokenizer.Piece(id));
  return bytes;
}

std::string Decoded(const Tokenizer& tokenizer, const Ids& ids) {
  Detokenizer detokenizer(tokenizer);
  std::string text;
  for (const uint32_t id : ids) detokenizer.Push(id, &text);
  detokenizer.Flush(&text);
  return text;
}

/// The pieces of the ids.
Strings Pieces(const Tokenizer& tokenizer, const std::string& text, EncodeOptions options = {}) {
  Strings pieces;
  for (const uint32_t id : Encoded(tokenizer, text, options)) {
    pieces.emplace_back(tokenizer.Piece(id));
  }
  return pieces;
}

TEST(Tokenizer, MergesByRankWithinPieces) {
  const auto tokenizer = Make(SmallVocabulary());
  EXPECT_THAT(Encoded(*tokenizer, ""), ElementsAre());
  EXPECT_THAT(Pieces(*tokenizer, "hello world"), ElementsAre("hello", " world"));
  EXPECT_THAT(Pieces(*tokenizer, "hell"), ElementsAre("hell"));
  // "ld" comes before " wor" + "ld", but "orld" has no way into it.
  EXPECT_THAT(Pieces(*tokenizer, "world"), ElementsAre("w", "or", "ld"));
  EXPECT_THAT(Pieces(*tokenizer, "lll"), ElementsAre("ll", "l"));  // The leftmost pair.
  EXPECT_THAT(Pieces(*tokenizer, "é"), ElementsAre("é"));
  EXPECT_THAT(Pieces(*tokenizer, "\n\n\n"), ElementsAre("\n\n", "\n"));
}

TEST(Tokenizer, PreTokenizersDiffer) {
  const std::string text = "1234  hello";
  EXPECT_THAT(Pieces(*Make(SmallVocabulary("gpt-2")), text),
              ElementsAre("123", "4", " ", " ", "hello"));
  // Digits stand alone, and the white space before them is whole.
  EXPECT_THAT(Pieces(*Make(SmallVocabulary("smollm")), "12  3"), ElementsAre("1", "2", "  ", "3"));
  EXPECT_THAT(Pieces(*Make(SmallVocabulary("llama-bpe")), text),
              ElementsAre("123", "4", " ", " ", "hello"));
  EXPECT_THAT(Pieces(*Make(SmallVocabulary("qwen2")), "12"), ElementsAre("1", "2"));
  EXPECT_THAT(Pieces(*Make(SmallVocabulary("default")), "1234"), ElementsAre("123", "4"));
}

TEST(Tokenizer, WhitespaceIsUnicodesWhiteSpace) {
  Vocabulary vocabulary = ByteVocabulary("gpt-2");
  // U+180E is no white space, so it stands with other symbols; U+2003 is.
  AddMerge("\x8e", "!", &vocabulary);
  AddMerge("\x83", "!", &vocabulary);
  const auto tokenizer = Make(std::move(vocabulary));
  EXPECT_EQ(Encoded(*tokenizer, "\xe1\xa0\x8e!").size(), 3u);
  EXPECT_EQ(Encoded(*tokenizer, "\xe2\x80\x83!").size(), 4u);
}

TEST(Tokenizer, WholePiecesComeFirstWhereTheRuleSaysSo) {
  for (const char* pre : {"llama-bpe", "smaug-bpe"}) {
    Vocabulary vocabulary = ByteVocabulary(pre);
    const uint32_t abc = AddToken("abc", TokenType::kNormal, &vocabulary);
    AddToken("xyz", TokenType::kControl, &vocabulary);
    const auto tokenizer = Make(std::move(vocabulary));
    if (pre == std::string("llama-bpe")) {
      EXPECT_THAT(Encoded(*tokenizer, "abc"), ElementsAre(abc));
    } else {
      EXPECT_THAT(Encoded(*tokenizer, "abc"), ElementsAre('a', 'b', 'c'));
    }
    // No text that is not trusted becomes a control token, whole piece or not.
    EXPECT_THAT(Encoded(*tokenizer, "xyz"), ElementsAre('x', 'y', 'z'));
  }
}

TEST(Tokenizer, SpecialTokensInText) {
  const auto tokenizer = Make(SmallVocabulary());
  const Vocabulary& v = tokenizer->vocabulary();
  const EncodeOptions parse = {false, true};
  const uint32_t start = TokenOf("<|im_start|>", v), end = TokenOf("<|im_end|>", v);
  const uint32_t hello = TokenOf("hello", v);
  EXPECT_THAT(Encoded(*tokenizer, "<|im_start|>hello<|im_end|>", parse),
              ElementsAre(start, hello, end));
  EXPECT_THAT(Encoded(*tokenizer, "<s></s><s", parse), ElementsAre(*v.bos, *v.eos, '<', 's'));
  // Without trust it is text, and comes back as such.
  const Ids plain = Encoded(*tokenizer, "<|im_end|>");
  EXPECT_THAT(plain, ::testing::Not(::testing::Contains(end)));
  EXPECT_EQ(Joined(*tokenizer, plain), "<|im_end|>");
  // User-defined tokens are found always; the longest that fits.
  const uint32_t tool = TokenOf("<tool>", v), call = TokenOf("<tool>call", v);
  EXPECT_THAT(Encoded(*tokenizer, "<tool><tool>cal<tool>call"),
              ElementsAre(tool, tool, 'c', 'a', 'l', call));
  // White space around them belongs to the text.
  EXPECT_THAT(Pieces(*tokenizer, "  <tool>  ", parse), ElementsAre("  ", "<tool>", "  "));
  EXPECT_TRUE(tokenizer->is_special(end));
  EXPECT_FALSE(tokenizer->is_special(tool));
  EXPECT_FALSE(tokenizer->is_special(hello));
  EXPECT_TRUE(tokenizer->is_end_of_generation(end));
  EXPECT_TRUE(tokenizer->is_end_of_generation(*v.eos));
  EXPECT_FALSE(tokenizer->is_end_of_generation(start));
}

TEST(Tokenizer, BosAndEosAsTheVocabularyAsks) {
  for (const bool bos : {false, true}) {
    for (const bool eos : {false, true}) {
      Vocabulary vocabulary = SmallVocabulary();
      vocabulary.add_bos = bos;
      vocabulary.add_eos = eos;
      const auto tokenizer = Make(std::move(vocabulary));
      Ids want;
      if (bos) want.push_back(*tokenizer->vocabulary().bos);
      want.push_back('x');
      if (eos) want.push_back(*tokenizer->vocabulary().eos);
      EXPECT_EQ(Encoded(*tokenizer, "x", {true, false}), want);
      EXPECT_THAT(Encoded(*tokenizer, "x"), ElementsAre('x'));
    }
  }
}

TEST(Tokenizer, ByteLevelKeepsSpacesWhateverTheFileSays) {
  Vocabulary vocabulary = SmallVocabulary();
  vocabulary.add_space_prefix = vocabulary.remove_extra_whitespaces = true;
  const auto tokenizer = Make(std::move(vocabulary));
  EXPECT_THAT(Pieces(*tokenizer, "hello"), ElementsAre("hello"));
  for (const std::string text : {" hello", "  world  ", "<tool> x"}) {
    EXPECT_EQ(Decoded(*tokenizer, Encoded(*tokenizer, text)), text);
  }
}

TEST(Tokenizer, IdsAreAppended) {
  const auto tokenizer = Make(SmallVocabulary());
  Ids ids = {7};
  ASSERT_TRUE(tokenizer->Encode("a", {}, &ids).ok());
  ASSERT_TRUE(tokenizer->Encode("b", {}, &ids).ok());
  EXPECT_THAT(ids, ElementsAre(7, 'a', 'b'));
}

TEST(Tokenizer, TooMuchTextIsRefused) {
  const auto tokenizer = Make(SmallVocabulary());
  Ids ids;
  // Refused by its size: nothing is read.
  const absl::Status status =
      tokenizer->Encode(absl::string_view("", size_t{kEncodeBytesMax} + 1), {}, &ids);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("1073741825"));
}

TEST(Tokenizer, IdsThatDoNotExistAreNothing) {
  const auto tokenizer = Make(SmallVocabulary());
  for (const uint32_t id : {static_cast<uint32_t>(tokenizer->size()), 0xffffffffu}) {
    EXPECT_EQ(tokenizer->Piece(id), "");
    EXPECT_FALSE(tokenizer->is_special(id));
    EXPECT_FALSE(tokenizer->is_end_of_generation(id));
  }
}

TEST(Tokenizer, WrongBytesArePiecesOfTheirOwn) {
  const auto tokenizer = Make(SmallVocabulary());
  // "\xf0\x9f" would merge if it were part of a character.
  EXPECT_THAT(Encoded(*tokenizer, "\xf0\x9f"), ElementsAre(0xf0, 0x9f));
  EXPECT_THAT(Pieces(*tokenizer, "hello\xff world"), ElementsAre("hello", "\xff", " world"));
  EXPECT_EQ(Encoded(*tokenizer, "\xf0\x9f\x98\x80").size(), 2u);
}

TEST(Tokenizer, BytesWithoutATokenBecomeReplacementCharacters) {
  Vocabulary vocabulary = SmallVocabulary();
  vocabulary.types[4] = TokenType::kControl;
  vocabulary.tokens[4] = "<gone>";
  const auto tokenizer = Make(vocabulary);
  EXPECT_THAT(Pieces(*tokenizer, "a\x04z"), ElementsAre("a", "\xef\xbf\xbd", "z"));
  vocabulary.tokens[0xef] = "<gone too>";
  vocabulary.types[0xef] = TokenType::kControl;
  const auto without = Make(vocabulary);
  Ids ids = {1, 2};
  const absl::Status status = without->Encode("ab \x04", {}, &ids);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("without a token"));
  EXPECT_THAT(ids, ElementsAre(1, 2));
}

TEST(Tokenizer, TokensOutsideTheAlphabetStandForTheirText) {
  Vocabulary vocabulary = ByteVocabulary("llama-bpe");
  const uint32_t space = AddToken(" ", TokenType::kNormal, &vocabulary);
  const uint32_t mark = AddToken("™", TokenType::kNormal, &vocabulary);
  const auto tokenizer = Make(std::move(vocabulary));
  EXPECT_EQ(tokenizer->Piece(space), " ");
  EXPECT_EQ(tokenizer->Piece(mark), "™");
  EXPECT_THAT(Encoded(*tokenizer, " "), ElementsAre(' '));
  EXPECT_EQ(Encoded(*tokenizer, "™").size(), 3u);
}

TEST(Tokenizer, UnknownKindsAreNamed) {
  Vocabulary vocabulary = SmallVocabulary("klingon");
  const auto pre = Tokenizer::Create(vocabulary);
  EXPECT_EQ(pre.status().code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(std::string(pre.status().message()), HasSubstr("'klingon'"));
  EXPECT_THAT(std::string(pre.status().message()), HasSubstr("llama-bpe"));
  vocabulary.model = "abacus";
  const auto model = Tokenizer::Create(vocabulary);
  EXPECT_EQ(model.status().code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(std::string(model.status().message()), HasSubstr("'abacus'"));
  EXPECT_THAT(std::string(model.status().message()), HasSubstr("gpt2"));
}

/// The definition of BPE, carried out naively.
Ids NaivelyMerged(Ids ids, const std::vector<Merge>& merges) {
  for (bool is_merged = true; is_merged;) {
    is_merged = false;
    for (const Merge& merge : merges) {
      for (size_t i = 0; i + 1 < ids.size() && !is_merged; ++i) {
        if (ids[i] != merge.left || ids[i + 1] != merge.right) continue;
        ids[i] = merge.merged;
        ids.erase(ids.begin() + static_cast<ptrdiff_t>(i) + 1);
        is_merged = true;
      }
      if (is_merged) break;
    }
  }
  return ids;
}

TEST(Bpe, MergesAsDefined) {
  std::mt19937_64 random(2);
  Bpe::Scratch scratch;
  for (size_t round = 0; round < 300; ++round) {
    // Few ids, so that pairs repeat, overlap and come back after a merge.
    const uint32_t letters = 2 + static_cast<uint32_t>(random() % 3);
    std::vector<Merge> merges;
    for (uint64_t n = random() % 20; n > 0; --n) {
      const uint32_t limit = letters + static_cast<uint32_t>(merges.size());
      merges.push_back({static_cast<uint32_t>(random() % limit),
                        static_cast<uint32_t>(random() % limit), limit});
    }
    const Bpe bpe(merges);
    for (const size_t count : {0, 1, 2, 5, 23, 24, 25, 26, 60, 150}) {
      Ids ids(count);
      for (uint32_t& id : ids) id = static_cast<uint32_t>(random() % letters);
      if (count > 4 && random() % 4 == 0) ids[count / 2] = kNoToken;
      const Ids want = NaivelyMerged(ids, merges);
      bpe.Apply(&ids, &scratch);
      ASSERT_EQ(ids, want) << "round " << round << ", " << count << " ids";
    }
  }
}

TEST(PreTokenizer, CutsTheSameWithAndWithoutMachineCode) {
  std::mt19937_64 random(9);
  const char* const parts[] = {"'s",       "'LL", "\xc5\xbf", "a",  "Zé", "世",      "1",
                               "२",        "½",   " ",        "  ", "\n", "\r\n",    "\t",
                               "\xc2\xa0", "!",   "=-",       "😀",  "'",  "\xcc\x81"};
  for (const char* name : {"gpt-2", "smollm", "llama-bpe", "qwen2", "default"}) {
    const PreTokenizerRule& rule = *FindPreTokenizerRule(name);
    const auto fast = *PreTokenizer::Create(rule);
    const auto slow = *PreTokenizer::Create(rule, PreTokenizer::Jit::kOff);
    PreTokenizer::Scratch scratch;
    std::vector<absl::string_view> pieces, same;
    for (size_t round = 0; round < 1000; ++round) {
      std::string text;
      for (uint64_t n = random() % 20; n > 0; --n) text += parts[random() % std::size(parts)];
      ASSERT_TRUE(fast->Split(text, &scratch, &pieces).ok());
      ASSERT_TRUE(slow->Split(text, &scratch, &same).ok());
      ASSERT_EQ(pieces, same) << name << ": " << text;
      std::string joined;
      for (const absl::string_view piece : pieces) {
        ASSERT_FALSE(piece.empty());
        absl::StrAppend(&joined, piece);
      }
      ASSERT_EQ(joined, text);
    }
  }
}

TEST(PreTokenizer, LongRunsStayWithinLimits) {
  constexpr size_t kBytes = size_t{1} << 18;
  for (const auto jit : {PreTokenizer::Jit::kWhereAllowed, PreTokenizer::Jit::kOff}) {
    for (const char* name : {"gpt-2", "smollm", "llama-bpe", "qwen2", "default"}) {
      const auto pre_tokenizer = *PreTokenizer::Create(*FindPreTokenizerRule(name), jit);
      PreTokenizer::Scratch scratch;
      std::vector<absl::string_view> pieces;
      for (const char* unit :
           {"a", " ", "\n", "1", "!", "'", "\r\n ", "\xc3\xa9", "😀", "\xe3\x80\x80"}) {
        std::string text;
        while (text.size() < kBytes) text += unit;
        for (const char* end : {"", "b"}) {
          const absl::Status status = pre_tokenizer->Split(text + end, &scratch, &pieces);
          EXPECT_TRUE(status.ok()) << name << ", '" << unit << "', '" << end << "': " << status;
        }
      }
    }
  }
}

TEST(Tokenizer, AMegabyteWithoutASpaceDoesNotHang) {
  Vocabulary vocabulary = ByteVocabulary("llama-bpe");
  for (std::string run = "a"; run.size() < 512; run += run) AddMerge(run, run, &vocabulary);
  AddMerge("a", "b", &vocabulary);
  const auto tokenizer = Make(std::move(vocabulary));
  std::mt19937_64 random(1);
  std::string same(size_t{1} << 20, 'a'), mixed;
  while (mixed.size() < same.size()) mixed += random() % 9 == 0 ? 'b' : 'a';
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(Encoded(*tokenizer, same).size(), same.size() / 512);
  EXPECT_EQ(Joined(*tokenizer, Encoded(*tokenizer, mixed)), mixed);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20));
}

TEST(Tokenizer, RandomBytesComeBack) {
  std::mt19937_64 random(4);
  for (const char* pre : {"gpt-2", "smollm", "llama-bpe", "default"}) {
    const auto tokenizer = Make(SmallVocabulary(pre));
    for (size_t round = 0; round < 500; ++round) {
      std::string bytes(random() % 200, '\0');
      for (char& byte : bytes) {
        byte = static_cast<char>(random() % 3 == 0 ? random() : 0x80 | random() % 0x7f);
      }
      ASSERT_EQ(Joined(*tokenizer, Encoded(*tokenizer, bytes, {false, round % 2 == 0})), bytes);
    }
  }
}

/// Of characters below `end`, but U+2581, which SentencePiece reads as a space.
std::string RandomText(std::mt19937_64& random, uint32_t end = 0x110000) {
  std::string text;
  for (uint64_t n = random() % 50; n > 0; --n) {
    const uint32_t limits[] = {0x80, 0x800, 0x3100, 0x10000, end};
    uint32_t code = static_cast<uint32_t>(random() % limits[random() % 5]);
    if ((code >= 0xd800 && code < 0xe000) || code == 0x2581) code = ' ';
    const auto tail = [&](uint32_t shift) {
      return static_cast<char>(0x80 | (code >> shift & 0x3f));
    };
    if (code < 0x80) {
      text += static_cast<char>(code);
    } else if (code < 0x800) {
      text += {static_cast<char>(0xc0 | code >> 6), tail(0)};
    } else if (code < 0x10000) {
      text += {static_cast<char>(0xe0 | code >> 12), tail(6), tail(0)};
    } else {
      text += {static_cast<char>(0xf0 | code >> 18), tail(12), tail(6), tail(0)};
    }
  }
  return text;
}

TEST(Tokenizer, RandomUnicodeComesBack) {
  std::mt19937_64 random(6);
  for (const char* pre : {"gpt-2", "smollm", "llama-bpe", "default", "gpt-4o", "tekken", "falcon",
                          "deepseek-llm", "deepseek-coder", "deepseek-v3", "qwen35"}) {
    const auto tokenizer = Make(SmallVocabulary(pre));
    for (size_t round = 0; round < 500; ++round) {
      const std::string text = RandomText(random);
      ASSERT_EQ(Decoded(*tokenizer, Encoded(*tokenizer, text)), text) << pre;
    }
  }
}

TEST(Tokenizer, ManyThreadsShareOne) {
  const auto tokenizer = Make(SmallVocabulary("llama-bpe"));
  const std::string text = "hello world 123\n\n <tool> \xff é";
  const Ids want = Encoded(*tokenizer, text);
  std::vector<std::thread> threads;
  for (size_t t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (size_t i = 0; i < 200; ++i) EXPECT_EQ(Encoded(*tokenizer, text), want);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

/// Vocabularies of real models, with texts and the ids that the models' own tokenizers gave.
class RealVocabulary : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    const char* folder = std::getenv("CORMORANT_SHARED_DATA");
    if (folder == nullptr) GTEST_SKIP() << "CORMORANT_SHARED_DATA is not set";
    path_ = absl::StrCat(folder, "/tokenizers/", GetParam(), ".gguf");
    const auto file = GgufFile::Open(path_);
    if (absl::IsNotFound(file.status())) GTEST_SKIP() << file.status();
    ASSERT_TRUE(file.ok()) << file.status();
    auto vocabulary = ReadVocabulary(**file);
    ASSERT_TRUE(vocabulary.ok()) << vocabulary.status();
    tokenizer_ = Make(*std::move(vocabulary));
  }

  std::string Text(const std::string& path) const {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  }

  std::string path_;
  std::shared_ptr<const Tokenizer> tokenizer_;
};

TEST_P(RealVocabulary, IdsAreExact) {
  const Strings texts = absl::StrSplit(Text(path_ + ".inp"), "\n__ggml_vocab_test__\n");
  const Strings lines = absl::StrSplit(Text(path_ + ".out"), '\n');
  ASSERT_GT(texts.size(), 40u);
  ASSERT_EQ(texts.size(), lines.size());  // Both end with an empty one.
  for (size_t i = 0; i < texts.size(); ++i) {
    const Ids ids = Encoded(*tokenizer_, texts[i]);
    std::string line;
    for (const uint32_t id : ids) absl::StrAppend(&line, " ", id);
    EXPECT_EQ(line, lines[i]) << "text " << i << ": " << texts[i];
    EXPECT_EQ(Decoded(*tokenizer_, ids), texts[i]);
  }
  std::cout << GetParam() << ": " << texts.size() - 1 << " texts\n";
}

TEST_P(RealVocabulary, RandomUnicodeComesBack) {
  std::mt19937_64 random(8);
  for (size_t round = 0; round < 2000; ++round) {
    // Starcoder has no tokens for the first bytes of characters that are not assigned yet.
    const std::string text = RandomText(random, 0x40000);
    ASSERT_EQ(Decoded(*tokenizer_, Encoded(*tokenizer_, text)), text);
  }
}

TEST_P(RealVocabulary, ALongBookComesBack) {
  const std::string folder = path_.substr(0, path_.find("/tokenizers/"));
  const std::string book = Text(folder + "/eval/moby-dick.txt");
  if (book.empty()) GTEST_SKIP() << "no eval/moby-dick.txt";
  const auto start = std::chrono::steady_clock::now();
  const Ids ids = Encoded(*tokenizer_, book);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  RecordProperty("mb_per_s",
                 absl::StrCat(static_cast<double>(book.size()) / 1e6 / seconds.count()));
  EXPECT_EQ(Decoded(*tokenizer_, ids), book);
  EXPECT_LT(ids.size(), book.size() / 3);
}

INSTANTIATE_TEST_SUITE_P(All, RealVocabulary,
                         ::testing::Values("gpt-2", "llama-bpe", "qwen2", "starcoder", "command-r",
                                           "deepseek-llm", "llama-spm", "phi-3"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::erase(name, '-');
                           return name;
                         });

}  // namespace
}  // namespace cormorant
