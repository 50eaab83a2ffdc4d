// Several devices, and devices that go away: a model over two stages computes what it computes on
// one, and a lost device costs time and nothing else.
//
// Method: a device is the CPU's backend under another name, which fails at the n-th call for n = 1,
// 2, 3 ... until the operation gets through. What is generated must be what an engine generates
// that never failed: a row's result does not depend on how rows were batched, so to the token.
#include <algorithm>
#include <thread>
#include <utility>

#include "gmock/gmock.h"
#include "models/model.h"
#include "runtime/base/status.h"
#include "tests/sim/driver.h"
#include "tests/sim/faulty_backend.h"

namespace cormorant::sim {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

/// An engine on a device that obeys `faults`, with or without the CPU to help.
struct World {
  World(const TinyModel& model, const std::string& backend) : options(Options(model, backend)) {}

  absl::Status Open(bool has_host) {
    DeviceOpeners openers;
    openers.device = [this]() -> absl::StatusOr<std::unique_ptr<Backend>> {
      if (faults->is_gone) return absl::NotFoundError("it is gone");
      if (faults->openings++ > 0) faults->fail_in = faults->after_opening;
      CORM_ASSIGN_OR_RETURN(std::unique_ptr<Backend> inner, OpenBackend(options));
      return std::make_unique<FaultyBackend>(std::move(inner), faults);
    };
    if (has_host) openers.host = [this] { return OpenBackend(options); };
    auto made = Engine::CreateOn(
        openers, options, [](uint64_t, uint64_t) { return true; },
        [this](EngineEvent event, const std::string&) { events.push_back(event); });
    if (made.ok()) engine = *std::move(made);
    return made.status();
  }
  /// Asks for ages every few tokens, so that committing a step can fail; none is old enough to go.
  std::unique_ptr<Session> MakeTalker() {
    SessionOptions asked;
    asked.policy = "corm";
    asked.recent = 1000;
    asked.interval = 3;
    return MakeSession(engine, asked);
  }
  void Check(const Session& session) {
    const Session* const sessions[] = {&session};
    CheckInvariants(*engine, sessions);
  }

