// The bytes of a KV page, as runtime/ops/kv_page.h lays them out, and the way to it.
//
// Keys lie transposed: f16 [dimension][32 rows], q8_0 words of four dimensions [.][32 rows]. Two
// rows share a word of f16 keys (and of key scales), so what stores keys has both, or stores bytes
// and halves as such.
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

/// Dimensions 4i..4i+3 of the key of a row.
template <bool kIsQ8>
GPU_FN gpu::Float4 Key4(const CacheArguments& cache, uint32_t* page, uint32_t row, uint32_t i) {
  if constexpr (kIsQ8) {
    const float scale = HalfAt(page, cache.key_scales_at, i / 8 * kPageRows + row);
    return Dequantize(page[i * kPageRows + row], scale);
  }
  const uint32_t at = i * 4 * kPageRows + row;
  return {HalfAt(page, 0, at), HalfAt(page, 0, at + kPageRows), HalfAt(page, 0, at + 2 * kPageRows),
          HalfAt(page, 0, at + 3 * kPageRows)};
}

/// Dimensions 4i..4i+3 of the value of a row.
template <bool kIsQ8>
GPU_FN gpu::Float4 Value4(const CacheArguments& cache, uint32_t* page, uint32_t row, uint32_t i) {
  if constexpr (kIsQ8) {
    const float scale = HalfAt(page, cache.value_scales_at, row * (cache.head_dim / 32) + i / 8);
    return Dequantize(page[cache.values_at + row * (cache.head_dim / 4) + i], scale);
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
GPU_FN RowState StateOf(const CacheArguments& cache, uint32_t head, const uint32_t* page,
                        uint32_t row) {
  const uint32_t* const step = cache.step;
  const uint32_t position = page[cache.positions_at + row];
  const uint32_t mark = page[cache.last_important_at + row];
  const uint32_t tokens = Sequence(step, 0, kPositionClock) - position;
  const uint32_t rank_by = Sequence(step, 0, kRankBy);
  const uint32_t age =
      rank_by == kByLastImportant
          ? Sequence(step, 0, kClock) + kDoublingsMost * Sequence(step, 0, kReach) - mark
      : rank_by == kByPosition  ? tokens
      : rank_by == kByHash      ? HashAge(head, position)
      : rank_by == kByAttention ? AttentionAge(mark, 1)
                                : AttentionAge(mark, tokens);
  return {mark != kPinnedRow && position < Sequence(step, 0, kRecentFrom), age, position};
}

}  // namespace cormorant::GPU_NAMESPACE::kernels
