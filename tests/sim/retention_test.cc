// Tokens that stay and tokens that are erased, judged by the bytes on the device.
//
// Method: of a token that the rest of a text does not have, the first layer's value rows are the
// same bytes at every place, for they depend on nothing else. Whether it is in the cache, stayed
// behind where a row has left, or was erased is asked of all memory that plans can reach.
#include <algorithm>
#include <set>

#include "absl/strings/match.h"
#include "runtime/base/units.h"
#include "runtime/engine/conversation.h"
#include "runtime/ops/kv_page.h"
#include "tests/sim/world.h"

namespace cormorant::sim {
namespace {

class Retention : public SecretTest {
 protected:
  Retention() : SecretTest(5) {}
  std::vector<std::vector<uint32_t>> Positions(const Session& session) const {
    std::vector<std::vector<uint32_t>> positions;
    for (uint32_t h = 0; h < model_.kv_head_total(); ++h) {
      positions.push_back(*session.ResidentPositions(h));
    }
    return positions;
  }
  /// Rows of [from, to) that the first head holds.
  static size_t ResidentIn(const Session& session, uint32_t from, uint32_t to) {
    const std::vector<uint32_t> positions = *session.ResidentPositions(0);
    return static_cast<size_t>(std::count_if(positions.begin(), positions.end(),
                                             [&](uint32_t p) { return from <= p && p < to; }));
  }
  /// Heads that hold all of [from, to).
  size_t HeadsWith(const Session& session, uint32_t from, uint32_t to) const {
    size_t heads = 0;
    for (const std::vector<uint32_t>& positions : Positions(session)) {
      const auto in = std::count_if(positions.begin(), positions.end(),
                                    [&](uint32_t p) { return from <= p && p < to; });
      heads += static_cast<uint32_t>(in) == to - from;
    }
    return heads;
  }
};

TEST_P(Retention, APurgeLeavesNothingOnTheDeviceOrInTheLog) {
  EngineOptions options = Capped(12);
  options.max_sessions = 2;
  const World world(options);
  const std::vector<std::byte> row = world.SecretRow();
  ASSERT_NE(row, std::vector<std::byte>(row.size()));
  const std::unique_ptr<Session> session = MakeSession(world.engine, "corm");
  const std::unique_ptr<Session> other = MakeSession(world.engine, "corm");
  const std::vector<uint32_t> before = Ids(30);
  ASSERT_TRUE(Append(*session, before).ok());
  ASSERT_TRUE(Append(*session, std::vector<uint32_t>(40, kSecret)).ok());
  ASSERT_TRUE(Append(*other, Ids(21)).ok());
  std::vector<uint32_t> after;
  while (world.Count(row) <= ResidentIn(*session, 30, 70)) {
    ASSERT_LT(after.size(), 400u) << "nothing is left where rows have left: this shows nothing";
    after.push_back(Ids(1)[0]);
    ASSERT_TRUE(Append(*session, std::span(after).last(1)).ok());
  }
  ASSERT_TRUE(session->Purge(30, 70, Go).ok());
  EXPECT_EQ(world.Count(row), 0u);
  std::vector<uint32_t> log = before;
  log.insert(log.end(), after.begin(), after.end());
  EXPECT_EQ(session->tokens(), log);
  EXPECT_EQ(session->next_position(), log.size());
  EXPECT_EQ(other->tokens().size(), 21u);
  const Session* const sessions[] = {session.get(), other.get()};
  CheckInvariants(*world.engine, sessions);
  EXPECT_EQ(Continue(*session, 4).size(), 4u);
  EXPECT_TRUE(absl::IsInvalidArgument(session->Purge(5, 5, Go)));
  EXPECT_TRUE(absl::IsInvalidArgument(session->Purge(5, 1000, Go)));
}

TEST_P(Retention, AnotherSessionKeepsItsRowsThroughAPurge) {
  for (const char* type : {"f16", "q8_0:q4_0", "q4_0:f16"}) {
    EngineOptions options = Options(model_, GetParam());
    options.max_sessions = 2;
    options.kv_type = type;
    const World world(options);
    const std::unique_ptr<Session> session = MakeSession(world.engine, "none");
    const std::unique_ptr<Session> other = MakeSession(world.engine, "none");
    const std::unique_ptr<Session> fresh = MakeSession(Open(options), "none");
    const std::vector<uint32_t> ids = Ids(45), probe = Ids(5);
    ASSERT_TRUE(Append(*session, Ids(50)).ok());
    ASSERT_TRUE(Append(*other, ids).ok());
    ASSERT_TRUE(Append(*fresh, ids).ok());
    ASSERT_TRUE(session->Purge(3, 20, Go).ok());
    EXPECT_EQ(Score(*other, probe), Score(*fresh, probe)) << type;
  }
}

TEST_P(Retention, APurgeOfEverythingLeavesZeros) {
  const World world(Options(model_, GetParam()));
  const std::unique_ptr<Session> session = MakeSession(world.engine, "none");
  ASSERT_TRUE(Append(*session, Ids(50)).ok());
  ASSERT_TRUE(session->Purge(0, 50, Go).ok());
  EXPECT_TRUE(session->tokens().empty());
  for (const Buffer* buffer : world.Buffers()) {
    EXPECT_EQ(world.Read(*buffer), std::vector<std::byte>(buffer->bytes()));
  }
  GenerateResult result;
  EXPECT_TRUE(absl::IsFailedPrecondition(session->Generate(
      Greedy(1), [](uint32_t, absl::string_view) { return true; }, &result)));
  EXPECT_TRUE(Append(*session, Ids(5)).ok());
}

TEST_P(Retention, APurgedSessionIsOneThatNeverReadIt) {
  SessionOptions copied;
  copied.policy = "corm";
  copied.host_copies.bytes_most = 1 << 20;
  SessionOptions none, corm;
  none.policy = "none";
  corm.policy = "corm";
  for (const SessionOptions& asked : {none, corm, copied}) {
    for (const bool is_cut_short : {false, true}) {
      const EngineOptions options =
          asked.policy == "none" ? Options(model_, GetParam()) : Capped(8);
      const std::unique_ptr<Session> session = MakeSession(Open(options), asked);
      const std::unique_ptr<Session> fresh = MakeSession(Open(options), asked);
      const std::vector<uint32_t> ids = Ids(300), probe = Ids(5);
      ASSERT_TRUE(Append(*session, ids).ok());
      const absl::Status purged = session->Purge(100, 160, is_cut_short ? Stop : Go);
      ASSERT_EQ(purged.code(), is_cut_short ? absl::StatusCode::kCancelled : absl::StatusCode::kOk);
      std::vector<uint32_t> log(ids.begin(), ids.begin() + 100);
      log.insert(log.end(), ids.begin() + 160, ids.end());
      ASSERT_EQ(session->tokens(), log);
      const std::span<const uint32_t> rest = log;
      ASSERT_TRUE(Append(*fresh, rest.first(rest.size() - 1)).ok());
      ASSERT_TRUE(Append(*fresh, rest.last(1)).ok());
      EXPECT_EQ(Score(*session, probe), Score(*fresh, probe)) << asked.policy;
      EXPECT_EQ(Positions(*session), Positions(*fresh)) << asked.policy;
      EXPECT_EQ(session->stats().host_rows, fresh->stats().host_rows);
    }
  }
}

TEST_P(Retention, APurgeOnALostDeviceHasErasedTheLogAndGoesOn) {
  EngineOptions options = Options(model_, GetParam());
  const World world(options);
  const std::unique_ptr<Session> session = MakeSession(world.engine, "none");
  const std::unique_ptr<Session> fresh = MakeSession(Open(options), "none");
  const std::vector<uint32_t> ids = Ids(60), probe = Ids(3);
  ASSERT_TRUE(Append(*session, std::vector<uint32_t>(9, kSecret)).ok());
  ASSERT_TRUE(Append(*session, ids).ok());
  world.faults->fail_in = 3;
  world.faults->is_lost = true;
  EXPECT_TRUE(absl::IsUnavailable(session->Purge(0, 9, Go)));
  EXPECT_EQ(session->tokens(), ids);
  world.faults->fail_in = 0;
  ASSERT_TRUE(Append(*fresh, ids).ok());
  EXPECT_EQ(Score(*session, probe), Score(*fresh, probe));
}

TEST_P(Retention, ZeroedPagesHoldNothingButResidentRows) {
  for (const bool zeroes : {false, true}) {
    EngineOptions options = Capped(10);
    options.max_sessions = 2;
    const World world(options);
    const std::vector<std::byte> row = world.SecretRow();
    SessionOptions asked;
    asked.policy = "corm";
    asked.zero_pages = zeroes;
    std::unique_ptr<Session> session = MakeSession(world.engine, asked);
    const std::unique_ptr<Session> other = MakeSession(world.engine, asked);
    ASSERT_TRUE(Append(*other, Ids(20)).ok());  // So that slabs stay.
    ASSERT_TRUE(Append(*session, Ids(40)).ok());
    ASSERT_TRUE(Append(*session, std::vector<uint32_t>(40, kSecret)).ok());
    size_t left_most = 0;  // Where no row is any more.
    for (int i = 0; i < 400; ++i) {
      ASSERT_TRUE(Append(*session, Ids(1)).ok());
      left_most = std::max(left_most, world.Count(row) - ResidentIn(*session, 40, 80));
    }
    ASSERT_LT(ResidentIn(*session, 40, 80), 40u);
    EXPECT_EQ(left_most == 0, zeroes);
    // A question looks at the cache from rows of its own, which leave with the step.
    ASSERT_TRUE(session->Recall(std::vector<uint32_t>(8, kSecret), Go).ok());
    if (zeroes) {
      EXPECT_EQ(world.Count(row), ResidentIn(*session, 40, 80));
    }
    session.reset();
    EXPECT_EQ(world.Count(row) == 0, zeroes);
  }
}

TEST_P(Retention, WhatIsPinnedInPlaceStaysUntilItIsUnpinned) {
  for (const char* policy : {"corm", "window", "h2o"}) {
    SCOPED_TRACE(policy);
    const std::shared_ptr<Engine> engine = Open(Capped(10));
    const std::unique_ptr<Session> session = MakeSession(engine, policy);
    const uint32_t heads = model_.kv_head_total();
    ASSERT_TRUE(Append(*session, Ids(150)).ok());
    const auto before = Positions(*session);
    ASSERT_TRUE(session
                    ->Pin(50, 90,
                          [](uint64_t, uint64_t) {
                            ADD_FAILURE() << "nothing needs to be read";
                            return true;
                          })
                    .ok());
    EXPECT_EQ(Positions(*session), before);
    ASSERT_TRUE(Append(*session, Ids(200)).ok());
    EXPECT_EQ(HeadsWith(*session, 50, 90), heads);
    EXPECT_LT(HeadsWith(*session, 10, 50), heads);
    ASSERT_TRUE(session->Unpin(60, 80, Go).ok());
    EXPECT_TRUE(session->pins().Covers(50, 60) && session->pins().Covers(80, 90));
    ASSERT_TRUE(Append(*session, Ids(150)).ok());
    EXPECT_EQ(HeadsWith(*session, 50, 60), heads);
    EXPECT_EQ(HeadsWith(*session, 80, 90), heads);
    EXPECT_LT(HeadsWith(*session, 60, 80), heads);
  }
}

TEST_P(Retention, WhatWasDroppedIsReadAgainToBePinned) {
  const std::unique_ptr<Session> session = MakeSession(Open(Capped(10)), "corm");
  ASSERT_TRUE(Append(*session, Ids(400)).ok());
  const std::vector<uint32_t> log = session->tokens();
  const uint32_t heads = model_.kv_head_total();
  ASSERT_LT(HeadsWith(*session, 20, 60), heads);
  ASSERT_TRUE(session->Pin(20, 60, Go).ok());
  EXPECT_EQ(HeadsWith(*session, 20, 60), heads);
  EXPECT_EQ(session->tokens(), log);
  // One that is cancelled is made up for by the next call.
  ASSERT_LT(HeadsWith(*session, 100, 120), heads);
  EXPECT_TRUE(absl::IsCancelled(session->Pin(100, 120, Stop)));
  EXPECT_EQ(Continue(*session, 3).size(), 3u);
  EXPECT_EQ(HeadsWith(*session, 20, 60), heads);
  EXPECT_EQ(HeadsWith(*session, 100, 120), heads);
  // What does not fit changes nothing.
  const auto positions = Positions(*session);
  const absl::Status refused = session->Pin(0, 300, Go);
  EXPECT_TRUE(absl::IsResourceExhausted(refused));
  EXPECT_TRUE(absl::StrContains(refused.message(), "300 would be pinned")) << refused;
  EXPECT_EQ(Positions(*session), positions);
  EXPECT_EQ(session->pins().count(), 60u);
  EXPECT_TRUE(absl::IsInvalidArgument(session->Pin(9, 9, Go)));
  EXPECT_TRUE(absl::IsInvalidArgument(session->Unpin(0, 404, Go)));
  // A purge takes pins with it, and moves those behind.
  ASSERT_TRUE(session->Purge(50, 70, Go).ok());
  EXPECT_TRUE(session->pins().Covers(20, 50) && session->pins().Covers(80, 100));
  EXPECT_EQ(session->pins().count(), 50u);
  EXPECT_EQ(HeadsWith(*session, 20, 50), heads);
  EXPECT_EQ(HeadsWith(*session, 80, 100), heads);
}

TEST_P(Retention, AsMuchAsMayBePinnedCanBeLivedWith) {
  const std::unique_ptr<Session> session = MakeSession(Open(Capped(10)), "corm");
  ASSERT_TRUE(Append(*session, Ids(300)).ok());
  size_t most = 0;
  while (session->CanStay(0, most + 1, RowUse::kPin).ok()) ++most;
  ASSERT_GT(most, 50u);
  ASSERT_TRUE(session->Pin(0, most, Go).ok());
  for (int i = 0; i < 8; ++i) ASSERT_TRUE(Append(*session, Ids(100)).ok());  // Past the context.
  EXPECT_GT(session->stats().rebased, 0u);
  EXPECT_EQ(Continue(*session, 5).size(), 5u);
  for (uint32_t count : session->row_counts()) EXPECT_GE(count, most);
}

TEST_P(Retention, PinsHoldWhenPositionsHaveMoved) {
  EngineOptions options = Capped(8);
  options.context = 256;
  const World world(options);
  const std::vector<std::byte> row = world.SecretRow();
  SessionOptions asked;
  asked.policy = "corm";
  asked.zero_pages = true;  // A row that has left is not mistaken for one that has not.
  const std::unique_ptr<Session> session = MakeSession(world.engine, asked);
  ASSERT_TRUE(Append(*session, Ids(400)).ok());
  ASSERT_TRUE(Append(*session, std::vector<uint32_t>(20, kSecret)).ok());
  ASSERT_GT(session->stats().rebased, 0u);
  bool has_read = false;
  ASSERT_TRUE(session->Pin(400, 420, [&](uint64_t, uint64_t) { return has_read = true; }).ok());
  EXPECT_TRUE(has_read) << "which rows these tokens have is not known any more";
  ASSERT_TRUE(Append(*session, Ids(400)).ok());
  EXPECT_EQ(world.Count(row), 20u);
  ASSERT_TRUE(session->Unpin(400, 420, Go).ok());
  ASSERT_TRUE(Append(*session, Ids(300)).ok());
  EXPECT_LT(world.Count(row), 20u);
}

TEST_P(Retention, TheAuditTellsEveryRowThatWasDropped) {
  for (const bool is_capped : {false, true}) {
    EngineOptions options = is_capped ? Capped(6) : Options(model_, GetParam());
    SessionOptions asked;
    asked.policy = "corm";
    asked.audit = 100000;
    asked.recent = 16;
    if (!is_capped) asked.window = 40;
    const std::unique_ptr<Session> session = MakeSession(Open(options), asked);
    ASSERT_TRUE(Append(*session, Ids(400)).ok());
    ASSERT_EQ(session->stats().rebased, 0u);
    std::vector<std::vector<uint32_t>> known = Positions(*session);
    uint64_t dropped = 0;
    session->ReadAudit([&](const Audit& audit) {
      EXPECT_EQ(audit.forgotten(), 0u);
      for (const Audit::Record& record : audit.records()) {
        EXPECT_EQ(record.cause, is_capped ? DropCause::kForced : DropCause::kNatural);
        EXPECT_LE(record.step, 400u);
        ASSERT_LT(record.head, known.size());
        for (const auto& [first, last] : record.positions) {
          for (uint32_t p = first; p <= last; ++p, ++dropped) known[record.head].push_back(p);
        }
      }
    });
    EXPECT_GT(dropped, 0u);
    EXPECT_EQ(dropped, session->stats().evicted_total);
    for (std::vector<uint32_t>& positions : known) {  // Each once: resident, or dropped.
      std::sort(positions.begin(), positions.end());
      ASSERT_EQ(positions.size(), 400u);
      for (uint32_t p = 0; p < 400; ++p) ASSERT_EQ(positions[p], p);
    }
  }
}

TEST_P(Retention, TheAuditKnowsWhyACacheWasReadAgain) {
  const World world(Capped(12));  // Full before the context ends.
  SessionOptions asked;
  asked.policy = "corm";
  asked.audit = 100000;
  const std::unique_ptr<Session> session = MakeSession(world.engine, asked);
  const auto records = [&](DropCause cause) {
    std::vector<Audit::Record> found;
    session->ReadAudit([&](const Audit& audit) {
      for (const Audit::Record& record : audit.records()) {
        if (record.cause == cause) found.push_back(record);
      }
    });
    return found;
  };
  using Ranges = std::vector<std::pair<uint32_t, uint32_t>>;
  ASSERT_TRUE(Append(*session, Ids(600)).ok());
  ASSERT_FALSE(records(DropCause::kForced).empty());
  ASSERT_FALSE(records(DropCause::kRebase).empty());
  EXPECT_EQ(records(DropCause::kRebase)[0].rebased, 0u);
  EXPECT_GT(session->stats().rebased, 0u);
  ASSERT_TRUE(session->Recall(Ids(10), Go).ok());
  ASSERT_EQ(records(DropCause::kRecall).size(), 1u);
  EXPECT_EQ(records(DropCause::kRecall)[0].positions, (Ranges{{0, 599}}));
  EXPECT_EQ(records(DropCause::kRecall)[0].head, Audit::kAllHeads);
  ASSERT_TRUE(session->Pin(3, 9, Go).ok());
  EXPECT_EQ(records(DropCause::kPin).size(), 1u);
  ASSERT_TRUE(session->Purge(11, 21, Go).ok());
  ASSERT_EQ(records(DropCause::kPurge).size(), 1u);
  EXPECT_EQ(records(DropCause::kPurge)[0].positions, (Ranges{{11, 20}}));
  EXPECT_EQ(records(DropCause::kPurge)[0].step, 600u);
  world.faults->fail_in = 1;
  ASSERT_TRUE(Append(*session, Ids(1)).ok());
  EXPECT_EQ(records(DropCause::kLost).size(), 1u);
  session->Reset();
  EXPECT_EQ(records(DropCause::kReset).size(), 1u);
  EXPECT_EQ(records(DropCause::kRecall).size(), 1u) << "the audit outlives a reset";
}

CORM_ON_BACKENDS(Retention);

}  // namespace
}  // namespace cormorant::sim
