// A compiled tape on Vulkan: one command buffer, recorded once and submitted for every step.
//
// Addresses are push constants, so the command buffer holds all a step needs but the step buffer's
// bytes and the list of slabs; those are written to the plan's own memory before each submit. A
// barrier is recorded only before a dispatch that depends on one since the last barrier.
#pragma once
#include <memory>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "backends/vulkan/dispatch.h"

namespace cormorant::vulkan {

class DevicePlan final : public Plan {
 public:
  /// Device bytes beside the regions.
  static uint64_t Bytes(const Tape& tape, const KvGeometry& geometry, const Tuning& tuning,
                        uint64_t step_bytes);
  static absl::StatusOr<std::unique_ptr<DevicePlan>> Compile(const Tape& tape,
                                                             const Bindings& bindings,
                                                             const Tuning& tuning,
                                                             LogicalDevice* device,
                                                             Pipelines* pipelines);
  ~DevicePlan() override;

  absl::StatusOr<Tick> Submit(std::span<const std::byte> step);

 private:
  DevicePlan(const Bindings& bindings, LogicalDevice* device)
      : bindings_(bindings), device_(device) {}
  absl::Status Record(std::span<const Dispatch> dispatches, Pipelines* pipelines);
  absl::Status WriteSlabs();

  const Bindings bindings_;
  LogicalDevice* const device_;
  std::unique_ptr<DeviceBuffer> memory_;  // Slab addresses, step, scratch.
  std::unique_ptr<DeviceBuffer> upload_;  // The first two, where memory_ is not mapped.
  uint64_t step_at_ = 0, scratch_at_ = 0;
  VkCommandBuffer commands_ = VK_NULL_HANDLE;
  Tick last_ = 0;
  std::vector<VkDeviceAddress> slabs_;  // As the device has them.
};

}  // namespace cormorant::vulkan
