// The sampler: each cut against a plain sort, drawn frequencies against probabilities, same seed
// same tokens.
#include "runtime/engine/sampler.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>

#include "gtest/gtest.h"

namespace cormorant {
namespace {

SamplerOptions Plain() {
  SamplerOptions options;
  options.temperature = 1.0f;
  options.top_k = 0;
  options.top_p = 1.0f;
  options.min_p = 0.0f;
  return options;
}

std::vector<float> RandomLogits(uint32_t seed, size_t n) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, 3.0f);
  std::vector<float> logits(n);
  for (float& logit : logits) logit = normal(random);
  return logits;
}

std::set<uint32_t> Drawn(const SamplerOptions& options, const std::vector<float>& logits,
                         int draws) {
  Sampler sampler(options);
  std::set<uint32_t> ids;
  for (int i = 0; i < draws; ++i) {
    std::vector<float> copy = logits;
    ids.insert(sampler.Sample(copy, {}));
  }
  return ids;
}

TEST(Sampler, GreedyTakesTheFirstMaximumAndSkipsWhatIsNotANumber) {
  SamplerOptions options = Plain();
  options.temperature = 0.0f;
  Sampler sampler(options);
  std::vector<float> logits = {NAN, 1.0f, 5.0f, 5.0f, -INFINITY};
  EXPECT_EQ(sampler.Sample(logits, {}), 2u);
}

TEST(Sampler, FrequenciesFollowTheSoftmaxAtATemperature) {
  SamplerOptions options = Plain();
  options.temperature = 2.0f;
  options.seed = 42;
  Sampler sampler(options);
  const std::vector<float> logits = {0.0f, 1.0f, 2.0f, 3.0f};
  std::vector<double> want(4);
  for (int i = 0; i < 4; ++i) want[i] = std::exp(logits[i] / 2.0);
  const double sum = std::accumulate(want.begin(), want.end(), 0.0);
  std::vector<int> seen(4);
  constexpr int kDraws = 40000;
  for (int i = 0; i < kDraws; ++i) {
    std::vector<float> copy = logits;
    ++seen[sampler.Sample(copy, {})];
  }
  for (int i = 0; i < 4; ++i) {
    const double p = want[i] / sum;
    EXPECT_NEAR(seen[i] / double{kDraws}, p, 5 * std::sqrt(p * (1 - p) / kDraws));
  }
}

TEST(Sampler, TopKDrawsFromTheKLikeliestOnly) {
  const std::vector<float> logits = RandomLogits(1, 500);
  std::vector<uint32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0u);
  std::sort(order.begin(), order.end(),
            [&](uint32_t a, uint32_t b) { return logits[a] > logits[b]; });
  SamplerOptions options = Plain();
  options.temperature = 50.0f;  // Nearly uniform, so that all k turn up.
  options.top_k = 12;
  EXPECT_EQ(Drawn(options, logits, 3000), std::set<uint32_t>(order.begin(), order.begin() + 12));
}

TEST(Sampler, TopPKeepsTheSmallestSetThatReachesP) {
  const std::vector<float> logits = RandomLogits(2, 300);
  std::vector<uint32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0u);
  std::sort(order.begin(), order.end(),
            [&](uint32_t a, uint32_t b) { return logits[a] > logits[b]; });
  double sum = 0.0, so_far = 0.0;
  for (float logit : logits) sum += std::exp(double{logit});
  std::set<uint32_t> want;
  for (uint32_t id : order) {
    want.insert(id);
    so_far += std::exp(double{logits[id]});
    if (so_far >= 0.8 * sum) break;
  }
  SamplerOptions options = Plain();
  options.top_p = 0.8f;
  const std::set<uint32_t> drawn = Drawn(options, logits, 20000);
  EXPECT_TRUE(std::includes(want.begin(), want.end(), drawn.begin(), drawn.end()));
  EXPECT_GT(drawn.size(), want.size() / 2);
}

TEST(Sampler, MinPDropsWhatIsFarBelowTheBest) {
  const std::vector<float> logits = {0.0f, std::log(0.5f), std::log(0.09f), std::log(0.11f)};
  SamplerOptions options = Plain();
  options.min_p = 0.1f;
  EXPECT_EQ(Drawn(options, logits, 2000), (std::set<uint32_t>{0, 1, 3}));
}

TEST(Sampler, RepetitionPenaltyActsOnceOnEachRecentToken) {
  SamplerOptions options = Plain();
  options.temperature = 0.0f;
  options.repetition_penalty = 2.0f;
  options.repetition_window = 3;
  Sampler sampler(options);
  std::vector<float> logits = {3.9f, 4.0f, -1.0f, 2.1f};
  const std::vector<uint32_t> history = {0, 1, 1, 2};  // Token 0 is outside the window.
  EXPECT_EQ(sampler.Sample(logits, history), 0u);
  EXPECT_FLOAT_EQ(logits[1], 2.0f);
  EXPECT_FLOAT_EQ(logits[2], -2.0f);
}

TEST(Sampler, SameSeedSameTokens) {
  const std::vector<float> logits = RandomLogits(3, 49152);
  SamplerOptions options;
  options.seed = 9;
  Sampler a(options), b(options);
  for (int i = 0; i < 50; ++i) {
    std::vector<float> x = logits, y = logits;
    EXPECT_EQ(a.Sample(x, {}), b.Sample(y, {}));
  }
}

TEST(Sampler, OptionsOutOfRangeAreNamed) {
  SamplerOptions options;
  options.top_p = 0.0f;
  EXPECT_NE(options.Validate().message().find("top_p"), absl::string_view::npos);
  options = SamplerOptions{};
  options.temperature = NAN;
  EXPECT_FALSE(options.Validate().ok());
}

}  // namespace
}  // namespace cormorant
