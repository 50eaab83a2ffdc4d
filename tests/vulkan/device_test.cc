// The device's memory where the host cannot reach it, on a driver that fails and is slow at will.
#include "backends/vulkan/device.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "tests/vulkan/fake_driver.h"

namespace cormorant::vulkan {
namespace {

std::unique_ptr<LogicalDevice> Open(const DeviceFacts& facts) {
  absl::StatusOr<std::unique_ptr<LogicalDevice>> device = LogicalDevice::Open(facts);
  EXPECT_TRUE(device.ok()) << device.status();
  return *std::move(device);
}

std::vector<std::byte> Counting(size_t bytes) {
  std::vector<std::byte> result(bytes);
  for (size_t i = 0; i < bytes; ++i) result[i] = static_cast<std::byte>(i * 7 + i / 251);
  return result;
}

// Odd sizes and more than the staging buffers hold; the driver's memory begins as garbage.
TEST(VulkanDevice, WithoutSharedMemoryBytesAreStaged) {
  FakeDriver driver;
  const std::unique_ptr<LogicalDevice> device = Open(driver.Facts());
  for (uint64_t bytes : {uint64_t{1}, uint64_t{13}, uint64_t{4096}, (uint64_t{9} << 20) + 7}) {
    auto buffer = device->Allocate(bytes, MemoryUse::kDevice);
    ASSERT_TRUE(buffer.ok()) << buffer.status();
    EXPECT_EQ((*buffer)->mapped(), nullptr) << "the one memory type is also that of uploads";
    std::vector<std::byte> got(bytes, std::byte{1});
    ASSERT_TRUE(device->Read(got, **buffer, 0).ok());
    EXPECT_EQ(std::count(got.begin(), got.end(), std::byte{0}), static_cast<ptrdiff_t>(bytes));
    const std::vector<std::byte> bytes_to_write = Counting(bytes - bytes / 3);
    ASSERT_TRUE(device->Write(**buffer, bytes / 3, bytes_to_write).ok());
    got.resize(bytes_to_write.size());
    ASSERT_TRUE(device->Read(got, **buffer, bytes / 3).ok());
    EXPECT_TRUE(got == bytes_to_write);
  }
}

TEST(VulkanDevice, WhatTheHostWritesAndReadsIsMapped) {
  FakeDriver driver;
  const std::unique_ptr<LogicalDevice> device = Open(driver.Facts());
  for (MemoryUse use : {MemoryUse::kUpload, MemoryUse::kReadback}) {
    const auto buffer = device->Allocate(100, use);
    ASSERT_TRUE(buffer.ok()) << buffer.status();
    EXPECT_NE((*buffer)->mapped(), nullptr);
  }
  DeviceFacts shared = driver.Facts();
  shared.is_uma = true;
  const std::unique_ptr<LogicalDevice> other = Open(shared);
  const auto buffer = other->Allocate(100, MemoryUse::kDevice);
  ASSERT_TRUE(buffer.ok()) << buffer.status();
  EXPECT_NE((*buffer)->mapped(), nullptr);
}

TEST(VulkanDevice, AWindowTakesSmallBuffersWhileItHasRoom) {
  FakeDriver driver;
  DeviceFacts facts = driver.Facts();
  facts.window_type = 1;
  const std::unique_ptr<LogicalDevice> device = Open(facts);
  EXPECT_NE((*device->Allocate(100, MemoryUse::kDevice))->mapped(), nullptr);
  EXPECT_EQ((*device->Allocate(5u << 20, MemoryUse::kDevice))->mapped(), nullptr);
  for (const char* function : {"vkAllocateMemory", "vkBindBufferMemory", "vkMapMemory"}) {
    driver.FailNext(function, VK_ERROR_OUT_OF_DEVICE_MEMORY, facts.window_type);
    const auto buffer = device->Allocate(100, MemoryUse::kDevice);
    ASSERT_TRUE(buffer.ok()) << function << ": " << buffer.status();
    EXPECT_EQ((*buffer)->mapped(), nullptr) << function;
  }
}

TEST(VulkanDevice, WhatFailsHalfwayIsFreed) {
  FakeDriver driver;
  DeviceFacts facts = driver.Facts();
  facts.window_type = 1;
  {
    const std::unique_ptr<LogicalDevice> device = Open(facts);
    for (int stage = 0; stage < 2; ++stage) {  // The staging buffers come with the first fills.
      ASSERT_TRUE(device->Allocate(5u << 20, MemoryUse::kDevice).ok());
    }
    const size_t objects = driver.objects();
    for (const char* function : {"vkAllocateMemory", "vkBindBufferMemory", "vkMapMemory"}) {
      for (uint32_t type : {0u, 1u}) {
        driver.FailNext(function, VK_ERROR_OUT_OF_HOST_MEMORY, type);
        const auto use = type == 0 ? MemoryUse::kUpload : MemoryUse::kDevice;
        device->Allocate(100, use).status().IgnoreError();
        EXPECT_EQ(driver.objects(), objects) << function << " of type " << type;
      }
    }
    driver.FailNext("vkCreateBuffer", VK_ERROR_OUT_OF_HOST_MEMORY);
    EXPECT_FALSE(device->Allocate(100, MemoryUse::kUpload).ok());
    EXPECT_EQ(driver.objects(), objects);
  }
  EXPECT_EQ(driver.objects(), 0u);
}

// A slab may be freed right after it was made, while it is still being zeroed.
TEST(VulkanDevice, BuffersLiveUntilTheirCopiesAreDone) {
  FakeDriver driver;
  const std::unique_ptr<LogicalDevice> device = Open(driver.Facts());
  device->Allocate(100, MemoryUse::kDevice)->reset();
  EXPECT_EQ(driver.freed_in_use(), 0u);
  auto buffer = device->Allocate(100, MemoryUse::kDevice);
  ASSERT_TRUE(device->Write(**buffer, 0, Counting(100)).ok());
  buffer->reset();
  EXPECT_EQ(driver.freed_in_use(), 0u);
}

}  // namespace
}  // namespace cormorant::vulkan
