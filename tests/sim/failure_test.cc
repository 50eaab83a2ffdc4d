// Every place at which memory or the device can fail: an error, nothing leaked, nothing lost.
//
// Method: the n-th allocation, or the n-th call of a backend, is made to fail for n = 1, 2, 3 ...
// until the operation gets through. What was held before must be held after, to the byte.
#include <algorithm>
#include <functional>

#include "absl/strings/match.h"
#include "models/model.h"
#include "platform/memory.h"
#include "runtime/base/units.h"
#include "runtime/cache/policy.h"
#include "runtime/engine/kv_store.h"
#include "runtime/engine/session_cache.h"
#include "runtime/ops/kv_page.h"
#include "tests/sim/driver.h"
#include "tests/sim/faulty_backend.h"

namespace cormorant::sim {
namespace {

/// Takes a failure that was not reached back, whatever happens.
class FailingAllocation {
 public:
  explicit FailingAllocation(uint64_t nth) { FailAllocation(nth); }
  ~FailingAllocation() { FailAllocation(0); }
};

TEST(AllocationFailure, AnywhereInLoadingIsAnErrorAndLeaksNothing) {
  const uint64_t held = AlignedMemoryBytes();
  for (const GgufType type : {GgufType::kF32, GgufType::kQ8_0, GgufType::kQ4_1}) {
    const TinyModel model({.type = type});
    EngineOptions options = Options(model, "cpu");
    options.max_sessions = 3;
    uint64_t failures = 0;
    for (uint64_t nth = 1;; ++nth) {
      ASSERT_LT(nth, 10000u);
      const FailingAllocation failing(nth);
      const absl::StatusOr<std::shared_ptr<Engine>> engine = TryOpen(options);
      if (engine.ok()) break;
      ++failures;
      EXPECT_TRUE(absl::IsResourceExhausted(engine.status())) << engine.status();
      ASSERT_EQ(AlignedMemoryBytes(), held) << "allocation " << nth << " failed";
    }
    EXPECT_GE(failures, 5u);
    EXPECT_EQ(AlignedMemoryBytes(), held);
  }
}

TEST(AllocationFailure, TheLedgerIsWhatTheProcessHolds) {
  for (const GgufType type : {GgufType::kF32, GgufType::kQ8_0}) {
    for (const uint32_t sessions : {1u, 4u}) {
      const uint64_t before = AlignedMemoryBytes();
      const TinyModel model({.type = type});
      EngineOptions options = Options(model, "cpu");
      options.max_sessions = sessions;
      const std::shared_ptr<Engine> engine = Open(options);
      const EnginePlan& plan = engine->plan();
      const uint32_t rows = plan.row_buckets.back();
      const StepBuffer step(
          {rows, plan.out_rows(rows, false, sessions), sessions, plan.geometry.heads()});
      const auto check = [&] {
        // The step buffer is the host's own and counted by its size.
        EXPECT_EQ(AlignedMemoryBytes() - before + step.bytes().size(), engine->memory().used);
      };
      check();
      std::unique_ptr<Session> session = MakeSession(engine, "none");
      std::mt19937 random(1);
      ASSERT_TRUE(Append(*session, RandomIds(random, 200, model.vocab())).ok());
      check();
      session.reset();
      check();
    }
  }
}

/// 1,000 pages a slab and sessions of 64 pages: the second slab comes with the sixteenth session.
constexpr TinyModelOptions kWideHeads = {
    .layers = 1, .heads = 4, .kv_heads = 4, .head_dim = 128, .width = 32, .ffn = 32};

TEST(AllocationFailure, ASlabThatIsRefusedLosesNothing) {
  const uint64_t held = AlignedMemoryBytes();
  {
    const TinyModel model(kWideHeads);
    EngineOptions options = Options(model, "cpu");
    options.max_sessions = 18;
    const std::shared_ptr<Engine> engine = Open(options);
    ASSERT_LT(engine->plan().device().pages_per_slab, engine->plan().device().page_limit);
    std::mt19937 random(2);
    std::vector<std::unique_ptr<Session>> sessions;
    std::vector<const Session*> pointers;
    uint32_t refusals = 0;
    for (uint32_t s = 0; s < options.max_sessions; ++s) {
      sessions.push_back(MakeSession(engine, "none"));
      pointers.push_back(sessions.back().get());
      const std::vector<uint32_t> ids = RandomIds(random, 511, model.vocab());
      const std::span<const uint32_t> all = ids;
      ASSERT_TRUE(s == 0 || Append(*sessions[s], all.first(100)).ok());
      const std::vector<uint32_t> log = sessions[s]->tokens();
      const FailingAllocation failing(1);  // Steps allocate slabs and nothing else.
      absl::Status status = Append(*sessions[s], all.subspan(log.size()));
      if (!status.ok()) {
        ++refusals;
        EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
        ASSERT_NO_FATAL_FAILURE(CheckInvariants(*engine, pointers));
        const size_t done = sessions[s]->tokens().size();  // Chunks before the refused one stay.
        ASSERT_TRUE(std::equal(ids.begin(), ids.begin() + static_cast<ptrdiff_t>(done),
                               sessions[s]->tokens().begin(), sessions[s]->tokens().end()));
        status = Append(*sessions[s], all.subspan(done));
      }
      ASSERT_TRUE(status.ok()) << status;
      EXPECT_EQ(sessions[s]->tokens(), ids);
      ASSERT_NO_FATAL_FAILURE(CheckInvariants(*engine, pointers));
      EXPECT_EQ(Continue(*sessions[s], 1).size(), 1u);
    }
    EXPECT_EQ(refusals, 2u);
    sessions.clear();
    EXPECT_EQ(engine->memory().kv_used, engine->plan().device().memory.kv_metadata);
  }
  EXPECT_EQ(AlignedMemoryBytes(), held);
}

struct FaultyStore {
  FaultyStore() {
    EngineOptions options;
    options.backend = "reference";
    backend = std::make_unique<FaultyBackend>(*OpenBackend(options), faults);
    plan.geometry = {2, 2, 32, DType::kF16, DType::kF16, 12};
    plan.page_limit = 30;
    plan.pages_per_slab = 4;
  }
  absl::Status Open() {
    absl::StatusOr<std::unique_ptr<KvStore>> made =
        KvStore::Create(plan, 2, RopeSpec{32, 10000.0f, 1.0f, {}}, backend.get(), nullptr, &ledger);
    if (made.ok()) store = *std::move(made);
    return made.status();
  }
  std::unique_ptr<SessionCache> MakeCache() {
    PolicyOptions asked;
    asked.capped = true;
    asked.rows_per_head = 100;
    KvStore* const stores[] = {store.get()};
    return *SessionCache::Create({(*FindPolicy("window"))->rules(asked), 256, 32, 8}, stores);
  }

