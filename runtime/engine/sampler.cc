// Sampling. See sampler.h.
#include "runtime/engine/sampler.h"

#include <algorithm>
#include <cmath>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"

namespace cormorant {
namespace {

/// Logits below the best by more than this have a probability under 1e-17 at temperature 1: with
/// no top-k they are left out, so that candidates need not be the whole vocabulary.
constexpr float kNegligible = 40.0f;

uint32_t ArgMax(std::span<const float> logits) {
  uint32_t best = 0;
  float best_logit = -INFINITY;
  for (uint32_t i = 0; i < logits.size(); ++i) {
    if (logits[i] > best_logit) {
      best = i;
      best_logit = logits[i];
    }
  }
  return best;
}

}  // namespace

absl::Status SamplerOptions::Validate() const {
  const auto refuse = [](absl::string_view name, float value, absl::string_view range) {
    return absl::InvalidArgumentError(absl::StrCat(name, " is ", value, "; expected ", range));
  };
  if (!(temperature >= 0.0f && temperature <= 100.0f)) {
    return refuse("temperature", temperature, "0 to 100");
  }
  if (!(top_p > 0.0f && top_p <= 1.0f)) return refuse("top_p", top_p, "above 0, at most 1");
  if (!(min_p >= 0.0f && min_p <= 1.0f)) return refuse("min_p", min_p, "0 to 1");
  if (!(repetition_penalty > 0.0f && repetition_penalty <= 100.0f)) {
    return refuse("repetition_penalty", repetition_penalty, "above 0, at most 100");
  }
  return absl::OkStatus();
}

uint32_t Sampler::Sample(std::span<float> logits, std::span<const uint32_t> history) {
  if (options_.repetition_penalty != 1.0f) Penalize(logits, history);
  if (options_.temperature == 0.0f || options_.top_k == 1) return ArgMax(logits);
  CollectCandidates(logits);
  if (candidates_.empty()) return ArgMax(logits);
  CutByProbability();

  const float best = candidates_.front().logit;
  double sum = 0.0;
  for (Candidate& candidate : candidates_) {
    candidate.logit = std::exp((candidate.logit - best) / options_.temperature);
    sum += candidate.logit;
  }
  // 53 random bits as a fraction; std::uniform_real_distribution may differ between libraries.
  double draw = static_cast<double>(random_() >> 11) * 0x1p-53 * sum;
  for (const Candidate& candidate : candidates_) {
    draw -= candidate.logit;
    if (draw < 0.0) return candidate.id;
  }
  return candidates_.back().id;
}

void Sampler::Penalize(std::span<float> logits, std::span<const uint32_t> history) const {
  const size_t window = std::min<size_t>(options_.repetition_window, history.size());
  absl::flat_hash_set<uint32_t> seen;
  for (uint32_t id : history.last(window)) {
    if (id >= logits.size() || !seen.insert(id).second) continue;
    float& logit = logits[id];
    logit =
        logit > 0.0f ? logit / options_.repetition_penalty : logit * options_.repetition_penalty;
  }
}

void Sampler::CollectCandidates(std::span<const float> logits) {
  const auto likelier = [](const Candidate& a, const Candidate& b) {
    return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
  };
  candidates_.clear();
  const float cutoff = logits[ArgMax(logits)] - kNegligible * std::max(1.0f, options_.temperature);
  const size_t most = options_.top_k == 0 ? logits.size() : options_.top_k;
  // A heap of the best so far, worst of them on top; most logits fail the first comparison.
  float admit = cutoff;
  for (uint32_t i = 0; i < logits.size(); ++i) {
    if (!(logits[i] >= admit)) continue;
    candidates_.push_back({logits[i], i});
    if (most == logits.size()) continue;
    std::push_heap(candidates_.begin(), candidates_.end(), likelier);
    if (candidates_.size() > most) {
      std::pop_heap(candidates_.begin(), candidates_.end(), likelier);
      candidates_.pop_back();
    }
    if (candidates_.size() == most) admit = std::max(admit, candidates_.front().logit);
  }
  std::sort(candidates_.begin(), candidates_.end(), likelier);
}

void Sampler::CutByProbability() {
  const float best = candidates_.front().logit;
  double sum = 0.0;
  for (const Candidate& candidate : candidates_) sum += std::exp(candidate.logit - best);
  size_t keep = candidates_.size();
  if (options_.top_p < 1.0f) {
    double so_far = 0.0;
    for (size_t i = 0; i < keep; ++i) {
      so_far += std::exp(candidates_[i].logit - best);
      if (so_far >= options_.top_p * sum) keep = i + 1;
    }
  }
  if (options_.min_p > 0.0f) {
    const float floor = best + std::log(options_.min_p);
    while (keep > 1 && candidates_[keep - 1].logit < floor) --keep;
  }
  candidates_.resize(keep);
}

}  // namespace cormorant
