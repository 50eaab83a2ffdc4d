// What VK_EXT_memory_budget says, as memory that is there and memory that is free.
//
// Method: the structures are filled by hand, and by a driver that answers as one with the extension
// does: the machine the tests run on may not have it.
#include "backends/vulkan/facts.h"

#include <gtest/gtest.h>

namespace cormorant::vulkan {
namespace {

constexpr uint64_t kMiB = 1u << 20;

/// Heap 0 is the host's, heap 1 the device's.
void Fill(uint64_t budget_bytes, uint64_t used_bytes, VkPhysicalDeviceMemoryProperties* memory,
          VkPhysicalDeviceMemoryBudgetPropertiesEXT* budget) {
  memory->memoryHeapCount = 2;
  memory->memoryHeaps[0].size = 64000 * kMiB;
  memory->memoryHeaps[1].size = 8000 * kMiB;
  budget->heapBudget[0] = 32000 * kMiB;
  budget->heapUsage[0] = 100 * kMiB;
  budget->heapBudget[1] = budget_bytes;
  budget->heapUsage[1] = used_bytes;
}

MemoryBudget BudgetOfHeap1(uint64_t budget_bytes, uint64_t used_bytes) {
  VkPhysicalDeviceMemoryProperties memory = {};
  VkPhysicalDeviceMemoryBudgetPropertiesEXT budget = {};
  Fill(budget_bytes, used_bytes, &memory, &budget);
  return BudgetOf(memory, budget, 1);
}

TEST(VulkanBudget, IsThatOfTheHeapOfDeviceMemory) {
  const MemoryBudget budget = BudgetOfHeap1(6000 * kMiB, 1500 * kMiB);
  EXPECT_EQ(budget.budget_bytes, 6000 * kMiB);
  EXPECT_EQ(budget.used_bytes, 1500 * kMiB);
  EXPECT_EQ(FreeBytes(budget, 8000 * kMiB), 4500 * kMiB);
}

TEST(VulkanBudget, IsNeverMoreThanTheHeap) {
  const MemoryBudget budget = BudgetOfHeap1(9000 * kMiB, 1000 * kMiB);
  EXPECT_EQ(budget.budget_bytes, 8000 * kMiB);
  EXPECT_EQ(FreeBytes(budget, 8000 * kMiB), 7000 * kMiB);
}

// Other programs came: the driver will evict what this one has past its budget.
TEST(VulkanBudget, UseBeyondItLeavesNothingFree) {
  EXPECT_EQ(FreeBytes(BudgetOfHeap1(500 * kMiB, 900 * kMiB), 8000 * kMiB), 0u);
}

TEST(VulkanBudget, WithoutTheExtensionAllOfTheHeapIsFree) {
  DeviceFacts facts;
  facts.has_budget = false;
  EXPECT_FALSE(ReadBudget(facts).has_value());
  EXPECT_EQ(FreeBytes(std::nullopt, 8000 * kMiB), 8000 * kMiB);
}

TEST(VulkanBudget, IsReadFromTheDriverEachTime) {
  static uint64_t used_bytes = 0;
  vkGetPhysicalDeviceMemoryProperties2 = [](VkPhysicalDevice,
                                            VkPhysicalDeviceMemoryProperties2* memory) {
    auto* const budget = static_cast<VkPhysicalDeviceMemoryBudgetPropertiesEXT*>(memory->pNext);
    ASSERT_EQ(budget->sType, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_BUDGET_PROPERTIES_EXT);
    Fill(6000 * kMiB, used_bytes, &memory->memoryProperties, budget);
  };
  DeviceFacts facts;
  facts.has_budget = true;
  facts.heap = 1;
  for (const uint64_t now : {10 * kMiB, 2000 * kMiB}) {
    used_bytes = now;
    const std::optional<MemoryBudget> budget = ReadBudget(facts);
    ASSERT_TRUE(budget.has_value());
    EXPECT_EQ(budget->budget_bytes, 6000 * kMiB);
    EXPECT_EQ(budget->used_bytes, now);
  }
}

}  // namespace
}  // namespace cormorant::vulkan