  std::shared_ptr<Faults> faults = std::make_shared<Faults>();
  std::unique_ptr<FaultyBackend> backend;
  StagePlan plan;
  MemoryLedger ledger{0, 0};
  std::unique_ptr<KvStore> store;
};

TEST(DeviceFailure, AnywhereInMakingTheStoreGivesTheLedgerBack) {
  uint32_t failures = 0;
  for (uint32_t nth = 1;; ++nth) {
    FaultyStore world;
    world.faults->fail_in = nth;
    const absl::Status status = world.Open();
    if (status.ok()) break;
    ++failures;
    EXPECT_TRUE(absl::IsUnavailable(status)) << status;
    EXPECT_EQ(world.ledger.Read().used, 0u) << "call " << nth << " failed";
  }
  EXPECT_GE(failures, 5u);
}

/// Steps of a session past cap and context, so that drops and re-basing are among the calls.
void RunSteps(SessionCache& cache, uint32_t steps, const std::function<bool(absl::Status)>& go_on) {
  for (uint32_t step = 0; step < steps; ++step) {
    absl::Status status = cache.MakeRoom(30);
    if (status.ok()) status = cache.Commit(30);
    if (!go_on(status)) return;
  }
}

TEST(DeviceFailure, AnywhereInAStepKeepsPagesAndCountsInStep) {
  for (const bool is_lost : {false, true}) {
    uint32_t failures = 0;
    for (uint32_t nth = 1;; ++nth) {
      FaultyStore world;
      ASSERT_TRUE(world.Open().ok());
      std::unique_ptr<SessionCache> cache = world.MakeCache();
      world.faults->fail_in = nth;
      world.faults->is_lost = is_lost;
      bool has_failed = false;
      RunSteps(*cache, 20, [&](const absl::Status& status) {
        if (status.ok()) return true;
        EXPECT_TRUE(absl::IsUnavailable(status)) << status;
        uint32_t pages = 0;
        for (uint32_t count : cache->counts(0)) pages += (count + kPageRows - 1) / kPageRows;
        EXPECT_EQ(cache->page_total(0), pages);
        EXPECT_EQ(world.store->pool().used_pages(), pages);
        has_failed = true;
        return false;
      });
      if (!has_failed) {
        EXPECT_GT(cache->stats().rebased, 0u);
        EXPECT_GT(cache->stats().evicted_total, 0u);
        break;
      }
      ++failures;
      world.faults->fail_in = 0;
      RunSteps(*cache, 20, [](const absl::Status& status) {  // Goes on when the device is back.
        EXPECT_TRUE(status.ok()) << status;
        return status.ok();
      });
      cache.reset();
      world.store.reset();
      EXPECT_EQ(world.ledger.Read().used, 0u);
    }
    EXPECT_GE(failures, 20u);
  }
}

}  // namespace
}  // namespace cormorant::sim
