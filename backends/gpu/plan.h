// A compiled tape: one graph that copies the step buffer to the device and runs the launches.
#pragma once
#include <memory>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "backends/gpu/device.h"

namespace cormorant::GPU_NAMESPACE {

class DevicePlan final : public Plan {
 public:
  /// GpuDevice bytes beside the regions.
  static uint64_t Bytes(const Tape& tape, const KvGeometry& geometry, uint64_t step_bytes);
  static absl::StatusOr<std::unique_ptr<DevicePlan>> Compile(const Tape& tape,
                                                             const Bindings& bindings,
                                                             GpuDevice* device);
  ~DevicePlan() override;

  absl::StatusOr<Tick> Submit(std::span<const std::byte> step);

 private:
  DevicePlan(const Bindings& bindings, GpuDevice* device) : bindings_(bindings), device_(device) {}

  const Bindings bindings_;
  GpuDevice* const device_;
  std::unique_ptr<DeviceBuffer> memory_;  // Slab addresses, step, scratch.
  std::unique_ptr<PinnedMemory> staged_;  // The first two, as the host writes them.
  std::unique_ptr<Graph> graph_;
  uint64_t step_at_ = 0;
  size_t slab_count_ = 0;  // That there is room for.
  Tick last_ = 0;
};

}  // namespace cormorant::GPU_NAMESPACE
