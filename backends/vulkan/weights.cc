// Packing and placing weights. See weights.h.
#include "backends/vulkan/weights.h"

#include <algorithm>
#include <numeric>

#include "runtime/base/check.h"
#include "runtime/base/status.h"
#include "runtime/base/units.h"
#include "runtime/format/tiles.h"
#include "runtime/ops/weight_use.h"

namespace cormorant::vulkan {
namespace {

constexpr uint64_t kAlignment = 256;       // Of each part in its buffer.
constexpr uint64_t kPackBytes = 4u << 20;  // Packed at a time where memory is not mapped.

TiledShape ShapeOf(const HostTensor& tensor) {
  return {tensor.dtype, tensor.shape[0], tensor.shape[1]};
}

/// Bytes of the two parts of a tensor.
struct PartBytes {
  uint64_t data = 0, scales = 0;
};
PartBytes BytesOf(const HostTensor& tensor, WeightUse use) {
  if (use == WeightUse::kNone) return {};
  if (use == WeightUse::kVector) {
    const uint64_t elements = uint64_t{tensor.shape[0]} * tensor.shape[1] * tensor.shape[2];
    return {RowBytes(tensor.dtype, elements), 0};
  }
  const TiledShape shape = ShapeOf(tensor);
  return {shape.QuadBytes(shape.tiles), shape.ScaleBytes(shape.tiles)};
}

/// Where tensors lie: in buffers of at most `limit` bytes that hold parts one after another.
class Layout {
 public:
  struct Spot {
    size_t buffer = 0;
    uint64_t offset = 0;
  };
  struct Place {
    WeightUse use = WeightUse::kNone;
    PartBytes bytes;
    Spot data, scales;
  };

  Layout(std::span<const HostTensor> tensors, const Tape& tape, uint64_t limit) : limit_(limit) {
    const std::vector<WeightUse> uses = WeightUses(tensors.size(), tape);
    for (size_t i = 0; i < tensors.size(); ++i) {
      Place& place = places_.emplace_back();
      place.use = uses[i];
      if (place.use == WeightUse::kNone) continue;
      place.bytes = BytesOf(tensors[i], uses[i]);
      place.data = Put(place.bytes.data);
      place.scales = Put(place.bytes.scales);
    }
  }
  /// By tensor.
  const std::vector<Place>& places() const { return places_; }
  /// Bytes of each buffer.
  const std::vector<uint64_t>& buffers() const { return buffers_; }

 private:
  Spot Put(uint64_t bytes) {
    const uint64_t padded = RoundUp(bytes, kAlignment);
    if (buffers_.empty() || buffers_.back() + padded > limit_) buffers_.push_back(0);
    const Spot spot{buffers_.size() - 1, buffers_.back()};
    buffers_.back() += padded;
    return spot;
  }

  const uint64_t limit_;
  std::vector<Place> places_;
  std::vector<uint64_t> buffers_;
};

/// A part packed straight into mapped memory, or by pieces through staging.
absl::Status PackMatrix(const HostTensor& tensor, LogicalDevice* device, DeviceBuffer& quads,
                        uint64_t quads_at, DeviceBuffer& scales, uint64_t scales_at) {
  const TiledShape shape = ShapeOf(tensor);
  if (quads.mapped() != nullptr && scales.mapped() != nullptr) {
    PackTiles(shape, tensor.data, 0, shape.tiles, quads.mapped() + quads_at,
              scales.mapped() + scales_at);
    return absl::OkStatus();
  }
  const uint64_t tile_quads = shape.QuadBytes(1), tile_scales = shape.ScaleBytes(1);
  const uint32_t step = static_cast<uint32_t>(std::max<uint64_t>(1, kPackBytes / tile_quads));
  std::vector<std::byte> packed_quads, packed_scales;
  for (uint32_t first = 0; first < shape.tiles; first += step) {
    const uint32_t count = std::min(step, shape.tiles - first);
    packed_quads.assign(count * tile_quads, std::byte{0});
    packed_scales.assign(count * tile_scales, std::byte{0});
    PackTiles(shape, tensor.data, first, first + count, packed_quads.data(), packed_scales.data());
    CORM_RETURN_IF_ERROR(device->Write(quads, quads_at + first * tile_quads, packed_quads));
    CORM_RETURN_IF_ERROR(device->Write(scales, scales_at + first * tile_scales, packed_scales));
  }
  return absl::OkStatus();
}

}  // namespace

uint32_t ShaderType(DType dtype) {
  switch (dtype) {
    case DType::kF32: return 0;
    case DType::kF16: return 1;
    case DType::kBF16: return 2;
    case DType::kQ8_0: return 3;
    case DType::kQ4_0: return 4;
    case DType::kQ4_1: return 5;
    default: break;  // WhyUnsupported has refused it.
  }
  CORM_CHECK(false);
  return 0;
}

uint64_t DeviceWeights::Bytes(std::span<const HostTensor> tensors, const Tape& tape,
                              const DeviceFacts& facts) {
  const Layout layout(tensors, tape, facts.allocation_max);
  return std::accumulate(layout.buffers().begin(), layout.buffers().end(), uint64_t{0});
}

absl::StatusOr<std::unique_ptr<DeviceWeights>> DeviceWeights::Load(
    std::span<const HostTensor> tensors, const Tape& tape, LogicalDevice* device,
    LoadObserver* observer) {
  const Layout layout(tensors, tape, device->facts().allocation_max);
  uint64_t total = 0, done = 0;
  for (const Layout::Place& place : layout.places()) total += place.bytes.data;
  auto weights = std::make_unique<DeviceWeights>();
  for (const uint64_t bytes : layout.buffers()) {
    CORM_ASSIGN_OR_RETURN(auto buffer, device->Allocate(bytes, MemoryUse::kDevice));
    weights->buffers_.push_back(std::move(buffer));
  }
  weights->tensors_.assign(tensors.begin(), tensors.end());
  weights->places_.resize(tensors.size());
  for (size_t i = 0; i < tensors.size(); ++i) {
    const Layout::Place& place = layout.places()[i];
    if (place.use == WeightUse::kNone) continue;
    DeviceBuffer& data = *weights->buffers_[place.data.buffer];
    DeviceBuffer& scales = *weights->buffers_[place.scales.buffer];
    weights->places_[i] = {data.address() + place.data.offset,
                           scales.address() + place.scales.offset};
    if (place.use == WeightUse::kVector) {
      CORM_RETURN_IF_ERROR(
          device->Write(data, place.data.offset, {tensors[i].data, place.bytes.data}));
    } else {
      CORM_RETURN_IF_ERROR(
          PackMatrix(tensors[i], device, data, place.data.offset, scales, place.scales.offset));
    }
    done += place.bytes.data;
    if (observer == nullptr) continue;
    observer->Copied(i);
    observer->Loaded(static_cast<float>(static_cast<double>(done) / static_cast<double>(total)));
  }
  return weights;
}

}  // namespace cormorant::vulkan
