// Choosing the next token from logits.
//
// Order: repetition penalty, then top-k, top-p and min-p narrow the candidates, then temperature
// shapes them and one is drawn. Temperature 0 takes the most likely token. The same seed draws the
// same tokens from the same logits.
//
// Sources: top-p: Holtzman et al. 2019, arXiv 1904.09751; min-p: Nguyen et al. 2024, arXiv
// 2407.01082; repetition penalty: Keskar et al. 2019, arXiv 1909.05858.
#pragma once
#include <cstdint>
#include <random>
#include <span>
#include <vector>

#include "absl/status/status.h"

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

class Sampler {
 public:
  explicit Sampler(const SamplerOptions& options) : options_(options), random_(options.seed) {}

  /// The next token. `logits` are changed in place by the penalty; `history` is the session's
  /// tokens, oldest first. Logits that are not numbers never win.
  uint32_t Sample(std::span<float> logits, std::span<const uint32_t> history);

 private:
  struct Candidate {
    float logit;
    uint32_t id;
  };
  void Penalize(std::span<float> logits, std::span<const uint32_t> history) const;
  void CollectCandidates(std::span<const float> logits);
  void CutByProbability();

  SamplerOptions options_;
  std::mt19937_64 random_;
  std::vector<Candidate> candidates_;  // Likeliest first.
};

}  // namespace cormorant
