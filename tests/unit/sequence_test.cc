// KvSequence against a model: pages taken and returned, tables on the device, errors that cost
// nothing.
//
// Method: the model keeps each head's count and reads page ids only from what the sequence wrote to
// its tables, as a device would. Random appends and drops, with slabs and table writes failing at
// random, must leave counts, pages and tables as if the failed call had not been made.
#include "runtime/cache/sequence.h"

#include <map>
#include <optional>
#include <random>
#include <set>

#include "gtest/gtest.h"
#include "runtime/ops/kv_page.h"

namespace cormorant {
namespace {

constexpr uint32_t kHeads = 3;
constexpr uint32_t kPagesPerHead = 12;

uint32_t PagesOf(uint32_t rows) {
  return (rows + kPageRows - 1) / kPageRows;
}

class Host : public SlabHost {
 public:
  absl::Status AddSlab(uint32_t slab, uint32_t) override {
    if (fail_in == 1) return fail_in = 0, absl::ResourceExhaustedError("no slab");
    if (fail_in > 0) --fail_in;
    held.insert(slab);
    return absl::OkStatus();
  }
  void RemoveSlab(uint32_t slab, uint32_t) override { EXPECT_EQ(held.erase(slab), 1u); }

  std::set<uint32_t> held;
  uint32_t fail_in = 0;  // The n-th call from now fails; 0: none.
};

class Tables : public TableWriter {
 public:
  absl::Status WriteTable(uint32_t head, uint32_t first, std::span<const PageId> pages) override {
    EXPECT_LE(first + pages.size(), kPagesPerHead);
    EXPECT_FALSE(pages.empty());
    if (fail_in == 1) return fail_in = 0, absl::InternalError("device lost");
    if (fail_in > 0) --fail_in;
    for (size_t i = 0; i < pages.size(); ++i) entries[head][first + i] = pages[i].value;
    return absl::OkStatus();
  }
  /// The pages that hold `rows` rows of a head, as the device sees them.
  std::vector<uint32_t> Pages(uint32_t head, uint32_t rows) {
    std::vector<uint32_t> pages;
    for (uint32_t i = 0; i < PagesOf(rows); ++i) pages.push_back(entries[head].at(i));
    return pages;
  }

  std::map<uint32_t, std::map<size_t, uint32_t>> entries;
  uint32_t fail_in = 0;
};

struct World {
  explicit World(uint32_t page_limit = kHeads * kPagesPerHead, uint32_t pages_per_slab = 4)
      : pool(page_limit, pages_per_slab, &host) {}

