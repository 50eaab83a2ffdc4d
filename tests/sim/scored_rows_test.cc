// Policies that look at more than a row's own mark: its value, its neighbours, its key, and what is
// expected of queries to come.
//
// Method: one session over a store of real pages, whose rows the test writes. All rows are alike
// but for one and what stands beside it; then half of them must leave.
#include <set>

#include "runtime/engine/session_cache.h"
#include "tests/sim/row_store.h"

namespace cormorant::sim {
namespace {

constexpr uint32_t kRows = 320, kLeft = 160;
constexpr uint32_t kOther = 100;  // The position of the row that is unlike others.
constexpr uint32_t kQueryHeads = 4;
constexpr uint32_t kSlow = 30;  // A dimension that hardly turns in so few positions.

class ScoredRows : public ::testing::TestWithParam<const char*> {
 protected:
  /// A session whose heads hold kRows rows each, which fill their pages.
  void Open(const char* policy) {
    Scenario scenario;
    scenario.options.recent = 0;
    scenario.options.sinks = 0;
    scenario.options.capped = true;
    scenario.options.budget = HeadBudget::kHead;
    scenario.options.rows_per_head = kRows;
    scenario.options.fade = 0;
    scenario.page_limit = 4 * kRows / kPageRows;
    scenario.sessions = 1;
    const EvictionRules rules = (*FindPolicy(policy))->rules(scenario.options);
    scenario.query_heads = rules.observes_queries ? kQueryHeads : 0;
    cache_.reset();
    store_ = std::make_unique<Store>(scenario, GetParam());
    KvStore* const stores[] = {store_->kv.get()};
    cache_ = *SessionCache::Create({rules, scenario.context, scenario.interval, 0}, stores);
    table_ = cache_->Describe(0, 0, 0, RowUse::kKeep).table;
    for (uint32_t rows = 0; rows < kRows; rows += 64) Read(64);
  }

  /// A step of `rows` rows, which have a mark of 1, and 1 in each dimension 0 of key and value.
  void Read(uint32_t rows) {
    ASSERT_TRUE(cache_->MakeRoom(rows).ok());
    for (uint32_t h = 0; h < store_->heads(); ++h) {
      for (uint32_t i = 0; i < rows; ++i) {
        const uint32_t slot = cache_->counts(0)[h] + i;
        store_->Write(table_, h, slot, {0, cache_->next_position() + i, 1, h});
        for (uint32_t dim = 0; dim < 32; ++dim) {
          store_->SetHalf(table_, h, slot, true, dim, dim == 0 ? 1.0f : 0.0f);
          store_->SetHalf(table_, h, slot, false, dim, dim == 0 ? 1.0f : 0.0f);
        }
      }
    }
    ASSERT_TRUE(cache_->Commit(rows).ok());
  }

  /// Calls f(head, slot) for the row that is unlike others, in every head.
  template <class F>
  void ForEachOther(F&& f) {
    for (uint32_t h = 0; h < store_->heads(); ++h) f(h, kOther);  // Nothing has moved yet.
  }

  /// Ten queries were counted in each query head, whose dimension kSlow is `mean` on average, and
  /// its square `square`; all others are 0.
  void SetQueries(float mean, float square) {
    const KvGeometry& geometry = store_->plan.geometry;
    std::vector<float> sums(geometry.statistics_bytes() / 4);
    for (size_t at = 0; at < sums.size(); at += geometry.query_sums()) {
      sums[at] = 10;
      sums[at + 1 + kSlow / 2 * 5] = 10 * mean;
      sums[at + 1 + kSlow / 2 * 5 + 2] = 10 * square;
    }
    EXPECT_TRUE(store_->backend
                    ->Upload(*store_->kv->binding().statistics, table_ * sums.size() * 4,
                             std::as_bytes(std::span(sums)))
                    .ok());
  }

  /// Positions of the first kRows rows that are left after kLeft more: the same in all heads.
  std::set<uint32_t> Left() {
    Read(kLeft);
    std::vector<std::set<uint32_t>> left(store_->heads());
    for (uint32_t h = 0; h < store_->heads(); ++h) {
      for (uint32_t slot = 0; slot < cache_->counts(0)[h]; ++slot) {
        const uint32_t position = store_->Read(table_, h, slot).position;
        if (position < kRows) left[h].insert(position);
      }
      EXPECT_EQ(left[h], left[0]) << "head " << h;
    }
    return left[0];
  }

