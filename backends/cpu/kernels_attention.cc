// Attention over one run of pages: scores, softmax, values, and CORM's stamps. See kernels.h.
//
// The queries of a tile share every key and value that is loaded: they are the query heads of one
// KV head (decode) and several rows of them (prefill). Keys lie transposed in a page, so lanes are
// slots in the scores and dimensions in the values, and neither needs a sum across lanes. Weights
// stay as they are until the row's log-sum-exp is known, and stamps are read off them: no key is
// read twice.
#include "backends/cpu/kernel_list.h"

namespace cormorant::cpu::CORM_ISA {
namespace {

constexpr uint32_t kPageSlots = 32;
// Vectors of slots or dimensions that all queries of a tile work on at once.
constexpr uint32_t kVectors = kAccumulators >= 2 * kTileRows ? 2 : 1;

// Pages lie anywhere, so the CPU does not foresee the next one: while one is worked on, what is at
// the same place of the next is asked for, `ahead` bytes from here.

template <int kQueries>
void ScorePageF16(const uint16_t* k, ptrdiff_t ahead, const float* q, uint32_t head_dim,
                  float* out) {
  for (uint32_t s = 0; s < kPageSlots; s += 16 * kVectors) {
    F32 acc[kQueries][kVectors];
    for (auto& sums : acc) {
      for (F32& sum : sums) sum = Zero();
    }
    for (uint32_t d = 0; d < head_dim; ++d) {
      F32 keys[kVectors];
      const uint16_t* at = k + d * kPageSlots + s;
      PrefetchFar(at, ahead);
      for (uint32_t v = 0; v < kVectors; ++v) keys[v] = LoadF16(at + 16 * v);
#pragma GCC unroll 8
      for (int j = 0; j < kQueries; ++j) {
        const F32 x = Set(q[d * kTileRows + static_cast<uint32_t>(j)]);
        for (uint32_t v = 0; v < kVectors; ++v) acc[j][v] = Fma(keys[v], x, acc[j][v]);
      }
    }
    for (int j = 0; j < kQueries; ++j) {
      for (uint32_t v = 0; v < kVectors; ++v) Store(out + j * kRunStride + s + 16 * v, acc[j][v]);
    }
  }
}

/// The quants of 32 dimensions of 16 keys as 8 groups of 4 dimensions, ready for dot products.
template <bool kQ4>
CORM_SIMD void LoadKeys(const uint8_t* k, ptrdiff_t ahead, uint32_t block, I8* w) {
  if constexpr (kQ4) {
#pragma GCC unroll 4
    for (uint32_t g = 0; g < 4; ++g) {
      const uint8_t* at = k + (block * 4 + g) * kPageSlots * 4;
      PrefetchFar(at, ahead);
      const I8 both = LoadBytes(at);
      w[2 * g] = LowNibbles(both);
      w[2 * g + 1] = HighNibbles(both);
    }
  } else {
#pragma GCC unroll 8
    for (uint32_t g = 0; g < 8; ++g) {
      const uint8_t* at = k + (block * 8 + g) * kPageSlots * 4;
      PrefetchFar(at, ahead);
      w[g] = ForDotS8(LoadBytes(at));
    }
  }
}

/// A page of quantized keys is two panels of 16 rows, the packed queries are a tile of activations.
/// Quants of q4_0 stay too large by 8, for which sums of the queries make up.
template <int kQueries, bool kQ4>
void ScorePageQuants(const uint8_t* k, const uint16_t* k_scale, ptrdiff_t ahead,
                     const uint8_t* tile, uint32_t head_dim, float* out) {
  constexpr TileBlock kLayout{kQueries};
  constexpr int kChains = kQueries <= 2 ? 2 : 1;
  for (uint32_t s = 0; s < kPageSlots; s += 16) {
    F32 acc[kQueries];
    for (F32& sum : acc) sum = Zero();
    for (uint32_t b = 0; b < head_dim / kBlock; ++b) {
      I8 w[8];
      LoadKeys<kQ4>(k + s * 4, ahead, b, w);
      PrefetchFar(k_scale + b * kPageSlots + s, ahead);
      const F32 scales = LoadF16(k_scale + b * kPageSlots + s);
      const F32 minimums = Mul(scales, Set(-8.0f));
      const uint8_t* block = tile + uint64_t{b} * kLayout.bytes();
#pragma GCC unroll 8
      for (int j = 0; j < kQueries; ++j) {
        const int8_t* x = reinterpret_cast<const int8_t*>(block + j * TileBlock::kRowBytes);
        I32 sum = DotPlanes<!kQ4, kChains>(w, x);
        if constexpr (!kQ4 && kS8Bias != 0) {
          const int32_t* halves = HalvesOf(kLayout, block, j);
          sum = SubI(sum, SetI(kS8Bias * (halves[0] + halves[1])));
        }
        const float d = reinterpret_cast<const float*>(block + kLayout.scales())[j];
        acc[j] = Fma(ToF32(sum), Mul(scales, Set(d)), acc[j]);
        if constexpr (kQ4) {
          const float x_sum = reinterpret_cast<const float*>(block + kLayout.sums())[j];
          acc[j] = Fma(minimums, Set(x_sum), acc[j]);
        }
      }
    }
    for (int j = 0; j < kQueries; ++j) Store(out + j * kRunStride + s, acc[j]);
  }
}

/// kWidth * 16 values of one row from dimension d on; of a lone vector those past `lanes` are 0.
template <RowType kType, uint32_t kWidth>
CORM_SIMD void LoadValues(const PageShape& shape, const uint8_t* page, ptrdiff_t ahead,
                          uint32_t slot, uint32_t d, uint32_t lanes, F32* row) {
  if constexpr (kType == RowType::kQ4) {
    const uint8_t* block = page + shape.v + slot * (shape.head_dim / 2) + d / kBlock * 16;
    PrefetchFar(block, ahead);
    if constexpr (kWidth == 2) {
      row[0] = LoadHalfBytes<false>(block);
      row[1] = LoadHalfBytes<true>(block);
    } else {
      row[0] = d % kBlock == 0 ? LoadHalfBytes<false>(block) : LoadHalfBytes<true>(block);
    }
    return;
  }
  for (uint32_t v = 0; v < kWidth; ++v) {
    const uint32_t at = slot * shape.head_dim + d + 16 * v;
    if constexpr (kType == RowType::kQ8) {
      const int8_t* from = reinterpret_cast<const int8_t*>(page + shape.v) + at;
      if (v == 0) PrefetchFar(from, ahead);
      row[v] = LoadI8(from);
    } else {
      const uint16_t* from = reinterpret_cast<const uint16_t*>(page + shape.v) + at;
      if (v == 0) PrefetchFar(from, ahead);
      row[v] = lanes == 16 ? LoadF16(from) : LoadF16Part(from, lanes);
    }
  }
}

/// Weights times the scales that values of quantized rows have in one block of 32 dimensions.
template <int kQueries>
void ScaleWeights(const RunTask& task, const float* weights, uint32_t block, float* scaled) {
  const uint32_t blocks = task.shape->head_dim / kBlock;
  for (uint32_t first = 0; first < task.slots; first += kPageSlots) {
    const uint8_t* page = task.pages[first / kPageSlots];
    const uint16_t* from = reinterpret_cast<const uint16_t*>(page + task.shape->v_scale) + block;
    uint16_t halves[kPageSlots];
    for (uint32_t s = 0; s < kPageSlots; ++s) halves[s] = from[s * blocks];
    for (uint32_t s = 0; s < kPageSlots; s += 16) {
      const F32 scales = LoadF16(halves + s);
      for (int j = 0; j < kQueries; ++j) {
        const uint32_t at = static_cast<uint32_t>(j) * kRunStride + first + s;
        Store(scaled + at, Mul(Load(weights + at), scales));
      }
    }
  }
}

/// kVectors * 16 dimensions from d on, for all rows of the run.
template <int kQueries, RowType kType, uint32_t kWidth>
void AddValues(const RunTask& task, const float* weights, uint32_t d, uint32_t lanes, float* o,
               uint32_t stride) {
  F32 acc[kQueries][kWidth];
  for (auto& sums : acc) {
    for (F32& sum : sums) sum = Zero();
  }
  for (uint32_t first = 0; first < task.slots; first += kPageSlots) {
    const uint8_t* page = task.pages[first / kPageSlots];
    const uint32_t left = task.slots - first;
    const ptrdiff_t ahead = left > kPageSlots ? task.pages[first / kPageSlots + 1] - page : 0;
    for (uint32_t s = 0; s < (left < kPageSlots ? left : kPageSlots); ++s) {
      F32 row[kWidth];
      LoadValues<kType, kWidth>(*task.shape, page, ahead, s, d, lanes, row);
#pragma GCC unroll 8
      for (int j = 0; j < kQueries; ++j) {
        const F32 w = Set(weights[j * kRunStride + first + s]);
        for (uint32_t v = 0; v < kWidth; ++v) acc[j][v] = Fma(row[v], w, acc[j][v]);
      }
    }
  }
  for (int j = 0; j < kQueries; ++j) {
    for (uint32_t v = 0; v < kWidth; ++v) {
      float* to = o + j * stride + d + 16 * v;
      if (lanes == 16) {
        Store(to, acc[j][v]);
      } else {
        StorePart(to, acc[j][v], lanes);
      }
    }
  }
}

template <int kQueries, RowType kType>
void ValuesOf(const RunTask& task, const float* weights, float* o, uint32_t stride) {
  const uint32_t head_dim = task.shape->head_dim;
  if constexpr (kType != RowType::kF16) {
    float scaled[kQueries * kRunStride];
    for (uint32_t d = 0; d < head_dim; d += 16 * kVectors) {
      if (d % kBlock == 0) ScaleWeights<kQueries>(task, weights, d / kBlock, scaled);
      AddValues<kQueries, kType, kVectors>(task, scaled, d, 16, o, stride);
    }
    return;
  }
  uint32_t d = 0;
  for (; d + 16 * kVectors <= head_dim; d += 16 * kVectors) {
    AddValues<kQueries, kType, kVectors>(task, weights, d, 16, o, stride);
  }
  for (; d < head_dim; d += 16) {
    const uint32_t lanes = head_dim - d < 16 ? head_dim - d : 16;
    AddValues<kQueries, kType, 1>(task, weights, d, lanes, o, stride);
  }
}

}  // namespace

uint64_t QueryBytes(const PageShape& shape) {
  const uint64_t floats = uint64_t{shape.head_dim} * kTileRows * sizeof(float);
  const uint64_t tile = TileBytes((shape.head_dim + kBlock - 1) / kBlock);
  if (shape.k_type == RowType::kQ4) return tile + floats + 64;
  return (floats > tile ? floats : tile) + 64;
}

void PackQueries(const PageShape& shape, const float* const* queries, uint32_t count, float scale,
                 uint8_t* packed) {
  const uint32_t head_dim = shape.head_dim, blocks = head_dim / kBlock;
  if (shape.k_type == RowType::kQ8) return QuantizeTile(queries, count, blocks, scale, packed);
  if (shape.k_type == RowType::kQ4) {
    float* rotated = reinterpret_cast<float*>(packed + TileBytes(blocks));
    const float* rows[kTileRows];
    for (uint32_t j = 0; j < count; ++j) {
      float* row = rotated + j * head_dim;
      __builtin_memcpy(row, queries[j], head_dim * sizeof(float));
      Hadamard(shape, row);
      rows[j] = row;
    }
    return QuantizeTile(rows, count, blocks, scale, packed);
  }
  float* to = reinterpret_cast<float*>(packed);
  for (uint32_t j = 0; j < count; ++j) {
    for (uint32_t d = 0; d < head_dim; ++d) to[d * kTileRows + j] = queries[j][d] * scale;
  }
}

void Scores(const RunTask& task, const uint8_t* packed, float* out) {
  const PageShape& shape = *task.shape;
  WithRows(task.queries, [&](auto queries) {
    constexpr int kQueries = decltype(queries)::value;
    for (uint32_t first = 0; first < task.slots; first += kPageSlots) {
      const uint8_t* page = task.pages[first / kPageSlots];
      const uint16_t* scales = reinterpret_cast<const uint16_t*>(page + shape.k_scale);
      // After the last one come values, of the first.
      const bool is_last = task.slots - first <= kPageSlots;
      const uint8_t* next =
          is_last ? task.pages[0] + shape.v : task.pages[first / kPageSlots + 1] + shape.k;
      const ptrdiff_t ahead = next - (page + shape.k);
      float* to = out + first;
      switch (shape.k_type) {
        case RowType::kF16:
          ScorePageF16<kQueries>(reinterpret_cast<const uint16_t*>(page + shape.k), ahead,
                                 reinterpret_cast<const float*>(packed), shape.head_dim, to);
          break;
        case RowType::kQ8:
          ScorePageQuants<kQueries, false>(page + shape.k, scales, ahead, packed, shape.head_dim,
                                           to);
          break;
        case RowType::kQ4:
          ScorePageQuants<kQueries, true>(page + shape.k, scales, ahead, packed, shape.head_dim,
                                          to);
      }
    }
  });
}

float Softmax(float* scores, uint32_t visible, uint32_t slots, float* greatest) {
  const uint32_t end = (slots + 15) / 16 * 16;
  const float none = -__builtin_inff();
  for (uint32_t s = visible; s < end; ++s) scores[s] = none;
  F32 most = Set(none);
  for (uint32_t s = 0; s < visible; s += 16) most = Max(most, Load(scores + s));
  *greatest = MaxLane(most);
  // With nothing visible the maximum is replaced by a number: all weights are then exp(-inf) = 0.
  const F32 shift = Set(visible == 0 ? 0.0f : -*greatest);
  F32 sum = Zero();
  for (uint32_t s = 0; s < end; s += 16) {
    const F32 weights = Exp(Add(Load(scores + s), shift));
    Store(scores + s, weights);
    sum = Add(sum, weights);
  }
  return Sum(sum);
}

void Values(const RunTask& task, const float* weights, float* o, uint32_t stride) {
  WithRows(task.queries, [&](auto queries) {
    constexpr int kQueries = decltype(queries)::value;
    switch (task.shape->v_type) {
      case RowType::kF16: ValuesOf<kQueries, RowType::kF16>(task, weights, o, stride); break;
      case RowType::kQ8: ValuesOf<kQueries, RowType::kQ8>(task, weights, o, stride); break;
      case RowType::kQ4: ValuesOf<kQueries, RowType::kQ4>(task, weights, o, stride);
    }
  });
}

void Merge(const float* parts, const float* factors, uint32_t runs, uint32_t stride,
           uint32_t head_dim, float* o) {
  for (uint32_t d = 0; d < head_dim; d += 16) {
    const uint32_t lanes = head_dim - d < 16 ? head_dim - d : 16;
    F32 sum = Zero();
    for (uint32_t r = 0; r < runs; ++r) {
      const float* part = parts + uint64_t{r} * stride + d;
      sum = Fma(lanes == 16 ? Load(part) : LoadPart(part, lanes), Set(factors[r]), sum);
    }
    if (lanes == 16) {
      Store(o + d, sum);
    } else {
      StorePart(o + d, sum, lanes);
    }
  }
}

// Plain loops of 16 lanes: the compiler turns them into vectors.
void Stamp(const RunTask& task, const float* weights, const float* factors, const uint32_t* steps,
           uint32_t reach) {
  constexpr uint32_t kOne = 0x3f800000u, kMost = 16u << 23;  // kDoublingsMost.
  for (uint32_t s = 0; s < task.slots; s += 16) {
    uint8_t* page = task.pages[s / kPageSlots];
    uint32_t* stamps =
        reinterpret_cast<uint32_t*>(page + task.shape->last_important) + s % kPageSlots;
    uint32_t newest[16];
    float x[16];
    for (uint32_t i = 0; i < 16; ++i) newest[i] = stamps[i];
    for (uint32_t j = 0; j < task.queries; ++j) {
      Store(x, Mul(Load(weights + j * kRunStride + s), Set(factors[j])));
      for (uint32_t i = 0; i < 16; ++i) {
        const uint32_t bits = __builtin_bit_cast(uint32_t, x[i]);
        const uint32_t doublings = bits - kOne < kMost ? bits - kOne : kMost;
        const uint32_t stamp = steps[j] + ((doublings >> 7) * reach >> 16);
        newest[i] = bits >= kOne && stamp > newest[i] ? stamp : newest[i];
      }
    }
    for (uint32_t i = 0; i < 16; ++i) stamps[i] = newest[i];
  }
}

void AddAttention(const RunTask& task, const float* weights, const float* factors) {
  for (uint32_t s = 0; s < task.slots; s += 16) {
    I32 added = SetI(0);
    for (uint32_t j = 0; j < task.queries; ++j) {
      added = AddI(added, RoundToInt(Mul(Load(weights + j * kRunStride + s), Set(factors[j]))));
    }
    uint32_t units[16];
    StoreI(units, added);
    uint8_t* page = task.pages[s / kPageSlots];
    uint32_t* sums =
        reinterpret_cast<uint32_t*>(page + task.shape->last_important) + s % kPageSlots;
    for (uint32_t i = 0; i < 16; ++i) sums[i] += sums[i] < 1u << 31 ? units[i] : 0u;
  }
}

}  // namespace cormorant::cpu::CORM_ISA
