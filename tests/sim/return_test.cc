// Going back: tokens that are taken back, drafts of answers, and what follows when a conversation
// returns to what was dropped.
#include <algorithm>
#include <cmath>

#include "tests/sim/driver.h"

namespace cormorant::sim {
namespace {

class Returns : public ::testing::TestWithParam<const char*> {
 protected:
  std::vector<uint32_t> Ids(size_t count) { return RandomIds(random_, count, model_.vocab()); }

  /// An engine whose events are noted.
  std::shared_ptr<Engine> OpenNoting(const EngineOptions& options) {
    absl::StatusOr<std::shared_ptr<Engine>> engine = Engine::Create(
        options, [](uint64_t, uint64_t) { return true; },
        [this](EngineEvent event, const std::string&) { events_.push_back(event); });
    EXPECT_TRUE(engine.ok()) << engine.status();
    return engine.ok() ? *engine : nullptr;
  }

  const TinyModel model_;
  std::mt19937 random_{5};
  std::vector<EngineEvent> events_;
};

/// Rows leave on their own account, after every token.
SessionOptions OfWindow() {
  SessionOptions options;
  options.policy = "window";
  options.window = 40;
  options.interval = 1;
  return options;
}

bool GoOn(uint64_t /*done*/, uint64_t /*total*/) {
  return true;
}

TEST_P(Returns, ARewoundSessionNeverReadWhatCameAfter) {
  EngineOptions options = Options(model_, GetParam());
  options.max_sessions = 3;
  const std::shared_ptr<Engine> engine = Open(options);
  const std::unique_ptr<Session> session = MakeSession(engine, "none"),
                                 other = MakeSession(engine, "none"),
                                 third = MakeSession(engine, "none");
  const std::vector<uint32_t> kept = Ids(60), after = Ids(30);
  ASSERT_TRUE(Append(*session, kept).ok());
  ASSERT_TRUE(session->Append(Ids(40), RowUse::kPin, GoOn).ok());
  Continue(*session, 7);
  EXPECT_TRUE(absl::IsInvalidArgument(session->Rewind(108)));
  ASSERT_TRUE(session->Rewind(107).ok());
  EXPECT_EQ(session->tokens().size(), 107u);
  ASSERT_TRUE(session->Rewind(60).ok());
  EXPECT_EQ(session->tokens(), kept);
  EXPECT_EQ(session->next_position(), 59u) << "all but the last are there still";
  EXPECT_EQ(session->pins().count(), 0u);
  ASSERT_TRUE(Append(*other, kept).ok());
  EXPECT_EQ(Continue(*session, 5), Continue(*other, 5)) << "the last is read again";
  ASSERT_TRUE(session->Rewind(60).ok());
  ASSERT_TRUE(Append(*session, after).ok());
  ASSERT_TRUE(Append(*third, kept).ok());
  ASSERT_TRUE(Append(*third, after).ok());
  const std::span<const float> own = session->logits(), want = third->logits();
  ASSERT_EQ(own.size(), want.size());
  for (size_t i = 0; i < own.size(); ++i) ASSERT_NEAR(own[i], want[i], 1e-4f) << i;
  ASSERT_TRUE(session->Rewind(0).ok());
  EXPECT_EQ(session->stats().rows, 0u);
}

TEST_P(Returns, WhatIsReadUnderAHoldCanBeTakenBackUnderACap) {
  EngineOptions options = Options(model_, GetParam());
  options.prefill_chunk = 32;
  options.kv_cap_bytes = KvCap(model_, options, 7);
  const std::shared_ptr<Engine> engine = Open(options);
  SessionOptions asked;
  asked.window = 40;  // Rows leave on their own account besides.
  asked.zero_pages = true;
  const std::unique_ptr<Session> session = MakeSession(engine, asked);
  ASSERT_TRUE(Append(*session, Ids(400)).ok());
  // Whether the last token is read, or waits as after an answer.
  const std::vector<uint32_t> read = session->tokens();
  ASSERT_TRUE(session->Hold(20).ok());
  ASSERT_TRUE(Append(*session, Ids(20)).ok());
  ASSERT_TRUE(session->Rewind(read.size()).ok());
  EXPECT_GT(session->stats().rows, 0u) << "not read again";
  EXPECT_EQ(session->next_position(), read.size());
  ASSERT_TRUE(session->ReadRest(GoOn).ok());
  Continue(*session, 3);
  const std::vector<uint32_t> log = session->tokens();
  ASSERT_TRUE(absl::IsResourceExhausted(session->Hold(5000)));
  ASSERT_TRUE(session->Hold(70).ok());
  const SessionCache::Stats before = session->stats();
  const auto rows = RowsOf(*session);
  ASSERT_TRUE(Append(*session, Ids(50)).ok());
  const absl::StatusOr<Draft> draft = session->Begin(GenerateOptions(), 20);
  ASSERT_TRUE(draft.ok()) << draft.status();
  EXPECT_GT(draft->ids.size(), 0u);
  EXPECT_EQ(draft->ids.size(), draft->logits.size());
  EXPECT_EQ(session->stats().evicted_total, before.evicted_total) << "nothing left meanwhile";
  ASSERT_TRUE(session->Rewind(log.size()).ok());
  EXPECT_EQ(session->tokens(), log);
  EXPECT_EQ(session->stats().rows, before.rows);
  EXPECT_EQ(session->stats().evicted_total, before.evicted_total);
  EXPECT_EQ(RowsOf(*session), rows);
  CheckInvariants(*engine, std::vector<const Session*>{session.get()});
  EXPECT_EQ(Continue(*session, 5).size(), 5u);
  // Without a hold rows move, and the rest is read again.
  ASSERT_TRUE(Append(*session, Ids(100)).ok());
  ASSERT_TRUE(session->Rewind(log.size()).ok());
  EXPECT_EQ(session->stats().rows, 0u);
  ASSERT_TRUE(session->ReadRest(GoOn).ok());
  EXPECT_EQ(session->tokens(), log);
  EXPECT_EQ(session->next_position(), log.size());
}

TEST_P(Returns, AHoldUnderWhichNothingWasReadEndsToo) {
  const std::shared_ptr<Engine> engine = Open(Options(model_, GetParam()));
  const std::unique_ptr<Session> session = MakeSession(engine, OfWindow());
  ASSERT_TRUE(Append(*session, Ids(100)).ok());
  const uint64_t rows = session->stats().rows;
  ASSERT_TRUE(session->Hold(20).ok());
  ASSERT_TRUE(session->Rewind(100).ok());
  ASSERT_TRUE(Append(*session, Ids(100)).ok());
  EXPECT_LE(session->stats().rows, rows) << "rows leave again";
}

TEST_P(Returns, ARecallThatMayNotReadSoMuchSaysSo) {
  EngineOptions options = Options(model_, GetParam());
  options.prefill_chunk = 32;
  options.kv_cap_bytes = KvCap(model_, options, 7);
  const std::shared_ptr<Engine> engine = OpenNoting(options);
  SessionOptions asked;
  asked.reread_most = 300;
  const std::unique_ptr<Session> session = MakeSession(engine, asked);
  ASSERT_TRUE(Append(*session, Ids(290)).ok());
  absl::StatusOr<Session::Recalled> recalled = session->Recall(Ids(20), GoOn);
  ASSERT_TRUE(recalled.ok());
  EXPECT_FALSE(recalled->degraded);
  EXPECT_EQ(recalled->tokens_read, 290u);
  ASSERT_TRUE(Append(*session, Ids(20)).ok());
  const auto before = RowsOf(*session);
  recalled = session->Recall(Ids(20), GoOn);
  ASSERT_TRUE(recalled.ok());
  EXPECT_TRUE(recalled->degraded);
  EXPECT_EQ(recalled->tokens_read, 0u);
  EXPECT_EQ(RowsOf(*session), before);
  EXPECT_EQ(events_, (std::vector{EngineEvent::kReadAgain, EngineEvent::kDegraded}));
}

/// The longest run of neighbouring positions below `end` that all heads hold.
uint32_t LongestRun(const Session& session, uint32_t end) {
  const std::vector<std::vector<uint32_t>> rows = RowsOf(session);
  uint32_t longest = 0, run = 0;
  for (uint32_t position = 0; position < end; ++position) {
    const bool is_held = std::all_of(rows.begin(), rows.end(), [&](const auto& head) {
      return std::binary_search(head.begin(), head.end(), position);
    });
    run = is_held ? run + 1 : 0;
    longest = std::max(longest, run);
  }
  return longest;
}

TEST_P(Returns, WhatStandsAroundWhatAQuestionFindsComesBackToEveryHead) {
  EngineOptions options = Options(model_, GetParam());
  options.prefill_chunk = 32;
  options.kv_cap_bytes = KvCap(model_, options, 7);
  SessionOptions asked;
  asked.policy = "corm";
  asked.host_copies.bytes_most = 1 << 30;
  const std::unique_ptr<Session> session = MakeSession(Open(options), asked);
  ASSERT_TRUE(Append(*session, Ids(400)).ok());
  const uint32_t old = 300;  // Later ones are among the newest.
  const uint32_t before = LongestRun(*session, old);
  const absl::StatusOr<Session::Recalled> recalled = session->Recall(Ids(20), GoOn);
  ASSERT_TRUE(recalled.ok()) << recalled.status();
  ASSERT_TRUE(recalled->from_copies);
  EXPECT_LT(before, 12u);
  EXPECT_GE(LongestRun(*session, old), 13u) << "12 on one side and the place itself, at least";
}

TEST_P(Returns, AReturnEasesWhatIsDropped) {
  const std::shared_ptr<Engine> engine = OpenNoting(Options(model_, GetParam()));
  const std::unique_ptr<Session> session = MakeSession(engine, OfWindow());
  ASSERT_TRUE(Append(*session, Ids(100)).ok());
  const auto most_rows = [&] {
    const std::vector<uint32_t> counts = session->row_counts();
    return *std::max_element(counts.begin(), counts.end());
  };
  const uint32_t steady = most_rows();
  session->Returned(0.5);
  EXPECT_EQ(events_, (std::vector{EngineEvent::kReturned, EngineEvent::kFrozen}));
  EXPECT_TRUE(session->stats().is_frozen);
  ASSERT_TRUE(Append(*session, Ids(100)).ok());
  EXPECT_GE(most_rows(), steady + 100) << "nothing leaves";
  session->Returned(0.5);
  EXPECT_EQ(events_.back(), EngineEvent::kRelaxed);
  EXPECT_EQ(session->stats().relaxed, 1u);
  session->Reset();
  EXPECT_FALSE(session->stats().is_frozen);
  EXPECT_EQ(session->stats().relaxed, 0u);
}

TEST(Drafts, AreComparedUpToTheFirstTokenThatDiffers) {
  const std::vector<float> even = {0, 0, 0}, first = {2, 0, 0}, last = {0, 0, 9};
  const Draft a{.ids = {0, 1, 2}, .logits = {even, even, last}};
  const Draft b{.ids = {0, 2, 2}, .logits = {even, first, even}};
  EXPECT_EQ(a.DivergenceFrom(a), 0.0);
  EXPECT_EQ(a.DivergenceFrom(Draft()), 0.0);
  const Draft surer{.ids = a.ids, .logits = {even, first, last}};
  EXPECT_EQ(a.DivergenceFrom(surer), 0.0) << "they say the same";
  // sum over three of 1/3 (log 1/3 - log q), q = (e^2, 1, 1) / (e^2 + 2)
  EXPECT_NEAR(a.DivergenceFrom(b), std::log(std::exp(2.0) + 2) - std::log(3.0) - 2.0 / 3, 1e-9);
}

CORM_ON_BACKENDS(Returns);

}  // namespace
}  // namespace cormorant::sim
