// Random weights and the metadata around them. See tiny_model.h.
#include "tests/golden/tiny_model.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <random>
#include <span>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "runtime/base/half.h"
#include "runtime/format/blocks.h"
#include "tests/golden/gguf_writer.h"
#include "tests/golden/random_blocks.h"
#include "tests/golden/small_vocabulary.h"

namespace cormorant::testing {
namespace {

constexpr char kTemplate[] =
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] "
    "+ '<|im_end|>' + '\n' }}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|im_start|>assistant\n' }}{% endif %}";

void PutQ8(std::span<const float> x, ByteBuffer& to) {
  float greatest = 0.0f;
  for (float value : x) greatest = std::max(greatest, std::fabs(value));
  const float d = greatest / 127.0f;
  to.Put(F32ToF16(d));
  for (float value : x) to.Put(static_cast<int8_t>(d == 0.0f ? 0.0f : std::nearbyint(value / d)));
}

/// Quants 0..15 of x = q * d + m, two a byte.
void PutNibbles(std::span<const float> x, float d, float m, ByteBuffer& to) {
  const auto quant = [&](float value) {
    const float q = d == 0.0f ? 0.0f : std::nearbyint((value - m) / d);
    return static_cast<uint8_t>(std::clamp(q, 0.0f, 15.0f));
  };
  const size_t half = x.size() / 2;
  for (size_t i = 0; i < half; ++i) {
    to.Put(static_cast<uint8_t>(quant(x[i]) | quant(x[i + half]) << 4));
  }
}

void PutQ4(std::span<const float> x, bool has_minimum, ByteBuffer& to) {
  const auto [low, high] = std::minmax_element(x.begin(), x.end());
  if (has_minimum) {
    const float d = (*high - *low) / 15.0f;
    to.Put(F32ToF16(d)).Put(F32ToF16(*low));
    PutNibbles(x, d, *low, to);
  } else {
    const float d = std::max(std::fabs(*low), std::fabs(*high)) / 7.0f;
    to.Put(F32ToF16(d));
    PutNibbles(x, d, -8.0f * d, to);
  }
}

/// Values of about the same mean square, random again, where there is no quantization here.
void PutRandom(GgufType type, std::span<const float> x, std::mt19937& random, ByteBuffer& to) {
  float squares = 0.0f;
  for (float value : x) squares += value * value;
  const DType dtype = *ComputeType(type);
  std::vector<std::byte> block(Info(dtype).block_bytes);
  RandomBlock(dtype, std::sqrt(squares / static_cast<float>(x.size())), random, block.data());
  to.PutBytes(block);
}

std::vector<std::byte> Encode(GgufType type, std::span<const float> values, std::mt19937& random) {
  ByteBuffer bytes;
  const size_t block = std::max(kBlockElements, FindGgufType(static_cast<uint32_t>(type))->block);
  for (size_t at = 0; at < values.size(); at += block) {
    const std::span<const float> x = values.subspan(at, block);
    switch (type) {
      case GgufType::kF32: bytes.PutBytes(std::as_bytes(x)); break;
      case GgufType::kF16:
        for (float value : x) bytes.Put(F32ToF16(value));
        break;
      case GgufType::kBF16:
        for (float value : x) bytes.Put(F32ToBF16(value));
        break;
      case GgufType::kQ8_0: PutQ8(x, bytes); break;
      case GgufType::kQ4_0: PutQ4(x, false, bytes); break;
      case GgufType::kQ4_1: PutQ4(x, true, bytes); break;
      default: PutRandom(type, x, random, bytes); break;
    }
  }
  return bytes.bytes();
}

class ModelWriter {
 public:
  explicit ModelWriter(const TinyModelOptions& options)
      : options_(options), random_(options.seed) {}

  /// [rows, width] of normal values; `gain` is the deviation of an output for inputs of 1.
  void AddMatrix(const std::string& name, uint32_t rows, uint32_t width, float gain) {
    std::vector<float> values(uint64_t{rows} * width);
    const float deviation = gain / std::sqrt(static_cast<float>(width));
    for (float& value : values) value = normal_(random_) * deviation;
    file.AddTensor(name, options_.type, {width, rows}, Encode(options_.type, values, random_));
  }
  void AddNorm(const std::string& name) {
    std::vector<float> values(options_.width);
    for (float& value : values) value = 1.0f + 0.1f * normal_(random_);
    file.AddTensorF32(name, {options_.width}, values);
  }

  GgufWriter file;

