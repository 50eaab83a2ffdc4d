// The bytes of a KV page, as runtime/ops/kv_page.h lays them out, and the way to it.
//
// Keys lie transposed: f16 [dimension][32 rows], q8_0 words of four dimensions [.][32 rows], q4_0
// words of eight. Two rows share a word of f16 keys (and of key scales), so what stores keys has
// both, or stores bytes and halves as such. A word of half bytes is four dimensions in its bytes'
// low halves and four in the high ones.
#pragma once
#include "shaders/gpu/arguments.h"
#include "shaders/gpu/step.cuh"

namespace cormorant::GPU_NAMESPACE::kernels {

constexpr uint32_t kPageRows = 32;

GPU_FN uint32_t* PageOf(const CacheArguments& cache, uint32_t table, uint32_t head, uint32_t page) {
  const uint32_t heads = cache.step[kStepHeads];
  const uint64_t row = uint64_t{table} * heads + head;
  const uint32_t id = cache.tables[row * cache.pages_per_head + page];
  return cache.slabs[id / cache.pages_per_slab] +
         uint64_t{id % cache.pages_per_slab} * cache.page_words;
}

GPU_FN uint16_t* Halves(uint32_t* page, uint32_t part) {
  return reinterpret_cast<uint16_t*>(page + part);
}
GPU_FN float HalfAt(uint32_t* page, uint32_t part, uint32_t i) {
  return gpu::HalfToFloat(Halves(page, part)[i]);
}

GPU_FN float SignedByte(uint32_t word, uint32_t i) {
  return static_cast<float>(static_cast<int8_t>(word >> (8 * i) & 0xffu));
}
/// Four bytes of a word, times a scale.
GPU_FN gpu::Float4 Dequantize(uint32_t word, float scale) {
  return {scale * SignedByte(word, 0), scale * SignedByte(word, 1), scale * SignedByte(word, 2),
          scale * SignedByte(word, 3)};
}

GPU_FN float HalfByte(uint32_t word, uint32_t i) {
  return static_cast<float>(static_cast<int32_t>(word >> (8 * i) & 15u) - 8);
}
/// The low halves of the bytes of a word, times a scale.
GPU_FN gpu::Float4 DequantizeHalves(uint32_t word, float scale) {
  return {scale * HalfByte(word, 0), scale * HalfByte(word, 1), scale * HalfByte(word, 2),
          scale * HalfByte(word, 3)};
}

/// Dimensions that a word has.
GPU_FN uint32_t WordDimensions(RowType type) {
  return type == kHalfRows ? 2 : type == kByteRows ? 4 : 8;
}

/// Dimensions 4i..4i+3 of the key of a row; of q4_0 rows as they are held, rotated.
template <RowType kType>
GPU_FN gpu::Float4 Key4(const CacheArguments& cache, uint32_t* page, uint32_t row, uint32_t i) {
  if constexpr (kType != kHalfRows) {
    const float scale = HalfAt(page, cache.key_scales_at, i / 8 * kPageRows + row);
    if constexpr (kType == kByteRows) return Dequantize(page[i * kPageRows + row], scale);
    return DequantizeHalves(page[i / 2 * kPageRows + row] >> (i % 2 * 4), scale);
  }
  const uint32_t at = i * 4 * kPageRows + row;
  return {HalfAt(page, 0, at), HalfAt(page, 0, at + kPageRows), HalfAt(page, 0, at + 2 * kPageRows),
          HalfAt(page, 0, at + 3 * kPageRows)};
}

/// Dimensions 4i..4i+3 of the value of a row; of q4_0 rows as they are held, rotated.
template <RowType kType>
GPU_FN gpu::Float4 Value4(const CacheArguments& cache, uint32_t* page, uint32_t row, uint32_t i) {
  if constexpr (kType != kHalfRows) {
    const uint32_t block = row * (cache.head_dim / 32) + i / 8;
    const float scale = HalfAt(page, cache.value_scales_at, block);
    if constexpr (kType == kByteRows) {
      return Dequantize(page[cache.values_at + row * (cache.head_dim / 4) + i], scale);
    }
    return DequantizeHalves(page[cache.values_at + block * 4 + i % 4] >> (i / 4 % 2 * 4), scale);
  }
  const uint32_t* const at = page + cache.values_at + row * (cache.head_dim / 2) + i * 2;
  const uint32_t low = at[0], high = at[1];
  return {gpu::HalfToFloat(low & 0xffffu), gpu::HalfToFloat(low >> 16),
          gpu::HalfToFloat(high & 0xffffu), gpu::HalfToFloat(high >> 16)};
}

// Storing rows: exact to the byte, as kv_page.h says.

/// The scale of 32 dimensions whose greatest magnitude is `greatest`, and the factor to quants.
struct QuantScale {
  float d, inverse;
};
GPU_FN QuantScale QuantScaleOf(float greatest) {
  const float d = greatest / 127.0f;
  return {d, d == 0.0f ? 0.0f : 1.0f / d};
}
GPU_FN uint32_t QuantByte(float x, float inverse) {
  const float quant = gpu::RoundEven(x * inverse);
  const float clamped = gpu::Max(-127.0f, gpu::Min(quant, 127.0f));
  return static_cast<uint32_t>(static_cast<int32_t>(clamped)) & 0xffu;
}

/// The same for 32 rotated dimensions between `least` and `most`, in half bytes.
GPU_FN QuantScale HalfByteScaleOf(float least, float most) {
  const float greatest = most >= -least ? most : least;
  const float d = gpu::Abs(greatest) < 9.5367431640625e-7f ? 0.0f : greatest / -8.0f;  // 2^-20
  return {d, d == 0.0f ? 0.0f : 1.0f / d};
}
GPU_FN uint32_t QuantHalfByte(float x, float inverse) {
  const float quant = gpu::RoundEven(x * inverse);
  const float clamped = gpu::Max(-8.0f, gpu::Min(quant, 7.0f));
  return static_cast<uint32_t>(static_cast<int32_t>(clamped) + 8);
}

/// Stores 32 rotated dimensions from `first` on, x[0..32), of a row's key or value.
template <class Numbers>
GPU_FN void StoreHalfBytes(const CacheArguments& cache, const Numbers& x, uint32_t at,
                           uint32_t first, uint32_t* page, uint32_t row, bool is_key) {
  float least = x[at], most = x[at];
  for (uint32_t d = 1; d < 32; ++d) {
    const float one = x[at + d];
    least = gpu::Min(least, one);
    most = gpu::Max(most, one);
  }
  const QuantScale scale = HalfByteScaleOf(least, most);
  const uint32_t block = first / 32, of_row = row * (cache.head_dim / 32) + block;
  Halves(page, is_key ? cache.key_scales_at
                      : cache.value_scales_at)[is_key ? block * kPageRows + row : of_row] =
      static_cast<uint16_t>(gpu::FloatToHalf(scale.d));
  for (uint32_t w = 0; w < 4; ++w) {
    const uint32_t low = at + w * (is_key ? 8 : 4), high = low + (is_key ? 4 : 16);
    uint32_t word = 0;
    for (uint32_t j = 0; j < 4; ++j) {
      word |= QuantHalfByte(x[low + j], scale.inverse) << (8 * j);
      word |= QuantHalfByte(x[high + j], scale.inverse) << (8 * j + 4);
    }
    page[is_key ? (block * 4 + w) * kPageRows + row : cache.values_at + of_row * 4 + w] = word;
  }
}

/// The resident rows of a head of sequence 0: what a block of KvAges, KvCompact or KvRebase has.
struct Head {
  uint32_t index, table, count;
};
GPU_FN Head HeadOf(const CacheArguments& cache) {
  const uint32_t head = gpu::Block();
  return {head, Sequence(cache.step, 0, kTable), Count(cache.step, 0, head)};
}
GPU_FN uint32_t* PageOfSlot(const CacheArguments& cache, const Head& head, uint32_t slot) {
  return PageOf(cache, head.table, head.index, slot / kPageRows);
}

/// Age and position of a row, and whether it may be evicted.
struct RowState {
  bool is_evictable;
  uint32_t age, position;
};
GPU_FN uint32_t HashAge(uint32_t head, uint32_t position) {
  uint32_t x = head * 0x9e3779b9u ^ position;
  x = (x ^ (x >> 16)) * 0x85ebca6bu;
  x = (x ^ (x >> 13)) * 0xc2b2ae35u;
  return x ^ (x >> 16);
}
GPU_FN uint32_t FloatBits(uint32_t x) {
  return gpu::AsWord(static_cast<float>(x));
}
GPU_FN uint32_t AttentionAge(uint32_t attention, uint32_t tokens) {
  return FloatBits(0xffffffffu) - FloatBits(attention) + FloatBits(tokens) - FloatBits(1);
}
GPU_FN gpu::Float4 AnyKey4(const CacheArguments& cache, uint32_t* page, uint32_t row, uint32_t i) {
  if (cache.key_type == kHalfRows) return Key4<kHalfRows>(cache, page, row, i);
  if (cache.key_type == kByteRows) return Key4<kByteRows>(cache, page, row, i);
  return Key4<kHalfByteRows>(cache, page, row, i);
}
GPU_FN gpu::Float4 AnyValue4(const CacheArguments& cache, uint32_t* page, uint32_t row,
                             uint32_t i) {
  if (cache.value_type == kHalfRows) return Value4<kHalfRows>(cache, page, row, i);
  if (cache.value_type == kByteRows) return Value4<kByteRows>(cache, page, row, i);
  return Value4<kHalfByteRows>(cache, page, row, i);
}
/// Steps by which a row is younger for the size of its value. Magnitudes are summed in the order
/// of KvAgesOp.
GPU_FN uint32_t ValueReach(const CacheArguments& cache, uint32_t* page, uint32_t row,
                           uint32_t reach) {
  gpu::Float4 sum = {0.0f, 0.0f, 0.0f, 0.0f};
  for (uint32_t i = 0; i < cache.head_dim / 4; ++i) {
    const gpu::Float4 v = AnyValue4(cache, page, row, i);
    sum.x += gpu::Abs(v.x);
    sum.y += gpu::Abs(v.y);
    sum.z += gpu::Abs(v.z);
    sum.w += gpu::Abs(v.w);
  }
  return Reach(kValueUnits * ((sum.x + sum.y) + (sum.z + sum.w)), reach);
}
GPU_FN uint32_t LastImportantAge(const CacheArguments& cache, uint32_t* page, uint32_t row,
                                 uint32_t mark) {
  const uint32_t* const step = cache.step;
  const uint32_t value_reach = Sequence(step, 0, kValueReach);
  const uint32_t lead = kDoublingsMost * (Sequence(step, 0, kReach) + value_reach);
  const uint32_t less = value_reach == 0 ? 0 : ValueReach(cache, page, row, value_reach);
  return Sequence(step, 0, kClock) + lead - mark - less;
}
GPU_FN RowState StateOf(const CacheArguments& cache, uint32_t head, uint32_t* page, uint32_t row) {
  const uint32_t* const step = cache.step;
  const uint32_t position = page[cache.positions_at + row];
  const uint32_t mark = page[cache.last_important_at + row];
  const uint32_t tokens = Sequence(step, 0, kPositionClock) - position;
  const uint32_t rank_by = Sequence(step, 0, kRankBy);
  const uint32_t age = rank_by == kByLastImportant ? LastImportantAge(cache, page, row, mark)
                       : rank_by == kByPosition    ? tokens
                       : rank_by == kByHash        ? HashAge(head, position)
                       : rank_by == kByAttention   ? AttentionAge(mark, 1)
                                                   : AttentionAge(mark, tokens);
  return {mark != kPinnedRow && position < Sequence(step, 0, kRecentFrom), age, position};
}

}  // namespace cormorant::GPU_NAMESPACE::kernels
