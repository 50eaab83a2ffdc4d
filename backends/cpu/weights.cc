// Packing weights into panels. See weights.h.
#include "backends/cpu/weights.h"

#include <algorithm>
#include <cstring>

#include "runtime/base/status.h"
#include "runtime/base/units.h"
#include "runtime/format/blocks.h"
#include "runtime/format/dequantize.h"

namespace cormorant::cpu {
namespace {

constexpr uint64_t kPanelsAlignment = 4096;

uint32_t QuantBytes(DType dtype) {
  return dtype == DType::kQ8_0 ? kPanelRows * kBlock : kPanelRows * kBlock / 2;
}
uint32_t ScaleBytes(DType dtype) {
  return kPanelRows * (dtype == DType::kQ4_1 ? 4 : 2);
}

uint64_t TensorBytes(const HostTensor& tensor) {
  return RoundUp(PanelCount(tensor.shape[0]) * PanelBytes(tensor.dtype, tensor.shape[1]),
                 kPanelsAlignment);
}

/// Which tensors some matmul of the tape wants packed.
std::vector<bool> PackedTensors(std::span<const HostTensor> tensors, const Tape& tape) {
  std::vector<bool> packed(tensors.size(), false);
  for (const Op& op : tape.ops) {
    const auto* matmul = std::get_if<MatMulOp>(&op);
    if (matmul != nullptr && IsPacked(matmul->w.dtype)) packed[matmul->w.offset] = true;
  }
  return packed;
}

/// One block of one row into its place among the 16 rows of a panel's block.
void PackBlock(DType dtype, const std::byte* block, uint32_t row, uint8_t* quants) {
  const uint8_t* from = reinterpret_cast<const uint8_t*>(block);
  uint8_t* scales = quants + QuantBytes(dtype);
  std::memcpy(scales + row * 2, from, 2);
  from += 2;
  if (dtype == DType::kQ4_1) {
    std::memcpy(scales + kPanelRows * 2 + row * 2, from, 2);
    from += 2;
  }
  for (uint32_t group = 0; group < QuantBytes(dtype) / (kPanelRows * 4); ++group) {
    std::memcpy(quants + (group * kPanelRows + row) * 4, from + group * 4, 4);
  }
}

/// The block that PackBlock took.
void UnpackBlock(DType dtype, const uint8_t* quants, uint32_t row, std::byte* block) {
  uint8_t* to = reinterpret_cast<uint8_t*>(block);
  const uint8_t* scales = quants + QuantBytes(dtype);
  std::memcpy(to, scales + row * 2, 2);
  to += 2;
  if (dtype == DType::kQ4_1) {
    std::memcpy(to, scales + kPanelRows * 2 + row * 2, 2);
    to += 2;
  }
  for (uint32_t group = 0; group < QuantBytes(dtype) / (kPanelRows * 4); ++group) {
    std::memcpy(to + group * 4, quants + (group * kPanelRows + row) * 4, 4);
  }
}

/// Rows past the last of the tensor stay as they are: zero.
void PackPanel(const HostTensor& tensor, uint32_t panel, uint8_t* to) {
  const uint32_t blocks = tensor.shape[1] / kBlock;
  const uint64_t row_bytes = RowBytes(tensor.dtype, tensor.shape[1]);
  const uint32_t first = panel * kPanelRows;
  const uint32_t rows = std::min(kPanelRows, tensor.shape[0] - first);
  for (uint32_t r = 0; r < rows; ++r) {
    const std::byte* row = tensor.data + (first + r) * row_bytes;
    for (uint32_t b = 0; b < blocks; ++b) {
      PackBlock(tensor.dtype, row + uint64_t{b} * Info(tensor.dtype).block_bytes, r,
                to + b * PanelBytes(tensor.dtype, kBlock));
    }
  }
}

}  // namespace

bool IsPacked(DType dtype) {
  return dtype == DType::kQ4_0 || dtype == DType::kQ4_1 || dtype == DType::kQ8_0;
}

PanelType PanelTypeOf(DType dtype) {
  return dtype == DType::kQ4_0   ? PanelType::kQ4_0
         : dtype == DType::kQ4_1 ? PanelType::kQ4_1
                                 : PanelType::kQ8_0;
}

uint64_t PanelBytes(DType dtype, uint32_t columns) {
  return uint64_t{columns} / kBlock * (QuantBytes(dtype) + ScaleBytes(dtype));
}

void CpuWeights::ReadRow(uint64_t index, uint32_t row, float* to) const {
  const HostTensor& tensor = tensors_[index];
  const uint32_t columns = tensor.shape[1];
  if (panels_[index] == nullptr) {
    Dequantize(tensor.dtype, tensor.data + row * RowBytes(tensor.dtype, columns), columns, to);
    return;
  }
  const uint8_t* panel = panels_[index] + row / kPanelRows * PanelBytes(tensor.dtype, columns);
  std::byte block[sizeof(BlockQ8_0)];  // The largest of the packed types.
  for (uint32_t b = 0; b < columns / kBlock; ++b) {
    UnpackBlock(tensor.dtype, panel + b * PanelBytes(tensor.dtype, kBlock), row % kPanelRows,
                block);
    Dequantize(tensor.dtype, block, kBlock, to + b * kBlock);
  }
}

uint64_t CpuWeights::Bytes(std::span<const HostTensor> tensors, const Tape& tape) {
  const std::vector<bool> packed = PackedTensors(tensors, tape);
  uint64_t bytes = 0;
  for (size_t i = 0; i < tensors.size(); ++i) {
    if (packed[i]) bytes += TensorBytes(tensors[i]);
  }
  return bytes;
}

absl::StatusOr<std::unique_ptr<CpuWeights>> CpuWeights::Load(std::span<const HostTensor> tensors,
                                                             const Tape& tape,
                                                             LoadObserver* observer) {
  auto weights = std::make_unique<CpuWeights>();
  weights->tensors_.assign(tensors.begin(), tensors.end());
  weights->panels_.resize(tensors.size(), nullptr);
  const uint64_t total = Bytes(tensors, tape);
  CORM_ASSIGN_OR_RETURN(weights->memory_, AlignedMemory::Allocate(total));
  const std::vector<bool> packed = PackedTensors(tensors, tape);
  uint8_t* to = reinterpret_cast<uint8_t*>(weights->memory_.data());
  uint64_t done = 0;
  for (size_t i = 0; i < tensors.size(); ++i) {
    if (!packed[i]) continue;
    const uint64_t panel_bytes = PanelBytes(tensors[i].dtype, tensors[i].shape[1]);
    for (uint32_t p = 0; p < PanelCount(tensors[i].shape[0]); ++p) {
      PackPanel(tensors[i], p, to + done + p * panel_bytes);
    }
    weights->panels_[i] = to + done;
    done += TensorBytes(tensors[i]);
    if (observer != nullptr) {
      observer->Copied(i);
      observer->Loaded(static_cast<float>(done) / static_cast<float>(total));
    }
  }
  if (observer != nullptr) observer->Loaded(1.0f);
  return weights;
}

}  // namespace cormorant::cpu
