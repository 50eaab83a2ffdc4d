// What leaves a session's cache, against a brute-force ranking of its rows.
//
// Method: caches over a store of real pages, without a model. The test writes the rows itself, with
// an id in V by which it finds them again, and stamps rows at random as attention would. Whenever
// rows were dropped, the survivors are read back from the device and judged by the text of
// policy.h, cut.h and ops.h alone: what left are the oldest evictable rows of each head; no row
// left while an older one (by bin) of another head stayed beyond its floor and its started page;
// pinned and newest rows never left; no page that the cap allows lies idle.
#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "runtime/base/half.h"
#include "runtime/base/units.h"
#include "runtime/engine/session_cache.h"
#include "tests/sim/row_store.h"

namespace cormorant::sim {
namespace {

/// What a session may hold, as MakeRoom sees it.
struct Limits {
  uint32_t rows = 0;  // Of the step that needs room.
  uint32_t page_limit = 0;
  uint32_t clock = 0, next_position = 0;
};

/// One session: its cache, and what of its rows no read from the device can tell.
class Stream {
 public:
  Stream(const Scenario& scenario, Store* store)
      : scenario_(scenario),
        store_(store),
        rules_((*FindPolicy(scenario.policy))->rules(scenario.options)) {
    SessionCache::Settings settings{rules_, scenario.context, scenario.interval, scenario.floor};
    settings.positions = scenario.positions;
    KvStore* const stores[] = {store->kv.get()};
    cache = *SessionCache::Create(settings, stores);
    table_ = cache->Describe(0, 0, 0, RowUse::kKeep).table;
  }

  Heads Snapshot() const {
    Heads heads(store_->heads());
    for (uint32_t h = 0; h < store_->heads(); ++h) {
      for (uint32_t s = 0; s < cache->counts(0)[h]; ++s) {
        heads[h].push_back(store_->Read(table_, h, s));
      }
    }
    return heads;
  }

  /// Stamps rows as attention would: a few, more often in some heads than in others.
  void StampAtRandom(std::mt19937& random) {
    for (uint32_t h = 0; h < store_->heads(); ++h) {
      const uint32_t one_in = 2 + 10 * h;
      for (uint32_t s = 0; s < cache->counts(0)[h]; ++s) {
        CachedRow row = store_->Read(table_, h, s);
        if (row.last_important == kPinned || random() % one_in != 0) continue;
        row.last_important = std::max<uint32_t>(
            row.last_important,
            static_cast<uint32_t>(random() % (cache->clock() + 1 + kDoublingsMost * rules_.reach)));
        store_->Write(table_, h, s, row);
      }
    }
  }

  /// A step of `rows` rows, not judged.
  void Read(uint32_t rows) {
    ASSERT_TRUE(cache->MakeRoom(rows).ok());
    WriteRows(rows, false);
    ASSERT_TRUE(cache->Commit(rows).ok());
  }
  /// Rows of every head: the one at `position` was important just now, all others never.
  void MarkOnly(uint32_t position) {
    for (uint32_t h = 0; h < store_->heads(); ++h) {
      for (uint32_t s = 0; s < cache->counts(0)[h]; ++s) {
        CachedRow row = store_->Read(table_, h, s);
        if (row.last_important == kPinned) continue;
        row.last_important = row.position == position ? cache->clock() : 1;
        store_->Write(table_, h, s, row);
      }
    }
  }

  /// A step of `rows` rows, judged before and after.
  void Step(uint32_t rows, bool pin) {
    const Heads before = Snapshot();
    const SessionCache::Stats stats_before = cache->stats();
    const Limits limits{rows, store_->kv->pool().free_pages() + cache->page_total(0),
                        cache->clock(), cache->next_position()};
    const absl::Status status = cache->MakeRoom(rows);
    const SessionCache::Stats stats = cache->stats();
    if (!status.ok()) {
      ASSERT_TRUE(absl::IsResourceExhausted(status)) << status;
      ++refused;
      if (stats.rebased != stats_before.rebased) return;
      ASSERT_NO_FATAL_FAILURE(JudgeRefusal(before, limits));
      return;
    }
    if (stats.rebased != stats_before.rebased) {
      ASSERT_NO_FATAL_FAILURE(JudgeRebase(before, limits));
      ++rebased;
    } else {
      ASSERT_NO_FATAL_FAILURE(JudgeForced(before, Snapshot(), limits));
    }
    WriteRows(rows, pin);
    ASSERT_NO_FATAL_FAILURE(CommitAndJudge(rows));
  }

