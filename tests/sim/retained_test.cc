// Retained tokens: in the cache, or on the host while they are not there, whatever happens.
//
// Method: the heads of a small model hold a token's row, or its copy is counted: together they are
// always as many as were retained. Where positions have moved, rows are told by the bytes of a
// token that the rest of the text does not have, and their keys are those of the place where they
// are.
#include <cmath>

#include "absl/strings/match.h"
#include "runtime/base/half.h"
#include "runtime/engine/conversation.h"
#include "tests/sim/world.h"

namespace cormorant::sim {
namespace {

class Retained : public SecretTest {
 protected:
  Retained() : SecretTest(11) {}
  static constexpr uint32_t kFrom = 30, kTo = 70, kCount = kTo - kFrom;

  static SessionOptions Corm() {
    SessionOptions options;
    options.policy = "corm";
    return options;
  }
  /// Rows of tokens [kFrom, kTo) that are in the cache, all heads, while positions are places.
  static uint64_t Resident(const Session& session) {
    uint64_t rows = 0;
    for (const std::vector<uint32_t>& positions : RowsOf(session)) {
      rows += static_cast<uint64_t>(std::count_if(
          positions.begin(), positions.end(), [](uint32_t p) { return kFrom <= p && p < kTo; }));
    }
    return rows;
  }
  uint64_t All() const { return uint64_t{kCount} * model_.kv_head_total(); }
  static std::vector<Audit::Record> Records(const Session& session, DropCause cause) {
    std::vector<Audit::Record> found;
    session.ReadAudit([&](const Audit& audit) {
      for (const Audit::Record& record : audit.records()) {
        if (record.cause == cause) found.push_back(record);
      }
    });
    return found;
  }
};

TEST_P(Retained, RowsLeaveForTheHostOnly) {
  for (const bool has_copies : {false, true}) {
    const std::shared_ptr<Engine> engine = Open(Capped(7));
    SessionOptions asked = Corm();
    asked.reread_most = 0;
    if (has_copies) {
      // Fewer than are dropped, and none is old enough.
      asked.host_copies = {.bytes_most = 8 * engine->plan().page_bytes, .seconds_most = 1e-9};
    }
    const std::unique_ptr<Session> session = MakeSession(engine, asked);
    ASSERT_TRUE(Append(*session, Ids(kFrom)).ok());
    ASSERT_TRUE(session->Append(Ids(kCount), RowUse::kRetainOnHost, Go).ok());
    const auto holds = [&](uint64_t, uint64_t) {
      const SessionCache::Stats stats = session->stats();
      EXPECT_EQ(Resident(*session) + stats.retained_rows, All());
      EXPECT_GE(stats.retained_bytes, stats.retained_rows * engine->plan().page_bytes / kPageRows);
      EXPECT_GE(stats.host_bytes, stats.retained_bytes);
      EXPECT_TRUE(has_copies || stats.host_rows == stats.retained_rows);
      const Session* const sessions[] = {session.get()};
      CheckInvariants(*engine, sessions);
      return !::testing::Test::HasFailure();
    };
    ASSERT_TRUE(session->Append(Ids(300), RowUse::kKeep, holds).ok());
    ASSERT_GT(session->stats().retained_rows, 0u) << "none has left: this shows nothing";
    ASSERT_GT(session->stats().evicted_total, session->stats().host_rows);
    // Reading again is forbidden, and what is on the host comes back all the same.
    const auto recalled = session->Recall(Ids(20), Go);
    ASSERT_TRUE(recalled.ok()) << recalled.status();
    EXPECT_TRUE(recalled->from_copies);
    EXPECT_TRUE(recalled->degraded);
    EXPECT_EQ(recalled->tokens_read, 0u);
    EXPECT_GT(recalled->found.rows, 0u);
    EXPECT_GT(session->stats().returned_total, 0u);
    EXPECT_TRUE(holds(0, 0));
    // Ordinary again: those on the host go with the others, those that are not may be dropped.
    ASSERT_TRUE(Append(*session, Ids(30)).ok());
    ASSERT_TRUE(session->Release(kFrom, kTo, Go).ok());
    EXPECT_EQ(session->stats().retained_rows, 0u);
    EXPECT_EQ(session->stats().host_rows > 0, has_copies);
    ASSERT_TRUE(Append(*session, Ids(60)).ok());
    EXPECT_LT(Resident(*session), All());
    EXPECT_EQ(session->stats().retained_rows, 0u);
  }
}

TEST_P(Retained, WithoutARecallNothingIsLookedAtButToBeForbiddenToRead) {
  SessionOptions asked = Corm();
  const std::unique_ptr<Session> session = MakeSession(Open(Capped(7)), asked);
  ASSERT_TRUE(Append(*session, Ids(400)).ok());
  // Dropped without copies: the log is read again, and then it is kept.
  ASSERT_LT(Resident(*session), All());
  bool has_read = false;
  ASSERT_TRUE(session
                  ->Retain(kFrom, kTo, RowUse::kRetainOnHost,
                           [&](uint64_t, uint64_t) { return has_read = true; })
                  .ok());
  EXPECT_TRUE(has_read);
  EXPECT_EQ(Resident(*session) + session->stats().retained_rows, All());
  const auto recalled = session->Recall(Ids(20), Go);
  ASSERT_TRUE(recalled.ok());
  EXPECT_FALSE(recalled->from_copies || recalled->degraded) << "not all has copies";
  EXPECT_EQ(recalled->tokens_read, 400u);
  EXPECT_EQ(Resident(*session) + session->stats().retained_rows, All());
}

TEST_P(Retained, WhatIsInTheCacheIsRetainedInPlace) {
  for (const RowUse how : {RowUse::kRetain, RowUse::kRetainOnHost}) {
    const std::unique_ptr<Session> session = MakeSession(Open(Capped(8)), Corm());
    const auto nothing_is_read = [](uint64_t, uint64_t) {
      ADD_FAILURE();
      return true;
    };
    ASSERT_TRUE(Append(*session, Ids(100)).ok());
    ASSERT_TRUE(session->Retain(kFrom, kTo, how, nothing_is_read).ok());
    EXPECT_EQ(session->UseOf(kFrom, kTo), how);
    ASSERT_TRUE(Append(*session, Ids(250)).ok());
    EXPECT_EQ(Resident(*session) == All(), how == RowUse::kRetain);
    EXPECT_EQ(Resident(*session) + session->stats().retained_rows, All());
    // The other way: rows that have left come back for it.
    const bool is_resident = how == RowUse::kRetain;
    const RowUse other = is_resident ? RowUse::kRetainOnHost : RowUse::kRetain;
    ASSERT_TRUE(session->Retain(kFrom, kTo, other, Go).ok());
    EXPECT_EQ(session->UseOf(kFrom, kTo), other);
    ASSERT_TRUE(Append(*session, Ids(100)).ok());
    EXPECT_EQ(Resident(*session) == All(), !is_resident);
    EXPECT_EQ(Resident(*session) + session->stats().retained_rows, All());
    ASSERT_TRUE(session->Release(kFrom, kTo, Go).ok());
    EXPECT_EQ(session->UseOf(0, session->tokens().size()), RowUse::kKeep);
    ASSERT_TRUE(Append(*session, Ids(30)).ok());
    EXPECT_LT(Resident(*session), All());
  }
}

TEST_P(Retained, LettingGoIsRefusedAndNoted) {
  SessionOptions asked = Corm();
  asked.audit = 1000;
  const std::unique_ptr<Session> session = MakeSession(Open(Capped(10)), asked);
  using Ranges = std::vector<std::pair<uint32_t, uint32_t>>;
  ASSERT_TRUE(Append(*session, Ids(150)).ok());
  ASSERT_TRUE(session->Pin(0, 20, Go).ok());
  ASSERT_TRUE(session->Retain(10, 30, RowUse::kRetain, Go).ok());
  ASSERT_TRUE(session->Retain(50, 60, RowUse::kRetainOnHost, Go).ok());
  EXPECT_EQ(session->pins().count(), 30u);
  EXPECT_EQ(Records(*session, DropCause::kRetain).size(), 2u);
  for (const auto& [from, to, named] : {std::tuple(0u, 11u, "10 up to 30 are retained;"),
                                        std::tuple(55u, 56u, "50 up to 60 are retained on the")}) {
    const absl::Status refused = session->MayGo(from, to);
    EXPECT_TRUE(absl::IsFailedPrecondition(refused)) << refused;
    EXPECT_TRUE(absl::StrContains(refused.message(), named)) << refused;
    EXPECT_EQ(Records(*session, DropCause::kRefused).back().positions, (Ranges{{from, to - 1}}));
    EXPECT_TRUE(absl::IsFailedPrecondition(session->Unpin(from, to, Go)));
  }
  EXPECT_TRUE(session->MayGo(30, 50).ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(session->Pin(55, 90, Go)));
  EXPECT_EQ(session->UseOf(0, 10), RowUse::kPin);
  ASSERT_TRUE(session->Unpin(0, 10, Go).ok());
  ASSERT_TRUE(session->Release(5, 55, Go).ok());
  EXPECT_EQ(Records(*session, DropCause::kRelease).size(), 2u);
  EXPECT_EQ(Records(*session, DropCause::kRelease)[0].positions, (Ranges{{10, 29}}));
  EXPECT_EQ(Records(*session, DropCause::kRelease)[1].positions, (Ranges{{50, 54}}));
  EXPECT_EQ(session->UseOf(0, 55), RowUse::kKeep);
  EXPECT_EQ(session->UseOf(0, 150), RowUse::kRetainOnHost);
  EXPECT_TRUE(absl::IsInvalidArgument(session->Retain(9, 9, RowUse::kRetain, Go)));
  EXPECT_TRUE(absl::IsInvalidArgument(session->Release(0, 151, Go)));
  // Purged tokens before move what is retained down.
  ASSERT_TRUE(session->Purge(0, 20, Go).ok());
  EXPECT_TRUE(session->retained_on_host().Covers(35, 40));
  EXPECT_EQ(session->retained_on_host().count(), 5u);
  session->Reset();
  EXPECT_EQ(session->UseOf(0, 150), RowUse::kKeep);
}

TEST_P(Retained, WhatCannotStayIsRefusedWithNothingChanged) {
  const std::shared_ptr<Engine> engine = Open(Capped(10));
  const std::unique_ptr<Session> session = MakeSession(engine, "corm");
  ASSERT_TRUE(Append(*session, Ids(400)).ok());
  const auto rows = RowsOf(*session);
  EXPECT_TRUE(absl::IsResourceExhausted(session->Retain(0, 300, RowUse::kRetain, Go)));
  const absl::Status refused = session->Retain(0, 129, RowUse::kRetainOnHost, Go);
  EXPECT_TRUE(absl::IsResourceExhausted(refused));
  EXPECT_TRUE(absl::StrContains(refused.message(), "a quarter of the context")) << refused;
  EXPECT_TRUE(absl::IsResourceExhausted(session->Append(Ids(129), RowUse::kRetainOnHost, Go)));
  EXPECT_EQ(session->tokens().size(), 400u);
  EXPECT_EQ(RowsOf(*session), rows);
  EXPECT_EQ(session->UseOf(0, 400), RowUse::kKeep);
  EXPECT_TRUE(session->Retain(0, 128, RowUse::kRetainOnHost, Go).ok());
  session->Reset();
  // Nothing could bring it back.
  const std::unique_ptr<Session> window = MakeSession(Open(Capped(10)), "window");
  ASSERT_TRUE(Append(*window, Ids(50)).ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(window->Retain(0, 9, RowUse::kRetainOnHost, Go)));
  EXPECT_TRUE(window->Retain(0, 9, RowUse::kRetain, Go).ok());
}

/// One head, so that all of a token's rows can be counted; positions move every few hundred tokens.
class RetainedThroughMoves : public ::testing::TestWithParam<const char*> {
 protected:
  static constexpr uint32_t kCount = 50;  // Not a number of whole pages.

