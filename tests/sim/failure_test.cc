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
    ASSERT_LT(engine->plan().pages_per_slab, engine->plan().page_limit);
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
    EXPECT_EQ(engine->memory().kv_used, engine->plan().kv_metadata);
  }
  EXPECT_EQ(AlignedMemoryBytes(), held);
}

/// A device that is lost at the n-th call.
class FaultyBackend final : public Backend {
 public:
  explicit FaultyBackend(std::unique_ptr<Backend> inner) : inner_(std::move(inner)) {}

  /// The nth call from now fails, and with `is_lost` all after it; 0: none.
  void FailAt(uint32_t nth, bool is_lost) {
    fail_in_ = nth;
    is_lost_ = is_lost;
  }
  uint64_t downloaded_bytes() const { return downloaded_bytes_; }

  absl::string_view Name() const override { return inner_->Name(); }
  const DeviceInfo& Device() const override { return inner_->Device(); }
  SupportAnswer Supports(const Op& op) const override { return inner_->Supports(op); }
  uint64_t WeightBytes(std::span<const HostTensor> tensors, const Tape& tape) const override {
    return inner_->WeightBytes(tensors, tape);
  }
  uint64_t PlanBytes(const Tape& tape, const KvGeometry& geometry,
                     uint64_t step_bytes) const override {
    return inner_->PlanBytes(tape, geometry, step_bytes);
  }
  absl::StatusOr<std::unique_ptr<Buffer>> Allocate(uint64_t bytes) override {
    if (Fails()) return Lost();
    return inner_->Allocate(bytes);
  }
  absl::Status Upload(Buffer& to, uint64_t offset, std::span<const std::byte> from) override {
    return Fails() ? Lost() : inner_->Upload(to, offset, from);
  }
  absl::Status Download(std::span<std::byte> to, const Buffer& from, uint64_t offset) override {
    downloaded_bytes_ += to.size();
    return Fails() ? Lost() : inner_->Download(to, from, offset);
  }
  absl::StatusOr<std::unique_ptr<Weights>> LoadWeights(std::span<const HostTensor> tensors,
                                                       const Tape& tape,
                                                       LoadObserver* observer) override {
    if (Fails()) return Lost();
    return inner_->LoadWeights(tensors, tape, observer);
  }
  absl::StatusOr<std::unique_ptr<Plan>> Compile(const Tape& tape,
                                                const Bindings& bindings) override {
    if (Fails()) return Lost();
    return inner_->Compile(tape, bindings);
  }
  absl::StatusOr<Tick> Submit(Plan& plan, std::span<const std::byte> step) override {
    if (Fails()) return Lost();
    return inner_->Submit(plan, step);
  }
  absl::Status Wait(Tick tick) override { return Fails() ? Lost() : inner_->Wait(tick); }

 private:
  bool Fails() {
    if (fail_in_ == 0 || --fail_in_ > 0) return false;
    if (is_lost_) fail_in_ = 1;
    return true;
  }
  static absl::Status Lost() { return absl::UnavailableError("the device is lost"); }

  const std::unique_ptr<Backend> inner_;
  uint32_t fail_in_ = 0;
  bool is_lost_ = false;
  uint64_t downloaded_bytes_ = 0;
};

struct FaultyStore {
  FaultyStore() {
    EngineOptions options;
    options.backend = "reference";
    backend = std::make_unique<FaultyBackend>(*OpenBackend(options));
    plan.geometry = {2, 2, 32, DType::kF16, DType::kF16, 12};
    plan.context = 256;
    plan.page_bytes = KvPageLayout(plan.geometry).page_bytes;
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
    return *SessionCache::Create({(*FindPolicy("window"))->rules(asked), plan.context, 32, 8},
                                 store.get());
  }

  std::unique_ptr<FaultyBackend> backend;
  EnginePlan plan;
  MemoryLedger ledger{0, 0};
  std::unique_ptr<KvStore> store;
};