  std::unique_ptr<Store> store_;
  std::unique_ptr<SessionCache> cache_;
  uint32_t table_ = 0;
};

/// Among equals the lowest positions leave: those beside [from, to] are gone.
void ExpectLeft(const std::set<uint32_t>& left, uint32_t from, uint32_t to) {
  EXPECT_EQ(left.size(), kRows - kLeft);
  for (uint32_t position = from; position <= to; ++position) {
    EXPECT_TRUE(left.contains(position)) << position;
  }
  EXPECT_FALSE(left.contains(from - 1));
  EXPECT_FALSE(left.contains(to + 1));
}

TEST_P(ScoredRows, PooledAttentionKeepsWhatStandsWithinTwoPositions) {
  Open("snapkv");
  ForEachOther([&](uint32_t h, uint32_t slot) {
    store_->Write(table_, h, slot, {0, kOther, 1000, h});
  });
  ExpectLeft(Left(), kOther - 2, kOther + 2);
}

TEST_P(ScoredRows, SumsOfAttentionBeginAnewOnceTheyWerePooled) {
  Open("snapkv");
  const auto forgets = [&] { return cache_->Describe(0, 0, 1, RowUse::kKeep).forgets; };
  Read(1);  // Rows leave.
  EXPECT_EQ(forgets(), 0u);
  Read(30);
  EXPECT_EQ(forgets(), 0u);
  ASSERT_TRUE(cache_->MakeRoom(32).ok());  // Rows leave again, long before 64 queries are judged.
  EXPECT_EQ(forgets(), 1u);
}

TEST_P(ScoredRows, KeysUnlikeTheOthersStay) {
  Open("keydiff");
  ForEachOther([&](uint32_t h, uint32_t slot) { store_->SetHalf(table_, h, slot, true, 7, 0.5f); });
  ExpectLeft(Left(), kOther, kOther);
}

TEST_P(ScoredRows, RowsOfLargeValuesAreRememberedLonger) {
  Open("corm-values");
  ForEachOther(
      [&](uint32_t h, uint32_t slot) { store_->SetHalf(table_, h, slot, false, 7, 1.0f); });
  ExpectLeft(Left(), kOther, kOther);
  Open("corm");
  ForEachOther(
      [&](uint32_t h, uint32_t slot) { store_->SetHalf(table_, h, slot, false, 7, 1.0f); });
  EXPECT_FALSE(Left().contains(kOther));
}

TEST_P(ScoredRows, KeysThatQueriesPointToAreExpectedToBeFound) {
  Open("expected-attention");
  SetQueries(1.0f, 1.0f);
  ForEachOther(
      [&](uint32_t h, uint32_t slot) { store_->SetHalf(table_, h, slot, true, kSlow, 0.5f); });
  ExpectLeft(Left(), kOther, kOther);
  Open("expected-attention");  // A key that points the other way is the first to leave.
  SetQueries(1.0f, 1.0f);
  for (uint32_t slot = kRows - kLeft; slot < kRows; ++slot) {
    for (uint32_t h = 0; h < store_->heads(); ++h) {
      store_->SetHalf(table_, h, slot, true, kSlow, slot == kRows - 1 ? -0.5f : 0.0f);
    }
  }
  EXPECT_FALSE(Left().contains(kRows - 1));
}

TEST_P(ScoredRows, WhatQueriesVaryInIsExpectedToBeFoundEitherWay) {
  for (const float key : {0.5f, -0.5f}) {
    Open("expected-attention");
    SetQueries(0.0f, 4.0f);
    ForEachOther(
        [&](uint32_t h, uint32_t slot) { store_->SetHalf(table_, h, slot, true, kSlow, key); });
    ExpectLeft(Left(), kOther, kOther);
  }
}

TEST_P(ScoredRows, LargeValuesAreExpectedToGiveMore) {
  Open("expected-attention");
  SetQueries(1.0f, 1.0f);
  ForEachOther(
      [&](uint32_t h, uint32_t slot) { store_->SetHalf(table_, h, slot, false, 7, 1.0f); });
  ExpectLeft(Left(), kOther, kOther);
}

CORM_ON_BACKENDS(ScoredRows);

}  // namespace
}  // namespace cormorant::sim
