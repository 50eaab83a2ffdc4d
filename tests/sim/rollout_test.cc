// Budgets of sessions, and the modes of a careful rollout.
//
// Method: what `observe` reports is computed again by hand, from a session that keeps every row and
// one that drops, which read the same tokens in the same calls. What it must not do, change the
// answer, is compared token by token with a session that has neither policy nor shadow, also where
// the shadow fails at every place at which it can.
#include <algorithm>
#include <atomic>
#include <limits>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "runtime/base/status.h"
#include "runtime/engine/shadow.h"
#include "runtime/ops/kv_page.h"
#include "tests/sim/driver.h"
#include "tests/sim/faulty_backend.h"

namespace cormorant::sim {
namespace {

constexpr uint32_t kChunk = 32;

class Rollout : public ::testing::TestWithParam<const char*> {
 protected:
  EngineOptions EngineFor(uint32_t sessions) {
    EngineOptions options = Options(model_, GetParam());
    options.prefill_chunk = kChunk;
    options.max_sessions = sessions;
    return options;
  }
  /// Pages a head, and its table.
  uint64_t Budget(const Engine& engine, uint32_t pages) const {
    const EnginePlan& plan = engine.plan();
    return plan.geometry.heads() *
           (uint64_t{pages} * plan.page_bytes + plan.geometry.pages_per_head * 4);
  }
  SessionOptions Asked(Mode mode, uint64_t budget) {
    SessionOptions options;
    options.mode = mode;
    options.kv_budget_bytes = budget;
    return options;
  }
  std::vector<uint32_t> Ids(size_t count) { return RandomIds(random_, count, model_.vocab()); }

  const TinyModel model_;
  std::mt19937 random_{11};
};

/// A session that keeps every row, one that drops, and how far they are apart.
struct Lockstep {
  std::unique_ptr<Session> full, kept;
  Divergence divergence;

