// The page pool and sequences: no page owned twice, slabs come and go, a failing host costs
// nothing.
#include "runtime/cache/pool.h"

#include <map>
#include <random>
#include <set>

#include "gtest/gtest.h"
#include "runtime/cache/sequence.h"
#include "runtime/ops/kv_page.h"

namespace cormorant {
namespace {

/// Counts slabs; fails AddSlab when told to.
class FakeHost : public SlabHost {
 public:
  absl::Status AddSlab(uint32_t slab, uint32_t pages) override {
    if (fail) return absl::ResourceExhaustedError("no memory");
    EXPECT_TRUE(held.emplace(slab, pages).second);
    return absl::OkStatus();
  }
  void RemoveSlab(uint32_t slab, uint32_t pages) override {
    const auto it = held.find(slab);
    ASSERT_NE(it, held.end());
    EXPECT_EQ(it->second, pages);
    held.erase(it);
  }
  std::map<uint32_t, uint32_t> held;
  bool fail = false;
};

/// A device's copy of the page tables.
class FakeTables : public TableWriter {
 public:
  absl::Status WriteTable(uint32_t head, uint32_t first, std::span<const PageId> pages) override {
    for (size_t i = 0; i < pages.size(); ++i) table[{head, first + i}] = pages[i].value;
    return absl::OkStatus();
  }
  std::map<std::pair<uint32_t, size_t>, uint32_t> table;
};

TEST(PagePool, FreePagesAreThoseOfHeldSlabsThatNobodyHas) {
  FakeHost host;
  PagePool pool(10, 4, &host);
  EXPECT_TRUE(pool.FreePages().empty()) << "no slab is held";
  std::vector<PageId> taken;
  for (int i = 0; i < 6; ++i) taken.push_back(*pool.Take());
  pool.Give(taken[1]);
  std::set<uint32_t> free;
  for (const PageId page : pool.FreePages()) EXPECT_TRUE(free.insert(page.value).second);
  EXPECT_EQ(free, (std::set<uint32_t>{taken[1].value, 6, 7}));
}

TEST(PagePool, HandsOutEveryPageOnceAndTakesThemBack) {
  FakeHost host;
  PagePool pool(10, 4, &host);
  std::set<uint32_t> pages;
  for (int i = 0; i < 10; ++i) {
    const auto page = pool.Take();
    ASSERT_TRUE(page.ok());
    EXPECT_TRUE(pages.insert(page->value).second);
  }
  EXPECT_EQ(*pages.rbegin(), 9u);
  EXPECT_EQ(pool.free_pages(), 0u);
  EXPECT_EQ(host.held, (std::map<uint32_t, uint32_t>{{0, 4}, {1, 4}, {2, 2}}));
  for (uint32_t page : pages) pool.Give(PageId(page));
  pool.Trim();
  EXPECT_TRUE(host.held.empty());
}

TEST(PagePool, SlabsAreTakenWhenNeededAndOnlyEmptyOnesReturn) {
  FakeHost host;
  PagePool pool(12, 4, &host);
  std::vector<PageId> pages;
  for (int i = 0; i < 5; ++i) pages.push_back(*pool.Take());
  EXPECT_EQ(host.held.size(), 2u);
  pool.Give(pages[0]);
  pool.Trim();
  EXPECT_EQ(host.held.size(), 2u);  // Both still hold a used page.
  pool.Give(pages[4]);
  pool.Trim();
  EXPECT_EQ(host.held.size(), 1u);
  EXPECT_EQ(pool.Take()->value, pages[0].value);  // Lowest slab first.
}

TEST(KvSequence, AFailingSlabLeavesTheSequenceAsItWas) {
  FakeHost host;
  FakeTables tables;
  PagePool pool(8, 2, &host);
  KvSequence sequence(3, 8, &pool, &tables);
  ASSERT_TRUE(sequence.Prepare(kPageRows).ok());
  sequence.Appended(kPageRows);
  host.fail = true;
  EXPECT_FALSE(sequence.Prepare(kPageRows).ok());
  EXPECT_EQ(sequence.page_total(), 3u);
  EXPECT_EQ(pool.used_pages(), 3u);
  host.fail = false;
  EXPECT_TRUE(sequence.Prepare(1).ok());
}

TEST(KvSequence, TablesOnTheDeviceAlwaysNameOwnedPages) {
  // Two sequences grow and shrink at random in one pool; after every change the pages each table
  // names must be different from all others in use.
  FakeHost host;
  PagePool pool(200, 16, &host);
  FakeTables tables[2];
  KvSequence sequences[2] = {{4, 64, &pool, &tables[0]}, {4, 64, &pool, &tables[1]}};
  std::mt19937 random(11);
  for (int i = 0; i < 3000; ++i) {
    KvSequence& s = sequences[random() % 2];
    const uint32_t rows = 1 + random() % 70;
    if (random() % 2 == 0 && s.PagesMissing(rows) <= pool.free_pages() &&
        s.row_max() + rows <= 64 * kPageRows) {
      ASSERT_TRUE(s.Prepare(rows).ok());
      EXPECT_EQ(s.PagesMissing(rows), 0u);
      s.Appended(rows);
    } else {
      std::vector<uint32_t> dropped;
      for (uint32_t count : s.counts()) dropped.push_back(count == 0 ? 0 : random() % (count + 1));
      s.Dropped(dropped);
    }
    std::set<uint32_t> seen;
    uint32_t used = 0;
    for (int q = 0; q < 2; ++q) {
      for (uint32_t h = 0; h < 4; ++h) {
        const uint32_t pages = (sequences[q].counts()[h] + kPageRows - 1) / kPageRows;
        for (uint32_t p = 0; p < pages; ++p) {
          ASSERT_TRUE(seen.insert(tables[q].table.at({h, p})).second) << "page owned twice";
          ++used;
        }
      }
    }
    ASSERT_EQ(used, pool.used_pages());
  }
}

}  // namespace
}  // namespace cormorant
