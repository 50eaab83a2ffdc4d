// The rows of one head as phases that keep the cache in order see them.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>

#include "backends/cpu/phases.h"
#include "runtime/base/half.h"

namespace cormorant::cpu {

/// One head of sequence 0.
class HeadRows {
 public:
  HeadRows(const Replay& replay, uint32_t head)
      : kv_(*replay.kv),
        layout_(kv_.geometry),
        sequence_(replay.step.sequence(0)),
        head_(head),
        pages_(PageTable(kv_, sequence_.table, head)),
        count_(replay.step.counts(0)[head]) {}

  uint32_t count() const { return count_; }
  uint8_t* page(uint32_t slot) const { return PageAt(kv_, pages_[slot / kPageRows]); }
  uint32_t& position(uint32_t slot) const { return Word(slot, layout_.positions); }
  uint32_t& last_important(uint32_t slot) const { return Word(slot, layout_.last_important); }

  /// Calls f(slot, position, last_important) for every row.
  template <class F>
  void ForEachRow(F&& f) const {
    for (uint32_t slot = 0; slot < count_; slot += kPageRows) {
      const uint32_t* const positions = &position(slot);
      uint32_t* const marks = &last_important(slot);
      const uint32_t rows = std::min(kPageRows, count_ - slot);
      for (uint32_t i = 0; i < rows; ++i) f(slot + i, positions[i], marks[i]);
    }
  }
  bool IsEvictable(uint32_t position, uint32_t mark) const {
    return mark != kPinned && position < sequence_.recent_from;
  }
  uint32_t Age(uint32_t slot, uint32_t position, uint32_t mark) const {
    const float value = sequence_.value_reach == 0 ? 0.0f : ValueMagnitudes(slot);
    return AgeOf(sequence_, head_, position, mark, value);
  }
  /// The sum of the magnitudes of a value as it is held, in the order of KvAgesOp.
  float ValueMagnitudes(uint32_t slot) const {
    float sums[4] = {};
    ForEachValue(slot, [&](uint32_t d, float value) { sums[d % 4] += std::fabs(value); });
    return (sums[0] + sums[1]) + (sums[2] + sums[3]);
  }
  /// Calls f(d, number) for each dimension of a value as it is held: of q4_0 rows, rotated.
  template <class F>
  void ForEachValue(uint32_t slot, F&& f) const;

  /// Two rows change places.
  void Swap(uint32_t a, uint32_t b) const {
    const uint32_t dim = layout_.head_dim;
    const uint32_t k_bytes = dim * KvPageLayout::HalfBytes(layout_.k_type) / 2;
    const uint32_t k_piece = HasScales(layout_.k_type) ? 4 : 2;
    SwapPieces(a, b, layout_.k, k_piece, k_bytes / k_piece);
    if (HasScales(layout_.k_type)) SwapPieces(a, b, layout_.k_scale, 2, dim / kBlock);
    SwapPieces(a, b, layout_.v, dim * KvPageLayout::HalfBytes(layout_.v_type) / 2, 1);
    if (HasScales(layout_.v_type)) SwapPieces(a, b, layout_.v_scale, dim / kBlock * 2, 1);
    std::swap(position(a), position(b));
    std::swap(last_important(a), last_important(b));
  }

  /// Calls f(d, keys) for each dimension, with those of all rows of a slot's page as it holds them
  /// (of q4_0 rows, rotated); 0 past the last row. [32]
  template <class F>
  void ForEachDimension(uint32_t slot, F&& f) const;
  /// The key as the page holds it: of q4_0 rows, rotated.
  void ReadKey(uint32_t slot, float* to) const {
    const uint8_t* at = page(slot);
    const uint32_t in = slot % kPageRows;
    const uint16_t* scales = reinterpret_cast<const uint16_t*>(at + layout_.k_scale);
    for (uint32_t d = 0; d < layout_.head_dim; ++d) {
      const uint32_t index = layout_.KIndex(in, d);
      const uint8_t* k = at + layout_.k;
      switch (layout_.k_type) {
        case DType::kF16: to[d] = F16ToF32(reinterpret_cast<const uint16_t*>(k)[index]); break;
        case DType::kQ8_0:
          to[d] = F16ToF32(scales[layout_.KScaleIndex(in, d)]) *
                  static_cast<float>(reinterpret_cast<const int8_t*>(k)[index]);
          break;
        default:
          to[d] = F16ToF32(scales[layout_.KScaleIndex(in, d)]) *
                  static_cast<float>((k[index] >> KvPageLayout::KShift(d) & 15) - 8);
      }
    }
  }

