// Sampling. See sampler.h.
#include "runtime/engine/sampler.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "models/model.h"

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

/// Leaves what the mask allows, and gives the first of it.
std::optional<uint32_t> Forbid(std::span<const uint64_t> mask, std::span<float> logits) {
  std::optional<uint32_t> first;
  for (size_t at = 0; at < logits.size(); at += 64) {
    const uint64_t word = at / 64 < mask.size() ? mask[at / 64] : 0;
    const std::span<float> part = logits.subspan(at, std::min<size_t>(64, logits.size() - at));
    if (word != 0 && !first) first = static_cast<uint32_t>(at) + std::countr_zero(word);
    if (word == 0) {
      std::fill(part.begin(), part.end(), -INFINITY);
    } else if (word != ~uint64_t{0}) {
      for (size_t i = 0; i < part.size(); ++i) {
        if ((word >> i & 1) == 0) part[i] = -INFINITY;
      }
    }
  }
  return first && *first < logits.size() ? first : std::nullopt;
}

/// The order of TopKOp.
bool Likelier(const TokenLogit& a, const TokenLogit& b) {
  return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
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

bool Sampler::TopSuffices(std::span<const uint32_t> history) const {
  // The penalty moves a logit down or leaves it, if it is at least 1: positive ones are divided,
  // the others multiplied, and rounding keeps the order. So when p tokens are penalised, at least
  // kTopLogits - p of the greatest stand where they stood, ahead of every logit outside; k of them
  // are enough for a top-k of k. With the penalty below 1 any token may rise.
  const uint64_t k = is_greedy() ? 1 : options_.top_k;
  if (k == 0 || !(options_.repetition_penalty >= 1.0f)) return false;
  return k + Recent(history).size() <= kTopLogits;
}

void Sampler::Penalize(std::span<float> logits, std::span<const uint32_t> history) const {
  for (uint32_t id : Recent(history)) {
    if (id < logits.size()) logits[id] = Penalized(logits[id]);
  }
}

uint32_t Sampler::Choose(std::span<const float> logits) {
  if (is_greedy()) return ArgMax(logits);
  CollectCandidates(logits, options_.top_k == 0 ? logits.size() : options_.top_k, true);
  return candidates_.empty() ? ArgMax(logits) : Draw();
}

uint32_t Sampler::Sample(std::span<float> logits, std::span<const uint32_t> history) {
  Penalize(logits, history);
  return Choose(logits);
}

std::optional<uint32_t> Sampler::Sample(std::span<float> logits, std::span<const uint32_t> history,
                                        TokenFilter* filter) {
  Penalize(logits, history);
  if (is_greedy()) {
    const uint32_t id = ArgMax(logits);
    if (logits[id] > -INFINITY && filter->Allows(id)) return id;
  } else if (!filter->has_mask() && CollectAllowed(logits, filter)) {
    return Draw();
  }
  const std::optional<uint32_t> allowed = Forbid(filter->Mask(), logits);
  if (!allowed) return std::nullopt;
  const uint32_t id = Choose(logits);
  // Of logits that are not numbers none wins, and any that is allowed will do.
  return logits[id] > -INFINITY ? id : *allowed;
}

bool Sampler::CollectAllowed(std::span<const float> logits, TokenFilter* filter) {
  CollectCandidates(logits, kTopLogits, false);
  const size_t most = options_.top_k == 0 ? logits.size() : options_.top_k;
  const bool are_all = candidates_.size() == logits.size();
  size_t kept = 0;
  for (const TokenLogit& candidate : candidates_) {
    if (kept == most || (kept > 0 && candidate.logit < Cutoff(candidates_[0].logit))) {
      candidates_.resize(kept);
      return true;  // No other could be one.
    }
    if (filter->Allows(candidate.id)) candidates_[kept++] = candidate;
  }
  candidates_.resize(kept);
  return kept > 0 && (kept == most || are_all);
}

uint32_t Sampler::Sample(std::span<const TokenLogit> top, std::span<const uint32_t> history) {
  candidates_.assign(top.begin(), top.end());
  const std::vector<uint32_t> recent = Recent(history);
  for (TokenLogit& candidate : candidates_) {
    if (std::binary_search(recent.begin(), recent.end(), candidate.id)) {
      candidate.logit = Penalized(candidate.logit);
    }
  }
  std::sort(candidates_.begin(), candidates_.end(), Likelier);
  const TokenLogit best = candidates_.front();
  if (is_greedy() || best.logit == -INFINITY) return best.id;
  const float cutoff = Cutoff(best.logit);
  size_t keep = std::min<size_t>(candidates_.size(), options_.top_k);
  while (candidates_[keep - 1].logit < cutoff) --keep;  // Ends at the best.
  candidates_.resize(keep);
  return Draw();
}

std::vector<uint32_t> Sampler::Recent(std::span<const uint32_t> history) const {
  if (options_.repetition_penalty == 1.0f) return {};
  const auto window = history.last(std::min<size_t>(options_.repetition_window, history.size()));
  std::vector<uint32_t> ids(window.begin(), window.end());
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  return ids;
}

float Sampler::Penalized(float logit) const {
  return logit > 0.0f ? logit / options_.repetition_penalty : logit * options_.repetition_penalty;
}

float Sampler::Cutoff(float best) const {
  return best - kNegligible * std::max(1.0f, options_.temperature);
}

void Sampler::CollectCandidates(std::span<const float> logits, size_t most, bool cuts) {
  candidates_.clear();
  const float best = logits[ArgMax(logits)];
  if (!(best > -INFINITY)) return;
  // A heap of the best so far, worst of them on top; most logits fail the first comparison.
  float admit = cuts ? Cutoff(best) : std::numeric_limits<float>::lowest();
  for (uint32_t i = 0; i < logits.size(); ++i) {
    if (!(logits[i] >= admit)) continue;
    candidates_.push_back({logits[i], i});
    if (most >= logits.size()) continue;
    std::push_heap(candidates_.begin(), candidates_.end(), Likelier);
    if (candidates_.size() > most) {
      std::pop_heap(candidates_.begin(), candidates_.end(), Likelier);
      candidates_.pop_back();
    }
    if (candidates_.size() == most) admit = std::max(admit, candidates_.front().logit);
  }
  std::sort(candidates_.begin(), candidates_.end(), Likelier);
}

void Sampler::CutByProbability() {
  const float best = candidates_.front().logit;
  double sum = 0.0;
  for (const TokenLogit& candidate : candidates_) sum += std::exp(candidate.logit - best);
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

uint32_t Sampler::Draw() {
  CutByProbability();
  const float best = candidates_.front().logit;
  double sum = 0.0;
  for (TokenLogit& candidate : candidates_) {
    candidate.logit = std::exp((candidate.logit - best) / options_.temperature);
    sum += candidate.logit;
  }
  // 53 random bits as a fraction; std::uniform_real_distribution may differ between libraries.
  double draw = static_cast<double>(random_() >> 11) * 0x1p-53 * sum;
  for (const TokenLogit& candidate : candidates_) {
    draw -= candidate.logit;
    if (draw < 0.0) return candidate.id;
  }
  return candidates_.back().id;
}

}  // namespace cormorant
