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
  int32_t* halves = reinterpret_cast<int32_t*>(block + layout.halves()) + 2 * row;
  for (uint32_t half = 0; half < 2; ++half) {
    const I32 q = RoundToInt(Mul(half == 0 ? a : b, Set(inverse)));
    const I32 high = ShiftRight<7>(AddI(q, SetI(64)));
    StoreLowBytes(planes + 16 * half, high);
    StoreLowBytes(planes + kBlock + 16 * half, SubI(q, ShiftLeft<7>(high)));
    halves[half] = SumI(q);
  }
  const int32_t sum = halves[0] + halves[1];
  reinterpret_cast<float*>(block + layout.scales())[row] = d;
  reinterpret_cast<float*>(block + layout.sums())[row] = d * static_cast<float>(sum);
}

template <PanelType kType>
constexpr PanelShape kShape = kPanelShapes[static_cast<int>(kType)];
template <PanelType kType>
constexpr int kParts = static_cast<int>(kShape<kType>.parts());
template <PanelType kType>
constexpr bool kIsLevels = kType == PanelType::kLevels32 || kType == PanelType::kLevels16;
template <PanelType kType>
constexpr bool kIsSigned = kType == PanelType::kQ8_0 || kIsLevels<kType>;

// How far ahead of its use a lone row asks for weights; past the end of a matrix that is no fault.
constexpr uint32_t kPrefetchBytes = 2048;

template <uint32_t kBytes>
CORM_SIMD void Prefetch(const uint8_t* at) {
#pragma GCC unroll 12
  for (uint32_t i = 0; i < kBytes; i += 64) __builtin_prefetch(at + i);
}

/// The fifth bits of groups kGroup..7.
template <int kGroup = 0>
CORM_SIMD void AddFifthBits(I8 plane, I8* w) {
  w[kGroup] = Or(w[kGroup], Bits<kGroup - 4>(plane, 16));
  if constexpr (kGroup < 7) AddFifthBits<kGroup + 1>(plane, w);
}

/// The fifth and sixth bits of four groups, from kGroup on.
template <int kGroup = 0>
CORM_SIMD void AddTwoBits(I8 plane, I8* w) {
  w[kGroup] = Or(w[kGroup], Bits<2 * kGroup - 4>(plane, 48));
  if constexpr (kGroup < 3) AddTwoBits<kGroup + 1>(plane, w);
}

/// Unpacks the quants of one block into 8 groups of 4 columns.
template <PanelType kType>
CORM_SIMD void LoadQuants(const uint8_t* quants, const int8_t* levels, I8* w) {
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
    if constexpr (kIsLevels<kType>) {
      w[i] = ForDotS8(Look(w[i], levels));
      w[i + 4] = ForDotS8(Look(w[i + 4], levels));
    }
  }
  if constexpr (kShape<kType>.quants == 320) AddFifthBits(LoadBytes(quants + 256), w);
  if constexpr (kShape<kType>.quants == 384) {
    AddTwoBits(LoadBytes(quants + 256), w);
    AddTwoBits(LoadBytes(quants + 320), w + 4);
  }
}

/// What a run of scales or minimums, the `run`-th of a block, says of 16 rows.
template <PanelType kType>
CORM_SIMD F32 LoadRun(const uint8_t* factors, const uint8_t* runs, int run) {
  constexpr PanelShape kPanel = kShape<kType>;
  if constexpr (kPanel.scale_bytes == 1) {
    const uint8_t* factor = factors + (run < kParts<kType> ? 0 : kPanelRows * 2);
    return Mul(LoadF16(reinterpret_cast<const uint16_t*>(factor)),
               LoadI8(reinterpret_cast<const int8_t*>(runs) + 16 * run));
  } else if constexpr (kPanel.scale_bytes == 4) {
    return Load(reinterpret_cast<const float*>(runs) + 16 * run);
  } else {
    return LoadF16(reinterpret_cast<const uint16_t*>(runs) + 16 * run);
  }
}

/// Scales and minimums of the parts of a block.
template <PanelType kType>
struct Scales {
  F32 scale[kParts<kType>], minimum[kParts<kType>];
};