 private:
  static bool HasScales(DType type) { return type != DType::kF16; }
  uint32_t& Word(uint32_t slot, uint32_t part) const {
    return reinterpret_cast<uint32_t*>(page(slot) + part)[slot % kPageRows];
  }
  /// A part of a page whose rows are `bytes` wide, `count` times, all rows in between.
  void SwapPieces(uint32_t a, uint32_t b, uint32_t part, uint32_t bytes, uint32_t count) const {
    uint8_t* at_a = page(a) + part + a % kPageRows * bytes;
    uint8_t* at_b = page(b) + part + b % kPageRows * bytes;
    for (uint32_t i = 0; i < count; ++i) {
      std::swap_ranges(at_a, at_a + bytes, at_b);
      at_a += kPageRows * bytes;
      at_b += kPageRows * bytes;
    }
  }

  const KvBinding& kv_;
  const KvPageLayout layout_;
  const StepSequence& sequence_;
  const uint32_t head_;
  const uint32_t* pages_;
  const uint32_t count_;
};

template <class F>
void HeadRows::ForEachValue(uint32_t slot, F&& f) const {
  const uint8_t* const at = page(slot);
  const uint32_t in = slot % kPageRows;
  const uint8_t* const v = at + layout_.v;
  const uint16_t* const scales = reinterpret_cast<const uint16_t*>(at + layout_.v_scale);
  for (uint32_t d = 0; d < layout_.head_dim; d += 4) {
    const float scale =
        HasScales(layout_.v_type) ? F16ToF32(scales[layout_.VScaleIndex(in, d)]) : 1.0f;
    for (uint32_t j = d; j < d + 4; ++j) {
      const uint32_t index = layout_.VIndex(in, j);
      switch (layout_.v_type) {
        case DType::kF16: f(j, F16ToF32(reinterpret_cast<const uint16_t*>(v)[index])); break;
        case DType::kQ8_0:
          f(j, scale * static_cast<float>(reinterpret_cast<const int8_t*>(v)[index]));
          break;
        default: f(j, scale * static_cast<float>((v[index] >> KvPageLayout::VShift(j) & 15) - 8));
      }
    }
  }
}

template <class F>
void HeadRows::ForEachDimension(uint32_t slot, F&& f) const {
  const uint8_t* const k = page(slot) + layout_.k;
  const uint16_t* const scales = reinterpret_cast<const uint16_t*>(page(slot) + layout_.k_scale);
  const uint32_t rows = std::min(kPageRows, count_ - slot);
  float keys[kPageRows] = {}, factors[kPageRows] = {};
  for (uint32_t d = 0; d < layout_.head_dim; ++d) {
    if (HasScales(layout_.k_type) && d % kBlock == 0) {
      for (uint32_t r = 0; r < rows; ++r) factors[r] = F16ToF32(scales[layout_.KScaleIndex(r, d)]);
    }
    switch (layout_.k_type) {
      case DType::kF16:
        for (uint32_t r = 0; r < rows; ++r) {
          keys[r] = F16ToF32(reinterpret_cast<const uint16_t*>(k)[layout_.KIndex(r, d)]);
        }
        break;
      case DType::kQ8_0:
        for (uint32_t r = 0; r < rows; ++r) {
          keys[r] = factors[r] *
                    static_cast<float>(reinterpret_cast<const int8_t*>(k)[layout_.KIndex(r, d)]);
        }
        break;
      default:
        for (uint32_t r = 0; r < rows; ++r) {
          const int bits = k[layout_.KIndex(r, d)] >> KvPageLayout::KShift(d) & 15;
          keys[r] = factors[r] * static_cast<float>(bits - 8);
        }
    }
    f(d, keys);
  }
}

/// Items are heads.
class HeadPhase : public Phase {
 public:
  uint32_t Items(const Replay& replay) const override { return replay.kv->geometry.heads(); }
};

/// Scratch of one thread: slots in some order, one key with its turn, the keys of a page.
struct HeadScratch {
  HeadScratch(const Replay& replay, uint64_t scratch, uint32_t thread) {
    const KvGeometry& geometry = replay.kv->geometry;
    uint8_t* at = replay.Scratch<uint8_t>(scratch) + thread * HeadScratchBytes(geometry);
    order = reinterpret_cast<uint64_t*>(at);
    frequencies = reinterpret_cast<double*>(order + uint64_t{geometry.pages_per_head} * kPageRows);
    key = reinterpret_cast<float*>(frequencies + geometry.head_dim);
    cosines = key + geometry.head_dim;
    sines = cosines + geometry.head_dim;
    keys = sines + geometry.head_dim;
    terms = keys + uint64_t{geometry.head_dim} * kPageRows;
  }
  uint64_t* order;
  double* frequencies;           // [E/2]
  float *key, *cosines, *sines;  // [E]
  // Where statistics of queries are kept:
  float* keys;   // Of a page, [E][32].
  float* terms;  // Of z (KvScoreOp), [E/2][5].
};

/// Gives rows their marks by expected attention (KvScoreOp).
void ScoreExpected(const KvScoreOp& op, const Replay& replay, const HeadRows& rows, uint32_t head,
                   const HeadScratch& scratch);

}  // namespace cormorant::cpu
