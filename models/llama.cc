// The llama architecture: pre-norm decoder, grouped-query attention with interleaved RoPE, SwiGLU.
//
// Covers files that say general.architecture = llama: Llama 1 to 3, SmolLM2, Mistral 7B and others
// of the same shape. Source: Touvron et al. 2023, arXiv 2302.13971 and 2307.09288.
#include "models/blocks.h"
#include "models/model.h"

namespace cormorant {
namespace {

void WriteTape(const ModelConfig& config, WeightTable& weights, TapeBuilder& builder) {
  RopeSpec rope = config.rope;
  if (weights.Has(
          "rope_freqs.weight")) {  // Llama 3.1 and later stretch low frequencies by factors.
    rope.factors = weights.Take("rope_freqs.weight", {rope.dims / 2});
  }
  const Tensor x = EmbedTokens(config, weights, builder);
  for (uint32_t layer = 0; layer < config.layers; ++layer) {
    AttentionBlock(config, layer, rope, x, weights, builder);
    GatedMlp(config, layer, x, weights, builder);
  }
  LogitsHead(config, x, weights, builder);
}

}  // namespace

extern const ModelDef kModel_llama;
const ModelDef kModel_llama = {"llama", ReadCommonConfig, WriteTape};

}  // namespace cormorant
