// Writes the seed files of tests/fuzz/corpus/gguf: small GGUF files that reach every part of the
// parser. Run it again when the format layer learns something new; the files are committed.
//
//     make_gguf_corpus FOLDER
#include <cstdio>
#include <string>
#include <vector>

#include "tests/golden/gguf_writer.h"

namespace {

using cormorant::AllGgufTypes;
using cormorant::GgufType;
using cormorant::GgufTypeInfo;
using cormorant::GgufValueType;
using cormorant::testing::ByteBuffer;
using cormorant::testing::GgufWriter;

GgufWriter EveryValueType() {
  GgufWriter writer;
  writer.Add<uint8_t>("u8", 1).Add<int8_t>("i8", -1);
  writer.Add<uint16_t>("u16", 2).Add<int16_t>("i16", -2);
  writer.AddU32("u32", 3).AddI32("i32", -3).AddU64("u64", 4).Add<int64_t>("i64", -4);
  writer.AddF32("f32", 0.5f).Add<double>("f64", 0.25).AddBool("bool", true).AddString("s", "text");
  return writer;
}

GgufWriter EveryArrayType() {
  GgufWriter writer(2);
  writer.AddArray<uint8_t>("u8", {1, 2}).AddArray<int8_t>("i8", {-1});
  writer.AddArray<uint16_t>("u16", {1}).AddArray<int16_t>("i16", {});
  writer.AddArray<uint32_t>("u32", {1, 2, 3}).AddArray<int32_t>("i32", {-1, 2});
  writer.AddArray<uint64_t>("u64", {1}).AddArray<int64_t>("i64", {-1});
  writer.AddArray<float>("f32", {0.5f, 1e30f}).AddArray<double>("f64", {1e300, 0.5});
  writer.AddArray<bool>("bool", {true, false});
  writer.AddStrings("s", std::vector<std::string>{"", "a", "bc"});
  ByteBuffer nested;
  nested.Put(GgufValueType::kArray).Put<uint64_t>(2);
  nested.Put(GgufValueType::kArray).Put<uint64_t>(1);
  nested.Put(GgufValueType::kU8).Put<uint64_t>(2).Put<uint8_t>(1).Put<uint8_t>(2);
  nested.Put(GgufValueType::kString).Put<uint64_t>(1).PutString("x");
  writer.AddRawValue("nested", GgufValueType::kArray, nested.bytes());
  return writer;
}

/// One block of each tensor type, all sharing the bytes of the first.
GgufWriter EveryTensorType() {
  GgufWriter writer;
  const std::vector<std::byte> data(512, std::byte{0x3c});
  writer.AddTensor("bytes", GgufType::kI8, {512}, data);
  for (const GgufTypeInfo& info : AllGgufTypes()) {
    writer.AddRawTensor(info.name, {info.block}, static_cast<uint32_t>(info.type), 32);
  }
  return writer;
}

/// The shape of a model: what a loader asks for, a tokenizer and a few weights.
GgufWriter TinyModel() {
  GgufWriter writer;
  writer.AddString("general.architecture", "llama").SetAlignment(64);
  writer.AddU32("llama.block_count", 1).AddU32("llama.embedding_length", 32);
  writer.AddU32("llama.attention.head_count", 2).AddF32("llama.rope.freq_base", 10000.0f);
  writer.AddString("tokenizer.ggml.model", "gpt2");
  writer.AddStrings("tokenizer.ggml.tokens", std::vector<std::string>{"<s>", "a", "b", "ab"});
  writer.AddArray<int32_t>("tokenizer.ggml.token_type", {3, 1, 1, 1});
  writer.AddStrings("tokenizer.ggml.merges", std::vector<std::string>{"a b"});
  const std::vector<std::byte> data(4 * 34, std::byte{0x11});
  const std::span<const std::byte> bytes(data);
  writer.AddTensor("token_embd.weight", GgufType::kQ8_0, {32, 4}, bytes);
  writer.AddTensor("blk.0.attn_q.weight", GgufType::kQ4_0, {32, 2}, bytes.first(36));
  writer.AddTensor("blk.0.attn_k.weight", GgufType::kQ4_1, {32, 2}, bytes.first(40));
  writer.AddTensor("blk.0.attn_v.weight", GgufType::kF16, {8, 2}, bytes.first(32));
  writer.AddTensor("blk.0.ffn_up.weight", GgufType::kBF16, {8, 2, 1, 1}, bytes.first(32));
  writer.AddTensor("output_norm.weight", GgufType::kF32, {16}, bytes.first(64));
  return writer;
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 2) {
    std::fprintf(stderr, "usage: %s FOLDER\n", arguments[0]);
    return 2;
  }
  const std::pair<const char*, GgufWriter> files[] = {
      {"empty.gguf", GgufWriter()},
      {"every_value_type.gguf", EveryValueType()},
      {"every_array_type.gguf", EveryArrayType()},
      {"every_tensor_type.gguf", EveryTensorType()},
      {"tiny_model.gguf", TinyModel()},
  };
  for (const auto& [name, writer] : files) {
    const absl::Status status = writer.WriteFile(std::string(arguments[1]) + "/" + name);
    if (status.ok()) continue;
    std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
    return 1;
  }
  return 0;
}
