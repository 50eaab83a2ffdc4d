// A model's weights as the Vulkan kernels want them (shaders/vulkan/weights.glsl).
//
// Matrices are packed in tiles of 32 rows by 32 columns, so that neighbouring lanes read
// neighbouring 16-byte quads; vectors stay as they are. All of it lies in a few large buffers.
#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "backends/backend.h"
#include "backends/vulkan/device.h"
#include "runtime/ops/tape.h"

namespace cormorant::vulkan {

/// kType of shaders/vulkan/weights.glsl.
uint32_t ShaderType(DType dtype);

class DeviceWeights final : public Weights {
 public:
  /// Bytes that Load will take.
  static uint64_t Bytes(std::span<const HostTensor> tensors, const Tape& tape,
                        const DeviceFacts& facts);
  static absl::StatusOr<std::unique_ptr<DeviceWeights>> Load(std::span<const HostTensor> tensors,
                                                             const Tape& tape,
                                                             LogicalDevice* device,
                                                             LoadObserver* observer);

  const HostTensor& tensor(uint64_t index) const { return tensors_[index]; }
  /// Address of a vector's floats, or of a matrix's quads.
  VkDeviceAddress data(uint64_t index) const { return places_[index].data; }
  VkDeviceAddress scales(uint64_t index) const { return places_[index].scales; }

 private:
  struct Place {
    VkDeviceAddress data = 0, scales = 0;
  };
  std::vector<HostTensor> tensors_;
  std::vector<Place> places_;
  std::vector<std::unique_ptr<DeviceBuffer>> buffers_;
};

}  // namespace cormorant::vulkan
