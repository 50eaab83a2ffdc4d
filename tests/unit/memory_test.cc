// AlignedMemory: zeroed, aligned, counted to the byte, and failing when told to.
#include "platform/memory.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <thread>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

namespace cormorant {
namespace {

/// No test leaves a failure behind for the next.
class Memory : public ::testing::Test {
 protected:
  void TearDown() override {
    FailAllocation(0);
    EXPECT_EQ(AlignedMemoryBytes(), held_before_);
  }
  const uint64_t held_before_ = AlignedMemoryBytes();
};

TEST_F(Memory, BlocksAreZeroedAlignedAndCountedAsAskedFor) {
  // Around the page size and the huge page size, where the block is made in another way.
  constexpr uint64_t kHuge = 2u << 20;
  for (uint64_t bytes : {uint64_t{1}, uint64_t{63}, uint64_t{4095}, uint64_t{4096}, uint64_t{4097},
                         kHuge - 4096, kHuge - 1, kHuge, kHuge + 1, 3 * kHuge + 12345}) {
    const uint64_t before = AlignedMemoryBytes();
    absl::StatusOr<AlignedMemory> memory = AlignedMemory::Allocate(bytes);
    ASSERT_TRUE(memory.ok()) << memory.status();
    EXPECT_EQ(memory->bytes(), bytes);
    EXPECT_EQ(AlignedMemoryBytes(), before + bytes);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(memory->data()) % AlignedMemory::kAlignment, 0u);
    const std::byte* data = memory->data();
    EXPECT_TRUE(std::all_of(data, data + bytes, [](std::byte b) { return b == std::byte{0}; }));
    std::memset(memory->data(), 0xa5, bytes);  // Every byte is ours, to the last.
  }
}

TEST_F(Memory, WhatIsFreedComesBackZeroed) {
  for (int round = 0; round < 3; ++round) {
    absl::StatusOr<AlignedMemory> memory = AlignedMemory::Allocate(1 << 16);
    ASSERT_TRUE(memory.ok());
    EXPECT_EQ(memory->data()[12345], std::byte{0});
    std::memset(memory->data(), 0xff, memory->bytes());
  }
}

TEST_F(Memory, ZeroBytesAreGivenWithoutABlock) {
  absl::StatusOr<AlignedMemory> memory = AlignedMemory::Allocate(0);
  ASSERT_TRUE(memory.ok());
  EXPECT_EQ(memory->data(), nullptr);
  EXPECT_EQ(memory->bytes(), 0u);
}

TEST_F(Memory, MovesCarryTheBlockAndCountItOnce) {
  const uint64_t before = AlignedMemoryBytes();
  AlignedMemory a = *AlignedMemory::Allocate(100);
  AlignedMemory b = *AlignedMemory::Allocate(5000);
  const std::byte* const data = b.data();
  AlignedMemory c(std::move(b));
  EXPECT_EQ(b.data(), nullptr);
  EXPECT_EQ(b.bytes(), 0u);
  EXPECT_EQ(c.data(), data);
  a = std::move(c);
  EXPECT_EQ(a.data(), data);
  EXPECT_EQ(AlignedMemoryBytes(), before + 5100);
  c = AlignedMemory();
  EXPECT_EQ(AlignedMemoryBytes(), before + 5000);
}

TEST_F(Memory, ImpossibleSizesAreRefusedAndNotCounted) {
  const uint64_t before = AlignedMemoryBytes();
  for (uint64_t bytes : {std::numeric_limits<uint64_t>::max(),
                         std::numeric_limits<uint64_t>::max() - 4095, uint64_t{1} << 62}) {
    const absl::StatusOr<AlignedMemory> memory = AlignedMemory::Allocate(bytes);
    EXPECT_TRUE(absl::IsResourceExhausted(memory.status())) << memory.status();
  }
  EXPECT_EQ(AlignedMemoryBytes(), before);
}

TEST_F(Memory, TheNthAllocationFailsOnceAndOnlyThat) {
  for (uint64_t nth = 1; nth <= 5; ++nth) {
    FailAllocation(nth);
    for (uint64_t i = 1; i <= 8; ++i) {
      const absl::StatusOr<AlignedMemory> memory = AlignedMemory::Allocate(64);
      EXPECT_EQ(memory.ok(), i != nth) << "allocation " << i << ", failure asked for at " << nth;
      if (i == nth) {
        EXPECT_TRUE(absl::IsResourceExhausted(memory.status())) << memory.status();
      }
    }
  }
  FailAllocation(1);
  FailAllocation(0);  // Taken back.
  EXPECT_TRUE(AlignedMemory::Allocate(64).ok());
}

TEST_F(Memory, CountsHoldWhenManyThreadsAllocate) {
  const uint64_t before = AlignedMemoryBytes();
  std::vector<AlignedMemory> kept(4);
  std::vector<std::thread> threads;
  for (size_t t = 0; t < kept.size(); ++t) {
    threads.emplace_back([&, t] {
      for (uint64_t i = 1; i <= 200; ++i) kept[t] = *AlignedMemory::Allocate(i * 17);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(AlignedMemoryBytes(), before + kept.size() * 200 * 17);
}

TEST_F(Memory, TheMachineHasMemory) {
  const SystemMemory memory = ReadSystemMemory();
  EXPECT_GT(memory.total_bytes, 0u);
  EXPECT_GT(memory.free_bytes, 0u);
  EXPECT_LE(memory.free_bytes, memory.total_bytes);
}

}  // namespace
}  // namespace cormorant
