// Small arithmetic on sizes, and the word types that must not be mixed up.
//
// A Row is a place in a step, a Slot a place in one head's cache, a Position a place in the text as
// RoPE sees it. They are different types on purpose: a position used as a row index is the classic
// bug of every cache that drops rows.
#pragma once
#include <compare>
#include <cstdint>

namespace cormorant {

template <class Tag>
struct Index {
  uint32_t value = 0;
  constexpr Index() = default;
  constexpr explicit Index(uint32_t v) : value(v) {}
  constexpr auto operator<=>(const Index&) const = default;
  constexpr Index operator+(uint32_t n) const { return Index(value + n); }
  constexpr Index& operator+=(uint32_t n) {
    value += n;
    return *this;
  }
};

using Row = Index<struct RowTag>;
using Slot = Index<struct SlotTag>;
using Position = Index<struct PositionTag>;
using PageId = Index<struct PageTag>;

constexpr uint64_t CeilDiv(uint64_t a, uint64_t b) {
  return (a + b - 1) / b;
}
constexpr uint64_t RoundUp(uint64_t a, uint64_t to) {
  return CeilDiv(a, to) * to;
}

}  // namespace cormorant
