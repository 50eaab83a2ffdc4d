// ThreadPool and SpinWait: every thread runs in every round, and sees what others wrote before.
//
// Nothing here is atomic but what is under test, so that ThreadSanitizer sees every ordering that
// the pool fails to give. Pools have more threads than this machine has cores.
#include "platform/threads.h"

#include <atomic>
#include <numeric>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

namespace cormorant {
namespace {

constexpr uint32_t kManyThreads = 9;

/// Pool.Run with a callable.
template <class F>
void RunAll(ThreadPool& pool, F&& f) {
  pool.Run([](void* context, uint32_t thread) { (*static_cast<F*>(context))(thread); }, &f);
}

std::unique_ptr<ThreadPool> MakePool(uint32_t threads) {
  absl::StatusOr<std::unique_ptr<ThreadPool>> pool = ThreadPool::Create(threads);
  EXPECT_TRUE(pool.ok()) << pool.status();
  EXPECT_EQ((*pool)->threads(), threads);
  return *std::move(pool);
}

TEST(ThreadPool, RefusesNoneAndTooMany) {
  for (uint32_t threads : {0u, ThreadPool::kThreadsMax + 1, 0xffffffffu}) {
    const auto pool = ThreadPool::Create(threads);
    EXPECT_TRUE(absl::IsInvalidArgument(pool.status())) << threads;
  }
}

TEST(ThreadPool, EachThreadRunsOnceARoundAndTheCallerIsThreadZero) {
  for (uint32_t threads : {1u, 2u, 3u, kManyThreads}) {
    const std::unique_ptr<ThreadPool> pool = MakePool(threads);
    const pthread_t caller = pthread_self();
    std::vector<uint32_t> runs(threads, 0);
    std::vector<pthread_t> who(threads);
    for (uint32_t round = 1; round <= 200; ++round) {
      RunAll(*pool, [&](uint32_t thread) {
        ++runs[thread];
        who[thread] = pthread_self();
      });
      ASSERT_EQ(runs, std::vector<uint32_t>(threads, round));
      ASSERT_TRUE(pthread_equal(who[0], caller));
      for (uint32_t t = 1; t < threads; ++t) ASSERT_FALSE(pthread_equal(who[t], caller));
    }
  }
}

TEST(ThreadPool, WritesAreSeenBothWays) {
  const std::unique_ptr<ThreadPool> pool = MakePool(kManyThreads);
  std::vector<uint64_t> sums(kManyThreads, 0);
  uint64_t input = 0, want = 0;
  for (uint64_t round = 1; round <= 300; ++round) {
    input = round * 7919;  // Plain memory: only Run orders it.
    RunAll(*pool, [&](uint32_t thread) { sums[thread] += input + thread; });
    want += kManyThreads * input + kManyThreads * (kManyThreads - 1) / 2;
    ASSERT_EQ(std::accumulate(sums.begin(), sums.end(), uint64_t{0}), want);
  }
}

TEST(ThreadPool, OneFunctionAfterAnotherOnOnePool) {
  const std::unique_ptr<ThreadPool> pool = MakePool(4);
  std::vector<uint32_t> a(4, 0), b(4, 0);
  for (int round = 0; round < 100; ++round) {
    RunAll(*pool, [&](uint32_t thread) { a[thread] += 1; });
    RunAll(*pool, [&](uint32_t thread) { b[thread] += a[thread]; });
  }
  EXPECT_EQ(b, std::vector<uint32_t>(4, 5050));
}

TEST(ThreadPool, PoolsComeAndGoWithAndWithoutWork) {
  for (int i = 0; i < 50; ++i) {
    const std::unique_ptr<ThreadPool> idle = MakePool(5);
    const std::unique_ptr<ThreadPool> pool = MakePool(3);
    std::vector<uint32_t> runs(3, 0);
    RunAll(*pool, [&](uint32_t thread) { ++runs[thread]; });
    ASSERT_EQ(runs, std::vector<uint32_t>(3, 1));
  }
}

TEST(ThreadPool, PoolsOfDifferentCallersDoNotMeet) {
  // Each thread of an outer pool drives a pool of its own, as two engines in one process do.
  const std::unique_ptr<ThreadPool> outer = MakePool(3);
  std::vector<uint32_t> totals(3, 0);
  RunAll(*outer, [&](uint32_t thread) {
    const std::unique_ptr<ThreadPool> inner = MakePool(3);
    std::vector<uint32_t> runs(3, 0);
    for (int round = 0; round < 50; ++round) RunAll(*inner, [&](uint32_t t) { ++runs[t]; });
    totals[thread] = std::accumulate(runs.begin(), runs.end(), 0u);
  });
  EXPECT_EQ(totals, std::vector<uint32_t>(3, 150));
}

TEST(SpinWait, WaitsAsLongAsItTakes) {
  // Threads take turns at one plain cell, far more of them than cores: those that wait must give
  // their core away.
  const std::unique_ptr<ThreadPool> pool = MakePool(kManyThreads);
  std::atomic<uint32_t> turn{0};
  uint32_t cell = 0;
  RunAll(*pool, [&](uint32_t thread) {
    for (uint32_t round = 0; round < 50; ++round) {
      SpinWait wait;
      while (turn.load(std::memory_order_acquire) % kManyThreads != thread) wait.Once();
      ++cell;
      turn.fetch_add(1, std::memory_order_release);
    }
  });
  EXPECT_EQ(cell, kManyThreads * 50);
}

}  // namespace
}  // namespace cormorant
