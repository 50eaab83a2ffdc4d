// One session at its limits: the context's end, the cap's end, cancel, chunks, and long after.
#include <algorithm>
#include <cmath>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "runtime/base/units.h"
#include "runtime/cache/policy.h"
#include "runtime/ops/kv_page.h"
#include "tests/sim/driver.h"

namespace cormorant::sim {
namespace {

class SessionLimits : public ::testing::TestWithParam<const char*> {
 protected:
  std::vector<uint32_t> Ids(size_t count) { return RandomIds(random_, count, model_.vocab()); }

  const TinyModel model_;
  std::mt19937 random_{3};
};

float GreatestDifference(std::span<const float> a, std::span<const float> b) {
  EXPECT_EQ(a.size(), b.size());
  float greatest = 0.0f;
  for (size_t i = 0; i < a.size(); ++i) greatest = std::max(greatest, std::fabs(a[i] - b[i]));
  return greatest;
}

TEST_P(SessionLimits, WithoutEvictionTheContextEndsInAnErrorThatLosesNothing) {
  const std::shared_ptr<Engine> engine = Open(Options(model_, GetParam()));
  const std::unique_ptr<Session> session = MakeSession(engine, "none");
  const std::vector<uint32_t> ids = Ids(500);
  ASSERT_TRUE(Append(*session, ids).ok());
  const absl::Status past = Append(*session, Ids(13));
  EXPECT_TRUE(absl::IsOutOfRange(past)) << past;
  EXPECT_EQ(session->tokens(), ids);
  EXPECT_EQ(session->next_position(), 500u);
  // Logits are still those after the last token.
  GenerateResult result;
  const absl::Status status = session->Generate(
      Greedy(100), [](uint32_t, absl::string_view) { return true; }, &result);
  EXPECT_TRUE(absl::IsOutOfRange(status)) << status;
  EXPECT_EQ(result.stop_reason, StopReason::kCap);
  EXPECT_EQ(result.generated_tokens, 13u);  // The twelve that fit and the one after them.
  EXPECT_EQ(session->tokens().size(), 513u);
  const std::vector<uint32_t> log = session->tokens();
  for (int again = 0; again < 3; ++again) {
    EXPECT_TRUE(absl::IsOutOfRange(Append(*session, Ids(1))));
    EXPECT_TRUE(absl::IsOutOfRange(session->Score(Ids(1), [](size_t, auto) { return true; })));
    EXPECT_EQ(session->tokens(), log);
  }
  // The tokens are those of a session that never met the limit.
  session->Reset();
  ASSERT_TRUE(Append(*session, ids).ok());
  EXPECT_EQ(Continue(*session, 12), std::vector<uint32_t>(log.begin() + 500, log.begin() + 512));
}

TEST_P(SessionLimits, ARecallReadsEverythingAgainAndKeepsWhatTheQuestionSees) {
  EngineOptions options = Options(model_, GetParam());
  options.prefill_chunk = 32;
  options.max_sessions = 2;
  options.kv_cap_bytes = KvCap(model_, options, 7);
  const std::shared_ptr<Engine> engine = Open(options);
  const std::unique_ptr<Session> session = MakeSession(engine, "corm");
  const auto go = [](uint64_t, uint64_t) { return true; };
  ASSERT_TRUE(Append(*session, Ids(40)).ok());
  EXPECT_TRUE(absl::IsInvalidArgument(session->Recall({}, go).status()));
  const std::vector<uint32_t> unknown = {model_.vocab()};
  EXPECT_TRUE(absl::IsInvalidArgument(session->Recall(unknown, go).status()));
  bool has_read = false;
  EXPECT_TRUE(session->Recall(Ids(40), [&](uint64_t, uint64_t) { return has_read = true; }).ok());
  EXPECT_FALSE(has_read) << "nothing was dropped yet";

  ASSERT_TRUE(Append(*session, Ids(400)).ok());
  const std::vector<uint32_t> log = session->tokens();
  const auto before = RowsOf(*session);
  uint64_t last = 0;
  const auto recalled = session->Recall(Ids(20), [&](uint64_t done, uint64_t total) {
    EXPECT_GE(done, last);
    EXPECT_LE(done, total);
    last = done;
    return true;
  });
  ASSERT_TRUE(recalled.ok());
  EXPECT_FALSE(recalled->from_copies);
  EXPECT_EQ(recalled->tokens_read, log.size());
  EXPECT_EQ(last, log.size() - 1);
  EXPECT_EQ(session->tokens(), log);
  EXPECT_EQ(session->next_position(), log.size());
  EXPECT_NE(RowsOf(*session), before) << "the question had no say";
  EXPECT_EQ(Continue(*session, 5).size(), 5u);

  // One that is cancelled is made up for by the next call, which does not know the question.
  const auto cancel = [](uint64_t, uint64_t) { return false; };
  EXPECT_TRUE(absl::IsCancelled(session->Recall(Ids(20), cancel).status()));
  EXPECT_EQ(session->tokens().size(), log.size() + 5);
  EXPECT_EQ(Continue(*session, 2).size(), 2u);
  EXPECT_TRUE(absl::IsCancelled(session->Recall(Ids(20), cancel).status()));
  ASSERT_TRUE(Append(*session, Ids(1)).ok());
  EXPECT_EQ(session->tokens().size(), log.size() + 8);
  EXPECT_EQ(session->next_position(), log.size() + 8);

  const std::unique_ptr<Session> window = MakeSession(engine, "window");
  ASSERT_TRUE(Append(*window, Ids(400)).ok());
  const std::vector<uint32_t> counts = window->row_counts();
  EXPECT_TRUE(absl::IsFailedPrecondition(window->Recall(Ids(20), go).status()));
  EXPECT_EQ(window->row_counts(), counts) << "nothing is lost by a refusal";
}

TEST_P(SessionLimits, ARecallLooksThroughCopiesAndLosesNoRow) {
  EngineOptions options = Options(model_, GetParam());
  options.prefill_chunk = 32;
  options.kv_cap_bytes = KvCap(model_, options, 7);
  const std::shared_ptr<Engine> engine = Open(options);
  SessionOptions asked;
  asked.host_copies.bytes_most = 1 << 30;
  const std::unique_ptr<Session> session = MakeSession(engine, asked);
  ASSERT_TRUE(Append(*session, Ids(400)).ok());
  const std::vector<uint32_t> log = session->tokens();
  const uint64_t all = log.size() * model_.kv_head_total();
  const auto before = RowsOf(*session);
  const uint64_t dropped = session->stats().host_rows;
  ASSERT_EQ(session->stats().rows + dropped, all);

  uint64_t steps = 0;
  const auto go = [&](uint64_t done, uint64_t total) {
    EXPECT_LE(done, total);
    CheckInvariants(*engine, std::vector<const Session*>{session.get()});
    return ++steps > 0;
  };
  const auto recalled = session->Recall(Ids(20), go);
  ASSERT_TRUE(recalled.ok()) << recalled.status();
  EXPECT_TRUE(recalled->from_copies);
  EXPECT_EQ(recalled->tokens_read, 0u);
  EXPECT_GT(recalled->found.rows, 0u);
  EXPECT_GT(recalled->found.share_most, 0.0);
  EXPECT_GE(recalled->found.share_sum, recalled->found.share_most);
  EXPECT_EQ(session->stats().rows + session->stats().host_rows, all);
  // Each is looked at once; then those around one place come again.
  EXPECT_GE(session->stats().returned_total, dropped);
  EXPECT_LE(session->stats().returned_total, dropped + 25 * model_.kv_head_total());
  EXPECT_EQ(session->tokens(), log);
  EXPECT_EQ(session->next_position(), log.size());
  EXPECT_NE(RowsOf(*session), before);
  EXPECT_EQ(Continue(*session, 5).size(), 5u);

  // A look that is cancelled leaves the rest where it was.
  uint64_t left = 3;
  const auto stop = [&](uint64_t, uint64_t) { return --left > 0; };
  EXPECT_TRUE(absl::IsCancelled(session->Recall(Ids(20), stop).status()));
  const SessionCache::Stats stats = session->stats();
  EXPECT_EQ(stats.rows + stats.host_rows, (log.size() + 5) * model_.kv_head_total());

  session->Reset();
  EXPECT_EQ(session->stats().host_bytes, 0u);
}

TEST_P(SessionLimits, CopiesThatAreNotAllThereAreNotLookedAt) {
  EngineOptions options = Options(model_, GetParam());
  options.prefill_chunk = 32;
  options.kv_cap_bytes = KvCap(model_, options, 7);
  const std::shared_ptr<Engine> engine = Open(options);
  SessionOptions asked;
  asked.host_copies.bytes_most = 10 * engine->plan().page_bytes;
  const std::unique_ptr<Session> session = MakeSession(engine, asked);
  const auto go = [](uint64_t, uint64_t) { return true; };
  ASSERT_TRUE(Append(*session, Ids(450)).ok());
  EXPECT_GT(session->stats().host_rows, 0u);
  EXPECT_LE(session->stats().host_bytes, asked.host_copies.bytes_most);
  auto recalled = session->Recall(Ids(20), go);
  ASSERT_TRUE(recalled.ok());
  EXPECT_FALSE(recalled->from_copies);
  EXPECT_EQ(recalled->tokens_read, 450u);
  // Past the context positions move, and copies hold the old ones.
  ASSERT_TRUE(Append(*session, Ids(100)).ok());
  ASSERT_GT(session->stats().rebased, 0u);
  recalled = session->Recall(Ids(20), go);
  ASSERT_TRUE(recalled.ok());
  EXPECT_FALSE(recalled->from_copies);
}

TEST_P(SessionLimits, WithoutEvictionTheCapEndsInAnErrorThatLosesNothing) {
  EngineOptions options = Options(model_, GetParam());
  options.max_sessions = 2;
  options.prefill_chunk = 32;
  options.kv_cap_bytes = KvCap(model_, options, 10);
  const std::shared_ptr<Engine> engine = Open(options);
  std::unique_ptr<Session> large = MakeSession(engine, "none");
  const std::unique_ptr<Session> session = MakeSession(engine, "none");
  const std::vector<uint32_t> prompt = Ids(20);
  ASSERT_TRUE(Append(*large, Ids(32 * 8)).ok());
  ASSERT_TRUE(Append(*session, prompt).ok());
  const absl::Status refused = Append(*session, Ids(60));
  EXPECT_TRUE(absl::IsResourceExhausted(refused)) << refused;
  EXPECT_TRUE(absl::StrContains(refused.message(), "nothing was lost"));
  EXPECT_EQ(session->tokens(), prompt);

  GenerateResult result;
  const absl::Status full = session->Generate(
      Greedy(100), [](uint32_t, absl::string_view) { return true; }, &result);
  EXPECT_TRUE(absl::IsResourceExhausted(full)) << full;
  EXPECT_EQ(result.stop_reason, StopReason::kCap);
  EXPECT_EQ(session->tokens().size(), 32u * 2 + 1);
  large.reset();  // Its pages let the session go on where it stood.
  Continue(*session, 10);
  const std::vector<uint32_t> got = session->tokens();
  const std::unique_ptr<Session> fresh = MakeSession(engine, "none");
  ASSERT_TRUE(Append(*fresh, prompt).ok());
  Continue(*fresh, got.size() - prompt.size());
  EXPECT_EQ(fresh->tokens(), got);
}

TEST_P(SessionLimits, ACancelledPromptGoesOnFromWhereItStopped) {
  EngineOptions options = Options(model_, GetParam());
  options.prefill_chunk = 16;
  options.max_sessions = 2;
  const std::shared_ptr<Engine> engine = Open(options);
  const std::unique_ptr<Session> session = MakeSession(engine, "none");
  const std::unique_ptr<Session> whole = MakeSession(engine, "none");
  const std::vector<uint32_t> ids = Ids(150), probe = Ids(5);
  ASSERT_TRUE(Append(*whole, ids).ok());
  for (size_t done = 0; done < ids.size();) {
    const std::span<const uint32_t> rest = std::span<const uint32_t>(ids).subspan(done);
    const absl::Status status = session->Append(rest, RowUse::kKeep, [&](uint64_t, uint64_t total) {
      return total <= 16;  // Ends every call after its first step, but for the last.
    });
    EXPECT_TRUE(status.ok() || absl::IsCancelled(status)) << status;
    EXPECT_EQ(session->tokens().size(), std::min(done + 16, ids.size()));
    done = session->tokens().size();
    EXPECT_EQ(session->row_counts()[0], done);
  }
  EXPECT_EQ(Score(*session, probe), Score(*whole, probe));
}

TEST_P(SessionLimits, ACancelledAnswerGoesOnFromItsLastToken) {
  EngineOptions options = Options(model_, GetParam());
  options.max_sessions = 2;
  const std::shared_ptr<Engine> engine = Open(options);
  const std::unique_ptr<Session> session = MakeSession(engine, "none");
  const std::unique_ptr<Session> whole = MakeSession(engine, "none");
  const std::vector<uint32_t> prompt = Ids(30);
  ASSERT_TRUE(Append(*whole, prompt).ok() && Append(*session, prompt).ok());
  Continue(*whole, 30);
  while (session->tokens().size() < 60) {
    GenerateResult result;
    const absl::Status status = session->Generate(
        Greedy(30), [](uint32_t, absl::string_view) { return false; }, &result);
    EXPECT_TRUE(absl::IsCancelled(status)) << status;
    EXPECT_EQ(result.stop_reason, StopReason::kCancelled);
    EXPECT_EQ(result.generated_tokens, 1u);
  }
  EXPECT_EQ(session->tokens(), whole->tokens());
}

TEST_P(SessionLimits, ChunksOfAnySizeGiveTheSameLogits) {
  const std::vector<uint32_t> ids = Ids(200), probe = Ids(6);
  std::vector<float> want;
  std::vector<uint32_t> want_tokens;
  for (const uint32_t chunk : {1u, 7u, 32u, 33u, 256u}) {
    for (const bool is_split : {false, true}) {
      SCOPED_TRACE(absl::StrCat("chunk ", chunk, is_split ? " split" : ""));
      EngineOptions options = Options(model_, GetParam());
      options.prefill_chunk = chunk;
      options.all_logits = is_split;
      const std::unique_ptr<Session> session = MakeSession(Open(options), "none");
      for (size_t done = 0; done < ids.size();) {
        const size_t piece =
            std::min(is_split ? 1 + random_() % 50 : ids.size(), ids.size() - done);
        const std::span<const uint32_t> rest = std::span<const uint32_t>(ids).subspan(done, piece);
        ASSERT_TRUE(Append(*session, rest).ok());
        done += piece;
      }
      const std::vector<float> got = Score(*session, probe);
      ASSERT_TRUE(AllFinite(got));
      if (want.empty()) want = got;
      // Sums in another order, and f16 rows that round the other way for it.
      EXPECT_LT(GreatestDifference(got, want), 2e-2f);
    }
  }
}

/// Many tokens through a context of 256, in chunks and singly.
void RunLong(const TinyModel& model, const EngineOptions& options, const SessionOptions& asked,
             size_t tokens, std::mt19937& random) {
  const std::shared_ptr<Engine> engine = Open(options);
  const std::unique_ptr<Session> session = MakeSession(engine, asked);
  ASSERT_NE(session, nullptr);
  const Session* const pointers[] = {session.get()};
  const uint32_t floor = std::min(64u, engine->plan().rows_per_head / 8);
  ASSERT_TRUE(Append(*session, RandomIds(random, 20, model.vocab()), true).ok());
  while (session->tokens().size() < tokens) {
    const std::vector<uint32_t> ids = RandomIds(random, 1 + random() % 150, model.vocab());
    const absl::Status status = Append(*session, ids);
    ASSERT_TRUE(status.ok()) << status;
    const std::vector<float> logits = Score(*session, RandomIds(random, 3, model.vocab()));
    ASSERT_TRUE(AllFinite(logits));
    Continue(*session, 5);
    ASSERT_NO_FATAL_FAILURE(CheckInvariants(*engine, pointers));
    for (uint32_t count : session->row_counts()) {
      ASSERT_GE(count, std::min<size_t>(session->next_position(), floor)) << "below the floor";
    }
  }
  const SessionCache::Stats stats = session->stats();
  EXPECT_GT(stats.rebased, 0u);
  EXPECT_GT(stats.evicted_total, 0u);
  EXPECT_LE(session->next_position(), engine->plan().context);
}

TEST_P(SessionLimits, ConversationsGoOnFarPastTheContext) {
  const size_t tokens = std::string(GetParam()) == "cpu" ? 4000 : 500;
  for (const char* policy : {"corm", "window"}) {
    for (const uint32_t pages : {0u, 6u, 12u}) {  // 0: no cap.
      for (const char* kv_type : {"f16", "q8_0", "q4_0"}) {
        for (const PositionRule positions : {PositionRule::kRebased, PositionRule::kWindowed}) {
          SCOPED_TRACE(absl::StrCat(policy, ", ", pages, " pages a head, ", kv_type, ", positions ",
                                    int(positions)));
          EngineOptions options = Options(model_, GetParam());
          options.context = 256;
          options.kv_type = kv_type;
          if (pages != 0) options.kv_cap_bytes = KvCap(model_, options, pages);
          SessionOptions asked;
          asked.policy = policy;
          asked.positions = positions;
          ASSERT_NO_FATAL_FAILURE(RunLong(model_, options, asked, tokens, random_));
        }
      }
    }
  }
}

TEST_P(SessionLimits, ASessionThatPinsMoreThanItsShareDoesNotStopOthers) {
  EngineOptions options = Options(model_, GetParam());
  options.max_sessions = 2;
  options.prefill_chunk = 32;
  options.kv_cap_bytes = KvCap(model_, options, 12);
  const std::shared_ptr<Engine> engine = Open(options);
  const std::unique_ptr<Session> greedy = MakeSession(engine, "corm");
  ASSERT_TRUE(Append(*greedy, Ids(250), true).ok());  // Eight of twelve pages a head, for good.
  const std::unique_ptr<Session> session = MakeSession(engine, "corm");
  for (int turn = 0; turn < 8; ++turn) {
    const absl::Status status = Append(*session, Ids(60));
    ASSERT_TRUE(status.ok()) << "turn " << turn << ": " << status;
    Continue(*session, 4);
  }
  EXPECT_EQ(greedy->row_counts()[0], 250u);
}

/// The smallest KV cap that a refusal names for these options.
uint64_t SmallestKvCap(EngineOptions options) {
  options.kv_cap_bytes = 1;
  const std::string refusal(TryOpen(options).status().message());
  const std::string mark = "the smallest cap that works is ";
  const size_t at = refusal.find(mark) + mark.size();
  uint64_t cap = 0;
  EXPECT_TRUE(
      absl::SimpleAtoi(refusal.substr(at, refusal.find_first_not_of("0123456789", at) - at), &cap))
      << refusal;
  return cap;
}

TEST_P(SessionLimits, TheSmallestCapServesAsManySessionsAsItWasAskedFor) {
  const bool is_fast = std::string(GetParam()) == "cpu";
  for (const uint32_t max_sessions : {1u, 2u, 3u, 5u}) {
    for (const uint32_t chunk : {0u, 1u, 100u, 256u}) {
      if (!is_fast && chunk % 100 != 0) continue;
      SCOPED_TRACE(absl::StrCat(max_sessions, " sessions, chunk ", chunk));
      EngineOptions options = Options(model_, GetParam());
      options.max_sessions = max_sessions;
      options.prefill_chunk = chunk;
      options.kv_cap_bytes = SmallestKvCap(options);
      const std::shared_ptr<Engine> engine = Open(options);
      std::vector<std::unique_ptr<Session>> sessions;
      for (uint32_t s = 0; s < max_sessions; ++s) sessions.push_back(MakeSession(engine, "corm"));
      for (int turn = 0; turn < 3; ++turn) {
        for (const auto& session : sessions) {
          const absl::Status status = Append(*session, Ids(std::max(100u, chunk)));
          ASSERT_TRUE(status.ok()) << status;
          Continue(*session, 4);
        }
      }
    }
  }
}

TEST_P(SessionLimits, ScoreLeavesTheSessionReadyToGoOn) {
  EngineOptions options = Options(model_, GetParam());
  options.max_sessions = 2;
  for (const bool all_logits : {false, true}) {
    options.all_logits = all_logits;
    const std::shared_ptr<Engine> engine = Open(options);
    const std::unique_ptr<Session> scored = MakeSession(engine, "none");
    const std::unique_ptr<Session> appended = MakeSession(engine, "none");
    const std::vector<uint32_t> ids = Ids(40);
    Score(*scored, ids);
    ASSERT_TRUE(Append(*appended, ids).ok());
    const std::vector<uint32_t> probe = Ids(3);
    EXPECT_EQ(Continue(*scored, 4), Continue(*appended, 4));
    EXPECT_LT(GreatestDifference(Score(*scored, probe), Score(*appended, probe)), 2e-2f);
  }
}

TEST_P(SessionLimits, TokensAreThoseThatAllLogitsGive) {
  // Answers whose options ask for the greatest logits, for all of them, and for either as the
  // penalty's window fills. A second session reads the same tokens one by one and hands out all
  // logits, from which a sampler of the test draws.
  std::vector<SamplerOptions> answers(6);
  answers[0].top_k = 100, answers[0].temperature = 2.0f;
  answers[1].top_k = 0;
  answers[2].top_k = 100, answers[2].temperature = 5.0f, answers[2].repetition_penalty = 1.5f;
  answers[3].temperature = 0.0f, answers[3].repetition_penalty = 1.5f;
  answers[4].repetition_penalty = 0.8f;
  answers[5].min_p = 0.0f, answers[5].top_p = 1.0f, answers[5].temperature = 3.0f;
  EngineOptions options = Options(model_, GetParam());
  options.max_sessions = 2;
  const std::shared_ptr<Engine> engine = Open(options);
  const std::unique_ptr<Session> session = MakeSession(engine, "none");
  const std::unique_ptr<Session> reader = MakeSession(engine, "none");
  const std::vector<uint32_t> prompt = Ids(40);
  ASSERT_TRUE(Append(*session, prompt).ok() && Append(*reader, prompt).ok());
  std::vector<uint32_t> unread = {Ids(1)};
  ASSERT_TRUE(Append(*session, unread).ok());
  uint32_t seed = 0;
  for (const SamplerOptions& asked : answers) {
    GenerateOptions generate;
    generate.sampler = asked;
    generate.sampler.seed = ++seed;
    generate.max_tokens = 40;
    generate.ignore_end = true;
    Sampler sampler(generate.sampler);
    for (uint32_t id : Continue(*session, generate)) {
      std::vector<float> logits = Score(*reader, unread);
      ASSERT_EQ(sampler.Sample(logits, reader->tokens()), id) << "answer " << seed;
      unread = {id};
    }
  }
}

TEST_P(SessionLimits, EveryPolicyHoldsTheCapForALongConversation) {
  for (const PolicyDef* policy : AllPolicyDefs()) {
    if (policy->name == "none") continue;
    for (const std::optional<HeadBudget> budget :
         {std::optional<HeadBudget>(), std::optional(HeadBudget::kLayer)}) {
      for (uint32_t pages : {5u, 9u}) {
        SCOPED_TRACE(absl::StrCat(policy->name, " budget ", budget.has_value(), " pages ", pages));
        EngineOptions options = Options(model_, GetParam());
        options.prefill_chunk = 32;
        options.query_statistics = policy->rules({}).observes_queries;
        options.kv_cap_bytes = KvCap(model_, options, pages);
        const std::shared_ptr<Engine> engine = Open(options);
        SessionOptions of_session;
        of_session.policy = std::string(policy->name);
        of_session.budget = budget;
        const std::unique_ptr<Session> session = MakeSession(engine, of_session);
        const Session* const sessions[] = {session.get()};
        for (int turn = 0; turn < 4; ++turn) {
          ASSERT_TRUE(Append(*session, Ids(200)).ok());  // Past the cap, and past the context.
          EXPECT_EQ(Continue(*session, 20).size(), 20u);
          CheckInvariants(*engine, sessions);
        }
        EXPECT_GT(session->stats().evicted_total, 0u);
        EXPECT_TRUE(AllFinite(Score(*session, Ids(3))));
      }
    }
  }
}

CORM_ON_BACKENDS(SessionLimits);

TEST(CpuBackend, LogitsOfAModelAreThoseOfTheReference) {
  for (const GgufTypeInfo& type : AllGgufTypes()) {
    const std::optional<DType> dtype = ComputeType(type.type);
    if (!dtype.has_value()) continue;
    // A row of weights is a multiple of the largest block. The CPU keeps 15 bits of x.
    const float bound = IsBlockType(*dtype) ? 0.05f : 2e-2f;
    for (const bool is_tied : {false, true}) {
      SCOPED_TRACE(absl::StrCat(type.name, is_tied ? " tied" : ""));
      const TinyModel model({.heads = 8, .width = 256, .type = type.type, .is_tied = is_tied});
      std::mt19937 random(9);
      const std::vector<uint32_t> ids = RandomIds(random, 70, model.vocab());
      EngineOptions options = Options(model, "cpu");
      options.prefill_chunk = 32;
      options.all_logits = true;
      const std::vector<float> got = Score(*MakeSession(Open(options), "none"), ids);
      options.backend = "reference";
      const std::vector<float> want = Score(*MakeSession(Open(options), "none"), ids);
      ASSERT_TRUE(AllFinite(got) && AllFinite(want));
      EXPECT_LT(GreatestDifference(got, want), bound);
    }
  }
}

}  // namespace
}  // namespace cormorant::sim