  std::unique_ptr<SessionCache> cache;
  uint32_t refused = 0, rebased = 0, forced = 0, natural = 0;

 private:
  bool IsEvictable(const CachedRow& row, uint32_t next_position) const {
    return row.last_important != kPinned && row.position + rules_.recent < next_position;
  }
  uint32_t Age(const CachedRow& row, uint32_t clock, uint32_t next_position) const {
    StepSequence sequence;
    sequence.clock = clock;
    sequence.position_clock = next_position;
    sequence.rank_by = rules_.rank_by;
    sequence.reach = rules_.reach;
    sequence.value_reach = rules_.value_reach;
    // All of a value but the id in its first words is 0, and so is the scale of q8_0 rows.
    const float value = scenario_.kv_type != DType::kF16
                            ? 0.0f
                            : std::fabs(F16ToF32(static_cast<uint16_t>(row.id))) +
                                  std::fabs(F16ToF32(static_cast<uint16_t>(row.id >> 16)));
    return AgeOf(sequence, row.head, row.position, row.last_important, value);
  }
  /// Evictable rows, those that leave first in front.
  std::vector<CachedRow> Ranked(std::vector<CachedRow> rows, uint32_t clock, uint32_t next) const {
    std::erase_if(rows, [&](const CachedRow& row) { return !IsEvictable(row, next); });
    std::sort(rows.begin(), rows.end(), [&](const CachedRow& a, const CachedRow& b) {
      const uint32_t age_a = Age(a, clock, next), age_b = Age(b, clock, next);
      return age_a != age_b ? age_a > age_b : a.position < b.position;
    });
    return rows;
  }
  static uint64_t Pages(uint64_t rows, uint32_t room) { return CeilDiv(rows + room, kPageRows); }

  /// Pages of the session when every evictable row of bin `bin` or older left, but for floors.
  uint64_t PagesWithout(const Heads& heads, uint32_t bin, uint32_t room, const Limits& at) const {
    uint64_t pages = 0;
    for (const auto& rows : heads) pages += Pages(RowsWithout(rows, bin, at), room);
    return pages;
  }
  uint64_t RowsWithout(const std::vector<CachedRow>& rows, uint32_t bin, const Limits& at) const {
    const auto stays = std::count_if(rows.begin(), rows.end(), [&](const CachedRow& row) {
      return !IsEvictable(row, at.next_position) ||
             AgeBin(rules_.rank_by, Age(row, at.clock, at.next_position)) < bin;
    });
    const uint64_t floor = std::min<uint64_t>(rows.size(), scenario_.floor);
    return std::max<uint64_t>(static_cast<uint64_t>(stays), floor);
  }

  /// Refused for want of pages, or of positions; and nothing is lost by it.
  void JudgeRefusal(const Heads& before, const Limits& at) const {
    bool has_positions = at.next_position + at.rows <= scenario_.context;
    if (!has_positions) {
      has_positions = std::all_of(before.begin(), before.end(), [&](const auto& rows) {
        return RowsWithout(rows, 0, at) + at.rows <= scenario_.context;
      });
    }
    ASSERT_TRUE(!has_positions || PagesWithout(before, 0, at.rows, at) > at.page_limit)
        << "refused, though it fits";
    const Heads after = Snapshot();
    for (uint32_t h = 0; h < before.size(); ++h) {
      ASSERT_EQ(after[h].size(), before[h].size()) << "a refused step cost rows of head " << h;
    }
  }

