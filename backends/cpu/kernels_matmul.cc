// Matrix products: quantized activations with packed weights, and f32 with weights as they are.
//
// A panel of 16 weight rows fills the lanes, so a product needs no sum across them, and the weights
// of a block, once unpacked, serve all rows of a tile from registers. One row a tile (decode) is
// the same loop: the weights then stream from memory once and the arithmetic hides behind them.
#include "backends/cpu/kernel_list.h"

namespace cormorant::cpu::CORM_ISA {
namespace {

constexpr float kSteps = 127.0f * 128.0f;  // Of the greatest value of a block.

void QuantizeBlock(const float* x, float scale, TileBlock layout, uint8_t* block, uint32_t row) {
  const F32 a = Mul(Load(x), Set(scale)), b = Mul(Load(x + 16), Set(scale));
  const float greatest = MaxLane(Max(Abs(a), Abs(b)));
  const float d = greatest / kSteps, inverse = greatest > 0.0f ? kSteps / greatest : 0.0f;
  int8_t* planes = reinterpret_cast<int8_t*>(block + row * TileBlock::kRowBytes);
  int32_t sum = 0;
  for (uint32_t half = 0; half < 2; ++half) {
    const I32 q = RoundToInt(Mul(half == 0 ? a : b, Set(inverse)));
    const I32 high = ShiftRight<7>(AddI(q, SetI(64)));
    StoreLowBytes(planes + 16 * half, high);
    StoreLowBytes(planes + kBlock + 16 * half, SubI(q, ShiftLeft<7>(high)));
    sum += SumI(q);
  }
  reinterpret_cast<float*>(block + layout.scales())[row] = d;
  reinterpret_cast<float*>(block + layout.sums())[row] = d * static_cast<float>(sum);
  reinterpret_cast<int32_t*>(block + layout.biases())[row] = kS8Bias * sum;
}

template <PanelType kType>
constexpr uint32_t QuantBytes() {
  return kType == PanelType::kQ8_0 ? 512 : 256;
}
template <PanelType kType>
constexpr uint32_t ScaleBytes() {
  return kType == PanelType::kQ4_1 ? 64 : 32;
}

// How far ahead of its use a lone row asks for weights; past the end of a matrix that is no fault.
constexpr uint32_t kPrefetchBytes = 2048;

template <uint32_t kBytes>
CORM_SIMD void Prefetch(const uint8_t* at) {
#pragma GCC unroll 9
  for (uint32_t i = 0; i < kBytes; i += 64) __builtin_prefetch(at + i);
}

/// Unpacks the quants of one block into 8 groups of 4 columns.
template <PanelType kType>
CORM_SIMD void LoadQuants(const uint8_t* quants, I8* w) {
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    if constexpr (kType == PanelType::kQ8_0) {
      w[2 * i] = ForDotS8(LoadBytes(quants + 128 * i));
      w[2 * i + 1] = ForDotS8(LoadBytes(quants + 128 * i + 64));
    } else {
      const I8 both = LoadBytes(quants + 64 * i);
      w[i] = LowNibbles(both);
      w[i + 4] = HighNibbles(both);
    }
  }
}

/// acc += one block of one row of x with 16 rows of w.
template <PanelType kType, int kRows>
CORM_SIMD F32 AddBlock(F32 acc, const I8* w, F32 scales, F32 minimums, const uint8_t* block,
                       uint32_t row) {
  constexpr bool kSigned = kType == PanelType::kQ8_0;
  constexpr TileBlock kLayout{kRows};
  const int8_t* x = reinterpret_cast<const int8_t*>(block + row * TileBlock::kRowBytes);
  const float d = reinterpret_cast<const float*>(block + kLayout.scales())[row];
  constexpr int kChains = kRows == 1 ? 4 : kRows <= 4 ? 2 : 1;
  I32 sum = DotPlanes<kSigned, kChains>(w, x);
  if constexpr (kSigned && kS8Bias != 0) {
    sum = SubI(sum, SetI(reinterpret_cast<const int32_t*>(block + kLayout.biases())[row]));
  }
  acc = Fma(ToF32(sum), Mul(scales, Set(d)), acc);
  if constexpr (kSigned) return acc;
  const float x_sum = reinterpret_cast<const float*>(block + kLayout.sums())[row];
  return Fma(minimums, Set(x_sum), acc);
}

CORM_SIMD void StoreSums(float* y, F32 sums, uint32_t count, bool accumulate) {
  if (count == kPanelRows) {
    Store(y, accumulate ? Add(Load(y), sums) : sums);
  } else {
    StorePart(y, accumulate ? Add(LoadPart(y, count), sums) : sums, count);
  }
}

/// One panel with one tile of kRows rows.
template <PanelType kType, int kRows>
void MultiplyTile(const PanelTask& task, const uint8_t* panel, const uint8_t* tile, float* y,
                  uint32_t count) {
  constexpr uint32_t kBlockBytes = QuantBytes<kType>() + ScaleBytes<kType>();
  F32 acc[kRows];
  for (F32& sum : acc) sum = Zero();
  for (uint32_t b = 0; b < task.blocks; ++b) {
    I8 w[8];
    const uint8_t* quants = panel + uint64_t{b} * kBlockBytes;
    if constexpr (kRows == 1) Prefetch<kBlockBytes>(quants + kPrefetchBytes);
    LoadQuants<kType>(quants, w);
    const uint16_t* halves = reinterpret_cast<const uint16_t*>(quants + QuantBytes<kType>());
    const F32 scales = LoadF16(halves);
    F32 minimums = scales;
    if constexpr (kType == PanelType::kQ4_1) minimums = LoadF16(halves + 16);
    if constexpr (kType == PanelType::kQ4_0) minimums = Mul(scales, Set(-8.0f));
    const uint8_t* block = tile + uint64_t{b} * TileBlock{kRows}.bytes();
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      acc[r] = AddBlock<kType, kRows>(acc[r], w, scales, minimums, block, static_cast<uint32_t>(r));
    }
  }
  for (int r = 0; r < kRows; ++r) {
    StoreSums(y + static_cast<uint64_t>(r) * task.columns, acc[r], count, task.accumulate);
  }
}

