// A model's weights on the device: matrices in tiles (runtime/format/tiles.h), vectors as they are,
// all in one allocation.
#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "backends/backend.h"
#include "backends/gpu/device.h"
#include "runtime/ops/tape.h"

namespace cormorant::GPU_NAMESPACE {

class DeviceWeights final : public Weights {
 public:
  /// Bytes that Load will take.
  static uint64_t Bytes(std::span<const HostTensor> tensors, const Tape& tape);
  static absl::StatusOr<std::unique_ptr<DeviceWeights>> Load(std::span<const HostTensor> tensors,
                                                             const Tape& tape, GpuDevice* device,
                                                             LoadObserver* observer);

  const HostTensor& tensor(uint64_t index) const { return tensors_[index]; }
  /// A vector's numbers, or a matrix's quads and scales.
  std::byte* data(uint64_t index) const { return buffer_->data() + places_[index].data; }
  std::byte* scales(uint64_t index) const { return buffer_->data() + places_[index].scales; }

 private:
  struct Place {
    uint64_t data = 0, scales = 0;
  };
  std::vector<HostTensor> tensors_;
  std::vector<Place> places_;
  std::unique_ptr<DeviceBuffer> buffer_;
};

}  // namespace cormorant::GPU_NAMESPACE
