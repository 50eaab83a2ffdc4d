// Loading weights. See weights.h.
#include "backends/cpu/weights.h"

#include <algorithm>

#include "runtime/base/status.h"
#include "runtime/base/units.h"
#include "runtime/format/dequantize.h"

namespace cormorant::cpu {
namespace {

constexpr uint64_t kPanelsAlignment = 4096;

uint64_t TensorBytes(const HostTensor& tensor) {
  return RoundUp(PanelCount(tensor.shape[0]) * PanelBytes(tensor.dtype, tensor.shape[1]),
                 kPanelsAlignment);
}

/// Which tensors some matmul of the tape wants packed.
std::vector<bool> PackedTensors(std::span<const HostTensor> tensors, const Tape& tape) {
  std::vector<bool> packed(tensors.size(), false);
  for (const Op& op : tape.ops) {
    const auto* matmul = std::get_if<MatMulOp>(&op);
    if (matmul != nullptr && IsBlockType(matmul->w.dtype)) packed[matmul->w.offset] = true;
  }
  return packed;
}

}  // namespace

void CpuWeights::ReadRow(uint64_t index, uint32_t row, float* to) const {
  const HostTensor& tensor = tensors_[index];
  const uint32_t columns = tensor.shape[1];
  if (panels_[index] == nullptr) {
    Dequantize(tensor.dtype, tensor.data + row * RowBytes(tensor.dtype, columns), columns, to);
    return;
  }
  const uint8_t* panel = panels_[index] + row / kPanelRows * PanelBytes(tensor.dtype, columns);
  ReadPanelRow(tensor.dtype, panel, row % kPanelRows, columns, to);
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
