// The scheduler by simulation: requests of random length arrive, are resumed or removed at random;
// every token runs exactly once and in order, limits hold, and nobody starves.
#include "runtime/sched/scheduler.h"

#include <map>
#include <random>

#include "gtest/gtest.h"

namespace cormorant {
namespace {

TEST(Scheduler, LongPromptsRunInChunksAndShareTurnsWithDecode) {
  Scheduler scheduler({.prefill_chunk = 4, .decode_requests = 2});
  scheduler.Add(1, 10);
  scheduler.Add(2, 1);
  scheduler.Add(3, 1);
  scheduler.Add(4, 1);
  Batch batch = scheduler.Next();  // Decode first: two share a step.
  ASSERT_EQ(batch.size(), 2u);
  EXPECT_EQ(batch[0].request, 2u);
  EXPECT_EQ(batch[1].request, 3u);
  batch = scheduler.Next();  // Then the prompt's turn.
  ASSERT_EQ(batch.size(), 1u);
  EXPECT_EQ(batch[0].request, 1u);
  EXPECT_EQ(batch[0].tokens, 4u);
  batch = scheduler.Next();
  ASSERT_EQ(batch.size(), 1u);
  EXPECT_EQ(batch[0].request, 4u);
  EXPECT_TRUE(scheduler.Next().empty());  // The prompt is parked until resumed.
  scheduler.Resume(1);
  EXPECT_EQ(scheduler.Next()[0].tokens, 4u);
  scheduler.Resume(1);
  EXPECT_EQ(scheduler.Next()[0].tokens, 2u);
  EXPECT_TRUE(scheduler.idle());
}

TEST(Scheduler, ARequestMayAskForSmallerSteps) {
  Scheduler scheduler({.prefill_chunk = 4, .decode_requests = 2});
  scheduler.Add(1, 5, 2);
  scheduler.Add(2, 9, 100);
  EXPECT_EQ(scheduler.Next()[0].tokens, 2u);
  EXPECT_EQ(scheduler.Next()[0].tokens, 4u) << "the engine's chunk is never passed";
  scheduler.Resume(1);
  EXPECT_EQ(scheduler.Next()[0].tokens, 2u);
  scheduler.Resume(1);
  EXPECT_EQ(scheduler.Next()[0].tokens, 1u);
}

TEST(Scheduler, RandomTrafficRunsEveryTokenOnce) {
  for (uint32_t seed = 0; seed < 50; ++seed) {
    std::mt19937 random(seed);
    const Scheduler::Limits limits{1 + static_cast<uint32_t>(random() % 16),
                                   1 + static_cast<uint32_t>(random() % 4)};
    Scheduler scheduler(limits);
    std::map<RequestId, uint32_t> remaining;
    std::map<RequestId, int> waited;  // Steps a ready request has been passed over.
    RequestId next = 1;
    uint64_t added = 0, ran = 0, removed = 0;
    for (int step = 0; step < 2000; ++step) {
      if (random() % 3 == 0 && remaining.size() < 6) {
        const uint32_t tokens = 1 + random() % 40;
        scheduler.Add(next, tokens);
        remaining[next++] = tokens;
        added += tokens;
      }
      if (random() % 50 == 0 && !remaining.empty()) {
        scheduler.Remove(remaining.begin()->first);
        removed += remaining.begin()->second;
        waited.erase(remaining.begin()->first);
        remaining.erase(remaining.begin());
      }
      const Batch batch = scheduler.Next();
      EXPECT_EQ(batch.empty(), remaining.empty());
      EXPECT_LE(batch.size(), std::max(1u, limits.decode_requests));
      for (auto& [id, count] : waited) ++count;
      for (const BatchEntry& entry : batch) {
        ASSERT_TRUE(remaining.contains(entry.request));
        EXPECT_LE(entry.tokens, batch.size() > 1 ? 1 : std::max(1u, limits.prefill_chunk));
        remaining[entry.request] -= entry.tokens;
        ran += entry.tokens;
        EXPECT_LE(waited[entry.request], 16) << "starved";
        waited[entry.request] = 0;
        if (remaining[entry.request] == 0) {
          remaining.erase(entry.request);
          waited.erase(entry.request);
        } else {
          scheduler.Resume(entry.request);
        }
      }
    }
    uint64_t left = 0;
    for (const auto& [id, tokens] : remaining) left += tokens;
    EXPECT_EQ(added, ran + removed + left);
  }
}

}  // namespace
}  // namespace cormorant