 private:
  const TinyModelOptions& options_;
  std::mt19937 random_;
  std::normal_distribution<float> normal_;
};

void AddMetadata(const TinyModelOptions& options, GgufWriter& file) {
  file.AddString("general.architecture", "llama")
      .AddString("general.name", "tiny")
      .AddU32("llama.block_count", options.layers)
      .AddU32("llama.context_length", options.context)
      .AddU32("llama.embedding_length", options.width)
      .AddU32("llama.feed_forward_length", options.ffn)
      .AddU32("llama.attention.head_count", options.heads)
      .AddU32("llama.attention.head_count_kv", options.kv_heads)
      .AddU32("llama.attention.key_length", options.head_dim)
      .AddU32("llama.attention.value_length", options.head_dim)
      .AddF32("llama.attention.layer_norm_rms_epsilon", 1e-5f)
      .AddU32("llama.rope.dimension_count", options.head_dim)
      .AddF32("llama.rope.freq_base", 10000.0f);
}

void AddVocabulary(const Vocabulary& vocabulary, GgufWriter& file) {
  std::vector<int32_t> types;
  for (TokenType type : vocabulary.types) types.push_back(static_cast<int32_t>(type));
  std::vector<std::string> merges;
  for (const Merge& merge : vocabulary.merges) {
    merges.push_back(
        absl::StrCat(vocabulary.tokens[merge.left], " ", vocabulary.tokens[merge.right]));
  }
  file.AddString("tokenizer.ggml.model", vocabulary.model)
      .AddString("tokenizer.ggml.pre", vocabulary.pre)
      .AddStrings("tokenizer.ggml.tokens", vocabulary.tokens)
      .AddArray("tokenizer.ggml.token_type", types)
      .AddStrings("tokenizer.ggml.merges", merges)
      .AddArray("tokenizer.ggml.scores", vocabulary.scores)
      .AddU32("tokenizer.ggml.bos_token_id", *vocabulary.bos)
      .AddU32("tokenizer.ggml.eos_token_id", *vocabulary.eos)
      .AddBool("tokenizer.ggml.add_bos_token", true)
      .AddString("tokenizer.chat_template", kTemplate);
}

void AddLayer(const TinyModelOptions& o, uint32_t layer, ModelWriter& writer) {
  const std::string prefix = absl::StrCat("blk.", layer, ".");
  const uint32_t q_width = o.heads * o.head_dim, kv_width = o.kv_heads * o.head_dim;
  writer.AddNorm(prefix + "attn_norm.weight");
  writer.AddMatrix(prefix + "attn_q.weight", q_width, o.width, 1.5f);
  writer.AddMatrix(prefix + "attn_k.weight", kv_width, o.width, 1.5f);
  writer.AddMatrix(prefix + "attn_v.weight", kv_width, o.width, 1.0f);
  writer.AddMatrix(prefix + "attn_output.weight", o.width, q_width, 1.0f);
  writer.AddNorm(prefix + "ffn_norm.weight");
  writer.AddMatrix(prefix + "ffn_gate.weight", o.ffn, o.width, 1.0f);
  writer.AddMatrix(prefix + "ffn_up.weight", o.ffn, o.width, 1.0f);
  writer.AddMatrix(prefix + "ffn_down.weight", o.width, o.ffn, 1.0f);
}

}  // namespace

TinyModel::TinyModel(const TinyModelOptions& options) : options_(options) {
  static std::atomic<uint32_t> files{0};
  path_ = absl::StrCat(::testing::TempDir(), "cormorant_tiny_", getpid(), "_", files.fetch_add(1),
                       ".gguf");
  const Vocabulary vocabulary =
      options_.is_sentencepiece ? SmallSentencePieces() : SmallVocabulary();
  vocab_ = static_cast<uint32_t>(vocabulary.tokens.size());
  ModelWriter writer(options_);
  AddMetadata(options_, writer.file);
  AddVocabulary(vocabulary, writer.file);
  const float embedding = std::sqrt(static_cast<float>(options_.width));
  writer.AddMatrix("token_embd.weight", vocab_, options_.width,
                   options_.is_tied ? 3.0f : embedding);
  for (uint32_t layer = 0; layer < options_.layers; ++layer) AddLayer(options_, layer, writer);
  writer.AddNorm("output_norm.weight");
  if (!options_.is_tied) writer.AddMatrix("output.weight", vocab_, options_.width, 3.0f);
  const absl::Status status = writer.file.WriteFile(path_);
  EXPECT_TRUE(status.ok()) << status;
}

TinyModel::~TinyModel() {
  unlink(path_.c_str());
}

}  // namespace cormorant::testing
