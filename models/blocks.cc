// Tape fragments shared by decoders. See blocks.h.
#include "models/blocks.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace cormorant {

Tensor EmbedTokens(const ModelConfig& config, WeightTable& weights, TapeBuilder& builder) {
  const Tensor x = builder.Temp({builder.rows(), config.width, 1});
  builder.Add(EmbedOp{x, weights.Take("token_embd.weight", {config.vocab, config.width})});
  return x;
}

Tensor Norm(const ModelConfig& config, Tensor x, Tensor w, TapeBuilder& builder) {
  const Tensor y = builder.Temp(x.shape);
  builder.Add(RmsNormOp{y, x, w, config.norm_eps});
  return y;
}

void AttentionBlock(const ModelConfig& config, uint32_t layer, const RopeSpec& rope, Tensor x,
                    WeightTable& weights, TapeBuilder& builder) {
  const uint32_t rows = builder.rows();
  const uint32_t q_width = config.heads * config.head_dim;
  const uint32_t kv_width = config.kv_heads * config.head_dim;
  const auto weight = [&](const char* name, std::initializer_list<uint32_t> shape) {
    return weights.Take(absl::StrCat("blk.", layer, ".", name, ".weight"), shape);
  };
  builder.BeginLayer();
  const Tensor h = Norm(config, x, weight("attn_norm", {config.width}), builder);
  const Tensor q = builder.Temp({rows, q_width, 1});
  const Tensor k = builder.Temp({rows, kv_width, 1});
  const Tensor v = builder.Temp({rows, kv_width, 1});
  builder.Add(MatMulOp{q, h, weight("attn_q", {q_width, config.width})});
  builder.Add(MatMulOp{k, h, weight("attn_k", {kv_width, config.width})});
  builder.Add(MatMulOp{v, h, weight("attn_v", {kv_width, config.width})});

  const auto by_head = [&](Tensor t, uint32_t heads) {
    t.shape = {rows, heads, config.head_dim};
    return t;
  };
  const Tensor q_heads = by_head(q, config.heads);
  const Tensor k_heads = by_head(k, config.kv_heads);
  if (builder.counts_queries()) builder.Add(QueryStatsOp{layer, q_heads});
  builder.Add(RopeOp{q_heads, rope});
  builder.Add(RopeOp{k_heads, rope});
  builder.Add(KvWriteOp{layer, k_heads, by_head(v, config.kv_heads)});

  const Tensor o = builder.Temp({rows, q_width, 1});
  const float scale = AttentionScale(config.head_dim);
  builder.Add(AttendOp{layer, by_head(o, config.heads), q_heads, scale});
  builder.Add(MatMulOp{x, o, weight("attn_output", {config.width, q_width}), true});
}

void GatedMlp(const ModelConfig& config, uint32_t layer, Tensor x, WeightTable& weights,
              TapeBuilder& builder) {
  const auto weight = [&](const char* name, std::initializer_list<uint32_t> shape) {
    return weights.Take(absl::StrCat("blk.", layer, ".", name, ".weight"), shape);
  };
  const Tensor h = Norm(config, x, weight("ffn_norm", {config.width}), builder);
  const Tensor gate = builder.Temp({builder.rows(), config.ffn, 1});
  const Tensor up = builder.Temp({builder.rows(), config.ffn, 1});
  builder.Add(MatMulOp{gate, h, weight("ffn_gate", {config.ffn, config.width})});
  builder.Add(MatMulOp{up, h, weight("ffn_up", {config.ffn, config.width})});
  builder.Add(ActOp{gate, gate, up});
  builder.Add(MatMulOp{x, gate, weight("ffn_down", {config.width, config.ffn}), true});
}

void LogitsHead(const ModelConfig& config, Tensor x, WeightTable& weights, TapeBuilder& builder) {
  builder.BeginLayer();
  const Tensor last = builder.Temp({builder.out_rows(), config.width, 1});
  builder.Add(GatherRowsOp{last, x});
  const Tensor h = Norm(config, last, weights.Take("output_norm.weight", {config.width}), builder);
  const char* name = weights.Has("output.weight") ? "output.weight" : "token_embd.weight";
  const Tensor logits = builder.Out(DType::kF32, {builder.out_rows(), config.vocab, 1});
  builder.Add(MatMulOp{logits, h, weights.Take(name, {config.vocab, config.width})});
  const std::array<uint32_t, 3> top = {builder.out_rows(), std::min(config.vocab, kTopLogits), 1};
  const Tensor values = builder.Out(DType::kF32, top), indices = builder.Out(DType::kU32, top);
  builder.Add(TopKOp{values, indices, logits});
}

}  // namespace cormorant
