// Choosing the next token from logits.
//
// Order: repetition penalty, then top-k, top-p and min-p narrow the candidates, then temperature
// shapes them and one is drawn. Temperature 0 takes the most likely token. The same seed draws the
// same tokens from the same logits, whether the sampler sees all of them or, where that suffices,
// the greatest alone.
//
// A grammar forbids tokens before anything else but the penalty. To find which takes longer than to
// ask about a few, so the likeliest are asked about first; what is chosen is what would be chosen
// with all others at minus infinity.
//
// Sources: top-p: Holtzman et al. 2019, arXiv 1904.09751; min-p: Nguyen et al. 2024, arXiv
// 2407.01082; repetition penalty: Keskar et al. 2019, arXiv 1909.05858.
#pragma once
#include <cstdint>
#include <optional>
#include <random>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "runtime/grammar/token_filter.h"

namespace cormorant {

struct SamplerOptions {
  float temperature = 0.7f;         // >= 0; 0: greedy.
  uint32_t top_k = 40;              // 0: off.
  float top_p = 0.95f;              // In (0, 1]; 1: off.
  float min_p = 0.05f;              // In [0, 1]; 0: off.
  float repetition_penalty = 1.0f;  // > 0; 1: off.
  uint32_t repetition_window = 64;  // Tokens back that are penalised.
  uint64_t seed = 0;

  absl::Status Validate() const;
};

struct TokenLogit {
  float logit;
  uint32_t id;
};

class Sampler {
 public:
  explicit Sampler(const SamplerOptions& options) : options_(options), random_(options.seed) {}

  /// The next token. `logits` are changed in place by the penalty; `history` is the session's
  /// tokens, oldest first. Logits that are not numbers never win.
  uint32_t Sample(std::span<float> logits, std::span<const uint32_t> history);
  /// The next token that the filter allows; nothing where it allows none.
  std::optional<uint32_t> Sample(std::span<float> logits, std::span<const uint32_t> history,
                                 TokenFilter* filter);
  /// The same token from the kTopLogits greatest logits (models/model.h), or all where there are
  /// fewer, as TopKOp leaves them. Needs TopSuffices(history).
  uint32_t Sample(std::span<const TokenLogit> top, std::span<const uint32_t> history);

  /// Whether no logit but the kTopLogits greatest can matter after this history.
  bool TopSuffices(std::span<const uint32_t> history) const;

 private:
  bool is_greedy() const { return options_.temperature == 0.0f || options_.top_k == 1; }
  /// The ids that are penalised, ascending, each once.
  std::vector<uint32_t> Recent(std::span<const uint32_t> history) const;
  float Penalized(float logit) const;
  /// Logits below it do not matter beside `best`.
  float Cutoff(float best) const;
  void Penalize(std::span<float> logits, std::span<const uint32_t> history) const;
  /// The `most` greatest logits, none below Cutoff() where `cuts`.
  void CollectCandidates(std::span<const float> logits, size_t most, bool cuts);
  /// Whether the candidates are those allowed ones that a mask would leave.
  bool CollectAllowed(std::span<const float> logits, TokenFilter* filter);
  uint32_t Choose(std::span<const float> logits);
  void CutByProbability();
  uint32_t Draw();

  SamplerOptions options_;
  std::mt19937_64 random_;
  std::vector<TokenLogit> candidates_;  // Likeliest first.
};

}  // namespace cormorant
