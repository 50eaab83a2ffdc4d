// What a Vulkan device can do, as far as kernels and memory are chosen by it.
//
// The environment variable CORMORANT_VULKAN_DISABLE, a list as "timeline,uma", takes features away,
// so that what is written for lesser devices is tested on better ones; "cpu" makes a software
// driver run the kernels of GPUs.
#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "backends/backend.h"
#include "backends/vulkan/vulkan.h"

namespace cormorant::vulkan {

constexpr uint32_t kNoMemoryType = 0xffffffffu;

struct DeviceFacts {
  VkPhysicalDevice handle = VK_NULL_HANDLE;
  std::string name, driver;
  std::array<uint8_t, VK_UUID_SIZE> cache_uuid = {};
  bool usable = false;
  std::string reason;  // Why not usable.

  bool is_cpu = false;  // A software driver.
  bool is_uma = false;  // Device memory is the host's: it is mapped, nothing is staged.
  bool has_timeline = false;
  bool has_budget = false;       // VK_EXT_memory_budget
  bool has_integer_dot = false;  // Accelerated 4 x 8-bit dot products.
  bool has_shuffle = false;      // Between the lanes of a subgroup.
  uint32_t subgroup_size = 0;
  uint32_t shared_bytes_max = 0;
  uint32_t workgroup_max = 0;
  uint64_t allocation_max = 0;
  uint32_t queue_family = 0;

  // Memory types; kNoMemoryType where there is none.
  uint32_t device_type = kNoMemoryType;  // Fastest; mapped when is_uma.
  uint32_t window_type = kNoMemoryType;  // Device memory the host can write, on a discrete device.
  uint32_t upload_type = kNoMemoryType;  // Host memory the device reads.
  uint32_t readback_type = kNoMemoryType;  // Host memory the host reads fast.
  uint32_t heap = 0;                       // Of device_type.
  uint64_t heap_bytes = 0;
};

/// What VK_EXT_memory_budget says of a heap, from the two structures it fills.
MemoryBudget BudgetOf(const VkPhysicalDeviceMemoryProperties& memory,
                      const VkPhysicalDeviceMemoryBudgetPropertiesEXT& budget, uint32_t heap);
/// The heap of device memory now; nothing without the extension.
std::optional<MemoryBudget> ReadBudget(const DeviceFacts& facts);
/// What this process may still take of a heap.
uint64_t FreeBytes(const std::optional<MemoryBudget>& budget, uint64_t heap_bytes);

/// Every physical device of the machine; NOT_FOUND when there is no loader or driver. Opens the
/// loader at the first call.
absl::StatusOr<std::vector<DeviceFacts>> ReadDevices();

/// Messages of the validation layers since the last call; empty without CORMORANT_VULKAN_VALIDATE.
std::string TakeValidationMessages();

}  // namespace cormorant::vulkan
