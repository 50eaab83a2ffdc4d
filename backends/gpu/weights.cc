// Packing and placing weights. See weights.h.
#include "backends/gpu/weights.h"

#include <algorithm>
#include <cstring>

#include "runtime/base/status.h"
#include "runtime/base/units.h"
#include "runtime/format/tiles.h"
#include "runtime/ops/weight_use.h"

namespace cormorant::GPU_NAMESPACE {
namespace {

constexpr uint64_t kPackBytes = 4u << 20;  // Packed at a time.

TiledShape ShapeOf(const HostTensor& tensor) {
  return {tensor.dtype, tensor.shape[0], tensor.shape[1]};
}

/// Where the parts of each tensor lie.
struct Layout {
  struct Place {
    WeightUse use = WeightUse::kNone;
    uint64_t data = 0, data_bytes = 0, scales = 0;
  };
  Layout(std::span<const HostTensor> tensors, const Tape& tape) {
    const std::vector<WeightUse> uses = WeightUses(tensors.size(), tape);
    const auto put = [this](uint64_t size) {
      const uint64_t at = bytes;
      bytes += RoundUp(size, kPartAlignment);
      return at;
    };
    for (size_t i = 0; i < tensors.size(); ++i) {
      Place& place = places.emplace_back();
      place.use = uses[i];
      if (place.use == WeightUse::kNone) continue;
      const TiledShape shape = ShapeOf(tensors[i]);
      const bool is_matrix = place.use == WeightUse::kMatrix;
      const uint64_t elements =
          uint64_t{tensors[i].shape[0]} * tensors[i].shape[1] * tensors[i].shape[2];
      place.data_bytes =
          is_matrix ? shape.QuadBytes(shape.tiles) : RowBytes(tensors[i].dtype, elements);
      place.data = put(place.data_bytes);
      place.scales = put(is_matrix ? shape.ScaleBytes(shape.tiles) : 0);
    }
  }
  std::vector<Place> places;
  uint64_t bytes = 0;
};

/// Packs matrices by pieces. While a piece is on its way to the device the next one is packed.
class Packer {
 public:
  /// With room for any piece of these tensors.
  static absl::StatusOr<Packer> Create(std::span<const HostTensor> tensors, const Layout& layout,
                                       GpuDevice* device) {
    uint64_t bytes = kPackBytes;
    for (size_t i = 0; i < tensors.size(); ++i) {
      if (layout.places[i].use != WeightUse::kMatrix) continue;
      const TiledShape shape = ShapeOf(tensors[i]);
      bytes = std::max(bytes, shape.QuadBytes(1) + shape.ScaleBytes(1));
    }
    Packer packer(device, bytes);
    CORM_ASSIGN_OR_RETURN(packer.memory_, device->AllocatePinned(2 * bytes));
    return packer;
  }

  absl::Status Load(const HostTensor& tensor, const Layout::Place& place, DeviceBuffer& to) {
    const TiledShape shape = ShapeOf(tensor);
    const uint64_t tile_bytes = shape.QuadBytes(1), tile_scale_bytes = shape.ScaleBytes(1);
    const uint32_t step = static_cast<uint32_t>(
        std::max<uint64_t>(1, piece_bytes_ / (tile_bytes + tile_scale_bytes)));
    for (uint32_t first = 0; first < shape.tiles; first += step) {
      const uint32_t count = std::min(step, shape.tiles - first);
      const std::span<std::byte> piece(memory_->data() + half_ * piece_bytes_, piece_bytes_);
      const std::span<std::byte> quads = piece.first(count * tile_bytes);
      const std::span<std::byte> scales = piece.subspan(quads.size(), count * tile_scale_bytes);
      std::memset(piece.data(), 0, quads.size() + scales.size());
      PackTiles(shape, tensor.data, first, first + count, quads.data(), scales.data());
      CORM_RETURN_IF_ERROR(device_->WaitForCopies());  // Of the other half.
      CORM_RETURN_IF_ERROR(device_->StartWrite(to, place.data + first * tile_bytes, quads));
      if (!scales.empty()) {
        CORM_RETURN_IF_ERROR(
            device_->StartWrite(to, place.scales + first * tile_scale_bytes, scales));
      }
      half_ = 1 - half_;
    }
    return absl::OkStatus();
  }

 private:
  Packer(GpuDevice* device, uint64_t piece_bytes) : device_(device), piece_bytes_(piece_bytes) {}

  GpuDevice* device_;
  uint64_t piece_bytes_;
  std::unique_ptr<PinnedMemory> memory_;  // Two pieces.
  uint64_t half_ = 0;                     // Which the next one goes to.
};

}  // namespace

uint64_t DeviceWeights::Bytes(std::span<const HostTensor> tensors, const Tape& tape) {
  return Layout(tensors, tape).bytes;
}

absl::StatusOr<std::unique_ptr<DeviceWeights>> DeviceWeights::Load(
    std::span<const HostTensor> tensors, const Tape& tape, GpuDevice* device,
    LoadObserver* observer) {
  const Layout layout(tensors, tape);
  uint64_t total = 0, done = 0;
  for (const Layout::Place& place : layout.places) total += place.data_bytes;
  auto weights = std::make_unique<DeviceWeights>();
  CORM_ASSIGN_OR_RETURN(weights->buffer_, device->Allocate(layout.bytes));
  weights->tensors_.assign(tensors.begin(), tensors.end());
  weights->places_.resize(tensors.size());
  CORM_ASSIGN_OR_RETURN(Packer packer, Packer::Create(tensors, layout, device));
  for (size_t i = 0; i < tensors.size(); ++i) {
    const Layout::Place& place = layout.places[i];
    if (place.use == WeightUse::kNone) continue;
    weights->places_[i] = {place.data, place.scales};
    if (place.use == WeightUse::kVector) {
      CORM_RETURN_IF_ERROR(
          device->Write(*weights->buffer_, place.data, {tensors[i].data, place.data_bytes}));
    } else {
      CORM_RETURN_IF_ERROR(packer.Load(tensors[i], place, *weights->buffer_));
    }
    done += place.data_bytes;
    if (observer == nullptr) continue;
    observer->Copied(i);
    observer->Loaded(static_cast<float>(static_cast<double>(done) / static_cast<double>(total)));
  }
  CORM_RETURN_IF_ERROR(device->WaitForCopies());
  return weights;
}

}  // namespace cormorant::GPU_NAMESPACE