  /// The rows that left each head are the first of its ranking; the rest is what it was.
  void JudgeRanking(const Heads& before, const Heads& after, uint32_t clock, uint32_t next) const {
    for (uint32_t h = 0; h < before.size(); ++h) {
      ASSERT_LE(after[h].size(), before[h].size());
      const size_t gone = before[h].size() - after[h].size();
      const std::vector<CachedRow> ranked = Ranked(before[h], clock, next);
      ASSERT_LE(gone, ranked.size()) << "a protected row left head " << h;
      std::set<uint32_t> want;
      for (const CachedRow& row : before[h]) want.insert(row.id);
      for (size_t i = 0; i < gone; ++i) want.erase(ranked[i].id);
      std::set<uint32_t> got;
      for (const CachedRow& row : after[h]) got.insert(row.id);
      ASSERT_EQ(got, want) << "head " << h;
    }
  }

  void JudgeForced(const Heads& before, const Heads& after, const Limits& at) {
    uint64_t gone = 0, missing = 0;
    for (uint32_t h = 0; h < before.size(); ++h) {
      gone += before[h].size() - after[h].size();
      missing += Pages(before[h].size(), at.rows);
    }
    if (missing <= at.page_limit) {
      ASSERT_EQ(gone, 0u) << "rows left though there was room";
      return;
    }
    ASSERT_NO_FATAL_FAILURE(JudgeRanking(before, after, at.clock, at.next_position));
    ++forced;
    // Room for a whole interval where that is possible, else for the step.
    uint32_t room = std::max(at.rows, scenario_.interval);
    if (PagesWithout(before, 0, room, at) > at.page_limit) room = at.rows;
    uint32_t cut = kAgeBins;
    while (cut > 0 && PagesWithout(before, cut, room, at) > at.page_limit) --cut;
    uint64_t pages = 0;
    for (uint32_t h = 0; h < before.size(); ++h) {
      pages += Pages(after[h].size(), room);
      ASSERT_GE(after[h].size(), std::min<size_t>(before[h].size(), scenario_.floor));
      const std::vector<CachedRow> ranked = Ranked(before[h], at.clock, at.next_position);
      const size_t left = before[h].size() - after[h].size();
      const auto bin = [&](size_t i) {
        return AgeBin(rules_.rank_by, Age(ranked[i], at.clock, at.next_position));
      };
      ASSERT_TRUE(left == 0 || bin(left - 1) >= cut) << "a young row left head " << h;
      // A started page costs nothing more when it is filled; pages may be added for rows of the bin
      // that was cut, and no others.
      ASSERT_LE(Pages(after[h].size(), room), Pages(RowsWithout(before[h], cut + 1, at), room));
      const bool is_filled = (after[h].size() + room) % kPageRows == 0 || left == 0;
      const bool may_keep_older = after[h].size() <= scenario_.floor || is_filled;
      ASSERT_TRUE(left == ranked.size() || may_keep_older || bin(left) <= cut)
          << "an old row stayed in head " << h;
    }
    ASSERT_LE(pages, at.page_limit);
    ASSERT_EQ(pages, at.page_limit) << "a page lies idle while rows leave";
  }

