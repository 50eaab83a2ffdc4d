// Coordinates, then slopes by simultaneous perturbation. See tune_search.h.
#include "tools/cormorant/tune_search.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

namespace cli {
namespace {

// What a loss must be below, of the best so far, to be better and not another place to jump to.
constexpr double kBetter = 0.997;
// Perturbations and first steps, in doublings of a weight.
constexpr float kPerturbation = 0.15f, kStep = 0.2f, kStepLeast = 0.04f;
constexpr float kLogMost = 2.0f;
constexpr int kPairs = 6, kDescents = 2;
// About what the policy sets by itself under a cap (runtime/eviction/corm.cc): half and twice of it
// are tried.
constexpr float kScale = 4.0f;
constexpr int32_t kSteps = 64;

void Move(Candidate& candidate, const std::vector<float>& by, float times, uint32_t size) {
  for (size_t h = 0; h < candidate.log_weights.size(); ++h) {
    float& log = candidate.log_weights[h];
    log = std::clamp(log + times * by[h / size], -kLogMost, kLogMost);
  }
}

}  // namespace

Search::Search(const SearchOptions& options, Loss loss, Continues goes_on, OnBetter on_better)
    : options_(options),
      loss_(std::move(loss)),
      goes_on_(std::move(goes_on)),
      on_better_(std::move(on_better)),
      random_(options.seed) {
  best_.log_weights.assign(size_t{options.layers} * options.kv_heads, 0.0f);
}

double Search::Mean(const Candidate& candidate) {
  ++evaluations_;
  const std::vector<double> losses = loss_(candidate);
  return std::accumulate(losses.begin(), losses.end(), 0.0) / static_cast<double>(losses.size());
}

bool Search::Try(const Candidate& candidate) {
  ++evaluations_;
  std::vector<double> losses = loss_(candidate);
  for (size_t i = 0; i < losses.size(); ++i) {
    if (!(losses[i] < kBetter * best_losses_[i])) return false;
  }
  best_ = candidate;
  best_losses_ = std::move(losses);
  on_better_(evaluations_, best_losses_);
  return true;
}

void Search::TryOptions() {
  for (const float factor : {0.5f, 2.0f}) {
    Candidate candidate = best_;
    candidate.scale = kScale * factor;
    if (GoesOn()) Try(candidate);
    candidate = best_;
    candidate.reach = static_cast<int32_t>(kSteps * factor);
    if (GoesOn()) Try(candidate);
    candidate = best_;
    candidate.fade = static_cast<int32_t>(kSteps * factor);
    if (GoesOn()) Try(candidate);
  }
}

void Search::DescendGroups(uint32_t size) {
  const size_t groups = best_.log_weights.size() / size;
  std::vector<float> slope(groups, 0.0f);
  float step = kStep;
  while (GoesOn() && step >= kStepLeast) {
    for (int pair = 0; pair < kPairs && GoesOn(); ++pair) {
      std::vector<float> signs(groups);
      for (float& sign : signs) sign = (random_() & 1) != 0 ? 1.0f : -1.0f;
      Candidate up = best_, down = best_;
      Move(up, signs, kPerturbation, size);
      Move(down, signs, -kPerturbation, size);
      const double difference = Mean(up) - Mean(down);
      for (size_t g = 0; g < groups; ++g) slope[g] += signs[g] * static_cast<float>(difference);
    }
    float square = 0.0f;
    for (const float s : slope) square += s * s;
    if (square == 0.0f) return;  // Nothing moves: no row leaves.
    const float norm = std::sqrt(square / static_cast<float>(groups));
    Candidate candidate = best_;
    Move(candidate, slope, -step / norm, size);
    if (Try(candidate)) {
      for (float& s : slope) s /= 2;  // Measured elsewhere, but not far.
    } else {
      step *= 0.7f;  // What was measured here goes on counting.
    }
  }
}

Candidate Search::Run() {
  best_losses_ = loss_(best_);
  ++evaluations_;
  TryOptions();
  for (const uint32_t size : {options_.kv_heads, 1u}) {
    for (int descent = 0; descent < kDescents && GoesOn(); ++descent) DescendGroups(size);
    if (size == 1) break;  // A layer is a head.
  }
  return best_;
}

}  // namespace cli