  std::vector<uint32_t> Ids(size_t count) {
    std::vector<uint32_t> ids = RandomIds(random_, count, model_.vocab());
    for (uint32_t& id : ids) id = id == kSecret ? id + 1 : id;
    return ids;
  }
  EngineOptions Capped(const char* kv_type) const {
    EngineOptions options = Options(model_, GetParam());
    options.prefill_chunk = 16;
    options.kv_type = kv_type;
    options.kv_cap_bytes = KvCap(model_, options, 6);
    return options;
  }
  static SessionOptions Asked(PositionRule positions) {
    SessionOptions options;
    options.policy = "corm";
    options.positions = positions;
    options.zero_pages = true;  // A row that has left is not mistaken for one that has not.
    options.reread_most = 0;
    return options;
  }
  /// Keys of kSecret, f16, at all positions of the context.
  std::vector<std::vector<float>> Keys() const {
    const World world(Options(model_, GetParam()));
    const std::vector<std::byte> value = world.SecretRow();
    const std::unique_ptr<Session> session = MakeSession(world.engine, "none");
    EXPECT_TRUE(Append(*session, std::vector<uint32_t>(kContext, kSecret)).ok());
    std::vector<std::vector<float>> keys(kContext);
    ForSecrets(world, value,
               [&](uint32_t position, std::vector<float> key) { keys[position] = std::move(key); });
    return keys;
  }
  /// Calls found(position, key) for each row of kSecret, whose value in the first slot of a page is
  /// `value`, on a device of f16 rows.
  template <class F>
  static void ForSecrets(const World& world, const std::vector<std::byte>& value, F&& found) {
    const KvBinding& kv = *world.faults->compiled.back().kv;
    const KvPageLayout layout(kv.geometry);
    for (const Buffer* slab : kv.slabs) {
      if (slab == nullptr) continue;
      const std::vector<std::byte> bytes = world.Read(*slab);
      for (size_t at = 0; at + layout.page_bytes <= bytes.size(); at += layout.page_bytes) {
        const std::byte* const page = &bytes[at];
        for (uint32_t row = 0; row < kPageRows; ++row) {
          if (!std::equal(value.begin(), value.end(),
                          page + layout.v + layout.VIndex(row, 0) * 2)) {
            continue;
          }
          std::vector<float> key(layout.head_dim);
          for (uint32_t d = 0; d < layout.head_dim; ++d) {
            uint16_t half;
            std::memcpy(&half, page + layout.k + layout.KIndex(row, d) * 2, 2);
            key[d] = F16ToF32(half);
          }
          uint32_t position;
          std::memcpy(&position, page + layout.positions + row * 4, 4);
          found(position, std::move(key));
        }
      }
    }
  }

