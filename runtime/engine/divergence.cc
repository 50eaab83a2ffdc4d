// KL, agreement and perplexity; see divergence.h.
#include "runtime/engine/divergence.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace cormorant {
namespace {

/// max + log(sum(exp(x - max))). Four sums run beside each other so that the loop is bound by
/// exp() and not by the latency of one addition.
double LogSumExp(const float* logits, size_t vocab, size_t& likeliest) {
  likeliest = static_cast<size_t>(std::max_element(logits, logits + vocab) - logits);
  const double top = logits[likeliest];
  double sums[4] = {0, 0, 0, 0};
  size_t i = 0;
  for (; i + 4 <= vocab; i += 4) {
    for (size_t j = 0; j < 4; ++j) sums[j] += std::exp(logits[i + j] - top);
  }
  for (; i < vocab; ++i) sums[0] += std::exp(logits[i] - top);
  return top + std::log(sums[0] + sums[1] + sums[2] + sums[3]);
}

double Share(uint64_t part, size_t whole) {
  return whole > 0 ? static_cast<double>(part) / static_cast<double>(whole) : 0;
}

}  // namespace

void Divergence::Add(const float* full, const float* other, size_t vocab,
                     std::optional<uint32_t> next) {
  size_t top_full = 0;
  size_t top_other = 0;
  const double lse_full = LogSumExp(full, vocab, top_full);
  const double lse_other = LogSumExp(other, vocab, top_other);
  // KL = sum p (log p - log q) with log p = full - lse_full: the two normalisers come out of the
  // sum, since p sums to one.
  double sums[4] = {0, 0, 0, 0};
  for (size_t i = 0; i < vocab; ++i) {
    const double f = full[i];
    sums[i % 4] += std::exp(f - lse_full) * (f - static_cast<double>(other[i]));
  }
  kl_.push_back(sums[0] + sums[1] + sums[2] + sums[3] - lse_full + lse_other);
  if (top_full == top_other) ++agreements_;
  if (!next) return;
  ++predicted_;
  nll_full_ += lse_full - full[*next];
  nll_other_ += lse_other - other[*next];
}

double Divergence::KlMean() const {
  if (kl_.empty()) return 0;
  return std::accumulate(kl_.begin(), kl_.end(), 0.0) / static_cast<double>(kl_.size());
}

double Divergence::KlP99() const {
  if (kl_.empty()) return 0;
  std::vector<double> sorted = kl_;
  std::sort(sorted.begin(), sorted.end());
  const size_t rank = (sorted.size() * 99 + 99) / 100;
  return sorted[rank - 1];
}

double Divergence::KlMax() const {
  return kl_.empty() ? 0 : *std::max_element(kl_.begin(), kl_.end());
}

double Divergence::Top1Agreement() const {
  return Share(agreements_, kl_.size());
}

double Divergence::PerplexityFull() const {
  return std::exp(predicted_ > 0 ? nll_full_ / static_cast<double>(predicted_) : 0);
}

double Divergence::PerplexityOther() const {
  return std::exp(predicted_ > 0 ? nll_other_ / static_cast<double>(predicted_) : 0);
}

}  // namespace cormorant