  Host host;
  PagePool pool;
  Tables tables;
  KvSequence sequence{kHeads, kPagesPerHead, &pool, &tables};
};

/// Counts and pages of the resident rows.
struct Snapshot {
  std::vector<uint32_t> counts;
  std::vector<std::vector<uint32_t>> pages;
  bool operator==(const Snapshot&) const = default;
};

Snapshot Take(World& world) {
  Snapshot now;
  now.counts.assign(world.sequence.counts().begin(), world.sequence.counts().end());
  for (uint32_t h = 0; h < kHeads; ++h) {
    now.pages.push_back(world.tables.Pages(h, now.counts[h]));
  }
  return now;
}

void CheckPagesAreWhatRowsNeed(World& world) {
  uint32_t pages = 0;
  std::set<uint32_t> seen;
  for (uint32_t h = 0; h < kHeads; ++h) {
    const uint32_t count = world.sequence.counts()[h];
    pages += PagesOf(count);
    for (uint32_t page : world.tables.Pages(h, count)) {
      EXPECT_TRUE(seen.insert(page).second) << "page " << page << " is in two places";
    }
  }
  EXPECT_EQ(world.sequence.page_total(), pages);
  EXPECT_EQ(world.pool.used_pages(), pages);
}

TEST(KvSequence, StartsEmptyAndCountsWhatItIsTold) {
  World world;
  EXPECT_EQ(world.sequence.heads(), kHeads);
  EXPECT_EQ(world.sequence.row_total(), 0u);
  EXPECT_EQ(world.sequence.row_max(), 0u);
  EXPECT_EQ(world.sequence.PagesMissing(0), 0u);
  EXPECT_EQ(world.sequence.PagesMissing(1), kHeads);
  EXPECT_EQ(world.sequence.PagesMissing(kPageRows), kHeads);
  EXPECT_EQ(world.sequence.PagesMissing(kPageRows + 1), 2 * kHeads);
  ASSERT_TRUE(world.sequence.Prepare(40).ok());
  EXPECT_EQ(world.sequence.row_total(), 0u);  // Nothing was written yet.
  EXPECT_EQ(world.sequence.PagesMissing(40), 0u);
  world.sequence.Appended(40);
  EXPECT_EQ(world.sequence.row_total(), 40u * kHeads);
  const uint32_t dropped[kHeads] = {0, 9, 40};
  world.sequence.Dropped(dropped);
  EXPECT_EQ(world.sequence.row_total(), 40u + 31u);
  EXPECT_EQ(world.sequence.row_max(), 40u);
  EXPECT_EQ(world.sequence.page_total(), 2u + 1u + 0u);
  EXPECT_EQ(world.sequence.PagesMissing(1), 0u + 0u + 1u);
  EXPECT_EQ(world.pool.used_pages(), 3u);
}

TEST(KvSequence, HeadsCanTakeDifferentNumbersOfRows) {
  World world;
  ASSERT_TRUE(world.sequence.Prepare(30).ok());
  world.sequence.Appended(30);
  const uint32_t rows[kHeads] = {0, 2, 3};
  ASSERT_TRUE(world.sequence.Prepare(std::span<const uint32_t>(rows)).ok());
  EXPECT_EQ(world.pool.used_pages(), 1u + 1u + 2u);
  world.sequence.Appended(std::span<const uint32_t>(rows));
  const std::span<const uint32_t> counts = world.sequence.counts();
  EXPECT_EQ(std::vector<uint32_t>(counts.begin(), counts.end()),
            (std::vector<uint32_t>{30, 32, 33}));
  EXPECT_EQ(world.tables.entries[2].size(), 2u);
}

TEST(KvSequence, ClearAndDestructionReturnEveryPage) {
  Host host;
  PagePool pool(100, 8, &host);
  Tables tables;
  {
    KvSequence sequence(kHeads, kPagesPerHead, &pool, &tables);
    ASSERT_TRUE(sequence.Prepare(100).ok());
    sequence.Appended(100);
    sequence.Clear();
    EXPECT_EQ(pool.used_pages(), 0u);
    EXPECT_EQ(sequence.row_total(), 0u);
    ASSERT_TRUE(sequence.Prepare(33).ok());  // Taken for a step that never came.
    EXPECT_EQ(pool.used_pages(), 2 * kHeads);
  }
  EXPECT_EQ(pool.used_pages(), 0u);
  pool.Trim();
  EXPECT_TRUE(host.held.empty());
}

TEST(KvSequence, ResidentPagesAreNeverWrittenAgain) {
  World world;
  ASSERT_TRUE(world.sequence.Prepare(50).ok());
  world.sequence.Appended(50);
  const Snapshot before = Take(world);
  for (uint32_t rows : {1u, 14u, 15u, 200u}) {
    ASSERT_TRUE(world.sequence.Prepare(rows).ok());
    EXPECT_EQ(Take(world), before);
  }
}

/// Every place at which Prepare can fail: the n-th slab, then the n-th table write.
TEST(KvSequence, APrepareThatFailsAnywhereTakesNothing) {
  for (const bool is_table : {false, true}) {
    uint32_t failures = 0;
    for (uint32_t nth = 1;; ++nth) {
      World world(kHeads * kPagesPerHead, 2);
      ASSERT_TRUE(world.sequence.Prepare(40).ok());
      world.sequence.Appended(40);
      const Snapshot before = Take(world);
      const uint32_t pages = world.sequence.page_total();
      (is_table ? world.tables.fail_in : world.host.fail_in) = nth;
      const absl::Status status = world.sequence.Prepare(200);
      if (status.ok()) break;
      ++failures;
      EXPECT_EQ(status.code(),
                is_table ? absl::StatusCode::kInternal : absl::StatusCode::kResourceExhausted);
      EXPECT_EQ(world.sequence.page_total(), pages) << "failure " << nth;
      EXPECT_EQ(Take(world), before);
      CheckPagesAreWhatRowsNeed(world);
      ASSERT_TRUE(world.sequence.Prepare(200).ok());  // And it works when tried again.
      world.sequence.Appended(200);
      CheckPagesAreWhatRowsNeed(world);
    }
    EXPECT_GE(failures, kHeads);
  }
}

TEST(KvSequence, RandomTrafficWithFailuresEqualsTheModel) {
  uint32_t failed = 0, grown = 0;
  for (uint32_t seed = 0; seed < 20; ++seed) {
    std::mt19937 random(seed);
    World world(kHeads * kPagesPerHead * 2 / 3, 1 + random() % 5);
    std::vector<uint32_t> counts(kHeads, 0);  // The model.
    for (int i = 0; i < 400; ++i) {
      const uint32_t rows = 1 + random() % 80;
      uint32_t missing = 0;
      for (uint32_t count : counts) missing += PagesOf(count + rows) - PagesOf(count);
      ASSERT_EQ(world.sequence.PagesMissing(rows), missing);
      const bool fits =
          *std::max_element(counts.begin(), counts.end()) + rows <= kPagesPerHead * kPageRows;
      if (random() % 2 == 0 && fits && missing <= world.pool.free_pages()) {
        world.host.fail_in = random() % 4 == 0 ? 1 + random() % 3 : 0;
        world.tables.fail_in = random() % 4 == 0 ? 1 + random() % 3 : 0;
        const Snapshot before = Take(world);
        const absl::Status status = world.sequence.Prepare(rows);
        world.host.fail_in = world.tables.fail_in = 0;
        ASSERT_EQ(Take(world), before);
        if (status.ok()) {
          world.sequence.Appended(rows);
          for (uint32_t& count : counts) count += rows;
        }
        (status.ok() ? grown : failed) += 1;
      } else {
        std::vector<uint32_t> dropped;
        for (uint32_t count : counts) dropped.push_back(random() % (count + 1));
        world.sequence.Dropped(dropped);
        for (uint32_t h = 0; h < kHeads; ++h) counts[h] -= dropped[h];
        if (random() % 8 == 0) world.pool.Trim();
      }
      ASSERT_EQ(Take(world).counts, counts);
      CheckPagesAreWhatRowsNeed(world);
    }
  }
  EXPECT_GT(grown, 500u);
  EXPECT_GT(failed, 100u);
}

}  // namespace
}  // namespace cormorant
