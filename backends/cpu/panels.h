// Block types as panels of 16 rows (kernels.h says how they lie), and rows read back from them.
#pragma once
#include <cstdint>

#include "backends/backend.h"
#include "backends/cpu/kernels.h"

namespace cormorant::cpu {

PanelType PanelTypeOf(DType dtype);
/// Bytes of the panel that holds 16 rows of `columns`.
uint64_t PanelBytes(DType dtype, uint32_t columns);
inline uint32_t PanelCount(uint32_t rows) {
  return (rows + kPanelRows - 1) / kPanelRows;
}

/// Packs a panel of a tensor to zeroed memory: rows past the tensor's last stay zero.
void PackPanel(const HostTensor& tensor, uint32_t panel, uint8_t* to);
/// Row `row`, below 16, of a panel: the same bits as Dequantize gives.
void ReadPanelRow(DType dtype, const uint8_t* panel, uint32_t row, uint32_t columns, float* to);

}  // namespace cormorant::cpu
