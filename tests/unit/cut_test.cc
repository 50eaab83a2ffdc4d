// SolveCut: what every solution must satisfy, on random sessions, and hand-computed cases.
//
// Method: heads of random rows with random ages are turned into histograms as KvAges would; the
// solution is applied to the rows themselves, oldest first, and the promises of cut.h are checked.
#include "runtime/cache/cut.h"

#include <algorithm>
#include <numeric>
#include <random>

#include "gtest/gtest.h"
#include "runtime/base/units.h"
#include "runtime/ops/kv_page.h"
#include "runtime/ops/ops.h"

namespace cormorant {
namespace {

/// Heads as lists of ages; kProtected rows are not evictable.
constexpr uint32_t kProtected = 0xffffffffu;

struct World {
  std::vector<std::vector<uint32_t>> heads;
  uint32_t natural_age = 1000;
  std::vector<uint32_t> counts, ages;

  void Measure() {
    counts.clear();
    ages.assign(heads.size() * (kAgeBins + 1), 0);
    for (size_t h = 0; h < heads.size(); ++h) {
      counts.push_back(static_cast<uint32_t>(heads[h].size()));
      for (uint32_t age : heads[h]) {
        if (age == kProtected) continue;
        ++ages[h * (kAgeBins + 1) + AgeBin(age)];
        if (age >= natural_age) ++ages[h * (kAgeBins + 1) + kAgeBins];
      }
    }
  }
  uint32_t Evictable(size_t h) const {
    return static_cast<uint32_t>(std::count_if(heads[h].begin(), heads[h].end(),
                                               [](uint32_t a) { return a != kProtected; }));
  }
};

World RandomWorld(std::mt19937& random, size_t heads) {
  World world;
  for (size_t h = 0; h < heads; ++h) {
    std::vector<uint32_t> rows(random() % 800);
    const uint32_t spread = 1 + random() % 3000;
    for (uint32_t& age : rows) age = random() % 10 == 0 ? kProtected : random() % spread;
    world.heads.push_back(std::move(rows));
  }
  world.Measure();
  return world;
}

uint64_t Pages(uint32_t rows) {
  return CeilDiv(rows, kPageRows);
}

TEST(Cut, SolutionsFitAndTakeTheOldestFirst) {
  std::mt19937 random(3);
  int solved = 0, refused = 0;
  for (int round = 0; round < 400; ++round) {
    World world = RandomWorld(random, 1 + random() % 40);
    CutProblem problem;
    problem.counts = world.counts;
    problem.ages = world.ages;
    problem.room = random() % 65;
    std::vector<uint32_t> more(world.counts.size());
    if (round % 2 == 1) {
      for (uint32_t& rows : more) rows = random() % 100;
      problem.more = more;
    }
    problem.floor = random() % 64;
    problem.row_limit = 0xffffffffu;
    uint64_t need = 0, least = 0;
    for (size_t h = 0; h < world.heads.size(); ++h) {
      const uint32_t room = problem.room + more[h];
      need += Pages(world.counts[h] + room);
      least += Pages(
          std::max(world.counts[h] - world.Evictable(h), std::min(world.counts[h], problem.floor)) +
          room);
    }
    problem.page_limit = static_cast<uint32_t>(random() % (need + 2));
    const auto cut = SolveCut(problem);
    if (problem.page_limit < least) {
      EXPECT_TRUE(absl::IsResourceExhausted(cut.status()));
      ++refused;
      continue;
    }
    ASSERT_TRUE(cut.ok()) << cut.status();
    ++solved;
    uint64_t pages = 0, total = 0;
    uint32_t oldest_kept_bin = 0, youngest_gone_bin = kAgeBins;
    for (size_t h = 0; h < world.heads.size(); ++h) {
      ASSERT_LE(cut->evict[h], world.Evictable(h));
      const uint32_t keep = world.counts[h] - cut->evict[h];
      ASSERT_GE(keep, std::min(world.counts[h], problem.floor));
      const uint32_t room = problem.room + more[h];
      pages += Pages(keep + room);
      total += cut->evict[h];
      std::vector<uint32_t> evictable;
      for (uint32_t age : world.heads[h]) {
        if (age != kProtected) evictable.push_back(age);
      }
      std::sort(evictable.rbegin(), evictable.rend());
      // A head at its floor, or topped up to whole pages or to all it has, may keep what is older
      // than elsewhere.
      const bool is_topped_up = (keep + room) % kPageRows == 0 || cut->evict[h] == 0;
      if (cut->evict[h] > 0) {
        youngest_gone_bin = std::min(youngest_gone_bin, AgeBin(evictable[cut->evict[h] - 1]));
      }
      if (cut->evict[h] < evictable.size() && !is_topped_up && keep > problem.floor) {
        oldest_kept_bin = std::max(oldest_kept_bin, AgeBin(evictable[cut->evict[h]]));
      }
    }
    EXPECT_EQ(total, cut->total);
    ASSERT_LE(pages, problem.page_limit);
    if (total > 0) {
      EXPECT_LE(oldest_kept_bin, youngest_gone_bin);
    }
    if (need <= problem.page_limit) {
      EXPECT_EQ(total, 0u);
    }
  }
  EXPECT_GT(solved, 100);
  EXPECT_GT(refused, 5);
}

TEST(Cut, NaturalEvictionTakesExactlyWhatIsPastTheAge) {
  std::mt19937 random(5);
  for (int round = 0; round < 50; ++round) {
    World world = RandomWorld(random, 12);
    world.natural_age = 1 + random() % 2000;
    world.Measure();
    CutProblem problem;
    problem.counts = world.counts;
    problem.ages = world.ages;
    problem.page_limit = problem.row_limit = 0xffffffffu;
    problem.natural = true;
    const auto cut = SolveCut(problem);
    ASSERT_TRUE(cut.ok());
    for (size_t h = 0; h < world.heads.size(); ++h) {
      const auto past =
          std::count_if(world.heads[h].begin(), world.heads[h].end(),
                        [&](uint32_t a) { return a != kProtected && a >= world.natural_age; });
      EXPECT_EQ(cut->evict[h], past);
    }
    EXPECT_EQ(cut->natural, cut->total);
  }
}

TEST(Cut, RowLimitHoldsInEveryHead) {
  World world;
  world.heads = {std::vector<uint32_t>(500, 7), std::vector<uint32_t>(90, 2000)};
  world.Measure();
  CutProblem problem;
  problem.counts = world.counts;
  problem.ages = world.ages;
  problem.page_limit = 0xffffffffu;
  problem.row_limit = 128;
  problem.room = 28;
  const auto cut = SolveCut(problem);
  ASSERT_TRUE(cut.ok());
  EXPECT_EQ(cut->evict, (std::vector<uint32_t>{400, 0}));
}

TEST(Cut, SparePagesGoToTheHeadThatLosesMostInTheLastBin) {
  // Two heads of 64 rows, all of one age, and room for three pages: neither can keep both pages.
  World world;
  world.heads = {std::vector<uint32_t>(64, 100), std::vector<uint32_t>(64, 100)};
  world.Measure();
  CutProblem problem;
  problem.counts = world.counts;
  problem.ages = world.ages;
  problem.page_limit = 3;
  problem.row_limit = 0xffffffffu;
  problem.floor = 8;
  const auto cut = SolveCut(problem);
  ASSERT_TRUE(cut.ok());
  EXPECT_EQ(cut->total, 32u);  // No byte of the three pages is wasted.
}

CutProblem ProblemOf(const World& world, uint32_t page_limit) {
  CutProblem problem;
  problem.counts = world.counts;
  problem.ages = world.ages;
  problem.page_limit = page_limit;
  problem.row_limit = 0xffffffffu;
  return problem;
}

TEST(Cut, WeightsOfOneChangeNothing) {
  std::mt19937 random(11);
  for (int round = 0; round < 100; ++round) {
    const World world = RandomWorld(random, 1 + random() % 20);
    uint64_t pages = 0;
    for (const uint32_t count : world.counts) pages += Pages(count);
    CutProblem problem = ProblemOf(world, static_cast<uint32_t>(pages * 2 / 3));
    problem.shared_by = round % 3;
    const absl::StatusOr<Cut> without = SolveCut(problem);
    const std::vector<float> ones(world.counts.size(), 1.0f);
    problem.weights = ones;
    const absl::StatusOr<Cut> with = SolveCut(problem);
    ASSERT_EQ(with.ok(), without.ok());
    if (with.ok()) {
      EXPECT_EQ(with->evict, without->evict);
    }
  }
}

TEST(Cut, AWeightMultipliesTheAgesOfAHead) {
  // Ages 1..512 in each of two heads, and room for 512 rows: equal heads keep 256 each. At weight 3
  // rows of age a count as 3 a, so a third of what the other keeps stays.
  World world;
  for (int head = 0; head < 2; ++head) {
    world.heads.emplace_back(512);
    std::iota(world.heads.back().begin(), world.heads.back().end(), 1u);
  }
  world.Measure();
  CutProblem problem = ProblemOf(world, 512 / kPageRows);
  EXPECT_EQ(SolveCut(problem)->evict, (std::vector<uint32_t>{256, 256}));
  for (const float weight : {3.0f, 1.0f / 3.0f}) {
    const std::vector<float> weights = {weight, 1.0f};
    problem.weights = weights;
    const absl::StatusOr<Cut> cut = SolveCut(problem);
    ASSERT_TRUE(cut.ok()) << cut.status();
    EXPECT_EQ(cut->evict,
              weight > 1 ? (std::vector<uint32_t>{384, 128}) : (std::vector<uint32_t>{128, 384}));
  }
}

TEST(Cut, WeightsLeaveWhatIsPastTheNaturalAgeAlone) {
  World world;
  world.heads = {std::vector<uint32_t>(100, 900), std::vector<uint32_t>(100, 1100)};
  world.Measure();
  CutProblem problem = ProblemOf(world, 0xffffffffu);
  problem.natural = true;
  const std::vector<float> weights = {16.0f, 0.0625f};
  problem.weights = weights;
  EXPECT_EQ(SolveCut(problem)->evict, (std::vector<uint32_t>{0, 100}));
}

TEST(Cut, HeadsThatShareNothingHaveTheSameRoom) {
  std::mt19937 random(5);
  for (uint32_t shared_by : {1u, 2u, 3u}) {
    World world = RandomWorld(random, 6);
    for (size_t h = 0; h < 6; ++h) world.heads[h].resize(100 + 100 * h, 7);
    world.Measure();
    CutProblem problem;
    problem.counts = world.counts;
    problem.ages = world.ages;
    problem.room = 32;
    problem.page_limit = 48;
    problem.row_limit = 0xffffffffu;
    problem.shared_by = shared_by;
    const absl::StatusOr<Cut> cut = SolveCut(problem);
    ASSERT_TRUE(cut.ok()) << cut.status();
    uint64_t total = 0;
    for (size_t first = 0; first < 6; first += shared_by) {
      uint64_t pages = 0, wanted = 0;
      for (size_t h = first; h < first + shared_by; ++h) {
        pages += Pages(world.counts[h] - cut->evict[h] + problem.room);
        wanted += Pages(world.counts[h] + problem.room);
        total += cut->evict[h];
      }
      // A group takes its share whole when it needs more, and no other group's.
      EXPECT_EQ(pages, std::min<uint64_t>(wanted, 48 / (6 / shared_by)));
    }
    EXPECT_EQ(cut->total, total);
  }
}

}  // namespace
}  // namespace cormorant
