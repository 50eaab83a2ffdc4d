// The sampler: each cut against a plain sort, drawn frequencies against probabilities, same seed
// same tokens, and the same token from the greatest logits as from all.
#include "runtime/engine/sampler.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <random>
#include <set>
#include <span>

#include "gtest/gtest.h"
#include "models/model.h"

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

/// What TopKOp leaves of a row of logits.
std::vector<TokenLogit> TopOf(const std::vector<float>& logits) {
  std::vector<TokenLogit> all;
  for (uint32_t id = 0; id < logits.size(); ++id) {
    all.push_back({std::isnan(logits[id]) ? -INFINITY : logits[id], id});
  }
  std::stable_sort(all.begin(), all.end(),
                   [](const TokenLogit& a, const TokenLogit& b) { return a.logit > b.logit; });
  all.resize(std::min<size_t>(all.size(), kTopLogits));
  return all;
}

/// Logits that are all different, full of ties, of no use but for some, or of no use at all.
std::vector<float> HardLogits(std::mt19937& random) {
  std::vector<float> logits = RandomLogits(random(), 1 + random() % 2000);
  const uint32_t kind = random() % 6;
  for (float& logit : logits) {
    if (kind == 1) logit = std::round(logit);
    if (kind == 2) logit = random() % 40 != 0 ? NAN : logit;
    if (kind == 3) logit = random() % 2 == 0 ? NAN : -INFINITY;
    if (kind == 4) logit = random() % 40 != 0 ? logit * 1e37f : -0.0f;
    if (kind == 5) logit = logit > 6.0f ? INFINITY : std::round(logit / 3.0f);
  }
  return logits;
}

SamplerOptions RandomOptions(std::mt19937& random) {
  const auto pick = [&](std::initializer_list<float> values) {
    return values.begin()[random() % values.size()];
  };
  SamplerOptions options;
  options.temperature = pick({0.0f, 0.01f, 0.7f, 1.0f, 3.0f, 100.0f});
  options.top_k = static_cast<uint32_t>(pick({0, 1, 2, 5, 40, 64, 100, 127, 128, 129, 1000}));
  options.top_p = pick({0.3f, 0.95f, 1.0f});
  options.min_p = pick({0.0f, 0.05f, 0.5f});
  options.repetition_penalty = pick({0.9f, 1.0f, 1.0f, 1.1f, 2.0f, 100.0f});
  options.repetition_window = static_cast<uint32_t>(pick({0, 1, 20, 64, 88, 128, 500}));
  options.seed = random();
  return options;
}

/// Tokens said before: any, or the likeliest, which the penalty then moves most.
std::vector<uint32_t> RandomHistory(std::mt19937& random, const std::vector<float>& logits) {
  const std::vector<TokenLogit> top = TopOf(logits);
  std::vector<uint32_t> history(random() % 300);
  const bool is_likely = random() % 2 == 0;
  for (uint32_t& id : history) {
    id = is_likely ? top[random() % top.size()].id : static_cast<uint32_t>(random() % 2500);
  }
  return history;
}

TEST(Sampler, TheGreatestLogitsGiveTheTokenThatAllGive) {
  uint32_t compared = 0, penalised = 0, exhausted = 0;
  for (uint32_t seed = 0; seed < 4000; ++seed) {
    std::mt19937 random(seed);
    const SamplerOptions options = RandomOptions(random);
    Sampler from_all(options), from_top(options);
    for (int draw = 0; draw < 3; ++draw) {
      const std::vector<float> logits = HardLogits(random);
      const std::vector<uint32_t> history = RandomHistory(random, logits);
      if (!from_top.TopSuffices(history)) continue;
      std::vector<float> copy = logits;
      const uint32_t want = from_all.Sample(copy, history);
      ASSERT_EQ(from_top.Sample(TopOf(logits), history), want)
          << "seed " << seed << " draw " << draw;
      ++compared;
      if (options.repetition_penalty != 1.0f && !history.empty()) ++penalised;
      const auto window =
          std::span(history).last(std::min<size_t>(options.repetition_window, history.size()));
      const size_t distinct = std::set<uint32_t>(window.begin(), window.end()).size();
      if (options.repetition_penalty > 1.0f && distinct + options.top_k == kTopLogits) ++exhausted;
    }
  }
  EXPECT_GT(compared, 3000u);
  EXPECT_GT(penalised, 1000u);
  EXPECT_GT(exhausted, 20u);  // Not one logit to spare.
}

TEST(Sampler, TheGreatestLogitsSufficeUpToTheLastOne) {
  SamplerOptions options = Plain();
  std::vector<uint32_t> history(200);
  std::iota(history.begin(), history.end(), 0u);
  const auto suffices = [&] { return Sampler(options).TopSuffices(history); };
  EXPECT_FALSE(suffices());  // No top-k: any token may be drawn.
  options.top_k = kTopLogits;
  EXPECT_TRUE(suffices());
  options.top_k = kTopLogits + 1;
  EXPECT_FALSE(suffices());
  options.repetition_penalty = 1.1f;
  options.repetition_window = 28;
  options.top_k = 100;
  EXPECT_TRUE(suffices());
  options.repetition_window = 29;
  EXPECT_FALSE(suffices());
  std::fill(history.begin(), history.end(), 5u);  // One token, however often.
  EXPECT_TRUE(suffices());
  options.repetition_penalty = 0.9f;
  EXPECT_FALSE(suffices());
  options.temperature = 0.0f;
  EXPECT_FALSE(suffices());
  options.repetition_penalty = 1.1f;
  options.top_k = 0;
  EXPECT_TRUE(suffices());
  history.resize(127);
  std::iota(history.begin(), history.end(), 0u);
  options.repetition_window = 500;
  EXPECT_TRUE(suffices());
  history.push_back(127);
  EXPECT_FALSE(suffices());
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