template <PanelType kType>
CORM_SIMD Scales<kType> LoadScales(const uint8_t* factors, const uint8_t* runs) {
  Scales<kType> scales;
#pragma GCC unroll 2
  for (int part = 0; part < kParts<kType>; ++part) {
    scales.scale[part] = LoadRun<kType>(factors, runs, part);
    if constexpr (kShape<kType>.has_minimums()) {
      scales.minimum[part] = LoadRun<kType>(factors, runs, kParts<kType> + part);
    }
  }
  return scales;
}

/// acc += one block of one row of x with 16 rows of w.
template <PanelType kType, int kRows>
CORM_SIMD F32 AddBlock(F32 acc, const I8* w, const Scales<kType>& scales, const uint8_t* block,
                       uint32_t row) {
  constexpr TileBlock kLayout{kRows};
  constexpr int kGroups = 8 / kParts<kType>;
  constexpr int kChains = kRows == 1 ? 4 / kParts<kType> : kRows <= 4 ? 2 : 1;
  constexpr int32_t kBias = kIsSigned<kType> ? kS8Bias : kShape<kType>.bias;
  const int8_t* x = reinterpret_cast<const int8_t*>(block + row * TileBlock::kRowBytes);
  const float d = reinterpret_cast<const float*>(block + kLayout.scales())[row];
  const int32_t* halves = HalvesOf(kLayout, block, row);
#pragma GCC unroll 2
  for (int part = 0; part < kParts<kType>; ++part) {
    I32 sum = DotPlanes<kIsSigned<kType>, kChains, kGroups>(w + kGroups * part, x + 16 * part);
    if constexpr (kBias != 0) {
      const int32_t x_sum = kParts<kType> == 1 ? halves[0] + halves[1] : halves[part];
      sum = SubI(sum, SetI(kBias * x_sum));
    }
    acc = Fma(ToF32(sum), Mul(scales.scale[part], Set(d)), acc);
    if constexpr (kShape<kType>.has_minimums()) {
      const float x_sum = kParts<kType> == 1
                              ? reinterpret_cast<const float*>(block + kLayout.sums())[row]
                              : d * static_cast<float>(halves[part]);
      acc = Fma(scales.minimum[part], Set(x_sum), acc);
    }
  }
  return acc;
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
  constexpr PanelShape kPanel = kShape<kType>;
  constexpr uint32_t kBlockBytes = kPanel.quants + kPanel.scales;
  F32 acc[kRows];
  for (F32& sum : acc) sum = Zero();
  const uint8_t* factors = panel;
  for (uint32_t b = 0; b < task.blocks; ++b, panel += kBlockBytes) {
    if (kPanel.factors != 0 && b % (kFactorColumns / kBlock) == 0) {
      factors = panel;
      panel += kPanel.factors;
    }
    I8 w[8];
    if constexpr (kRows == 1) Prefetch<kBlockBytes>(panel + kPrefetchBytes);
    LoadQuants<kType>(panel, task.levels, w);
    const Scales<kType> scales = LoadScales<kType>(factors, panel + kPanel.quants);
    const uint8_t* block = tile + uint64_t{b} * TileBlock{kRows}.bytes();
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      acc[r] = AddBlock<kType, kRows>(acc[r], w, scales, block, static_cast<uint32_t>(r));
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
    case PanelType::kQ5_0: return MultiplyPanelsOf<PanelType::kQ5_0>(task);
    case PanelType::kQ5_1: return MultiplyPanelsOf<PanelType::kQ5_1>(task);
    case PanelType::kQ8_0: return MultiplyPanelsOf<PanelType::kQ8_0>(task);
    case PanelType::kQ2_K: return MultiplyPanelsOf<PanelType::kQ2_K>(task);
    case PanelType::kQ3_K: return MultiplyPanelsOf<PanelType::kQ3_K>(task);
    case PanelType::kQ4_K: return MultiplyPanelsOf<PanelType::kQ4_K>(task);
    case PanelType::kQ5_K: return MultiplyPanelsOf<PanelType::kQ5_K>(task);
    case PanelType::kQ6_K: return MultiplyPanelsOf<PanelType::kQ6_K>(task);
    case PanelType::kLevels32: return MultiplyPanelsOf<PanelType::kLevels32>(task);
    case PanelType::kLevels16: return MultiplyPanelsOf<PanelType::kLevels16>(task);
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