  /// Logits of both after every token of ids, in one call each.
  void Compare(std::span<const uint32_t> ids, uint32_t vocab) {
    const std::vector<float> a = Score(*full, ids), b = Score(*kept, ids);
    for (size_t i = 0; i < ids.size(); ++i) {
      const std::optional<uint32_t> next =
          i + 1 < ids.size() ? std::optional(ids[i + 1]) : std::nullopt;
      divergence.Add(&a[i * vocab], &b[i * vocab], vocab, next);
    }
  }
};

void ExpectSame(const Divergence& a, const Divergence& b) {
  EXPECT_EQ(a.count(), b.count());
  EXPECT_NEAR(a.KlMean(), b.KlMean(), 1e-12);
  EXPECT_NEAR(a.KlP99(), b.KlP99(), 1e-12);
  EXPECT_NEAR(a.KlMax(), b.KlMax(), 1e-12);
  EXPECT_EQ(a.Top1Agreement(), b.Top1Agreement());
  EXPECT_NEAR(a.PerplexityFull() / b.PerplexityFull(), 1, 1e-9);
  EXPECT_NEAR(a.PerplexityOther() / b.PerplexityOther(), 1, 1e-9);
}

TEST_P(Rollout, WhatIsObservedIsWhatALockstepFinds) {
  EngineOptions options = EngineFor(4);
  options.all_logits = true;
  const std::shared_ptr<Engine> engine = Open(options);
  const uint64_t budget = Budget(*engine, 5);
  const std::unique_ptr<Session> observed = MakeSession(engine, Asked(Mode::kObserve, budget));
  Lockstep lockstep{MakeSession(engine, "none"), MakeSession(engine, Asked(Mode::kOn, budget)), {}};
  const std::vector<uint32_t> ids = Ids(400);
  Score(*observed, ids);
  lockstep.Compare(ids, model_.vocab());
  const Observed seen = observed->shadow()->observed();
  EXPECT_TRUE(seen.status.ok()) << seen.status;
  EXPECT_EQ(seen.tokens, 400u);
  EXPECT_EQ(seen.divergence.count(), 400u);
  EXPECT_GT(seen.divergence.KlMean(), 0.0);
  ExpectSame(seen.divergence, lockstep.divergence);
  const SessionCache::Stats kept = lockstep.kept->stats();
  EXPECT_GT(kept.evicted_total, 0u);
  EXPECT_EQ(seen.cache.evicted_total, kept.evicted_total);
  EXPECT_EQ(seen.cache.rows, kept.rows);
  EXPECT_EQ(seen.cache.bytes, kept.bytes);
  EXPECT_LE(seen.bytes_peak, budget);
  EXPECT_EQ(observed->stats().evicted_total, 0u);

  // A session that starts again keeps what was observed.
  observed->Restart();
  EXPECT_EQ(observed->shadow()->observed().tokens, 0u);
  Score(*observed, ids);
  EXPECT_EQ(observed->shadow()->observed().divergence.count(), 800u);
  EXPECT_NEAR(observed->shadow()->observed().divergence.KlMean(), seen.divergence.KlMean(), 1e-12);
  // Appending says the same as scoring, and a reset begins anew.
  observed->Reset();
  EXPECT_EQ(observed->shadow()->observed().divergence.count(), 0u);
  ASSERT_TRUE(Append(*observed, ids).ok());
  ExpectSame(observed->shadow()->observed().divergence, lockstep.divergence);
}

TEST_P(Rollout, AnAnswerIsComparedTokenByToken) {
  const std::shared_ptr<Engine> engine = Open(EngineFor(4));
  const uint64_t budget = Budget(*engine, 4);
  const std::unique_ptr<Session> observed = MakeSession(engine, Asked(Mode::kObserve, budget));
  Lockstep lockstep{MakeSession(engine, "none"), MakeSession(engine, Asked(Mode::kOn, budget)), {}};
  const uint32_t vocab = model_.vocab();
  const std::vector<uint32_t> prompt = Ids(300);
  // Prompts are read in chunks: only their last token is compared.
  for (Session* session : {observed.get(), lockstep.full.get(), lockstep.kept.get()}) {
    ASSERT_TRUE(Append(*session, std::span(prompt).first(40), /*pin=*/true).ok());
    ASSERT_TRUE(Append(*session, std::span(prompt).subspan(40)).ok());
  }
  const std::vector<uint32_t> answer = Continue(*observed, 40);
  EXPECT_EQ(answer, Continue(*lockstep.full, 40));
  Divergence want;
  // After the first append, whose next token is known, after the prompt, and after each token of
  // the answer but the last, which is not read yet.
  const Observed seen = observed->shadow()->observed();
  EXPECT_EQ(seen.divergence.count(), 2u + 39u);
  EXPECT_EQ(seen.tokens, 300u + 39u);
  // By hand, from the prompt on.
  lockstep.full->Reset();
  lockstep.kept->Reset();
  const auto last_of = [&](Session& session, std::span<const uint32_t> ids, bool pin) {
    std::vector<float> logits;
    EXPECT_TRUE(session
                    .Read(ids, pin ? RowUse::kPin : RowUse::kKeep, WantLogits::kLast,
                          [&](size_t index, std::span<const float> row) {
                            EXPECT_EQ(index, ids.size() - 1);
                            logits.assign(row.begin(), row.end());
                            return true;
                          })
                    .ok());
    return logits;
  };
  const auto compare = [&](std::span<const uint32_t> ids, bool pin, std::optional<uint32_t> next) {
    const std::vector<float> a = last_of(*lockstep.full, ids, pin);
    const std::vector<float> b = last_of(*lockstep.kept, ids, pin);
    want.Add(a.data(), b.data(), vocab, next);
  };
  compare(std::span(prompt).first(40), true, prompt[40]);
  compare(std::span(prompt).subspan(40), false, answer[0]);
  for (size_t i = 0; i + 1 < answer.size(); ++i) {
    // The token that came is known but for the last, which nothing has read yet.
    const bool is_read = i + 2 < answer.size();
    compare({&answer[i], 1}, false, is_read ? std::optional(answer[i + 1]) : std::nullopt);
  }
  ExpectSame(seen.divergence, want);
  EXPECT_GT(seen.divergence.KlMean(), 0.0);
}

TEST_P(Rollout, ABudgetThatDropsNothingIsNoDifference) {
  for (const bool all_logits : {false, true}) {
    EngineOptions options = EngineFor(3);
    options.all_logits = all_logits;
    const std::shared_ptr<Engine> engine = Open(options);
    const auto observed = MakeSession(engine, Asked(Mode::kObserve, Budget(*engine, 16)));
    ASSERT_TRUE(Append(*observed, Ids(200)).ok());
    Continue(*observed, 30);
    const Observed seen = observed->shadow()->observed();
    EXPECT_EQ(seen.cache.evicted_total, 0u);
    EXPECT_EQ(seen.divergence.count(), all_logits ? 229u : 30u);
    EXPECT_EQ(seen.divergence.KlMax(), 0.0);
    EXPECT_EQ(seen.divergence.KlMean(), 0.0);
    EXPECT_EQ(seen.divergence.Top1Agreement(), 1.0);
    EXPECT_EQ(seen.divergence.PerplexityFull(), seen.divergence.PerplexityOther());
  }
}

TEST_P(Rollout, TheAnswerIsThatOfASessionWithoutPolicy) {
  const std::shared_ptr<Engine> engine = Open(EngineFor(3));
  const auto plain = MakeSession(engine, "none");
  const auto observed = MakeSession(engine, Asked(Mode::kObserve, Budget(*engine, 4)));
  GenerateOptions sampled = Greedy(30);
  sampled.sampler.temperature = 1.5f;
  sampled.sampler.seed = 5;
  for (int turn = 0; turn < 3; ++turn) {
    const std::vector<uint32_t> ids = Ids(90), question = Ids(10);
    for (Session* session : {plain.get(), observed.get()}) {
      ASSERT_TRUE(Append(*session, ids).ok());
      Continue(*session, turn == 1 ? Greedy(20) : sampled);
      ASSERT_TRUE(session->Recall(question, [](uint64_t, uint64_t) { return true; }).ok());
    }
    ASSERT_EQ(plain->tokens(), observed->tokens());
  }
  const std::vector<uint32_t> probe = Ids(5);
  EXPECT_EQ(Score(*plain, probe), Score(*observed, probe));
  EXPECT_GT(observed->shadow()->observed().cache.evicted_total, 0u);
}

TEST_P(Rollout, ARecallIsTheShadowsAndComesBeforeTheComparison) {
  const std::shared_ptr<Engine> engine = Open(EngineFor(4));
  const uint64_t budget = Budget(*engine, 5);
  const auto observed = MakeSession(engine, Asked(Mode::kObserve, budget));
  const auto kept = MakeSession(engine, Asked(Mode::kOn, budget));
  const std::vector<uint32_t> ids = Ids(400), question = Ids(20);
  const auto go = [](uint64_t, uint64_t) { return true; };
  for (Session* session : {observed.get(), kept.get()}) {
    ASSERT_TRUE(Append(*session, ids).ok());
    ASSERT_TRUE(session->Recall(question, go).ok());
  }
  Divergence want;
  const std::span<const float> full = observed->logits();
  ASSERT_EQ(full.size(), model_.vocab());
  want.Add(full.data(), kept->logits().data(), full.size(), std::nullopt);
  ExpectSame(observed->shadow()->observed().divergence, want);

  // One that is cancelled is cancelled for the caller, and made up for.
  const auto cancel = [](uint64_t, uint64_t) { return false; };
  EXPECT_TRUE(absl::IsCancelled(observed->Recall(question, cancel).status()));
  EXPECT_EQ(Continue(*observed, 5).size(), 5u);
  const Observed seen = observed->shadow()->observed();
  EXPECT_TRUE(seen.status.ok()) << seen.status;
  EXPECT_EQ(seen.tokens, observed->tokens().size() - 1);
}

TEST_P(Rollout, TheLogIsReadAgainInStepsThatTheBudgetHolds) {
  EngineOptions options = EngineFor(1);
  options.prefill_chunk = 0;
  const std::shared_ptr<Engine> engine = Open(options);
  const auto session = MakeSession(engine, Asked(Mode::kOn, Budget(*engine, 4)));
  ASSERT_LT(session->plan().prefill_chunk, engine->plan().prefill_chunk);
  ASSERT_TRUE(Append(*session, Ids(400)).ok());
  uint64_t last = 0;
  const absl::Status purged = session->Purge(10, 20, [&](uint64_t done, uint64_t) {
    EXPECT_LE(done - last, session->plan().prefill_chunk);
    last = done;
    return true;
  });
  ASSERT_TRUE(purged.ok()) << purged;
  EXPECT_GT(last, 300u);
}

TEST_P(Rollout, WhatIsPinnedOrPurgedIsSoInTheShadowToo) {
  const std::shared_ptr<Engine> engine = Open(EngineFor(4));
  const uint64_t budget = Budget(*engine, 5);
  const auto plain = MakeSession(engine, "none");
  const auto observed = MakeSession(engine, Asked(Mode::kObserve, budget));
  const auto go = [](uint64_t, uint64_t) { return true; };
  const std::vector<uint32_t> ids = Ids(200);
  for (Session* session : {plain.get(), observed.get()}) {
    ASSERT_TRUE(Append(*session, ids).ok());
    Continue(*session, 3);  // The last one is not read yet.
    ASSERT_TRUE(session->Pin(10, 20, go).ok());
    ASSERT_TRUE(session->Unpin(15, 30, go).ok());
    ASSERT_TRUE(session->Purge(50, 80, go).ok());
    ASSERT_TRUE(session->Purge(170, 173, go).ok()) << "up to the last one";
    Continue(*session, 10);
  }
  EXPECT_EQ(observed->tokens(), plain->tokens());
  const Observed seen = observed->shadow()->observed();
  EXPECT_TRUE(seen.status.ok()) << seen.status;
  EXPECT_EQ(seen.tokens + 1, observed->tokens().size());
  EXPECT_GT(seen.cache.evicted_total, 0u);
}

TEST_P(Rollout, WhatIsRetainedIsSoInTheShadowToo) {
  const std::shared_ptr<Engine> engine = Open(EngineFor(4));
  const auto observed = MakeSession(engine, Asked(Mode::kObserve, Budget(*engine, 5)));
  const auto go = [](uint64_t, uint64_t) { return true; };
  const auto retained = [&] { return observed->shadow()->observed().cache.retained_rows; };
  ASSERT_TRUE(Append(*observed, Ids(50)).ok());
  ASSERT_TRUE(observed->Append(Ids(30), RowUse::kRetainOnHost, go).ok());
  ASSERT_TRUE(observed->Append(Ids(10), RowUse::kRetain, go).ok());
  ASSERT_TRUE(Append(*observed, Ids(150)).ok());
  EXPECT_GT(retained(), 0u);
  EXPECT_EQ(observed->stats().retained_rows, 0u) << "it drops nothing";
  ASSERT_TRUE(observed->Retain(20, 60, RowUse::kRetainOnHost, go).ok());
  ASSERT_TRUE(observed->Release(0, 90, go).ok());
  ASSERT_TRUE(Append(*observed, Ids(50)).ok());
  EXPECT_EQ(retained(), 0u);
  const Observed seen = observed->shadow()->observed();
  EXPECT_TRUE(seen.status.ok()) << seen.status;
  EXPECT_EQ(seen.tokens, 290u);
}

TEST_P(Rollout, ACancelLeavesBothAtTheSameToken) {
  const std::shared_ptr<Engine> engine = Open(EngineFor(2));
  const auto observed = MakeSession(engine, Asked(Mode::kObserve, Budget(*engine, 4)));
  EXPECT_TRUE(absl::IsCancelled(observed->Append(
      Ids(300), RowUse::kKeep, [](uint64_t done, uint64_t) { return done < 3 * kChunk; })));
  EXPECT_EQ(observed->tokens().size(), 3 * kChunk);
  EXPECT_EQ(observed->shadow()->observed().tokens, 3 * kChunk);
  ASSERT_TRUE(Append(*observed, Ids(60)).ok());
  EXPECT_EQ(observed->shadow()->observed().tokens, 3 * kChunk + 60);
}

TEST_P(Rollout, AShadowThatFailsLeavesTheAnswerAlone) {
  const std::shared_ptr<Engine> engine = Open(EngineFor(3));
  const auto plain = MakeSession(engine, "none");
  const auto observed = MakeSession(engine, Asked(Mode::kObserve, Budget(*engine, 4)));
  const std::vector<uint32_t> first = Ids(50), pinned = Ids(200), last = Ids(20);
  for (Session* session : {plain.get(), observed.get()}) {
    ASSERT_TRUE(Append(*session, first).ok());
    ASSERT_TRUE(Append(*session, pinned, /*pin=*/true).ok());  // More than the budget holds.
    ASSERT_TRUE(Append(*session, last).ok());
    EXPECT_EQ(Continue(*session, 20).size(), 20u);
  }
  EXPECT_EQ(plain->tokens(), observed->tokens());
  const Observed seen = observed->shadow()->observed();
  EXPECT_TRUE(absl::IsResourceExhausted(seen.status)) << seen.status;
  EXPECT_GE(seen.tokens, 50u);
  EXPECT_LT(seen.tokens, 250u);
  EXPECT_EQ(seen.divergence.count(), 1u) << "what was seen until then stays";
  // Its pages are back; after a reset it begins anew.
  const Session* const sessions[] = {plain.get(), observed.get()};
  CheckInvariants(*engine, sessions);
  observed->Reset();
  ASSERT_TRUE(Append(*observed, first).ok());
  EXPECT_TRUE(observed->shadow()->observed().status.ok());
  EXPECT_EQ(observed->shadow()->observed().tokens, 50u);
}

TEST_P(Rollout, AShadowGivesWayToItsSession) {
  EngineOptions options = EngineFor(2);
  options.kv_cap_bytes = KvCap(model_, options, 12);
  const std::shared_ptr<Engine> engine = Open(options);
  for (const bool by_generating : {false, true}) {
    SCOPED_TRACE(by_generating);
    std::vector<uint32_t> want;
    for (const Mode mode : {Mode::kOff, Mode::kObserve}) {
      random_.seed(7);
      const auto session = MakeSession(engine, Asked(mode, Budget(*engine, 4)));
      ASSERT_TRUE(Append(*session, Ids(240)).ok());
      if (mode == Mode::kObserve) {
        EXPECT_TRUE(session->shadow()->observed().status.ok());
      }
      if (by_generating) {
        EXPECT_EQ(Continue(*session, 120).size(), 120u);
      } else {
        const absl::Status status = Append(*session, Ids(120));
        EXPECT_TRUE(status.ok()) << status;
      }
      // And then there is no more for either.
      const absl::Status refused = Append(*session, Ids(40));
      EXPECT_TRUE(absl::IsResourceExhausted(refused)) << refused;
      if (mode == Mode::kOff) want = session->tokens();
      if (mode == Mode::kOff) continue;
      EXPECT_EQ(session->tokens(), want);
      const Observed seen = session->shadow()->observed();
      EXPECT_TRUE(absl::StrContains(seen.status.message(), "needed the pages")) << seen.status;
      EXPECT_GE(seen.tokens, 240u);
    }
  }
}

TEST_P(Rollout, ADeviceLostAnywhereCostsNoTokenAndFillsBothAgain) {
  std::vector<uint32_t> want;
  uint32_t ended = 0, filled = 0;
  const std::vector<uint32_t> prompt = Ids(150);
  for (uint32_t nth = 0;; ++nth) {  // 0: none fails.
    const auto faults = std::make_shared<Faults>();
    const EngineOptions options = EngineFor(2);
    DeviceOpeners openers;
    openers.device = [&]() -> absl::StatusOr<std::unique_ptr<Backend>> {
      CORM_ASSIGN_OR_RETURN(std::unique_ptr<Backend> inner, OpenBackend(options));
      return std::make_unique<FaultyBackend>(std::move(inner), faults);
    };
    uint32_t losses = 0;
    const std::shared_ptr<Engine> engine = *Engine::CreateOn(
        openers, options, [](uint64_t, uint64_t) { return true; },
        [&](EngineEvent, const std::string&) { ++losses; });
    const auto session = MakeSession(engine, Asked(Mode::kObserve, Budget(*engine, 4)));
    faults->fail_in = nth == 0 ? 0 : 1 + (nth - 1) * 5;
    ASSERT_TRUE(Append(*session, prompt).ok());
    Continue(*session, 6);
    if (nth == 0) want = session->tokens();
    ASSERT_EQ(session->tokens(), want) << "call " << nth << " failed";
    const Observed seen = session->shadow()->observed();
    ASSERT_TRUE(!seen.status.ok() || seen.tokens == want.size() - 1);
    if (nth > 0 && losses == 0) break;
    if (nth > 0) ++(seen.status.ok() ? filled : ended);
  }
  EXPECT_GT(filled, 10u);
  EXPECT_EQ(ended, 0u);
}

TEST_P(Rollout, AnObservedSessionTakesTwoPlacesOrNone) {
  const std::shared_ptr<Engine> engine = Open(EngineFor(1));
  const uint64_t budget = Budget(*engine, 6);
  const absl::Status refused = Session::Create(engine, Asked(Mode::kObserve, budget)).status();
  EXPECT_TRUE(absl::IsResourceExhausted(refused)) << refused;
  EXPECT_TRUE(absl::StrContains(refused.message(), "two of the engine's sessions")) << refused;
  EXPECT_TRUE(absl::StrContains(refused.message(), "max_sessions")) << refused;
  EXPECT_NE(MakeSession(engine, "none"), nullptr);

  const std::shared_ptr<Engine> larger = Open(EngineFor(2));
  SessionOptions none = Asked(Mode::kObserve, budget);
  none.policy = "none";
  for (const SessionOptions& asked : {Asked(Mode::kObserve, 0), none}) {
    const absl::Status nothing = Session::Create(larger, asked).status();
    EXPECT_TRUE(absl::IsInvalidArgument(nothing)) << nothing;
    EXPECT_TRUE(absl::StrContains(nothing.message(), "nothing to observe")) << nothing;
  }
  SessionOptions by_age = Asked(Mode::kObserve, 0);
  by_age.policy = "corm";  // The paper's rule needs no budget.
  EXPECT_NE(MakeSession(larger, by_age), nullptr);
}

TEST_P(Rollout, ACanaryIsOnOrOffAndStaysSo) {
  const std::shared_ptr<Engine> engine = Open(EngineFor(2)), other = Open(EngineFor(1));
  const uint64_t budget = Budget(*engine, 4);
  uint32_t on = 0;
  for (int i = 0; i < 40; ++i) {
    SessionOptions asked = Asked(Mode::kCanary, budget);
    asked.canary = 0.5;
    asked.key = absl::StrCat("user-", i);
    const Mode mode = MakeSession(engine, asked)->options().mode;
    EXPECT_EQ(mode, MakeSession(other, asked)->options().mode);
    EXPECT_EQ(mode, *CanaryMode(asked.key, 0.5));
    const auto session = MakeSession(engine, asked);
    ASSERT_TRUE(Append(*session, Ids(200)).ok());
    EXPECT_EQ(session->stats().evicted_total > 0, mode == Mode::kOn);
    EXPECT_EQ(session->stats().bytes > budget, mode == Mode::kOff);
    on += mode == Mode::kOn ? 1 : 0;
  }
  EXPECT_GT(on, 10u);
  EXPECT_LT(on, 30u);
  // Wrong options do not wait for the first key that is on.
  for (const Mode mode : {Mode::kOff, Mode::kCanary, Mode::kObserve, Mode::kOn}) {
    SessionOptions asked = Asked(mode, budget);
    asked.key = "a";
    asked.policy = "dodo";
    EXPECT_TRUE(absl::IsNotFound(Session::Create(engine, asked).status()));
    asked.policy = "corm";
    asked.kv_budget_bytes = 1;
    EXPECT_TRUE(absl::IsResourceExhausted(Session::Create(engine, asked).status()));
  }
}

TEST_P(Rollout, BudgetsHoldAtEveryStepOfEverySession) {
  EngineOptions options = EngineFor(4);
  const std::shared_ptr<Engine> engine = Open(options);
  std::vector<std::thread> threads;
  for (uint32_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937 random(t);
      SessionOptions asked = Asked(Mode::kOn, Budget(*engine, 4 + t) + t);
      if (t == 2) asked.policy = "window";
      if (t == 3) asked.budget = HeadBudget::kHead;
      const auto session = MakeSession(engine, asked);
      ASSERT_NE(session, nullptr);
      const auto holds = [&] {
        const uint64_t bytes = session->stats().bytes;
        EXPECT_LE(bytes, asked.kv_budget_bytes);
        return bytes <= asked.kv_budget_bytes;
      };
      uint64_t least = std::numeric_limits<uint64_t>::max();
      for (int turn = 0; turn < 5; ++turn) {  // Past the context too.
        const std::vector<uint32_t> ids = RandomIds(random, 140, model_.vocab());
        ASSERT_TRUE(
            session->Append(ids, RowUse::kKeep, [&](uint64_t, uint64_t) { return holds(); }).ok());
        GenerateResult result;
        ASSERT_TRUE(
            session
                ->Generate(
                    Greedy(20), [&](uint32_t, absl::string_view) { return holds(); }, &result)
                .ok());
        if (turn > 1) least = std::min(least, session->stats().bytes);
      }
      // And they are used: all but what one cut makes room for.
      EXPECT_GE(least, Budget(*engine, 2 + t));
      EXPECT_GT(session->stats().evicted_total, 0u);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_P(Rollout, ASessionAtItsBudgetTakesNothingFromOthers) {
  EngineOptions options = EngineFor(2);
  options.kv_cap_bytes = KvCap(model_, options, 12);
  const std::shared_ptr<Engine> engine = Open(options);
  const auto large = MakeSession(engine, "corm");
  ASSERT_TRUE(Append(*large, Ids(240)).ok());  // Past its share of six pages, under the cap of 12.
  const uint64_t held = large->stats().bytes;
  const auto small = MakeSession(engine, Asked(Mode::kOn, Budget(*engine, 4)));
  for (int turn = 0; turn < 5; ++turn) ASSERT_TRUE(Append(*small, Ids(100)).ok());
  EXPECT_GT(small->stats().evicted_total, 0u);
  EXPECT_EQ(large->stats().bytes, held);
  EXPECT_EQ(large->stats().evicted_total, 0u);
}

TEST_P(Rollout, PolicyNoneRefusesWhatIsPastItsBudgetAndModeOffDoesNot) {
  const std::shared_ptr<Engine> engine = Open(EngineFor(2));
  SessionOptions asked = Asked(Mode::kOn, Budget(*engine, 4));
  asked.policy = "none";
  const auto session = MakeSession(engine, asked);
  ASSERT_TRUE(Append(*session, Ids(100)).ok());
  const absl::Status refused = Append(*session, Ids(29));
  EXPECT_TRUE(absl::IsResourceExhausted(refused)) << refused;
  EXPECT_TRUE(absl::StrContains(refused.message(), "budget")) << refused;
  EXPECT_EQ(session->tokens().size(), 100u);
  EXPECT_TRUE(Append(*session, Ids(28)).ok());
  const auto off = MakeSession(engine, Asked(Mode::kOff, Budget(*engine, 4)));
  ASSERT_TRUE(Append(*off, Ids(400)).ok());
  EXPECT_EQ(off->row_counts()[0], 400u);
}

TEST_P(Rollout, ABudgetIsAsGoodAsACap) {
  EngineOptions capped = Options(model_, GetParam());
  capped.kv_cap_bytes = KvCap(model_, capped, 7);
  const auto by_cap = MakeSession(Open(capped), "");
  const std::shared_ptr<Engine> engine = Open(Options(model_, GetParam()));
  const auto by_budget = MakeSession(engine, Asked(Mode::kOn, Budget(*engine, 7)));
  ASSERT_LT(by_budget->plan().prefill_chunk, engine->plan().prefill_chunk);
  const std::vector<uint32_t> ids = Ids(450);
  ASSERT_TRUE(Append(*by_cap, ids).ok());
  ASSERT_TRUE(Append(*by_budget, ids).ok());
  EXPECT_EQ(by_budget->row_counts(), by_cap->row_counts());
  EXPECT_EQ(Continue(*by_budget, 30), Continue(*by_cap, 30));
  EXPECT_GT(by_cap->stats().evicted_total, 0u);
}

CORM_ON_BACKENDS(Rollout);

}  // namespace
}  // namespace cormorant::sim
