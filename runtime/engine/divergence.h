// How far two models' next-token distributions are apart, summed over many positions.
//
// Pure arithmetic in double: one pair of logit rows after another. It knows nothing of the runtime,
// so that the command line, which sees the C API alone, is built with it as well.
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace cormorant {

class Divergence {
 public:
  /// Takes the logits of both after the same token. `next` is the token that follows, where known;
  /// it is below `vocab`.
  void Add(const float* full, const float* other, size_t vocab, std::optional<uint32_t> next);

  size_t count() const { return kl_.size(); }
  /// KL(full || other) in nats, of each position in order.
  const std::vector<double>& kl() const { return kl_; }
  /// KL(full || other) in nats.
  double KlMean() const;
  /// The value that 99 % of positions do not exceed (nearest rank).
  double KlP99() const;
  double KlMax() const;
  /// Share of positions where both find the same token likeliest.
  double Top1Agreement() const;
  double PerplexityFull() const;
  double PerplexityOther() const;

 private:
  std::vector<double> kl_;
  uint64_t agreements_ = 0;
  uint64_t predicted_ = 0;
  double nll_full_ = 0;
  double nll_other_ = 0;
};

}  // namespace cormorant
