// A small random llama model as a GGUF file, so that tests of the engine need no download.
//
// A vocabulary of small_vocabulary.h, a ChatML template, weights drawn from a seed. Scores
// of its attention are spread widely, so that some rows matter and some do not, as in a real model.
// A step takes well under a millisecond.
#pragma once
#include <cstdint>
#include <string>

#include "runtime/format/gguf_types.h"

namespace cormorant::testing {

struct TinyModelOptions {
  uint32_t layers = 2;
  uint32_t heads = 4;
  uint32_t kv_heads = 2;
  uint32_t head_dim = 32;
  uint32_t width = 128;
  uint32_t ffn = 256;
  uint32_t context = 512;
  // Of matrices: any that ops compute with. Where there is no quantization here, blocks are random
  // bits under scales that give weights the deviation they have in the others.
  GgufType type = GgufType::kF32;
  bool is_tied = false;           // The embedding is the output matrix too.
  bool is_sentencepiece = false;  // The vocabulary, else byte-level.
  uint32_t seed = 1;
};

/// The file, for as long as the object lives.
class TinyModel {
 public:
  explicit TinyModel(const TinyModelOptions& options = {});
  ~TinyModel();
  TinyModel(const TinyModel&) = delete;
  TinyModel& operator=(const TinyModel&) = delete;

  const std::string& path() const { return path_; }
  const TinyModelOptions& options() const { return options_; }
  uint32_t vocab() const { return vocab_; }
  /// (layer, KV head) pairs.
  uint32_t kv_head_total() const { return options_.layers * options_.kv_heads; }

 private:
  const TinyModelOptions options_;
  std::string path_;
  uint32_t vocab_ = 0;
};

}  // namespace cormorant::testing
