// GgufFile on damaged and hostile files: always a Status that says where, never a crash.
//
// Method: a small file that holds every kind of field is cut at every byte and flipped at random
// bits from a fixed seed; then one file for each lie a field can tell (counts and lengths chosen so
// that careless arithmetic wraps around). Each message must name the byte or the field. Run under
// ASan these tests also show that nothing is read outside; tests/fuzz/gguf_fuzz.cc goes further.
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/format/byte_reader.h"
#include "runtime/format/gguf.h"
#include "tests/golden/gguf_writer.h"

namespace cormorant {
namespace {

using ::cormorant::testing::ByteBuffer;
using ::cormorant::testing::GgufWriter;
using ::testing::HasSubstr;

constexpr uint64_t kHuge = std::numeric_limits<uint64_t>::max();
constexpr uint32_t kF32 = static_cast<uint32_t>(GgufType::kF32);

void ExpectRefused(const std::vector<std::byte>& bytes, absl::StatusCode code,
                   const std::vector<std::string>& parts) {
  const auto file = GgufFile::Parse(bytes);
  ASSERT_FALSE(file.ok());
  EXPECT_EQ(file.status().code(), code) << file.status();
  for (const std::string& part : parts) {
    EXPECT_THAT(std::string(file.status().message()), HasSubstr(part));
  }
}

void ExpectDamaged(const std::vector<std::byte>& bytes, const std::vector<std::string>& parts) {
  ExpectRefused(bytes, absl::StatusCode::kDataLoss, parts);
}

/// A file with every kind of field; every byte of it matters but padding.
std::vector<std::byte> SmallFile() {
  ByteBuffer nested;
  nested.Put(GgufValueType::kArray).Put<uint64_t>(1);
  nested.Put(GgufValueType::kU8).Put<uint64_t>(2).Put<uint8_t>(1).Put<uint8_t>(2);
  const std::vector<std::string> texts = {"a", "", "ccc"};
  const std::vector<float> floats(64, 0.5f);
  GgufWriter writer;
  writer.AddString("general.architecture", "llama").SetAlignment(16);
  writer.AddU32("u32", 5).AddBool("flag", true).AddF32("f32", 0.5f).AddU64("u64", 1);
  writer.AddStrings("texts", texts).AddArray<int16_t>("numbers", {1, 2, 3});
  writer.AddArray<bool>("flags", {true, false});
  writer.AddRawValue("nested", GgufValueType::kArray, nested.bytes());
  writer.AddTensorF32("one", {5}, std::span(floats).first(5));
  writer.AddTensor("two", GgufType::kQ8_0, {32, 2}, std::as_bytes(std::span(floats)).first(2 * 34));
  return writer.Serialize();
}

std::vector<std::byte> Header(uint32_t version, uint64_t tensors, uint64_t entries) {
  return ByteBuffer().PutText("GGUF").Put(version).Put(tensors).Put(entries).bytes();
}

TEST(GgufHostile, ReaderNeverPassesItsEnd) {
  const std::vector<std::byte> bytes(8);
  for (const uint64_t wanted : {kHuge, kHuge - 3, uint64_t{1} << 63, uint64_t{5}}) {
    ByteReader reader(bytes, 100);
    reader.SetSubject("thing", 7);
    ASSERT_TRUE(reader.Read<uint32_t>("head").ok());
    const auto rest = reader.ReadBytes("rest", wanted);
    ASSERT_FALSE(rest.ok());
    EXPECT_THAT(std::string(rest.status().message()), HasSubstr("byte 104, thing 7, rest: needs"));
    EXPECT_EQ(reader.remaining(), 4u);  // A refused read takes nothing.
    EXPECT_TRUE(reader.ReadBytes("rest", 4).ok());
    EXPECT_FALSE(reader.Read<uint8_t>("more").ok());
  }
}

TEST(GgufHostile, EveryPrefixIsRefused) {
  const std::vector<std::byte> whole = SmallFile();
  ASSERT_TRUE(GgufFile::Parse(whole).ok()) << GgufFile::Parse(whole).status();
  for (size_t size = 0; size < whole.size(); ++size) {
    // A copy of its own, so that ASan sees a read past the end.
    const std::vector<std::byte> prefix(whole.begin(), whole.begin() + size);
    const auto file = GgufFile::Parse(prefix);
    ASSERT_FALSE(file.ok()) << size;
    EXPECT_FALSE(file.status().message().empty());
  }
}

TEST(GgufHostile, FlippedBitsNeverCrash) {
  const std::vector<std::byte> whole = SmallFile();
  std::mt19937_64 random(3);
  size_t refused = 0;
  constexpr size_t kRounds = 20000;
  for (size_t round = 0; round < kRounds; ++round) {
    std::vector<std::byte> bytes = whole;
    const size_t flips = 1 + random() % 4;
    for (size_t i = 0; i < flips; ++i) {
      bytes[random() % bytes.size()] ^= std::byte{1} << (random() % 8);
    }
    const auto file = GgufFile::Parse(bytes);
    if (!file.ok()) {
      ++refused;
      continue;
    }
    for (const GgufEntry& entry : (*file)->entries()) RenderGgufValue(entry.value);
    for (const GgufTensor& tensor : (*file)->tensors()) {
      ASSERT_EQ((*file)->Data(tensor).size(), tensor.bytes);
    }
  }
  // Both outcomes occur: the flips reach structure as well as content.
  EXPECT_GT(refused, kRounds / 10);
  EXPECT_LT(refused, kRounds);
}

TEST(GgufHostile, OtherFormatsAndVersionsAreNamed) {
  const auto invalid = absl::StatusCode::kInvalidArgument;
  const auto unsupported = absl::StatusCode::kUnimplemented;
  ExpectRefused({}, invalid, {"not a GGUF file"});
  ExpectRefused(ByteBuffer().PutText("PK\x03\x04....").bytes(), invalid, {"PK\\x03\\x04"});
  ExpectRefused(ByteBuffer().PutText("version https://git-lfs.github.com/spec/v1").bytes(), invalid,
                {"git lfs pull"});
  ExpectRefused(ByteBuffer().PutText("<!DOCTYPE html>").bytes(), invalid, {"web page"});
  ExpectRefused(ByteBuffer().PutText("lmgg").Put(1).bytes(), invalid, {"convert"});
  ExpectRefused(Header(1, 0, 0), unsupported, {"byte 4", "version", "is 1", "convert"});
  ExpectRefused(Header(4, 0, 0), unsupported, {"byte 4", "version", "is 4"});
  ExpectRefused(Header(0, 0, 0), unsupported, {"byte 4", "version", "is 0"});
  ExpectRefused(Header(0x03000000, 0, 0), unsupported, {"big-endian"});
}

TEST(GgufHostile, CountsThatCannotBeAreRefusedBeforeAnythingIsReserved) {
  ExpectDamaged(Header(3, kHuge, 0), {"byte 8", "tensor count", "18446744073709551615"});
  ExpectDamaged(Header(3, 0, kHuge), {"byte 16", "metadata count", "18446744073709551615"});
  ExpectDamaged(Header(3, 1, 0), {"byte 8", "tensor count", "at most 0"});
  ExpectDamaged(Header(3, 0, kGgufEntriesMax), {"byte 16", "metadata count", "at most 0"});
  // Files long enough for more than is allowed: refused by their counts, not by what follows.
  const ByteBuffer entries = ByteBuffer().PutBytes(Header(3, 0, kGgufEntriesMax + 1));
  const ByteBuffer tensors = ByteBuffer().PutBytes(Header(3, kGgufTensorsMax + 1, 0));
  const std::vector<std::byte> room(kGgufTensorsMax * 64);
  ExpectDamaged(ByteBuffer(entries).PutBytes(room).bytes(), {"metadata count", "at most 65536"});
  ExpectDamaged(ByteBuffer(tensors).PutBytes(room).bytes(), {"tensor count", "at most 131072"});
  // Fewer entries than claimed: the next one would begin at the end of the file.
  std::vector<std::byte> bytes = GgufWriter().AddString("a", std::string(100, 'x')).Serialize();
  bytes[16] = std::byte{2};
  ExpectDamaged(bytes, {"byte 145", "metadata 1", "key"});
}

TEST(GgufHostile, LengthsThatWrapAroundAreRefused) {
  for (const uint64_t length : {kHuge, kHuge - 7, kHuge - 31, uint64_t{1} << 63, uint64_t{200}}) {
    ByteBuffer key;
    key.PutText("GGUF").Put<uint32_t>(3).Put<uint64_t>(0).Put<uint64_t>(1).Put(length);
    key.PutText(std::string(64, 'k'));
    ExpectDamaged(key.bytes(), {"metadata 0, key", std::to_string(length)});
    ExpectDamaged(GgufWriter()
                      .AddRawValue("k", GgufValueType::kString, ByteBuffer().Put(length).bytes())
                      .Serialize(),
                  {"metadata 'k', string", std::to_string(length)});
  }
  // 2^61 elements of 8 bytes are 2^64 bytes: 0 when it wraps.
  for (const uint64_t count : {uint64_t{1} << 61, kHuge, uint64_t{9}}) {
    for (const GgufValueType type : {GgufValueType::kU64, GgufValueType::kString}) {
      const ByteBuffer value = ByteBuffer().Put(type).Put(count).PutText(std::string(64, '\0'));
      ExpectDamaged(GgufWriter().AddRawValue("k", GgufValueType::kArray, value.bytes()).Serialize(),
                    {"byte 41", "metadata 'k'", "array length", std::to_string(count), "8 fit"});
    }
  }
}

TEST(GgufHostile, ValuesOfUnknownTypeAreRefused) {
  for (const uint32_t id : {13u, 255u, 0xffffffffu}) {
    const auto type = static_cast<GgufValueType>(id);
    ExpectDamaged(GgufWriter().AddRawValue("k", type, std::vector<std::byte>(16)).Serialize(),
                  {"metadata 'k'", "value type", std::to_string(id)});
    const ByteBuffer array = ByteBuffer().Put(type).Put<uint64_t>(0);
    ExpectDamaged(GgufWriter().AddRawValue("k", GgufValueType::kArray, array.bytes()).Serialize(),
                  {"metadata 'k'", "array element type", std::to_string(id)});
  }
  ExpectDamaged(GgufWriter()
                    .AddRawValue("k", GgufValueType::kBool, ByteBuffer().Put<uint8_t>(2).bytes())
                    .Serialize(),
                {"byte 37", "metadata 'k'", "bool", "is 2"});
  ByteBuffer bools;
  bools.Put(GgufValueType::kBool).Put<uint64_t>(2).Put<uint8_t>(1).Put<uint8_t>(0xff);
  ExpectDamaged(GgufWriter().AddRawValue("k", GgufValueType::kArray, bools.bytes()).Serialize(),
                {"byte 50", "bool", "is 255"});
}

TEST(GgufHostile, ArraysNestOnlySoDeep) {
  for (const uint32_t depth : {kGgufArrayDepthMax, kGgufArrayDepthMax + 1, 100000u}) {
    ByteBuffer value;
    for (uint32_t i = 1; i < depth; ++i) value.Put(GgufValueType::kArray).Put<uint64_t>(1);
    value.Put(GgufValueType::kU8).Put<uint64_t>(1).Put<uint8_t>(1);
    const std::vector<std::byte> bytes =
        GgufWriter().AddRawValue("k", GgufValueType::kArray, value.bytes()).Serialize();
    if (depth <= kGgufArrayDepthMax) {
      EXPECT_TRUE(GgufFile::Parse(bytes).ok()) << GgufFile::Parse(bytes).status();
    } else {
      ExpectDamaged(bytes, {"byte 85", "metadata 'k'", "at most 4 levels"});
    }
  }
}

TEST(GgufHostile, NamesMustBeUniqueAndPresent) {
  ExpectDamaged(GgufWriter().AddU32("k", 1).AddBool("k", true).Serialize(),
                {"byte 41", "metadata 'k'", "appears twice"});
  ExpectDamaged(GgufWriter().AddU32("", 1).AddU32("long enough", 2).Serialize(),
                {"byte 24", "metadata 0", "empty"});
  const std::vector<float> data(8);
  ExpectDamaged(GgufWriter().AddTensorF32("t", {8}, data).AddTensorF32("t", {8}, data).Serialize(),
                {"tensor 't'", "appears twice"});
  ExpectDamaged(GgufWriter().AddTensorF32("", {8}, data).Serialize(), {"tensor 0", "empty"});
  const std::string name(kGgufTensorNameBytesMax + 1, 'n');
  ExpectDamaged(GgufWriter().AddTensorF32(name, {8}, data).Serialize(), {"tensor 0", "1025"});
  const std::string key(kGgufKeyBytesMax + 1, 'k');
  ExpectDamaged(GgufWriter().AddU32(key, 1).Serialize(), {"metadata 0", "key", "65536"});
  // What a name shows on a terminal is harmless.
  ExpectDamaged(GgufWriter().AddU32("\x1b]0;", 1).AddU32("\x1b]0;", 1).Serialize(), {"'\\x1b]0;'"});
}

TEST(GgufHostile, AlignmentMustBeAPowerOfTwoOfEightOrMore) {
  const std::vector<float> data(8);
  for (const uint32_t alignment : {0u, 1u, 4u, 12u, 48u, 0xffffffffu}) {
    ExpectDamaged(GgufWriter()
                      .AddU32("general.alignment", alignment)
                      .AddTensorF32("t", {8}, data)
                      .Serialize(),
                  {"general.alignment", std::to_string(alignment), "power of two"});
  }
  ExpectRefused(GgufWriter().AddString("general.alignment", "32").Serialize(),
                absl::StatusCode::kInvalidArgument, {"general.alignment", "string"});
  ExpectDamaged(GgufWriter().AddU64("general.alignment", uint64_t{1} << 63).Serialize(),
                {"general.alignment", "32 bits"});
  // A legal alignment that puts the data behind the end of the file.
  ExpectDamaged(GgufWriter()
                    .AddU32("general.alignment", 1u << 31)
                    .AddRawTensor("t", {8}, kF32, 0)
                    .Serialize(),
                {"tensor 't'", "data", "2147483648"});
}

/// A file with one tensor of this description and 4,096 bytes of data.
std::vector<std::byte> OneTensor(std::vector<uint64_t> shape, uint32_t type, uint64_t offset) {
  const std::vector<float> data(1024);
  return GgufWriter()
      .AddTensorF32("data", {1024}, data)
      .AddRawTensor("t", std::move(shape), type, offset)
      .Serialize();
}

TEST(GgufHostile, ShapesThatCannotBeAreRefused) {
  ASSERT_TRUE(GgufFile::Parse(OneTensor({1024}, kF32, 0)).ok());
  ExpectDamaged(OneTensor({}, kF32, 0), {"tensor 't'", "dimension count", "is 0"});
  ExpectDamaged(OneTensor({1, 1, 1, 1, 1}, kF32, 0), {"tensor 't'", "dimension count", "is 5"});
  ExpectDamaged(OneTensor({8, 0}, kF32, 0), {"tensor 't'", "dimension", "number 1 is 0"});
  const uint64_t half = uint64_t{1} << 32;
  ExpectDamaged(OneTensor({half, half}, kF32, 0), {"tensor 't'", "number 1", "overflows"});
  ExpectDamaged(OneTensor({kHuge}, kF32, 0), {"tensor 't'", "number 0", "overflows"});
  ExpectDamaged(OneTensor({3, half, half / 2, 2}, kF32, 0), {"tensor 't'", "overflows"});
  // 2^62 elements can be counted; their 2^64 bytes cannot.
  ExpectDamaged(OneTensor({half, half / 4}, kF32, 0), {"tensor 't'", "F32", "overflow"});
  const auto q4_1 = static_cast<uint32_t>(GgufType::kQ4_1);
  ExpectDamaged(OneTensor({33}, q4_1, 0), {"tensor 't'", "rows of 33", "32", "Q4_1"});
  // The product of the shape is a multiple of the block; a row is not.
  ExpectDamaged(OneTensor({16, 2}, q4_1, 0), {"tensor 't'", "rows of 16"});
  for (const uint32_t id : {4u, 31u, 36u, 42u, 0xffffffffu}) {
    ExpectRefused(OneTensor({32}, id, 0), absl::StatusCode::kUnimplemented,
                  {"byte", "tensor 't'", "type", std::to_string(id)});
  }
}

TEST(GgufHostile, DataMustLieInTheFile) {
  ASSERT_TRUE(GgufFile::Parse(OneTensor({8}, kF32, 4064)).ok());
  ExpectDamaged(OneTensor({9}, kF32, 4064), {"tensor 't'", "36 bytes", "4064", "cut short"});
  ExpectDamaged(OneTensor({8}, kF32, 4096), {"tensor 't'", "32 bytes", "4096"});
  ExpectDamaged(OneTensor({8}, kF32, kHuge - 31), {"tensor 't'", "data"});
  ExpectDamaged(OneTensor({8}, kF32, uint64_t{1} << 63), {"tensor 't'", "data"});
  ExpectDamaged(OneTensor({uint64_t{1} << 61}, kF32, 0), {"tensor 't'", "9223372036854775808"});
  ExpectDamaged(OneTensor({8}, kF32, 8), {"tensor 't'", "data offset", "is 8", "alignment 32"});
}

}  // namespace
}  // namespace cormorant