  static constexpr uint32_t kContext = 512;
  const TinyModel model_{{.layers = 1, .kv_heads = 1, .context = kContext}};
  std::mt19937 random_{12};
};

TEST_P(RetainedThroughMoves, NoRowIsLostAndKeysAreThoseOfTheirPlaces) {
  const std::vector<std::vector<float>> keys = Keys();
  for (const PositionRule rule :
       {PositionRule::kRebased, PositionRule::kWindowed, PositionRule::kOriginal}) {
    const World world(Capped("f16"));
    const std::vector<std::byte> value = world.SecretRow();
    const std::unique_ptr<Session> session = MakeSession(world.engine, Asked(rule));
    const auto copies = [&] { return session->stats().retained_rows; };
    ASSERT_TRUE(Append(*session, Ids(60)).ok());
    for (int more = 0; more < 2; ++more) {  // The second of them where positions have moved.
      ASSERT_TRUE(
          session->Append(std::vector<uint32_t>(kCount, kSecret), RowUse::kRetainOnHost, Go).ok());
      uint64_t most = 0;
      for (int i = 0; i < 130; ++i) {
        ASSERT_TRUE(Append(*session, Ids(10)).ok());
        ASSERT_EQ(world.Count(value) + copies(), kCount * (more + 1)) << i;
        most = std::max(most, copies());
      }
      ASSERT_GT(most, 0u);
    }
    EXPECT_EQ(session->stats().rebased > 4, rule != PositionRule::kOriginal);
    const uint64_t waiting = copies();
    const auto recalled = session->Recall(Ids(20), Go);
    ASSERT_TRUE(recalled.ok()) << recalled.status();
    ASSERT_TRUE(recalled->from_copies);
    EXPECT_GT(waiting, copies()) << "some are attended to, and stay";
    size_t count = 0;
    double error = 0.0, size = 0.0;
    ForSecrets(world, value, [&](uint32_t position, const std::vector<float>& key) {
      ++count;
      if (position >= kContext) return;  // Original ones, which never were turned.
      for (size_t d = 0; d < key.size(); ++d) {
        error += std::pow(key[d] - keys[position][d], 2);
        size += std::pow(keys[position][d], 2);
      }
    });
    EXPECT_EQ(count + copies(), kCount * 2u);
    EXPECT_LT(std::sqrt(error / size), 0.01);
    EXPECT_GT(count, 10u);
    EXPECT_EQ(Continue(*session, 5).size(), 5u);
  }
}

TEST_P(RetainedThroughMoves, RowsOfAnyTypeStay) {
  for (const char* type : {"q8_0", "q8_0:q4_0", "q4_0"}) {
    const std::shared_ptr<Engine> engine = Open(Capped(type));
    SessionOptions asked = Asked(PositionRule::kWindowed);
    asked.zero_pages = false;
    const std::unique_ptr<Session> session = MakeSession(engine, asked);
    ASSERT_TRUE(Append(*session, Ids(60)).ok());
    ASSERT_TRUE(session->Append(Ids(kCount), RowUse::kRetainOnHost, Go).ok());
    for (int i = 0; i < 20; ++i) {
      ASSERT_TRUE(Append(*session, Ids(100)).ok());
      const Session* const sessions[] = {session.get()};
      CheckInvariants(*engine, sessions);
    }
    EXPECT_GT(session->stats().rebased, 3u);
    // All are looked at: those that were resident have left, or are found with the others.
    const uint64_t before = session->stats().returned_total, waiting = session->stats().host_rows;
    ASSERT_GT(waiting, 0u) << type;
    EXPECT_EQ(waiting, session->stats().retained_rows);
    ASSERT_TRUE(session->Recall(Ids(20), Go).ok());
    EXPECT_GE(session->stats().returned_total - before, waiting);
  }
}

TEST_P(RetainedThroughMoves, WhateverCallOfTheDeviceFails) {
  // Each call in turn, of a stretch in which rows leave, positions move and a question looks back;
  // it fails once, or the device is lost.
  uint64_t calls = 0;
  for (const bool is_lost : {false, true}) {
    for (uint32_t fail_in = 1;; fail_in += GetParam() == std::string("cpu") ? 3 : 17) {
      const World world(Capped("f16"));
      const std::vector<std::byte> value = world.SecretRow();
      const std::unique_ptr<Session> session =
          MakeSession(world.engine, Asked(PositionRule::kWindowed));
      ASSERT_TRUE(Append(*session, Ids(60)).ok());
      ASSERT_TRUE(
          session->Append(std::vector<uint32_t>(kCount, kSecret), RowUse::kRetainOnHost, Go).ok());
      ASSERT_TRUE(Append(*session, Ids(330)).ok());
      ASSERT_EQ(session->stats().rebased, 0u);
      ASSERT_GT(session->stats().retained_rows, 0u);
      world.faults->fail_in = fail_in;
      world.faults->is_lost = is_lost;
      const absl::Status recalled = session->Recall(Ids(20), Go).status();
      session->Hold(80).IgnoreError();
      ASSERT_TRUE(session->Rewind(session->tokens().size()).ok());
      const absl::Status read = Append(*session, Ids(80));
      const bool has_failed = world.faults->fail_in == (is_lost ? 1u : 0u);
      ASSERT_TRUE(is_lost || (recalled.ok() && read.ok())) << recalled << read;
      world.faults->fail_in = 0;
      ASSERT_TRUE(Append(*session, Ids(10)).ok());
      EXPECT_EQ(world.Count(value) + session->stats().retained_rows, kCount) << fail_in;
      if (!has_failed) {
        EXPECT_GT(session->stats().rebased, 0u);
        break;
      }
      ++calls;
    }
  }
  EXPECT_GT(calls, 10u);
}

CORM_ON_BACKENDS(Retained);
CORM_ON_BACKENDS(RetainedThroughMoves);

}  // namespace
}  // namespace cormorant::sim
