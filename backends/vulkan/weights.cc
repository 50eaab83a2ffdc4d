// Packing and placing weights. See weights.h.
#include "backends/vulkan/weights.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "runtime/base/check.h"
#include "runtime/base/status.h"
#include "runtime/base/units.h"
#include "runtime/format/blocks.h"

namespace cormorant::vulkan {
namespace {

constexpr uint32_t kTile = 32;             // Rows and columns.
constexpr uint64_t kAlignment = 256;       // Of each part in its buffer.
constexpr uint64_t kPackBytes = 4u << 20;  // Packed at a time where memory is not mapped.

/// How the tape uses a tensor.
enum class Use : uint8_t { kNone, kVector, kMatrix };

std::vector<Use> FindUses(size_t count, const Tape& tape) {
  std::vector<Use> uses(count, Use::kNone);
  const auto use = [&](const Tensor& tensor, Use how) {
    if (tensor.region == Region::kWeights) uses[tensor.offset] = how;
  };
  for (const Op& op : tape.ops) {
    std::visit(
        [&](const auto& o) {
          using T = std::decay_t<decltype(o)>;
          ForEachTensor(o, [&](const Tensor& tensor, Access) { use(tensor, Use::kVector); });
          if constexpr (std::is_same_v<T, EmbedOp>) use(o.table, Use::kMatrix);
          if constexpr (std::is_same_v<T, MatMulOp>) use(o.w, Use::kMatrix);
        },
        op);
  }
  return uses;
}

/// Bytes of a 32-row tile and block of 32 columns.
uint64_t QuadBytes(DType dtype) {
  switch (dtype) {
    case DType::kF32: return kTile * kTile * 4;
    case DType::kF16:
    case DType::kBF16: return kTile * kTile * 2;
    case DType::kQ8_0: return kTile * kTile;
    default: return kTile * kTile / 2;
  }
}
/// Bytes of the scale of a row in such a block.
uint64_t ScaleBytes(DType dtype) {
  if (Info(dtype).block == 1) return 0;
  return dtype == DType::kQ4_1 ? 4 : 2;
}

struct Shape {
  uint32_t rows, columns, tiles, blocks;
};
Shape ShapeOf(const HostTensor& tensor) {
  const uint32_t rows = tensor.shape[0], columns = tensor.shape[1];
  return {rows, columns, static_cast<uint32_t>(CeilDiv(rows, kTile)),
          static_cast<uint32_t>(CeilDiv(columns, kTile))};
}

/// Bytes of the two parts of a tensor.
struct PartBytes {
  uint64_t data = 0, scales = 0;
};
PartBytes BytesOf(const HostTensor& tensor, Use use) {
  if (use == Use::kNone) return {};
  if (use == Use::kVector) {
    const uint64_t elements = uint64_t{tensor.shape[0]} * tensor.shape[1] * tensor.shape[2];
    return {RowBytes(tensor.dtype, elements), 0};
  }
  const Shape shape = ShapeOf(tensor);
  const uint64_t blocks = uint64_t{shape.tiles} * shape.blocks;
  return {blocks * QuadBytes(tensor.dtype), blocks * kTile * ScaleBytes(tensor.dtype)};
}

/// Word of a 4-bit type's quad: its eight columns in the order 0 4 1 5 2 6 3 7.
uint32_t NibbleWord(const uint8_t* quants, uint32_t word) {
  uint32_t result = 0;
  for (uint32_t i = 0; i < 8; ++i) {
    const uint32_t column = word * 8 + i;  // GGUF: columns 0..15 are low nibbles, 16..31 high.
    const uint32_t nibble = quants[column % 16] >> (column < 16 ? 0 : 4) & 15;
    result |= nibble << (8 * (i % 4) + (i < 4 ? 0 : 4));
  }
  return result;
}

/// One row's block of 32 columns; `to` is its first quad, of which the next is `stride` bytes on.
void PackBlock(DType dtype, const std::byte* row, uint32_t block, uint32_t columns, std::byte* to,
               uint64_t stride, std::byte* scale) {
  if (Info(dtype).block == 1) {
    const uint64_t element_bytes = RowBytes(dtype, 1), per_quad = 16 / element_bytes;
    const uint32_t live = std::min(columns - block * kTile, kTile);
    for (uint64_t column = 0; column < live; column += per_quad) {
      const uint64_t bytes = std::min(live - column, per_quad) * element_bytes;
      std::memcpy(to + column / per_quad * stride, row + (block * kTile + column) * element_bytes,
                  bytes);
    }
    return;
  }
  const std::byte* from = row + uint64_t{block} * Info(dtype).block_bytes;
  const uint64_t scale_bytes = ScaleBytes(dtype);
  std::memcpy(scale, from, scale_bytes);
  from += scale_bytes;
  if (dtype == DType::kQ8_0) {
    std::memcpy(to, from, 16);
    std::memcpy(to + stride, from + 16, 16);
    return;
  }
  for (uint32_t word = 0; word < 4; ++word) {
    const uint32_t bits = NibbleWord(reinterpret_cast<const uint8_t*>(from), word);
    std::memcpy(to + word * 4, &bits, 4);
  }
}

/// Tiles [first, last) of a matrix, to zeroed memory.
void PackTiles(const HostTensor& tensor, uint32_t first, uint32_t last, std::byte* quads,
               std::byte* scales) {
  const Shape shape = ShapeOf(tensor);
  const uint64_t row_bytes = RowBytes(tensor.dtype, shape.columns);
  const uint64_t quad_bytes = QuadBytes(tensor.dtype), scale_bytes = ScaleBytes(tensor.dtype);
  for (uint32_t tile = first; tile < last; ++tile) {
    const uint32_t live = std::min(shape.rows - tile * kTile, kTile);
    for (uint32_t lane = 0; lane < live; ++lane) {
      const std::byte* row = tensor.data + (uint64_t{tile} * kTile + lane) * row_bytes;
      for (uint32_t block = 0; block < shape.blocks; ++block) {
        const uint64_t at = uint64_t{tile - first} * shape.blocks + block;
        PackBlock(tensor.dtype, row, block, shape.columns, quads + at * quad_bytes + lane * 16,
                  kTile * 16, scales + (at * kTile + lane) * scale_bytes);
      }
    }
  }
}

/// Where tensors lie: in buffers of at most `limit` bytes that hold parts one after another.
class Layout {
 public:
  struct Spot {
    size_t buffer = 0;
    uint64_t offset = 0;
  };
  struct Place {
    Use use = Use::kNone;
    PartBytes bytes;
    Spot data, scales;
  };