  EngineOptions options;
  std::shared_ptr<Faults> faults = std::make_shared<Faults>();
  std::vector<EngineEvent> events;
  std::shared_ptr<Engine> engine;
};

constexpr TinyModelOptions kFiveLayers = {.layers = 5};

class Stages : public ::testing::TestWithParam<const char*> {
 protected:
  /// An engine whose device holds some layers only.
  void OpenSplit(World& world) {
    world.faults->is_host = false;
    world.options.memory_cap_bytes = 1;
    const absl::Status refused = world.Open(true);
    ASSERT_TRUE(absl::IsResourceExhausted(refused)) << refused;
    const absl::string_view mark = "the smallest cap that works is ";
    const size_t at = refused.message().find(mark);
    ASSERT_NE(at, absl::string_view::npos) << refused;
    const uint64_t smallest = std::stoull(std::string(refused.message().substr(at + mark.size())));
    world.options.memory_cap_bytes = smallest - 1;
    EXPECT_TRUE(absl::IsResourceExhausted(world.Open(true)));
    world.options.memory_cap_bytes = smallest + 60000;
    ASSERT_TRUE(world.Open(true).ok());
  }
};

TEST_P(Stages, ASplitModelComputesTheSame) {
  for (const GgufType type : {GgufType::kF32, GgufType::kQ8_0}) {
    TinyModelOptions asked = kFiveLayers;
    asked.type = type;
    const TinyModel model(asked);
    World whole(model, GetParam()), split(model, GetParam());
    ASSERT_TRUE(whole.Open(false).ok());
    ASSERT_NO_FATAL_FAILURE(OpenSplit(split));
    const std::vector<StagePlan>& stages = split.engine->plan().stages;
    ASSERT_EQ(stages.size(), 2u);
    EXPECT_EQ(stages[0].geometry.layers + stages[1].geometry.layers, 5u);
    EXPECT_EQ(stages[1].first_layer, stages[0].geometry.layers);
    std::mt19937 random(1);
    const std::vector<uint32_t> ids = RandomIds(random, 60, model.vocab());
    SessionOptions keeps_all;
    keeps_all.policy = "none";
    const auto a = MakeSession(whole.engine, keeps_all), b = MakeSession(split.engine, keeps_all);
    EXPECT_EQ(Score(*a, ids), Score(*b, ids));
    EXPECT_EQ(Continue(*a, 20), Continue(*b, 20));
    split.Check(*b);
  }
}

TEST_P(Stages, HeadWeightsAreThoseOfTheModelsLayers) {
  const TinyModel model(kFiveLayers);
  World world(model, GetParam());
  ASSERT_NO_FATAL_FAILURE(OpenSplit(world));
  const std::vector<StagePlan>& stages = world.engine->plan().stages;
  ASSERT_EQ(stages.size(), 2u);
  const uint32_t first = stages[1].first_layer * model.options().kv_heads;
  std::mt19937 random(3);
  const std::vector<uint32_t> ids = RandomIds(random, 400, model.vocab());
  const auto rows = [&](std::vector<float> weights) {
    SessionOptions asked;
    asked.policy = "corm";
    asked.recent = 16;
    asked.kv_budget_bytes = 200000;
    asked.head_weights = std::move(weights);
    const auto session = MakeSession(world.engine, asked);
    EXPECT_TRUE(Append(*session, ids).ok());
    world.Check(*session);
    return session->row_counts();
  };
  const std::vector<uint32_t> even = rows({});
  EXPECT_EQ(rows(std::vector<float>(model.kv_head_total(), 1.0f)), even);
  // The first head of the second stage gives up rows; the stage before it has its own pages.
  std::vector<float> weights(model.kv_head_total(), 1.0f);
  weights[first] = 4.0f;
  const std::vector<uint32_t> moved = rows(weights);
  EXPECT_LT(moved[first], even[first]);
  EXPECT_EQ(std::vector(moved.begin(), moved.begin() + first),
            std::vector(even.begin(), even.begin() + first));
}

TEST_P(Stages, TheCapHoldsOnTheDeviceWhileRowsLeaveBothStages) {
  const TinyModel model(kFiveLayers);
  World world(model, GetParam());
  ASSERT_NO_FATAL_FAILURE(OpenSplit(world));
  const auto session = MakeSession(world.engine, "corm");
  std::mt19937 random(2);
  for (uint32_t turn = 0; turn < 12; ++turn) {  // Past the context too: 1,200 of 512 tokens.
    ASSERT_TRUE(Append(*session, RandomIds(random, 90, model.vocab())).ok());
    Continue(*session, 10);
    world.Check(*session);
  }
  EXPECT_GT(session->stats().evicted_total, 0u);
  EXPECT_GT(session->stats().rebased, 0u);
  EXPECT_LE(world.engine->memory().peak, world.options.memory_cap_bytes);
  EXPECT_GT(world.engine->memory().host_used, 0u);
}

TEST_P(Stages, RowsOfBothStagesAreRetainedOnTheHost) {
  const TinyModel model(kFiveLayers);
  World world(model, GetParam());
  ASSERT_NO_FATAL_FAILURE(OpenSplit(world));
  const auto session = MakeSession(world.engine, "corm");
  std::mt19937 random(3);
  const auto go = [](uint64_t, uint64_t) { return true; };
  const auto missing = [&] {  // Rows of tokens 20 to 59 that are not in the cache.
    uint64_t rows = 0;
    for (const std::vector<uint32_t>& positions : RowsOf(*session)) {
      rows +=
          40 - static_cast<uint64_t>(std::count_if(positions.begin(), positions.end(),
                                                   [](uint32_t p) { return 20 <= p && p < 60; }));
    }
    return rows;
  };
  const auto append = [&](size_t count, RowUse use) {
    ASSERT_TRUE(session->Append(RandomIds(random, count, model.vocab()), use, go).ok());
    world.Check(*session);
  };
  append(20, RowUse::kKeep), append(40, RowUse::kRetainOnHost), append(390, RowUse::kKeep);
  ASSERT_EQ(session->stats().rebased, 0u);
  ASSERT_GT(missing(), 0u);
  EXPECT_EQ(session->stats().retained_rows, missing());
  world.faults->fail_in = 2;
  append(40, RowUse::kKeep);
  ASSERT_EQ(world.events.size(), 2u) << "the device was lost";
  EXPECT_EQ(session->stats().retained_rows, missing());
  for (uint32_t turn = 0; turn < 4; ++turn) append(250, RowUse::kKeep);
  EXPECT_GT(session->stats().rebased, 1u);
  EXPECT_GT(session->stats().retained_rows, 0u);
  EXPECT_EQ(session->stats().host_rows, session->stats().retained_rows);
  ASSERT_TRUE(session->Recall(RandomIds(random, 20, model.vocab()), go).ok());
  world.Check(*session);
}

TEST_P(Stages, ADeviceWithLittleMemoryIsAsGoodAsCapped) {
  const TinyModel model(kFiveLayers);
  World capped(model, GetParam());
  ASSERT_NO_FATAL_FAILURE(OpenSplit(capped));
  World world(model, GetParam());
  world.faults->is_host = false;
  world.faults->memory_free = capped.options.memory_cap_bytes / 15 * 16 + 16;
  ASSERT_TRUE(world.Open(true).ok());
  EXPECT_TRUE(world.engine->plan().capped);
  EXPECT_EQ(world.engine->plan().stage_layers(), capped.engine->plan().stage_layers());
  EXPECT_LE(world.engine->plan().device().memory.total(), world.faults->memory_free);
  world.faults->memory_free = 1;
  const absl::Status refused = world.Open(true);
  EXPECT_TRUE(absl::IsResourceExhausted(refused)) << refused;
  EXPECT_THAT(std::string(refused.message()), HasSubstr("the free memory of the device"));
}

TEST_P(Stages, SessionsOfASplitModelShareBothPools) {
  const TinyModel model(kFiveLayers);
  World world(model, GetParam());
  world.options.max_sessions = 2;
  ASSERT_NO_FATAL_FAILURE(OpenSplit(world));
  std::mt19937 random(3);
  const auto a = MakeSession(world.engine, "corm"), b = MakeSession(world.engine, "window");
  for (uint32_t turn = 0; turn < 8; ++turn) {
    ASSERT_TRUE(Append(*a, RandomIds(random, 80, model.vocab())).ok());
    ASSERT_TRUE(Append(*b, RandomIds(random, 30, model.vocab())).ok());
    const Session* const sessions[] = {a.get(), b.get()};
    ASSERT_NO_FATAL_FAILURE(CheckInvariants(*world.engine, sessions));
  }
}

TEST_P(Stages, ABudgetIsSharedAmongThem) {
  const TinyModel model(kFiveLayers);
  World world(model, GetParam());
  ASSERT_NO_FATAL_FAILURE(OpenSplit(world));
  const EnginePlan& plan = world.engine->plan();
  SessionOptions asked;
  asked.kv_budget_bytes =
      plan.geometry.heads() * (4ull * plan.page_bytes + 4ull * plan.geometry.pages_per_head);
  const auto session = MakeSession(world.engine, asked);
  std::mt19937 random(2);
  for (uint32_t turn = 0; turn < 4; ++turn) {
    ASSERT_TRUE(session
                    ->Append(RandomIds(random, 90, model.vocab()), RowUse::kKeep,
                             [&](uint64_t, uint64_t) {
                               EXPECT_LE(session->stats().bytes, asked.kv_budget_bytes);
                               return true;
                             })
                    .ok());
    Continue(*session, 10);
    world.Check(*session);
  }
  EXPECT_GT(session->stats().evicted_total, 0u);
  EXPECT_EQ(session->plan().rows_per_head, 128u);
}

TEST_P(Stages, ALossAnywhereInAnAnswerCostsNoToken) {
  constexpr uint64_t kTokens = 9;
  const TinyModel model;
  std::mt19937 random(5);
  const std::vector<uint32_t> prompt = RandomIds(random, 30, model.vocab());
  for (const bool is_lost : {false, true}) {
    World world(model, GetParam());
    ASSERT_TRUE(world.Open(false).ok());
    world.faults->is_lost = is_lost;
    std::vector<uint32_t> want;
    for (uint32_t nth = 0;; ++nth) {  // 0: none fails.
      const std::unique_ptr<Session> session = world.MakeTalker();
      ASSERT_TRUE(Append(*session, prompt).ok());
      world.events.clear();
      world.faults->fail_in = nth;
      Continue(*session, kTokens);
      if (nth == 0) want = session->tokens();
      ASSERT_EQ(session->tokens(), want) << "call " << nth << " failed";
      ASSERT_NO_FATAL_FAILURE(world.Check(*session));
      if (nth > 0 && world.events.empty()) {
        EXPECT_GE(nth, 4 * kTokens);
        break;
      }
      if (nth == 0) continue;
      ASSERT_THAT(world.events,
                  ElementsAre(EngineEvent::kDeviceLost, EngineEvent::kDeviceRestored));
      world.faults->fail_in = 0;
      // With a sampler that needs all logits, which were not asked for before.
      ASSERT_EQ(Continue(*session, GreedyOverAll(3)).size(), 3u);
      ASSERT_TRUE(world.Open(false).ok());  // A loss is not forgotten so soon: a fresh engine.
    }
  }
}

TEST_P(Stages, ALossAnywhereInScoringGivesEveryLogitOnce) {
  const TinyModel model;
  std::mt19937 random(6);
  const std::vector<uint32_t> ids = RandomIds(random, 40, model.vocab());
  std::vector<float> want;
  for (uint32_t nth = 0;; ++nth) {
    World world(model, GetParam());
    world.options.all_logits = true;
    world.options.prefill_chunk = 16;
    ASSERT_TRUE(world.Open(false).ok());
    const std::unique_ptr<Session> session = world.MakeTalker();
    world.faults->fail_in = nth;
    const std::vector<float> got = Score(*session, ids);
    if (nth == 0) want = got;
    ASSERT_EQ(got, want) << "call " << nth << " failed";
    if (nth > 0 && world.events.empty()) break;
  }
}

TEST_P(Stages, ALossAnywhereInARecallCostsNoToken) {
  const TinyModel model;
  std::mt19937 random(8);
  const std::vector<uint32_t> ids = RandomIds(random, 150, model.vocab());
  const std::vector<uint32_t> question = RandomIds(random, 12, model.vocab());
  for (const bool has_copies : {false, true}) {
    for (uint32_t nth = 0;; ++nth) {
      SCOPED_TRACE(absl::StrCat("call ", nth, has_copies ? " with copies" : ""));
      World world(model, GetParam());
      world.options.prefill_chunk = 32;
      world.options.kv_cap_bytes = KvCap(model, world.options, 4);
      ASSERT_TRUE(world.Open(false).ok());
      SessionOptions options;
      if (has_copies) options.host_copies.bytes_most = 1 << 30;
      const std::unique_ptr<Session> session = MakeSession(world.engine, options);
      ASSERT_TRUE(Append(*session, ids).ok());
      ASSERT_GT(session->stats().evicted_total, 0u);
      world.events.clear();
      world.faults->fail_in = nth;
      const auto recalled = session->Recall(question, [](uint64_t, uint64_t) { return true; });
      ASSERT_TRUE(recalled.ok()) << recalled.status();
      const bool has_failed = nth > 0 && world.faults->fail_in == 0;
      ASSERT_EQ(recalled->from_copies, has_copies && !has_failed);
      ASSERT_EQ(world.events.back(),
                recalled->from_copies ? EngineEvent::kRecalled : EngineEvent::kReadAgain);
      world.faults->fail_in = 0;
      ASSERT_EQ(session->tokens(), ids);
      ASSERT_EQ(session->next_position(), ids.size());
      ASSERT_NO_FATAL_FAILURE(world.Check(*session));
      ASSERT_EQ(Continue(*session, 3).size(), 3u);
      if (nth > 0 && !has_failed) break;
    }
  }
}

TEST_P(Stages, ADeviceThatIsGoneIsAnErrorUntilItIsBack) {
  const TinyModel model;
  std::mt19937 random(7);
  const std::vector<uint32_t> prompt = RandomIds(random, 30, model.vocab());
  World world(model, GetParam());
  world.options.max_sessions = 2;
  ASSERT_TRUE(world.Open(false).ok());
  const auto session = world.MakeTalker(), idle = world.MakeTalker();
  ASSERT_TRUE(Append(*session, prompt).ok() && Append(*idle, prompt).ok());
  const std::vector<uint32_t> want = Continue(*idle, 12);
  Continue(*session, 4);
  world.faults->fail_in = 1;
  world.faults->is_gone = true;
  for (uint32_t attempt = 0; attempt < 3; ++attempt) {
    GenerateResult result;
    const absl::Status status = session->Generate(
        Greedy(8), [](uint32_t, absl::string_view) { return true; }, &result);
    EXPECT_TRUE(absl::IsUnavailable(status)) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("it is gone"));
    EXPECT_EQ(result.generated_tokens, 0u);
    EXPECT_TRUE(absl::IsUnavailable(Session::Create(world.engine, {}).status()));
    EXPECT_EQ(session->row_counts(), std::vector<uint32_t>(4, 0));
    EXPECT_EQ(session->stats().rows, 0u);
    EXPECT_EQ(world.engine->memory().used, 0u);
  }
  world.faults->is_gone = false;
  Continue(*session, 8);
  std::vector<uint32_t> all = prompt;
  all.insert(all.end(), want.begin(), want.end());
  EXPECT_EQ(session->tokens(), all);
  EXPECT_EQ(Continue(*idle, 5).size(), 5u);  // It was not asked while the device was away.
  const Session* const sessions[] = {session.get(), idle.get()};
  CheckInvariants(*world.engine, sessions);
}

