// One logical device with its queue: memory, transfers, and when work is done.
//
// Memory is few and large: a buffer here is one allocation, and what the runtime asks for are
// arenas, slabs and weights, never single tensors. Where the device shares the host's memory all of
// it is mapped and written in place; elsewhere bytes go through a ring of two staging buffers.
//
// One thread at a time, as Backend says.
#pragma once
#include <deque>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "backends/backend.h"
#include "backends/vulkan/facts.h"
#include "backends/vulkan/vulkan.h"

namespace cormorant::vulkan {

class LogicalDevice;

/// Bytes of one allocation. `mapped` is null where the host cannot reach them.
class DeviceBuffer final : public Buffer {
 public:
  ~DeviceBuffer() override;
  uint64_t bytes() const override { return bytes_; }
  VkBuffer handle() const { return handle_; }
  VkDeviceAddress address() const { return address_; }
  std::byte* mapped() const { return mapped_; }

 private:
  friend class LogicalDevice;
  explicit DeviceBuffer(LogicalDevice* device) : device_(device) {}
  LogicalDevice* const device_;
  VkBuffer handle_ = VK_NULL_HANDLE;
  VkDeviceMemory memory_ = VK_NULL_HANDLE;
  VkDeviceAddress address_ = 0;
  std::byte* mapped_ = nullptr;
  uint64_t bytes_ = 0;
  Tick copied_ = 0;               // When the last copy to it is done: it lives until then.
  uint64_t allocated_bytes_ = 0;  // Of device memory, as the driver rounds it.
};

enum class MemoryUse : uint8_t { kDevice, kUpload, kReadback };

class LogicalDevice {
 public:
  static absl::StatusOr<std::unique_ptr<LogicalDevice>> Open(const DeviceFacts& facts);
  ~LogicalDevice();

  const DeviceFacts& facts() const { return facts_; }
  VkDevice handle() const { return device_; }
  VkCommandPool command_pool() const { return command_pool_; }

  /// Zeroed, for kDevice; what the host is to write or read otherwise.
  absl::StatusOr<std::unique_ptr<DeviceBuffer>> Allocate(uint64_t bytes, MemoryUse use);
  absl::Status Write(DeviceBuffer& to, uint64_t offset, std::span<const std::byte> from);
  absl::Status Read(std::span<std::byte> to, const DeviceBuffer& from, uint64_t offset);

  /// Enqueues a recorded command buffer.
  absl::StatusOr<Tick> Submit(VkCommandBuffer commands);
  absl::Status Wait(Tick tick);

 private:
  friend class DeviceBuffer;
  explicit LogicalDevice(const DeviceFacts& facts) : facts_(facts) {}
  absl::Status Create();
  absl::Status CreateTimeline();
  /// A buffer in the kind of memory its use asks for, with any bytes.
  absl::StatusOr<std::unique_ptr<DeviceBuffer>> MakeBuffer(uint64_t bytes, MemoryUse use);
  absl::StatusOr<std::unique_ptr<DeviceBuffer>> Bind(uint64_t bytes, uint32_t memory_type,
                                                     bool is_mapped);
  /// CORMORANT_VULKAN_LOSE_AT=n: the first device to make n submits is lost with the n-th.
  absl::Status LoseForTest();
  absl::StatusOr<VkFence> FreeFence();

  /// A staging buffer with the commands that empty it.
  struct Stage {
    std::unique_ptr<DeviceBuffer> buffer;
    VkCommandBuffer commands = VK_NULL_HANDLE;
    Tick tick = 0;  // When its last copy is done.
  };
  absl::StatusOr<Stage*> NextStage();
  absl::StatusOr<Tick> RunCopy(Stage& stage, VkBuffer from, VkBuffer to, const VkBufferCopy& copy);
  absl::Status Fill(DeviceBuffer& buffer);

  const DeviceFacts facts_;
  VkDevice device_ = VK_NULL_HANDLE;
  VkQueue queue_ = VK_NULL_HANDLE;
  VkCommandPool command_pool_ = VK_NULL_HANDLE;
  VkSemaphore timeline_ = VK_NULL_HANDLE;  // Null without the feature: then fences do.
  struct Pending {
    Tick tick;
    VkFence fence;
  };
  std::deque<Pending> pending_;
  std::vector<VkFence> free_fences_;
  /// Device memory that buffers hold, and the most they ever did.
  uint64_t held_bytes_ = 0, held_bytes_most_ = 0;
  Tick tick_ = 0;
  uint64_t submits_ = 0, lose_at_ = 0;  // As a test asks; 0: never.
  Stage stages_[2];
  uint32_t next_stage_ = 0;
};

/// A memory barrier between everything before and everything after it, for the given accesses.
void RecordBarrier(VkCommandBuffer commands, VkPipelineStageFlags from_stage,
                   VkAccessFlags from_access, VkPipelineStageFlags to_stage,
                   VkAccessFlags to_access);

}  // namespace cormorant::vulkan