  Layout(std::span<const HostTensor> tensors, const Tape& tape, uint64_t limit) : limit_(limit) {
    const std::vector<Use> uses = FindUses(tensors.size(), tape);
    for (size_t i = 0; i < tensors.size(); ++i) {
      Place& place = places_.emplace_back();
      place.use = uses[i];
      if (place.use == Use::kNone) continue;
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
  const Shape shape = ShapeOf(tensor);
  if (quads.mapped() != nullptr && scales.mapped() != nullptr) {
    PackTiles(tensor, 0, shape.tiles, quads.mapped() + quads_at, scales.mapped() + scales_at);
    return absl::OkStatus();
  }
  const uint64_t tile_quads = shape.blocks * QuadBytes(tensor.dtype);
  const uint64_t tile_scales = shape.blocks * kTile * ScaleBytes(tensor.dtype);
  const uint32_t step = static_cast<uint32_t>(std::max<uint64_t>(1, kPackBytes / tile_quads));
  std::vector<std::byte> packed_quads, packed_scales;
  for (uint32_t first = 0; first < shape.tiles; first += step) {
    const uint32_t count = std::min(step, shape.tiles - first);
    packed_quads.assign(count * tile_quads, std::byte{0});
    packed_scales.assign(count * tile_scales, std::byte{0});
    PackTiles(tensor, first, first + count, packed_quads.data(), packed_scales.data());
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
    case DType::kU32: break;
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
    if (place.use == Use::kNone) continue;
    DeviceBuffer& data = *weights->buffers_[place.data.buffer];
    DeviceBuffer& scales = *weights->buffers_[place.scales.buffer];
    weights->places_[i] = {data.address() + place.data.offset,
                           scales.address() + place.scales.offset};
    if (place.use == Use::kVector) {
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