TEST(DeviceFailure, AnywhereInMakingTheStoreGivesTheLedgerBack) {
  uint32_t failures = 0;
  for (uint32_t nth = 1;; ++nth) {
    FaultyStore world;
    world.backend->FailAt(nth, false);
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
      world.backend->FailAt(nth, is_lost);
      bool has_failed = false;
      RunSteps(*cache, 20, [&](const absl::Status& status) {
        if (status.ok()) return true;
        EXPECT_TRUE(absl::IsUnavailable(status)) << status;
        uint32_t pages = 0;
        for (uint32_t count : cache->counts()) pages += (count + kPageRows - 1) / kPageRows;
        EXPECT_EQ(cache->page_total(), pages);
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
      world.backend->FailAt(0, false);
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

struct FaultyEngine {
  explicit FaultyEngine(const TinyModel& model) {
    const EngineOptions options = Options(model, "cpu");
    auto faulty = std::make_unique<FaultyBackend>(*OpenBackend(options));
    backend = faulty.get();
    engine = *Engine::CreateOn(std::move(faulty), options, [](uint64_t, uint64_t) { return true; });
  }
  /// Asks for ages every few tokens, so that committing a step can fail; none is old enough to go.
  std::unique_ptr<Session> MakeTalker() {
    SessionOptions asked;
    asked.policy = "corm";
    asked.recent = 1000;
    asked.interval = 3;
    return MakeSession(engine, asked);
  }

  FaultyBackend* backend;
  std::shared_ptr<Engine> engine;
};

TEST(DeviceFailure, AnywhereInAnAnswerLosesNoToken) {
  constexpr uint64_t kTokens = 9;
  const TinyModel model;
  std::mt19937 random(5);
  const std::vector<uint32_t> prompt = RandomIds(random, 30, model.vocab());
  FaultyEngine world(model);
  std::vector<uint32_t> want;
  for (uint32_t nth = 0;; ++nth) {  // 0: none fails.
    const std::unique_ptr<Session> session = world.MakeTalker();
    ASSERT_TRUE(Append(*session, prompt).ok());
    world.backend->FailAt(nth, false);
    GenerateResult result;
    const absl::Status status = session->Generate(
        Greedy(kTokens), [](uint32_t, absl::string_view) { return true; }, &result);
    world.backend->FailAt(0, false);
    if (nth == 0) want = session->tokens();
    if (nth > 0 && status.ok()) {
      EXPECT_GE(nth, 4 * kTokens);
      break;
    }
    EXPECT_TRUE(nth == 0 || absl::IsUnavailable(status)) << status;
    // It goes on with a sampler that needs all logits, which were not asked for before.
    if (nth > 0) Continue(*session, GreedyOverAll(kTokens - result.generated_tokens));
    ASSERT_EQ(session->tokens(), want) << "call " << nth << " failed";
  }
}

TEST(DeviceFailure, ALostDeviceIsAnErrorUntilItIsBack) {
  const TinyModel model;
  std::mt19937 random(6);
  const std::vector<uint32_t> prompt = RandomIds(random, 30, model.vocab());
  FaultyEngine world(model);
  std::vector<uint32_t> want;
  uint32_t refused = 0;
  for (uint32_t nth = 0;; ++nth) {
    const std::unique_ptr<Session> session = world.MakeTalker();
    ASSERT_TRUE(Append(*session, prompt).ok());
    world.backend->FailAt(nth, true);
    GenerateResult result;
    const absl::Status status = session->Generate(
        Greedy(9), [](uint32_t, absl::string_view) { return true; }, &result);
    if (nth == 0) want = session->tokens();
    if (nth > 0 && status.ok()) break;
    EXPECT_TRUE(nth == 0 || absl::IsUnavailable(status)) << status;
    world.backend->FailAt(0, false);
    if (nth == 0) continue;
    GenerateResult all;
    const absl::Status full = session->Generate(
        GreedyOverAll(1), [](uint32_t, absl::string_view) { return true; }, &all);
    // Of a token that was read as the device went, the greatest logits are left.
    EXPECT_TRUE(full.ok() || absl::IsFailedPrecondition(full)) << full;
    if (!full.ok()) ++refused;
    const uint64_t left = 9 - result.generated_tokens - all.generated_tokens;
    if (left > 0) Continue(*session, left);
    ASSERT_EQ(session->tokens(), want) << "lost at call " << nth;
  }
  EXPECT_GT(refused, 0u);
}

TEST(Traffic, OnlyTheGreatestLogitsLeaveTheDevice) {
  const TinyModel model;
  ASSERT_GT(model.vocab(), kTopLogits);
  FaultyEngine world(model);
  const std::unique_ptr<Session> session = MakeSession(world.engine, "none");
  std::mt19937 random(7);
  ASSERT_TRUE(Append(*session, RandomIds(random, 30, model.vocab())).ok());
  const auto bytes_of = [&](const GenerateOptions& options) {
    const uint64_t before = world.backend->downloaded_bytes();
    Continue(*session, options);
    return world.backend->downloaded_bytes() - before;
  };
  bytes_of(Greedy(1));  // The prompt's own logits were read with it.
  EXPECT_EQ(bytes_of(Greedy(10)), 10 * kTopLogits * sizeof(TokenLogit));
  EXPECT_EQ(bytes_of(GreedyOverAll(10)), 10 * model.vocab() * sizeof(float));
}

}  // namespace
}  // namespace cormorant::sim
