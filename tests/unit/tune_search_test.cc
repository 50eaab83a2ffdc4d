// The search of `cormorant tune`, on losses whose least point is known.
//
// Method: the loss is a bowl over the logarithms of the weights, alike on two parts of a text. The
// search must go down it, keep nothing that only one part likes, stop when it is told to, and do
// the same twice.
#include "tools/cormorant/tune_search.h"

#include <cmath>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace cli {
namespace {

constexpr uint32_t kLayers = 6, kKvHeads = 2;

/// 1 where all weights are 1, least where layers are at +-0.5 in turn.
double Bowl(const Candidate& candidate) {
  double sum = 0, untuned = 0;
  for (size_t h = 0; h < candidate.log_weights.size(); ++h) {
    const double want = h / kKvHeads % 2 == 0 ? 0.5 : -0.5;
    sum += std::pow(candidate.log_weights[h] - want, 2);
    untuned += want * want;
  }
  return 0.5 + 0.5 * sum / untuned;
}

struct Outcome {
  Candidate best;
  uint32_t evaluations = 0, improvements = 0;
};

Outcome Find(const Search::Loss& loss, uint32_t limit, uint64_t seed = 1) {
  Outcome outcome;
  const auto counted = [&](const Candidate& candidate) {
    ++outcome.evaluations;
    return loss(candidate);
  };
  Search search(
      {kLayers, kKvHeads, seed}, counted,
      [&](uint32_t evaluations) {
        EXPECT_EQ(evaluations, outcome.evaluations);
        return evaluations < limit;
      },
      [&](uint32_t, const std::vector<double>&) { ++outcome.improvements; });
  outcome.best = search.Run();
  return outcome;
}

std::vector<double> OnBoth(const Candidate& candidate) {
  return {Bowl(candidate), Bowl(candidate)};
}

TEST(TuneSearch, GoesDownASlope) {
  const Outcome outcome = Find(OnBoth, 150);
  EXPECT_LT(Bowl(outcome.best), 0.65);
  EXPECT_GT(outcome.improvements, 1u);
  EXPECT_LE(outcome.evaluations, 152u);  // A pair that was begun is finished.
}

TEST(TuneSearch, IsTheSameForTheSameSeed) {
  EXPECT_EQ(Find(OnBoth, 80).best.log_weights, Find(OnBoth, 80).best.log_weights);
  EXPECT_NE(Find(OnBoth, 80, 1).best.log_weights, Find(OnBoth, 80, 2).best.log_weights);
}

TEST(TuneSearch, KeepsNothingThatOnePartIsWorseFor) {
  const auto against_each_other = [](const Candidate& candidate) {
    return std::vector<double>{Bowl(candidate), 2 - Bowl(candidate)};
  };
  const Outcome outcome = Find(against_each_other, 150);
  EXPECT_EQ(outcome.improvements, 0u);
  EXPECT_THAT(outcome.best.log_weights, ::testing::Each(0.0f));
}

TEST(TuneSearch, FindsOptionsOfThePolicy) {
  const auto likes = [](const Candidate& candidate) {
    double loss = 1;
    if (candidate.scale == 2.0f) loss -= 0.1;
    if (candidate.reach == 128) loss -= 0.1;
    return std::vector<double>{loss};
  };
  const Outcome outcome = Find(likes, 1000);  // Ends by itself: no weight matters.
  EXPECT_EQ(outcome.best.scale, 2.0f);
  EXPECT_EQ(outcome.best.reach, 128);
  EXPECT_EQ(outcome.best.fade, -1);
  EXPECT_LT(outcome.evaluations, 200u);
}

}  // namespace
}  // namespace cli