template <PanelType kType>
void MultiplyPanelsOf(const PanelTask& task) {
  for (uint32_t p = task.first_panel; p < task.last_panel; ++p) {
    const uint8_t* panel = task.panels + p * task.panel_bytes;
    const uint32_t column = p * kPanelRows;
    const uint32_t left = task.columns - column;
    const uint32_t count = left < kPanelRows ? left : kPanelRows;
    for (uint32_t row = task.first_row; row < task.last_row; row += kTileRows) {
      const uint8_t* tile = task.tiles + row / kTileRows * task.tile_bytes;
      float* y = task.y + uint64_t{row} * task.columns + column;
      const uint32_t rows = task.last_row - row;
      WithRows(rows < kTileRows ? rows : kTileRows, [&](auto r) {
        MultiplyTile<kType, decltype(r)::value>(task, panel, tile, y, count);
      });
    }
  }
}

template <DenseType kType>
CORM_SIMD F32 LoadDense(const uint8_t* w, uint64_t at) {
  if constexpr (kType == DenseType::kF32) return Load(reinterpret_cast<const float*>(w) + at);
  const uint16_t* halves = reinterpret_cast<const uint16_t*>(w) + at;
  return kType == DenseType::kF16 ? LoadF16(halves) : LoadBF16(halves);
}

template <DenseType kType>
CORM_SIMD F32 LoadDensePart(const uint8_t* w, uint64_t at, uint32_t count) {
  if constexpr (kType == DenseType::kF32) {
    return LoadPart(reinterpret_cast<const float*>(w) + at, count);
  }
  uint16_t halves[16] = {};
  for (uint32_t i = 0; i < count; ++i) halves[i] = reinterpret_cast<const uint16_t*>(w)[at + i];
  return kType == DenseType::kF16 ? LoadF16(halves) : LoadBF16(halves);
}