TEST_P(Stages, TheCpuTakesOverFromADeviceThatIsGone) {
  const TinyModel model;
  std::mt19937 random(8);
  const std::vector<uint32_t> prompt = RandomIds(random, 30, model.vocab());
  World whole(model, GetParam()), world(model, GetParam());
  ASSERT_TRUE(whole.Open(false).ok() && world.Open(true).ok());
  const auto want = whole.MakeTalker(), session = world.MakeTalker();
  ASSERT_TRUE(Append(*want, prompt).ok() && Append(*session, prompt).ok());
  world.faults->fail_in = 2;
  world.faults->is_gone = true;
  EXPECT_EQ(Continue(*session, 8), Continue(*want, 8));
  EXPECT_THAT(world.events, ElementsAre(EngineEvent::kDeviceLost, EngineEvent::kHostFallback));
}

TEST_P(Stages, ManyThreadsLoseTheirDeviceTogether) {
  constexpr uint32_t kThreads = 4;
  const TinyModel model;
  World whole(model, GetParam()), world(model, GetParam());
  whole.options.max_sessions = world.options.max_sessions = kThreads;
  ASSERT_TRUE(whole.Open(false).ok() && world.Open(true).ok());
  world.faults->after_opening = 150;
  world.faults->fail_in = 40;
  std::vector<std::unique_ptr<Session>> want(kThreads), got(kThreads);
  for (uint32_t t = 0; t < kThreads; ++t) {
    want[t] = MakeSession(whole.engine, "none");
    got[t] = MakeSession(world.engine, "none");
  }
  std::vector<std::thread> threads;
  for (uint32_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937 random(t);
      const std::vector<uint32_t> prompt = RandomIds(random, 20 + 10 * t, model.vocab());
      for (Session* session : {want[t].get(), got[t].get()}) {
        ASSERT_TRUE(Append(*session, prompt).ok());
        Continue(*session, 40);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (uint32_t t = 0; t < kThreads; ++t) EXPECT_EQ(got[t]->tokens(), want[t]->tokens());
  EXPECT_EQ(std::count(world.events.begin(), world.events.end(), EngineEvent::kDeviceLost), 3);
}

TEST_P(Stages, ADeviceThatIsLostAgainAndAgainIsGivenUp) {
  const TinyModel model;
  std::mt19937 random(9);
  World world(model, GetParam());
  ASSERT_TRUE(world.Open(true).ok());
  const auto session = world.MakeTalker();
  ASSERT_TRUE(Append(*session, RandomIds(random, 30, model.vocab())).ok());
  world.faults->fail_in = 1;
  world.faults->after_opening = 60;  // Loading gets through, some steps do.
  EXPECT_EQ(Continue(*session, 30).size(), 30u);
  EXPECT_EQ(std::count(world.events.begin(), world.events.end(), EngineEvent::kDeviceLost), 3);
  EXPECT_EQ(world.events.back(), EngineEvent::kHostFallback);
  world.Check(*session);
}

TEST_P(Stages, PinnedTokensAreStillPinnedAfterALoss) {
  const TinyModel model;
  World world(model, GetParam());
  world.options.kv_cap_bytes = KvCap(model, world.options, 6);
  ASSERT_TRUE(world.Open(false).ok());
  SessionOptions asked;
  asked.policy = "window";
  asked.sinks = 0;
  asked.recent = 8;
  const auto session = MakeSession(world.engine, asked);
  std::mt19937 random(10);
  const auto append = [&](size_t count, bool pin) {
    ASSERT_TRUE(Append(*session, RandomIds(random, count, model.vocab()), pin).ok());
  };
  // Pinned: 10 to 19, 50 to 54 and, with the loss in the middle of it, 180 to 199.
  append(10, false), append(10, true), append(30, false), append(5, true), append(125, false);
  world.faults->fail_in = 3;
  append(20, true);
  append(250, false);
  EXPECT_THAT(world.events, ElementsAre(EngineEvent::kDeviceLost, EngineEvent::kDeviceRestored));
  world.Check(*session);
  for (uint32_t h = 0; h < model.kv_head_total(); ++h) {
    const auto positions = session->ResidentPositions(h);
    ASSERT_TRUE(positions.ok()) << positions.status();
    const std::vector<uint32_t>& head = *positions;
    for (const auto& [first, last] : {std::pair(10u, 20u), {50u, 55u}, {180u, 200u}}) {
      for (uint32_t p = first; p < last; ++p) {
        EXPECT_TRUE(std::find(head.begin(), head.end(), p) != head.end()) << p;
      }
    }
    EXPECT_TRUE(std::find(head.begin(), head.end(), 30u) == head.end());
  }
}

TEST_P(Stages, MemoryThatOthersTakeIsToldOnce) {
  const TinyModel model;
  World world(model, GetParam());
  world.faults->budget = MemoryBudget{1u << 30, 1u << 20};
  ASSERT_TRUE(world.Open(false).ok());
  const auto session = MakeSession(world.engine, "none");
  Append(*session, std::vector<uint32_t>{1}).IgnoreError();
  Continue(*session, 40);
  EXPECT_THAT(world.events, IsEmpty());
  EXPECT_EQ(world.engine->memory_watch().budget.budget_bytes, 1u << 30);
  for (uint32_t times = 1; times <= 2; ++times) {
    world.faults->budget->budget_bytes = 1u << 19;
    Continue(*session, 40);
    ASSERT_EQ(world.events.size(), times);
    EXPECT_EQ(world.events.back(), EngineEvent::kMemoryShort);
    EXPECT_EQ(world.engine->memory_watch().warnings, times);
    world.faults->budget->budget_bytes = 1u << 30;
    Continue(*session, 40);
  }
  EXPECT_EQ(world.events.size(), 2u);
}

TEST_P(Stages, OnlyTheGreatestLogitsLeaveTheDevice) {
  const TinyModel model;
  ASSERT_GT(model.vocab(), kTopLogits);
  World world(model, GetParam());
  ASSERT_TRUE(world.Open(false).ok());
  const std::unique_ptr<Session> session = MakeSession(world.engine, "none");
  std::mt19937 random(7);
  ASSERT_TRUE(Append(*session, RandomIds(random, 30, model.vocab())).ok());
  const auto bytes_of = [&](const GenerateOptions& options) {
    const uint64_t before = world.faults->downloaded_bytes;
    Continue(*session, options);
    return world.faults->downloaded_bytes - before;
  };
  bytes_of(Greedy(1));  // The prompt's own logits were read with it.
  EXPECT_EQ(bytes_of(Greedy(10)), 10 * kTopLogits * sizeof(TokenLogit));
  EXPECT_EQ(bytes_of(GreedyOverAll(10)), 10 * model.vocab() * sizeof(float));
}

INSTANTIATE_TEST_SUITE_P(On, Stages, ::testing::Values("cpu", "reference"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace cormorant::sim
