// The ledger: caps hold at every moment, peaks are remembered, categories add up.
#include "runtime/cache/ledger.h"

#include <random>

#include "gtest/gtest.h"

namespace cormorant {
namespace {

using enum MemoryPlace;

TEST(Ledger, RefusesWhatWouldPassTheCapAndTakesNothing) {
  MemoryLedger ledger(100, 0);
  EXPECT_TRUE(ledger.Reserve(kDevice, MemoryCategory::kWeights, 60).ok());
  const absl::Status refused = ledger.Reserve(kDevice, MemoryCategory::kKvPages, 41);
  EXPECT_TRUE(absl::IsResourceExhausted(refused));
  EXPECT_NE(refused.message().find("kv_pages"), absl::string_view::npos) << refused;
  EXPECT_EQ(ledger.Read().used, 60u);
  EXPECT_TRUE(ledger.Reserve(kDevice, MemoryCategory::kKvPages, 40).ok());
}

TEST(Ledger, KvCapCoversPagesAndTheirMetadataOnly) {
  MemoryLedger ledger(0, 50);
  EXPECT_TRUE(ledger.Reserve(kDevice, MemoryCategory::kWeights, 1000).ok());
  EXPECT_TRUE(ledger.Reserve(kDevice, MemoryCategory::kKvMetadata, 20).ok());
  EXPECT_TRUE(ledger.Reserve(kDevice, MemoryCategory::kKvPages, 30).ok());
  EXPECT_TRUE(absl::IsResourceExhausted(ledger.Reserve(kDevice, MemoryCategory::kKvPages, 1)));
}

TEST(Ledger, HostBytesAreCountedBesideTheCapAndInsideTheKvCap) {
  MemoryLedger ledger(100, 50);
  EXPECT_TRUE(ledger.Reserve(kHost, MemoryCategory::kWeights, 1000).ok());
  EXPECT_TRUE(ledger.Reserve(kDevice, MemoryCategory::kWeights, 60).ok());
  EXPECT_TRUE(ledger.Reserve(kHost, MemoryCategory::kKvPages, 30).ok());
  EXPECT_TRUE(absl::IsResourceExhausted(ledger.Reserve(kHost, MemoryCategory::kKvPages, 21)));
  EXPECT_TRUE(absl::IsResourceExhausted(ledger.Reserve(kDevice, MemoryCategory::kKvPages, 21)));
  EXPECT_TRUE(ledger.Reserve(kDevice, MemoryCategory::kKvPages, 20).ok());
  ledger.Release(kHost, MemoryCategory::kWeights, 1000);
  const MemoryLedger::Snapshot now = ledger.Read();
  EXPECT_EQ(now.used, 80u);
  EXPECT_EQ(now.host_used, 30u);
  EXPECT_EQ(now.host_peak, 1030u);
  EXPECT_EQ(now.kv_used, 50u);
  EXPECT_EQ(now.by_category[static_cast<size_t>(MemoryCategory::kWeights)], 60u);
}

TEST(Ledger, AReservationIsGivenBackOnce) {
  MemoryLedger ledger(100, 0);
  {
    auto first = Reservation::Take(&ledger, kDevice, MemoryCategory::kStaging, 40);
    ASSERT_TRUE(first.ok());
    Reservation moved = *std::move(first);
    Reservation other;
    other = std::move(moved);
    EXPECT_EQ(ledger.Read().used, 40u);
    EXPECT_FALSE(Reservation::Take(&ledger, kDevice, MemoryCategory::kStaging, 61).ok());
    other = *Reservation::Take(&ledger, kDevice, MemoryCategory::kWeights, 50);
    EXPECT_EQ(ledger.Read().used, 50u);
  }
  EXPECT_EQ(ledger.Read().used, 0u);
}

TEST(Ledger, HugeRequestsDoNotWrapAround) {
  MemoryLedger ledger(100, 100);
  EXPECT_TRUE(ledger.Reserve(kDevice, MemoryCategory::kKvPages, 10).ok());
  EXPECT_FALSE(ledger.Reserve(kDevice, MemoryCategory::kKvPages, ~uint64_t{0} - 5).ok());
}

TEST(Ledger, RandomTrafficNeverPassesTheCap) {
  MemoryLedger ledger(1000, 400);
  std::mt19937 random(7);
  std::array<uint64_t, kMemoryCategories> held = {};
  uint64_t peak = 0;
  for (int i = 0; i < 20000; ++i) {
    const size_t c = random() % kMemoryCategories;
    const uint64_t bytes = random() % 200;
    if (random() % 2 == 0) {
      if (ledger.Reserve(kDevice, static_cast<MemoryCategory>(c), bytes).ok()) held[c] += bytes;
    } else {
      const uint64_t back = std::min(bytes, held[c]);
      ledger.Release(kDevice, static_cast<MemoryCategory>(c), back);
      held[c] -= back;
    }
    const MemoryLedger::Snapshot now = ledger.Read();
    uint64_t sum = 0;
    for (uint64_t h : held) sum += h;
    peak = std::max(peak, sum);
    ASSERT_EQ(now.used, sum);
    ASSERT_LE(now.used, 1000u);
    ASSERT_LE(now.kv_used, 400u);
    ASSERT_EQ(now.peak, peak);
  }
}

}  // namespace
}  // namespace cormorant