/// kColumns columns of kRows rows of y.
template <DenseType kType, int kColumns, int kRows>
void MultiplyCells(const DenseTask& task, uint32_t column, uint32_t row) {
  F32 acc[kColumns][kRows];
  for (auto& sums : acc) {
    for (F32& sum : sums) sum = Zero();
  }
  const float* x = task.x + uint64_t{row} * task.inner;
  const uint64_t w_at = uint64_t{column} * task.inner;
  uint32_t k = 0;
  for (; k + 16 <= task.inner; k += 16) {
    for (int c = 0; c < kColumns; ++c) {
      const F32 w = LoadDense<kType>(task.w, w_at + uint64_t{task.inner} * c + k);
      for (int r = 0; r < kRows; ++r) {
        acc[c][r] = Fma(Load(x + uint64_t{task.inner} * r + k), w, acc[c][r]);
      }
    }
  }
  const uint32_t rest = task.inner - k;
  for (int c = 0; c < kColumns && rest != 0; ++c) {
    const F32 w = LoadDensePart<kType>(task.w, w_at + uint64_t{task.inner} * c + k, rest);
    for (int r = 0; r < kRows; ++r) {
      acc[c][r] = Fma(LoadPart(x + uint64_t{task.inner} * r + k, rest), w, acc[c][r]);
    }
  }
  for (int c = 0; c < kColumns; ++c) {
    for (int r = 0; r < kRows; ++r) {
      float& y = task.y[(uint64_t{row} + r) * task.columns + column + c];
      y = task.accumulate ? y + Sum(acc[c][r]) : Sum(acc[c][r]);
    }
  }
}

/// As many sums at a time as registers hold: 4 columns of up to 4 rows with 24, else 1 of up to 4.
template <DenseType kType>
void MultiplyDenseOf(const DenseTask& task) {
  constexpr uint32_t kColumns = kAccumulators >= 20 ? 4 : 1;
  for (uint32_t column = task.first_column; column < task.last_column;) {
    const bool is_wide = column + kColumns <= task.last_column;
    for (uint32_t row = task.first_row; row < task.last_row; row += 4) {
      const uint32_t rows = task.last_row - row;
      WithRows<4>(rows < 4 ? rows : 4, [&](auto r) {
        if (is_wide) {
          MultiplyCells<kType, kColumns, decltype(r)::value>(task, column, row);
        } else {
          MultiplyCells<kType, 1, decltype(r)::value>(task, column, row);
        }
      });
    }
    column += is_wide ? kColumns : 1;
  }
}

}  // namespace

uint64_t TileBytes(uint32_t blocks) {
  return (uint64_t{blocks} * TileBlock{kTileRows}.bytes() + 63) / 64 * 64;
}

void QuantizeTile(const float* const* rows, uint32_t count, uint32_t blocks, float scale,
                  uint8_t* tile) {
  const TileBlock layout{count};
  for (uint32_t r = 0; r < count; ++r) {
    for (uint32_t b = 0; b < blocks; ++b) {
      QuantizeBlock(rows[r] + b * kBlock, scale, layout, tile + uint64_t{b} * layout.bytes(), r);
    }
  }
}

void MultiplyPanels(const PanelTask& task) {
  switch (task.type) {
    case PanelType::kQ4_0: return MultiplyPanelsOf<PanelType::kQ4_0>(task);
    case PanelType::kQ4_1: return MultiplyPanelsOf<PanelType::kQ4_1>(task);
    case PanelType::kQ8_0: return MultiplyPanelsOf<PanelType::kQ8_0>(task);
  }
}

void MultiplyDense(const DenseTask& task) {
  switch (task.type) {
    case DenseType::kF32: return MultiplyDenseOf<DenseType::kF32>(task);
    case DenseType::kF16: return MultiplyDenseOf<DenseType::kF16>(task);
    case DenseType::kBF16: return MultiplyDenseOf<DenseType::kBF16>(task);
  }
}

}  // namespace cormorant::cpu::CORM_ISA