  void JudgeRebase(const Heads& before, const Limits& at) const {
    const Heads after = Snapshot();
    const uint32_t next = cache->next_position();
    ASSERT_LE(uint64_t{next} + at.rows, scenario_.context);
    const uint32_t window_from = WindowFrom(before, after, at);
    const uint32_t window_at = next - (at.next_position - window_from);
    uint32_t most_before = 0;  // Rows before the window.
    for (uint32_t h = 0; h < after.size(); ++h) {
      std::map<uint32_t, CachedRow> old;  // By id.
      for (const CachedRow& row : before[h]) old[row.id] = row;
      std::vector<CachedRow> sorted = after[h];
      std::sort(sorted.begin(), sorted.end(),
                [](const CachedRow& a, const CachedRow& b) { return a.position < b.position; });
      const size_t most = std::max<size_t>(scenario_.context / 2, scenario_.floor);
      const auto pinned = std::count_if(before[h].begin(), before[h].end(), [](const auto& row) {
        return row.last_important == kPinned;
      });
      ASSERT_LE(sorted.size(), most + static_cast<size_t>(pinned) + rules_.recent);
      ASSERT_GE(sorted.size(), std::min<size_t>(before[h].size(), scenario_.floor));
      const auto rows_before = static_cast<uint32_t>(std::count_if(
          sorted.begin(), sorted.end(),
          [&](const CachedRow& row) { return old.at(row.id).position < window_from; }));
      most_before = std::max(most_before, rows_before);
      for (uint32_t i = 0; i < sorted.size(); ++i) {
        ASSERT_EQ(sorted[i].position,
                  i < rows_before ? window_at - rows_before + i
                                  : old.at(sorted[i].id).position - window_from + window_at);
        ASSERT_EQ(old.at(sorted[i].id).last_important, sorted[i].last_important);
        if (i == 0) continue;
        ASSERT_LT(old.at(sorted[i - 1].id).position, old.at(sorted[i].id).position);
      }
      ASSERT_EQ(std::count_if(sorted.begin(), sorted.end(),
                              [](const auto& row) { return row.last_important == kPinned; }),
                pinned);
    }
    ASSERT_EQ(most_before, window_at) << "positions that no head needs";
  }
  /// Where the widest window begins with which a quarter of the context is free, and the step fits.
  uint32_t WindowFrom(const Heads& before, const Heads& after, const Limits& at) const {
    if (scenario_.positions == PositionRule::kRebased) return at.next_position;
    const uint32_t most = scenario_.context - std::max(scenario_.context / 4, at.rows);
    for (uint32_t from = 0; from < at.next_position; ++from) {
      uint32_t next = 0;
      for (uint32_t h = 0; h < after.size(); ++h) {
        std::set<uint32_t> kept;
        for (const CachedRow& row : after[h]) kept.insert(row.id);
        const auto rows = std::count_if(
            before[h].begin(), before[h].end(),
            [&](const CachedRow& row) { return row.position < from && kept.count(row.id) > 0; });
        next = std::max(next, static_cast<uint32_t>(rows) + at.next_position - from);
      }
      if (next <= most) return from;
    }
    return at.next_position;
  }

  /// As KvWrite writes them.
  void WriteRows(uint32_t rows, bool pin) {
    const StepSequence s = cache->Describe(0, 0, rows, pin ? RowUse::kPin : RowUse::kKeep);
    for (uint32_t h = 0; h < store_->heads(); ++h) {
      for (uint32_t i = 0; i < rows; ++i) {
        const uint32_t mark = s.mark_by == MarkBy::kAttention ? 0 : s.clock + i + 1;
        const uint32_t important = i < s.pinned_rows ? kPinned : mark;
        store_->Write(table_, h, cache->counts(0)[h] + i,
                      {s.clock + i, cache->next_position() + i, important, h});
      }
    }
  }

  void CommitAndJudge(uint32_t rows) {
    const SessionCache::Stats stats_before = cache->stats();
    Heads before(store_->heads());
    for (uint32_t h = 0; h < store_->heads(); ++h) {
      for (uint32_t i = 0; i < cache->counts(0)[h] + rows; ++i) {
        before[h].push_back(store_->Read(table_, h, i));
      }
    }
    ASSERT_TRUE(cache->Commit(rows).ok());
    const SessionCache::Stats stats = cache->stats();
    if (stats.evicted_total == stats_before.evicted_total) return;
    ++natural;
    ASSERT_EQ(stats.evicted_forced, stats_before.evicted_forced);
    const Heads after = Snapshot();
    const uint32_t clock = cache->clock(), next = cache->next_position();
    ASSERT_NO_FATAL_FAILURE(JudgeRanking(before, after, clock, next));
    for (const std::vector<CachedRow>& rows_left : after) {
      for (const CachedRow& row : rows_left) {
        ASSERT_TRUE(!IsEvictable(row, next) ||
                    Age(row, clock, next) < rules_.natural_age + kDoublingsMost * rules_.reach);
      }
    }
  }

