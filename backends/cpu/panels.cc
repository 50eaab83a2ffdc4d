// Packing. See panels.h.
#include "backends/cpu/panels.h"

#include <algorithm>
#include <cstring>

#include "runtime/base/check.h"
#include "runtime/base/half.h"
#include "runtime/format/dequantize.h"
#include "runtime/format/quants.h"

namespace cormorant::cpu {
namespace {

constexpr uint32_t kGroupBytes = kPanelRows * 4;
constexpr uint16_t kSignOfHalf = 0x8000;

PanelShape ShapeOf(PanelType type) {
  return kPanelShapes[static_cast<size_t>(type)];
}
/// Types whose blocks are held as the file has them, but for the place of their parts.
bool IsAsStored(PanelType type) {
  return type == PanelType::kQ4_0 || type == PanelType::kQ4_1 || type == PanelType::kQ8_0;
}

template <class T>
void Put(T value, uint8_t* run, uint32_t row) {
  std::memcpy(run + row * sizeof(T), &value, sizeof(T));
}
template <class T>
T Get(const uint8_t* run, uint32_t row) {
  T value;
  std::memcpy(&value, run + row * sizeof(T), sizeof(T));
  return value;
}

/// One block of one row, quants in the order they have in the file.
void PackStored(DType dtype, const uint8_t* from, uint32_t row, uint8_t* quants) {
  const PanelShape shape = ShapeOf(PanelTypeOf(dtype));
  uint8_t* scales = quants + shape.quants;
  for (uint32_t at = 0; at < shape.scales; at += kPanelRows * 2) {
    std::memcpy(scales + at + row * 2, from, 2);
    from += 2;
  }
  for (uint32_t group = 0; group < shape.quants / kGroupBytes; ++group) {
    std::memcpy(quants + group * kGroupBytes + row * 4, from + group * 4, 4);
  }
}

/// Where the bits of a quant above its nibble are, from a block's start, and how many.
struct HighBits {
  uint32_t at, shift, mask;
};
HighBits HighBitsOf(const PanelShape& shape, uint32_t group) {
  if (shape.quants == 320) return {4 * kGroupBytes, group, 1};
  if (shape.quants == 384) return {(4 + group / 4) * kGroupBytes, group % 4 * 2, 3};
  return {0, 0, 0};
}

/// Quants of 32 columns of a row, in nibbles and what is above them.
void PutQuants(PanelType type, const int8_t* q, uint32_t row, uint8_t* quants) {
  const PanelShape shape = ShapeOf(type);
  for (uint32_t i = 0; i < kBlock; ++i) {
    const uint32_t group = i / 4, in = row * 4 + i % 4;
    const auto put = [&](uint32_t at, uint32_t bits, uint32_t shift) {
      quants[at + in] = static_cast<uint8_t>(quants[at + in] | bits << shift);
    };
    const auto quant = static_cast<uint32_t>(q[i] + shape.bias);
    put(group % 4 * kGroupBytes, quant & 15, group / 4 * 4);
    const HighBits high = HighBitsOf(shape, group);
    if (high.mask != 0) put(high.at, quant >> 4 & high.mask, high.shift);
  }
}

void GetQuants(PanelType type, const int8_t* levels, const uint8_t* quants, uint32_t row,
               int8_t* q) {
  const PanelShape shape = ShapeOf(type);
  for (uint32_t i = 0; i < kBlock; ++i) {
    const uint32_t group = i / 4, in = row * 4 + i % 4;
    if (type == PanelType::kQ8_0) {
      q[i] = static_cast<int8_t>(quants[group * kGroupBytes + in]);
      continue;
    }
    const HighBits high = HighBitsOf(shape, group);
    const uint32_t low = quants[group % 4 * kGroupBytes + in] >> (group / 4 * 4) & 15;
    const uint32_t quant = low | (quants[high.at + in] >> high.shift & high.mask) << 4;
    q[i] = levels != nullptr ? levels[quant]
                             : static_cast<int8_t>(static_cast<int32_t>(quant) - shape.bias);
  }
}

/// Levels to their numbers.
void NameLevels(const int8_t* levels, uint32_t count, int8_t* q) {
  int8_t names[256] = {};
  for (int8_t name = 0; name < 16; ++name) names[static_cast<uint8_t>(levels[name])] = name;
  for (uint32_t i = 0; i < count; ++i) q[i] = names[static_cast<uint8_t>(q[i])];
}

/// The factors of a block of a K type.
void PutFactors(const ScalesK& from, const PanelShape& shape, uint32_t row, uint8_t* factors) {
  Put(from.d, factors, row);
  if (!shape.has_minimums()) return;
  Put(static_cast<uint16_t>(from.dmin ^ kSignOfHalf), factors + kPanelRows * 2, row);
}

/// The run-th scale or minimum of 32 columns, `part` the first of their parts in a block.
struct Scaling {
  const BlockQuants* block;
  const ScalesK* bytes;
};
void PutRun(const Scaling& from, const PanelShape& shape, uint32_t part, uint32_t run, uint32_t row,
            uint8_t* scales) {
  const bool is_minimum = run >= shape.parts();
  const uint32_t i = part + run % shape.parts();
  uint8_t* const to = scales + run * kPanelRows * shape.scale_bytes;
  if (shape.scale_bytes == 1) {
    return Put(is_minimum ? from.bytes->minimum[i] : from.bytes->scale[i], to, row);
  }
  const float value = is_minimum ? from.block->minimum[i] : from.block->scale[i];
  if (shape.scale_bytes == 2) return Put(F32ToF16(value), to, row);
  Put(value, to, row);
}

float GetRun(const PanelShape& shape, const uint8_t* factors, const uint8_t* scales, uint32_t run,
             uint32_t row) {
  const uint8_t* const from = scales + run * kPanelRows * shape.scale_bytes;
  if (shape.scale_bytes == 1) {
    const uint32_t factor = run < shape.parts() ? 0 : kPanelRows * 2;
    return F16ToF32(Get<uint16_t>(factors + factor, row)) *
           static_cast<float>(Get<int8_t>(from, row));
  }
  return shape.scale_bytes == 2 ? F16ToF32(Get<uint16_t>(from, row)) : Get<float>(from, row);
}

/// A row of a tensor into its place among a panel's.
void PackRow(DType dtype, const std::byte* from, uint32_t columns, uint32_t row, uint8_t* panel) {
  const PanelType type = PanelTypeOf(dtype);
  const PanelShape shape = ShapeOf(type);
  const DTypeInfo info = Info(dtype);
  const int8_t* const levels = LevelsOf(dtype);
  BlockQuants block;
  ScalesK bytes;
  for (uint32_t at = 0; at < columns; at += info.block, from += info.block_bytes) {
    if (IsAsStored(type)) {
      PackStored(dtype, reinterpret_cast<const uint8_t*>(from), row, panel);
      panel += shape.quants + shape.scales;
      continue;
    }
    Unpack(dtype, from, &block);
    if (levels != nullptr) NameLevels(levels, info.block, block.q);
    if (shape.factors != 0) {
      bytes = UnpackScales(dtype, from);
      PutFactors(bytes, shape, row, panel);
      panel += shape.factors;
    }
    for (uint32_t i = 0; i < info.block; i += kBlock, panel += shape.quants + shape.scales) {
      PutQuants(type, block.q + i, row, panel);
      for (uint32_t run = 0; run < shape.runs(); ++run) {
        PutRun({&block, &bytes}, shape, i / kPartElements, run, row, panel + shape.quants);
      }
    }
  }
}

}  // namespace

PanelType PanelTypeOf(DType dtype) {
  switch (dtype) {
    case DType::kQ4_0: return PanelType::kQ4_0;
    case DType::kQ4_1: return PanelType::kQ4_1;
    case DType::kQ5_0: return PanelType::kQ5_0;
    case DType::kQ5_1: return PanelType::kQ5_1;
    case DType::kQ8_0: return PanelType::kQ8_0;
    case DType::kQ2_K: return PanelType::kQ2_K;
    case DType::kQ3_K: return PanelType::kQ3_K;
    case DType::kQ4_K: return PanelType::kQ4_K;
    case DType::kQ5_K: return PanelType::kQ5_K;
    case DType::kQ6_K: return PanelType::kQ6_K;
    default: break;
  }
  CORM_DCHECK(LevelsOf(dtype) != nullptr);
  return ScaledTogether(dtype) == kBlock ? PanelType::kLevels32 : PanelType::kLevels16;
}

uint64_t PanelBytes(DType dtype, uint32_t columns) {
  const PanelShape shape = ShapeOf(PanelTypeOf(dtype));
  return uint64_t{columns / kBlock} * (shape.quants + shape.scales) +
         uint64_t{columns / kFactorColumns} * shape.factors;
}

void PackPanel(const HostTensor& tensor, uint32_t panel, uint8_t* to) {
  const uint64_t row_bytes = RowBytes(tensor.dtype, tensor.shape[1]);
  const uint32_t first = panel * kPanelRows;
  const uint32_t rows = std::min(kPanelRows, tensor.shape[0] - first);
  for (uint32_t r = 0; r < rows; ++r) {
    PackRow(tensor.dtype, tensor.data + (first + r) * row_bytes, tensor.shape[1], r, to);
  }
}

void ReadPanelRow(DType dtype, const uint8_t* panel, uint32_t row, uint32_t columns, float* to) {
  const PanelType type = PanelTypeOf(dtype);
  const PanelShape shape = ShapeOf(type);
  const uint8_t* factors = panel;
  BlockQuants block;
  for (uint32_t at = 0; at < columns; at += kBlock, panel += shape.quants + shape.scales) {
    if (shape.factors != 0 && at % kFactorColumns == 0) {
      factors = panel;
      panel += shape.factors;
    }
    GetQuants(type, LevelsOf(dtype), panel, row, block.q);
    for (uint32_t half = 0; half < 2; ++half) {
      const uint32_t part = half % shape.parts();
      block.scale[half] = GetRun(shape, factors, panel + shape.quants, part, row);
      if (!shape.has_minimums()) continue;
      block.minimum[half] = GetRun(shape, factors, panel + shape.quants, shape.parts() + part, row);
    }
    Expand(block, shape.has_minimums(), kBlock, to + at);
  }
}

}  // namespace cormorant::cpu
