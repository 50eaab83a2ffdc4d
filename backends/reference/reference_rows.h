// Rows of the cache as the reference reads and writes them: the bytes of runtime/ops/kv_page.h.
#pragma once
#include <cstdint>
#include <utility>

#include "backends/reference/reference.h"

namespace cormorant::reference {

constexpr uint32_t kBlock = 32;  // Dimensions that share a scale.

/// The rows of one head of one sequence, by slot.
class HeadRows {
 public:
  HeadRows(const KvBinding& kv, uint32_t table, uint32_t head)
      : kv_(kv), layout_(kv.geometry), head_(head), pages_(Table(kv, table, head)) {}

  uint32_t head() const { return head_; }
  uint32_t& position(uint32_t slot) const {
    return Part<uint32_t>(slot, layout_.positions)[In(slot)];
  }
  uint32_t& last_important(uint32_t slot) const {
    return Part<uint32_t>(slot, layout_.last_important)[In(slot)];
  }
  void ReadK(uint32_t slot, float* to) const { Read(slot, kK, to); }
  void ReadV(uint32_t slot, float* to) const { Read(slot, kV, to); }
  /// The sum of the magnitudes of a value as it is held, in the order of KvAgesOp.
  float ValueMagnitudes(uint32_t slot) const {
    float sums[4] = {};
    for (uint32_t d = 0; d < layout_.head_dim; ++d) sums[d % 4] += std::fabs(Held(slot, kV, d));
    return (sums[0] + sums[1]) + (sums[2] + sums[3]);
  }
  void WriteK(uint32_t slot, const float* from) const { Write(slot, kK, from); }
  void WriteV(uint32_t slot, const float* from) const { Write(slot, kV, from); }

  /// Two rows change places, bit by bit.
  void Swap(uint32_t a, uint32_t b) const {
    for (Side side : {kK, kV}) {
      for (uint32_t d = 0; d < layout_.head_dim; ++d) {
        if (Type(side) == DType::kF16) {
          std::swap(Half(a, side, d), Half(b, side, d));
          continue;
        }
        if (Type(side) == DType::kQ8_0) std::swap(Quant(a, side, d), Quant(b, side, d));
        if (Type(side) == DType::kQ4_0) {
          const uint32_t half = HalfByte(a, side, d);
          SetHalfByte(a, side, d, HalfByte(b, side, d));
          SetHalfByte(b, side, d, half);
        }
        // A scale is its block's: once, with its first dimension.
        if (d % kBlock == 0) std::swap(Scale(a, side, d), Scale(b, side, d));
      }
    }
    std::swap(position(a), position(b));
    std::swap(last_important(a), last_important(b));
  }

 private:
  enum Side { kK, kV };

  static const uint32_t* Table(const KvBinding& kv, uint32_t table, uint32_t head);
  static uint32_t In(uint32_t slot) { return slot % kPageRows; }

  template <class T>
  T* Part(uint32_t slot, uint32_t offset) const;

  DType Type(Side side) const { return side == kK ? layout_.k_type : layout_.v_type; }
  uint32_t Index(uint32_t slot, Side side, uint32_t dim) const {
    return side == kK ? layout_.KIndex(In(slot), dim) : layout_.VIndex(In(slot), dim);
  }
  uint16_t& Half(uint32_t slot, Side side, uint32_t dim) const {
    return Part<uint16_t>(slot, side == kK ? layout_.k : layout_.v)[Index(slot, side, dim)];
  }
  int8_t& Quant(uint32_t slot, Side side, uint32_t dim) const {
    return Part<int8_t>(slot, side == kK ? layout_.k : layout_.v)[Index(slot, side, dim)];
  }
  uint32_t HalfByte(uint32_t slot, Side side, uint32_t dim) const {
    return uint32_t{Byte(slot, side, dim)} >> Shift(side, dim) & 15;
  }
  void SetHalfByte(uint32_t slot, Side side, uint32_t dim, uint32_t bits) const {
    uint8_t& byte = Byte(slot, side, dim);
    byte = static_cast<uint8_t>((byte & 0xf0u >> Shift(side, dim)) | bits << Shift(side, dim));
  }
  uint16_t& Scale(uint32_t slot, Side side, uint32_t dim) const {
    if (side == kK)
      return Part<uint16_t>(slot, layout_.k_scale)[layout_.KScaleIndex(In(slot), dim)];
    return Part<uint16_t>(slot, layout_.v_scale)[layout_.VScaleIndex(In(slot), dim)];
  }
  uint8_t& Byte(uint32_t slot, Side side, uint32_t dim) const {
    return Part<uint8_t>(slot, side == kK ? layout_.k : layout_.v)[Index(slot, side, dim)];
  }
  static uint32_t Shift(Side side, uint32_t dim) {
    return side == kK ? KvPageLayout::KShift(dim) : KvPageLayout::VShift(dim);
  }
  /// A dimension of a row; of q4_0 rows, rotated.
  float Held(uint32_t slot, Side side, uint32_t dim) const;
  void Read(uint32_t slot, Side side, float* to) const;
  void Write(uint32_t slot, Side side, const float* from) const;
  void WriteHalfBytes(uint32_t slot, Side side, const float* from) const;

  const KvBinding& kv_;
  const KvPageLayout layout_;
  const uint32_t head_;
  const uint32_t* pages_;  // Page ids of this head.
};

template <class T>
T* HeadRows::Part(uint32_t slot, uint32_t offset) const {
  const uint32_t page = pages_[slot / kPageRows];
  std::byte* slab = HostBytes(kv_.slabs[page / kv_.pages_per_slab]);
  const uint64_t in_slab = uint64_t{page % kv_.pages_per_slab} * layout_.page_bytes;
  return reinterpret_cast<T*>(slab + in_slab + offset);
}

/// Gives rows their marks by expected attention (KvScoreOp).
void ScoreExpected(const KvScoreOp& op, const HeadRows& rows, uint32_t resident, Replay& replay);

}  // namespace cormorant::reference