  const Scenario scenario_;
  Store* const store_;
  const EvictionRules rules_;
  uint32_t table_ = 0;
};

/// Pages named by the device's tables for resident rows: each once, and all that the pool gave out.
void CheckOwnership(const Store& store, std::span<const std::unique_ptr<Stream>> streams) {
  std::set<uint32_t> pages;
  for (const auto& stream : streams) {
    const uint32_t table = stream->cache->Describe(0, 0, 0, RowUse::kKeep).table;
    for (uint32_t h = 0; h < store.heads(); ++h) {
      for (uint32_t s = 0; s < stream->cache->counts(0)[h]; s += kPageRows) {
        ASSERT_TRUE(pages.insert(store.Page(table, h, s)).second) << "page owned twice";
      }
    }
  }
  ASSERT_EQ(pages.size(), store.kv->pool().used_pages());
}

struct Totals {
  uint32_t refused = 0, rebased = 0, forced = 0, natural = 0;
};

Totals RunScenario(const Scenario& scenario, const char* backend, uint32_t seed, uint32_t steps) {
  std::mt19937 random(seed);
  Store store(scenario, backend);
  std::vector<std::unique_ptr<Stream>> streams;
  for (uint32_t s = 0; s < scenario.sessions; ++s) {
    streams.push_back(std::make_unique<Stream>(scenario, &store));
  }
  const auto run = [&] {
    for (uint32_t step = 0; step < steps; ++step) {
      Stream& stream = *streams[random() % streams.size()];
      if (scenario.sessions > 1 && random() % 40 == 0) stream.cache->Clear();
      if (scenario.policy != "window") stream.StampAtRandom(random);
      const uint32_t rows = random() % 3 == 0 ? 1 : 1 + random() % scenario.chunk_max;
      ASSERT_NO_FATAL_FAILURE(stream.Step(rows, random() % 30 == 0)) << "step " << step;
      ASSERT_NO_FATAL_FAILURE(CheckOwnership(store, streams)) << "step " << step;
    }
  };
  run();
  Totals totals;
  for (const auto& stream : streams) {
    totals.refused += stream->refused;
    totals.rebased += stream->rebased;
    totals.forced += stream->forced;
    totals.natural += stream->natural;
  }
  return totals;
}

PolicyOptions Asked(uint32_t recent, std::optional<uint32_t> window, bool is_capped) {
  PolicyOptions options;
  options.recent = recent;
  options.window = window;
  options.capped = is_capped;
  options.budget = HeadBudget::kSession;
  options.rows_per_head = 300;
  options.fade = 0;  // Marks are as the test left them when rows are ranked.
  return options;
}

class Eviction : public ::testing::TestWithParam<const char*> {};

TEST_P(Eviction, UnderACapTheOldestRowsOfAllHeadsLeaveFirst) {
  for (const char* policy : {"corm", "corm-values", "window", "h2o", "h2o-published", "tova",
                             "random", "protected-lru"}) {
    for (uint32_t seed = 0; seed < 3; ++seed) {
      SCOPED_TRACE(absl::StrCat(policy, " seed ", seed));
      Scenario scenario;
      scenario.policy = policy;
      scenario.options = Asked(8 * seed, std::nullopt, true);
      scenario.kv_type = seed == 1 ? DType::kQ8_0 : DType::kF16;
      const Totals totals = RunScenario(scenario, GetParam(), seed, 150);
      if (HasFatalFailure()) return;
      EXPECT_GT(totals.forced, 20u);
    }
  }
}

TEST_P(Eviction, LongHistoriesFillCoarseBinsAndStillNoPageLiesIdle) {
  // Ages of thousands share a bin with hundreds of others: cutting a whole bin takes too much.
  Scenario scenario;
  scenario.policy = "window";
  scenario.options = Asked(0, std::nullopt, true);
  scenario.page_limit = 4 * 140;
  scenario.sessions = 1;
  scenario.chunk_max = 256;
  const Totals totals = RunScenario(scenario, GetParam(), 5, 80);
  if (HasFatalFailure()) return;
  EXPECT_GT(totals.forced, 10u);
}

TEST_P(Eviction, RowsBesideAnImportantOneStayWithIt) {
  for (const uint32_t fade : {0u, 8u}) {
    Scenario scenario;
    scenario.options = Asked(0, std::nullopt, true);
    scenario.options.fade = fade;
    scenario.options.budget = HeadBudget::kHead;
    scenario.floor = 0;
    scenario.page_limit = 4 * 10;
    scenario.sessions = 1;
    Store store(scenario, GetParam());
    Stream stream(scenario, &store);
    for (int step = 0; step < 5; ++step) stream.Read(64);  // All pages are full.
    stream.MarkOnly(100);
    stream.Read(160);
    for (const std::vector<CachedRow>& rows : stream.Snapshot()) {
      const auto beside = std::count_if(rows.begin(), rows.end(), [](const CachedRow& row) {
        return row.position >= 100 - kSpreadMost && row.position <= 100 + kSpreadMost;
      });
      // Among equals the lowest position leaves first: without spreading, those before.
      EXPECT_EQ(beside, fade == 0 ? 1 : 2 * kSpreadMost + 1) << "fade " << fade;
    }
  }
}

TEST_P(Eviction, NaturalEvictionTakesEverythingPastItsAge) {
  for (const char* policy : {"corm", "window"}) {
    SCOPED_TRACE(policy);
    Scenario scenario;
    scenario.policy = policy;
    scenario.options = Asked(16, 200, false);
    scenario.page_limit = 300;
    const Totals totals = RunScenario(scenario, GetParam(), 7, 100);
    if (HasFatalFailure()) return;
    EXPECT_GT(totals.natural, 5u);
    EXPECT_EQ(totals.forced, 0u);
  }
}

TEST_P(Eviction, PastTheContextRowsKeepTheirOrderAndMoveTogether) {
  for (const auto& [policy, positions] :
       {std::pair("corm", PositionRule::kRebased), std::pair("window", PositionRule::kRebased),
        std::pair("corm", PositionRule::kWindowed), std::pair("window", PositionRule::kWindowed)}) {
    for (const uint32_t chunk_max : {64u, 128u}) {  // 128: as much as may be kept.
      SCOPED_TRACE(absl::StrCat(policy, " chunk ", chunk_max, " positions ", int(positions)));
      Scenario scenario;
      scenario.policy = policy;
      scenario.positions = positions;
      scenario.options = Asked(policy[0] == 'c' ? 16 : 0, std::nullopt, true);
      scenario.context = 256;
      scenario.chunk_max = chunk_max;
      scenario.page_limit = 200;  // Positions run out, pages do not.
      const Totals totals = RunScenario(scenario, GetParam(), 11, 150);
      if (HasFatalFailure()) return;
      EXPECT_GT(totals.rebased, 5u);
    }
  }
}

TEST_P(Eviction, OriginalPositionsGoOnUntilRotationsAreNotExact) {
  Scenario scenario;
  scenario.options = Asked(16, std::nullopt, true);
  scenario.context = 256;
  scenario.page_limit = 200;
  scenario.positions = PositionRule::kOriginal;
  Store store(scenario, GetParam());
  Stream stream(scenario, &store);
  for (int step = 0; step < 20; ++step) stream.Read(64);
  SessionCache& cache = *stream.cache;
  EXPECT_EQ(cache.next_position(), 20u * 64);
  EXPECT_EQ(cache.stats().rebased, 0u);
  for (const std::vector<CachedRow>& rows : stream.Snapshot()) {
    EXPECT_LE(rows.size(), scenario.context);
    EXPECT_GE(rows.size(), scenario.context / 2);
    // Rows are numbered as they are read.
    for (const CachedRow& row : rows) EXPECT_EQ(row.position, row.id);
  }
  // From here on slots keep what they hold; counts and positions are what ends.
  while (cache.next_position() + 128 <= kPositionsMost) {
    ASSERT_TRUE(cache.MakeRoom(128).ok());
    ASSERT_TRUE(cache.Commit(128).ok());
  }
  EXPECT_EQ(cache.next_position(), kPositionsMost);
  const absl::Status ended = cache.MakeRoom(1);
  EXPECT_TRUE(absl::IsOutOfRange(ended)) << ended;
}

CORM_ON_BACKENDS(Eviction);

}  // namespace
}  // namespace cormorant::sim
