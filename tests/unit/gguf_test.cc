// GgufFile on well-formed files: what was written comes back, whoever wrote it.
//
// Method: files from the tests' own writer, one file from the `gguf` Python package (an independent
// writer: tests/golden/make_quant_vectors.py), and the real model when it is there. Damaged files
// are in gguf_hostile_test.cc.
#include "runtime/format/gguf.h"

#include <chrono>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/golden/gguf_writer.h"

namespace cormorant {
namespace {

using ::cormorant::testing::ByteBuffer;
using ::cormorant::testing::GgufWriter;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::StartsWith;

std::unique_ptr<GgufFile> MustParse(const std::vector<std::byte>& bytes) {
  absl::StatusOr<std::unique_ptr<GgufFile>> file = GgufFile::Parse(bytes);
  EXPECT_TRUE(file.ok()) << file.status();
  return file.ok() ? *std::move(file) : nullptr;
}

template <class T>
void ExpectRefusal(const absl::StatusOr<T>& result, absl::StatusCode code,
                   const std::vector<std::string>& parts) {
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.status().code(), code) << result.status();
  for (const std::string& part : parts) {
    EXPECT_THAT(std::string(result.status().message()), HasSubstr(part));
  }
}

TEST(Gguf, FileWithoutContentParses) {
  for (const uint32_t version : {2u, 3u}) {
    const std::vector<std::byte> bytes = GgufWriter(version).Serialize();
    const auto file = MustParse(bytes);
    ASSERT_NE(file, nullptr);
    EXPECT_EQ(file->version(), version);
    EXPECT_EQ(file->file_bytes(), 24u);
    EXPECT_EQ(file->alignment(), 32u);
    EXPECT_TRUE(file->tensors().empty());
    EXPECT_TRUE(file->entries().empty());
  }
}

TEST(Gguf, FingerprintsTellFilesApart) {
  const auto of = [](const char* name, float first, float last, size_t count) {
    std::vector<float> values(count, 1.0f);
    values.front() = first;
    values.back() = last;
    GgufWriter writer;
    writer.AddString("general.name", name).AddTensorF32("weights", {count}, values);
    const std::vector<std::byte> bytes = writer.Serialize();
    return MustParse(bytes)->Fingerprint();
  };
  const uint64_t one = of("one", 1, 1, 256);
  EXPECT_EQ(of("one", 1, 1, 256), one);
  EXPECT_NE(of("two", 1, 1, 256), one);
  EXPECT_NE(of("one", 2, 1, 256), one);
  EXPECT_NE(of("one", 1, 1, 288), one);
  EXPECT_EQ(of("one", 1, 2, 256), one);  // Not all of the weights are read.
}

TEST(Gguf, TensorsLieWhereTheyWereWritten) {
  for (const uint32_t alignment : {8u, 32u, 64u, 4096u}) {
    GgufWriter writer;
    writer.SetAlignment(alignment);
    const std::vector<float> first = {1, 2, 3, 4, 5, 6};
    const std::vector<float> second = {-1, -2, -3};
    writer.AddTensorF32("first", {3, 2}, first).AddTensorF32("second", {3, 1, 1, 1}, second);
    const std::vector<std::byte> bytes = writer.Serialize();
    const auto file = MustParse(bytes);
    ASSERT_NE(file, nullptr);
    EXPECT_EQ(file->alignment(), alignment);
    ASSERT_EQ(file->tensors().size(), 2u);
    const GgufTensor* tensor = file->FindTensor("second");
    ASSERT_EQ(tensor, &file->tensors()[1]);
    EXPECT_THAT(tensor->shape, ElementsAre(3, 1, 1, 1));
    EXPECT_EQ(tensor->elements(), 3u);
    EXPECT_EQ(tensor->bytes, 12u);
    EXPECT_EQ(tensor->offset % alignment, 0u);
    std::vector<float> read(3);
    std::memcpy(read.data(), file->Data(*tensor).data(), tensor->bytes);
    EXPECT_EQ(read, second);
    read.resize(6);
    ASSERT_NE(file->FindTensor("first"), nullptr);
    std::memcpy(read.data(), file->Data(*file->FindTensor("first")).data(), 24);
    EXPECT_EQ(read, first);
    EXPECT_EQ(file->FindTensor("third"), nullptr);
    EXPECT_EQ(file->FindTensor("firs"), nullptr);
    file->DropPages(*tensor);  // Nothing to drop in bytes the caller owns.
  }
}

TEST(Gguf, EveryTensorTypeIsKnownByNameAndSize) {
  GgufWriter writer;
  for (const GgufTypeInfo& info : AllGgufTypes()) {
    // Two rows of three blocks.
    const std::vector<std::byte> data(6 * info.block_bytes);
    writer.AddTensor(info.name, info.type, {3 * uint64_t{info.block}, 2}, data);
  }
  const std::vector<std::byte> bytes = writer.Serialize();
  const auto file = MustParse(bytes);
  ASSERT_NE(file, nullptr);
  EXPECT_EQ(file->tensors().size(), 34u);
  for (const GgufTensor& tensor : file->tensors()) {
    EXPECT_EQ(GgufTypeName(tensor.type), tensor.name);
    EXPECT_EQ(tensor.bytes, 6 * FindGgufType(static_cast<uint32_t>(tensor.type))->block_bytes);
    const std::optional<DType> compute = ComputeType(tensor.type);
    if (compute.has_value()) {
      EXPECT_EQ(tensor.bytes, RowBytes(*compute, tensor.elements())) << tensor.name;
      EXPECT_EQ(absl::AsciiStrToUpper(Info(*compute).name), tensor.name);
    }
  }
  EXPECT_EQ(ComputeType(GgufType::kQ4_1), DType::kQ4_1);
  EXPECT_EQ(ComputeType(GgufType::kQ6_K), DType::kQ6_K);
  EXPECT_EQ(ComputeType(GgufType::kQ8_K), std::nullopt);  // No model stores it.
  EXPECT_EQ(FindGgufType(4), nullptr);                    // Withdrawn.
  EXPECT_EQ(GgufTypeName(static_cast<GgufType>(1000)), "?");
}

TEST(Gguf, EntriesKeepTheirOrder) {
  const std::vector<std::byte> bytes =
      GgufWriter().AddU32("z", 1).AddString("a", "text").AddBool("m", false).Serialize();
  const auto file = MustParse(bytes);
  ASSERT_NE(file, nullptr);
  ASSERT_EQ(file->entries().size(), 3u);
  EXPECT_EQ(file->entries()[0].key, "z");
  EXPECT_EQ(file->entries()[1].key, "a");
  EXPECT_EQ(GgufTypeText(file->entries()[1].value), "string");
  EXPECT_EQ(file->entries()[2].key, "m");
  EXPECT_TRUE(file->Has("a"));
  EXPECT_FALSE(file->Has("b"));
}

TEST(Gguf, IntegersOfEveryWidthReadAsUnsigned) {
  const std::vector<std::byte> bytes = GgufWriter()
                                           .Add<uint8_t>("u8", 255)
                                           .Add<int8_t>("i8", 127)
                                           .Add<uint16_t>("u16", 65535)
                                           .Add<int16_t>("i16", 32767)
                                           .Add<uint32_t>("u32", 4294967295u)
                                           .Add<int32_t>("i32", 2147483647)
                                           .Add<uint64_t>("u64", UINT64_MAX)
                                           .Add<int64_t>("i64", INT64_MAX)
                                           .Serialize();
  const auto file = MustParse(bytes);
  ASSERT_NE(file, nullptr);
  const std::pair<const char*, uint64_t> want[] = {
      {"u8", 255},         {"i8", 127},         {"u16", 65535},      {"i16", 32767},
      {"u32", 4294967295}, {"i32", 2147483647}, {"u64", UINT64_MAX}, {"i64", INT64_MAX}};
  for (const auto& [key, value] : want) {
    ASSERT_TRUE(file->Unsigned(key).ok()) << file->Unsigned(key).status();
    EXPECT_EQ(*file->Unsigned(key), value) << key;
    EXPECT_EQ(*file->Number(key), static_cast<double>(value)) << key;
  }
}

TEST(Gguf, MissingAndMistypedValuesAreNamed) {
  const std::vector<std::byte> bytes = GgufWriter()
                                           .AddI32("negative", -5)
                                           .AddF32("float", 1.5f)
                                           .AddString("text", "llama")
                                           .AddBool("flag", true)
                                           .AddArray<uint64_t>("big", {1, UINT64_MAX})
                                           .AddArray<double>("wide", {1e300})
                                           .AddArray<double>("inf", {HUGE_VAL, -0.0})
                                           .Serialize();
  const auto file = MustParse(bytes);
  ASSERT_NE(file, nullptr);
  const auto kInvalid = absl::StatusCode::kInvalidArgument;
  ExpectRefusal(file->Unsigned("absent"), absl::StatusCode::kNotFound, {"'absent'", "missing"});
  ExpectRefusal(file->Strings("absent"), absl::StatusCode::kNotFound, {"'absent'", "missing"});
  ExpectRefusal(file->Unsigned("negative"), kInvalid, {"'negative'", "i32 -5", "0 or more"});
  ExpectRefusal(file->Unsigned("float"), kInvalid, {"'float'", "f32 1.5", "integer"});
  ExpectRefusal(file->Unsigned("flag"), kInvalid, {"'flag'", "bool true"});
  ExpectRefusal(file->Number("text"), kInvalid, {"'text'", "string 'llama'", "a number"});
  ExpectRefusal(file->Number("flag"), kInvalid, {"'flag'"});
  ExpectRefusal(file->Bool("float"), kInvalid, {"'float'", "a bool"});
  ExpectRefusal(file->String("big"), kInvalid, {"'big'", "array of u64", "a string"});
  ExpectRefusal(file->Strings("text"), kInvalid, {"'text'", "an array of strings"});
  ExpectRefusal(file->Integers("big"), kInvalid, {"'big'", "2^63"});
  ExpectRefusal(file->Integers("wide"), kInvalid, {"array of f64", "an array of integers"});
  ExpectRefusal(file->Floats("wide"), kInvalid, {"'wide'", "f32"});
  ExpectRefusal(file->Floats("big"), kInvalid, {"'big'", "an array of floats"});
  EXPECT_THAT(*file->Floats("inf"), ElementsAre(HUGE_VALF, -0.0f));
  EXPECT_EQ(*file->Number("negative"), -5.0);
}

TEST(Gguf, ArraysOfArraysAreWalkedOver) {
  ByteBuffer nested;  // [[1, 2], ["x"]]: the elements of an array may differ below the first level.
  nested.Put(GgufValueType::kArray).Put<uint64_t>(2);
  nested.Put(GgufValueType::kU16).Put<uint64_t>(2).Put<uint16_t>(1).Put<uint16_t>(2);
  nested.Put(GgufValueType::kString).Put<uint64_t>(1).PutString("x");
  const std::vector<std::byte> bytes =
      GgufWriter()
          .AddRawValue("nested", GgufValueType::kArray, nested.bytes())
          .AddU32("after", 7)
          .Serialize();
  const auto file = MustParse(bytes);
  ASSERT_NE(file, nullptr);
  EXPECT_EQ(*file->Unsigned("after"), 7u);
  EXPECT_EQ(RenderGgufValue(*file->FindValue("nested")), "[2 arrays]");
  EXPECT_FALSE(file->Integers("nested").ok());
}

TEST(Gguf, ValuesRenderInOneShortLine) {
  std::vector<std::string> tokens(1000, "token");
  tokens[1] = "\n\x1b[31m";
  std::string long_text;
  for (int i = 0; i < 100; ++i) long_text += "ü";
  const std::vector<std::byte> bytes = GgufWriter()
                                           .Add<int8_t>("i8", -7)
                                           .AddF32("f32", 1e-5f)
                                           .AddString("long", long_text)
                                           .AddStrings("tokens", tokens)
                                           .AddArray<int32_t>("some", {1, -2})
                                           .AddArray<bool>("none", {})
                                           .Serialize();
  const auto file = MustParse(bytes);
  ASSERT_NE(file, nullptr);
  const auto render = [&](const char* key) { return RenderGgufValue(*file->FindValue(key), 41); };
  EXPECT_EQ(render("i8"), "-7");
  EXPECT_EQ(render("f32"), "1e-05");
  EXPECT_EQ(render("some"), "[1, -2]");
  EXPECT_EQ(render("none"), "[]");
  // 41 bytes would end in the middle of a character.
  EXPECT_EQ(render("long"), "'" + long_text.substr(0, 40) + "…'");
  EXPECT_THAT(render("tokens"), StartsWith("['token', '\\n\\x1b[31m', 'token'"));
  EXPECT_THAT(render("tokens"), HasSubstr("… 1000 in all]"));
}

TEST(Gguf, FileOfAnotherWriterReadsTheSame) {
  const auto opened = GgufFile::Open(CORMORANT_TEST_DIR "/golden/quant_vectors.gguf");
  ASSERT_TRUE(opened.ok()) << opened.status();
  const GgufFile& file = **opened;
  EXPECT_EQ(file.version(), 3u);
  EXPECT_EQ(*file.String("general.architecture"), "vectors");
  EXPECT_EQ(*file.Unsigned("value.u8"), 200u);
  EXPECT_EQ(*file.Number("value.i8"), -100);
  EXPECT_EQ(*file.Unsigned("value.u16"), 60000u);
  EXPECT_EQ(*file.Number("value.i16"), -30000);
  EXPECT_EQ(*file.Unsigned("value.u32"), 4000000000u);
  EXPECT_EQ(*file.Number("value.i32"), -2000000000);
  EXPECT_EQ(*file.Number("value.f32"), 0.1f);
  EXPECT_TRUE(*file.Bool("value.bool"));
  EXPECT_EQ(*file.String("value.string"), "Kormoran ü 鵜");
  EXPECT_EQ(*file.Unsigned("value.u64"), UINT64_MAX);
  EXPECT_EQ(*file.Number("value.i64"), -0x1p63);
  EXPECT_EQ(*file.Number("value.f64"), 0.1);
  EXPECT_THAT(*file.Integers("array.i32"), ElementsAre(1, -2, 3));
  EXPECT_THAT(*file.Floats("array.f32"), ElementsAre(0.5f, -1.5f));
  EXPECT_THAT(*file.Strings("array.string"), ElementsAre("", "a", "Ġthe", "\n"));
  EXPECT_EQ(RenderGgufValue(*file.FindValue("array.bool")), "[true, false, true]");
  ASSERT_EQ(file.tensors().size(), 50u);
  ASSERT_NE(file.FindTensor("Q4_1"), nullptr);
  EXPECT_THAT(file.FindTensor("Q4_1")->shape, ElementsAre(96, 4));
  EXPECT_EQ(file.FindTensor("Q4_1")->type, GgufType::kQ4_1);
}

TEST(Gguf, RealModelOpensInMilliseconds) {
  const char* path = std::getenv("CORMORANT_TEST_MODEL");
  if (path == nullptr) GTEST_SKIP() << "CORMORANT_TEST_MODEL is not set";
  const auto start = std::chrono::steady_clock::now();
  const auto opened = GgufFile::Open(path);
  const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start;
  ASSERT_TRUE(opened.ok()) << opened.status();
  const GgufFile& file = **opened;
  RecordProperty("open_ms", std::to_string(took.count()));
  EXPECT_LT(took.count(), 1000.0);  // A few ms; the rest is slack for sanitizers and cold disks.
  const auto architecture = file.String("general.architecture");
  ASSERT_TRUE(architecture.ok()) << architecture.status();
  const auto tokens = file.Strings("tokenizer.ggml.tokens");
  ASSERT_TRUE(tokens.ok()) << tokens.status();
  const auto types = file.Integers("tokenizer.ggml.token_type");
  ASSERT_TRUE(types.ok()) << types.status();
  EXPECT_EQ(types->size(), tokens->size());
  const GgufTensor* embedding = file.FindTensor("token_embd.weight");
  ASSERT_NE(embedding, nullptr);
  ASSERT_EQ(embedding->shape.size(), 2u);
  EXPECT_EQ(embedding->shape[1], tokens->size());
  EXPECT_EQ(embedding->shape[0], *file.Unsigned(std::string(*architecture) + ".embedding_length"));
  // Pages that were dropped come back with the same bytes.
  const std::span<const std::byte> data = file.Data(*embedding);
  const std::vector<std::byte> before(data.begin(), data.end());
  file.DropPages(*embedding);
  EXPECT_TRUE(std::equal(data.begin(), data.end(), before.begin()));
}

}  // namespace
}  // namespace cormorant
