// The fragments that decoders are made of, as pieces of tape.
//
// Each function appends the ops of one part to the builder. A fragment takes its weights by name
// from the table; problems are collected there, so a fragment never fails.
#pragma once
#include <string>

#include "models/model.h"

namespace cormorant {

/// x[R,D]: the embedding of the step's token ids.
Tensor EmbedTokens(const ModelConfig& config, WeightTable& weights, TapeBuilder& builder);

/// norm(x) * w, in a tensor of its own.
Tensor Norm(const ModelConfig& config, Tensor x, Tensor w, TapeBuilder& builder);

/// x += o_proj(attention(rope(q_proj(h)), rope(k_proj(h)), v_proj(h))),  h = norm(x)
/// Weights blk.<layer>.attn_{norm,q,k,v,output}; head h of q reads KV head h / (H/G). It begins its
/// layer.
void AttentionBlock(const ModelConfig& config, uint32_t layer, const RopeSpec& rope, Tensor x,
                    WeightTable& weights, TapeBuilder& builder);

/// x += down(silu(gate(h)) * up(h)),  h = norm(x)
/// Weights blk.<layer>.ffn_{norm,gate,up,down}.
void GatedMlp(const ModelConfig& config, uint32_t layer, Tensor x, WeightTable& weights,
              TapeBuilder& builder);

/// Logits [O,V] of the wanted rows: output(norm(x)), with the embedding as output matrix where the
/// file has none of its own (tied weights). Then the greatest of them: the end of every tape.
void LogitsHead(const ModelConfig& config, Tensor x, WeightTable& weights, TapeBuilder& builder);

}  // namespace cormorant
