// The search behind `cormorant tune`: which options and head weights lose least.
//
// It knows nothing of models: a loss is a function that gives one number for each part of the text,
// 1 for the policy as it is. Losses of such a function jump by some tenths of a percent when single
// rows move, and a hundred weights are too many for so few numbers; so a step is kept only when it
// lowers the loss on every part, and what is kept is still to be judged on other text.
#pragma once
#include <cstdint>
#include <functional>
#include <random>
#include <vector>

namespace cli {

/// What may be tuned.
struct Candidate {
  float scale = 0.0f;  // 0 and -1: the policy's own.
  int32_t reach = -1, fade = -1;
  std::vector<float> log_weights;  // log2 of each head's weight, [layers * kv_heads].
};

struct SearchOptions {
  uint32_t layers = 0, kv_heads = 0;
  uint64_t seed = 0;
};

class Search {
 public:
  using Loss = std::function<std::vector<double>(const Candidate&)>;
  /// Whether to go on after so many evaluations of the loss.
  using Continues = std::function<bool(uint32_t evaluations)>;
  using OnBetter = std::function<void(uint32_t evaluations, const std::vector<double>& losses)>;

  Search(const SearchOptions& options, Loss loss, Continues goes_on, OnBetter on_better);

  /// Policy options one by one, half and twice their values; then weights of layers until steps get
  /// small, twice; then so of single heads. The same seed and limit, the same result.
  Candidate Run();

 private:
  bool GoesOn() const { return goes_on_(evaluations_); }
  double Mean(const Candidate& candidate);
  /// Keeps the candidate if it is better on every part.
  bool Try(const Candidate& candidate);
  void TryOptions();
  /// Rounds of simultaneous perturbation (Spall 1992, IEEE TAC 37(3)): all groups of `size`
  /// neighbouring heads are moved up or down at random, both ways, and the differences tell the
  /// slope of each group at the cost of two evaluations; then a step down that slope.
  void DescendGroups(uint32_t size);

  const SearchOptions options_;
  const Loss loss_;
  const Continues goes_on_;
  const OnBetter on_better_;
  std::mt19937_64 random_;
  uint32_t evaluations_ = 0;
  Candidate best_;
  std::vector<double> best_losses_;
};

}  // namespace cli
