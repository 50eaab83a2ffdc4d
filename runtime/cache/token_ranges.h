// Places in a token log, or positions, as ranges: which tokens are pinned or retained.
//
// Ranges are half open, ascending, and neither touch nor overlap. Pure.
#pragma once
#include <cstddef>
#include <span>
#include <utility>
#include <vector>

namespace cormorant {

class TokenRanges {
 public:
  using Range = std::pair<size_t, size_t>;  // [first, second)

  void Add(size_t from, size_t to);
  void Remove(size_t from, size_t to);
  /// Tokens [from, to) leave the log: later ones move down.
  void Cut(size_t from, size_t to);
  void Clear() { ranges_.clear(); }

  bool Contains(size_t place) const { return Touches(place, place + 1); }
  /// Whether all, or any, of [from, to) are in.
  bool Covers(size_t from, size_t to) const;
  bool Touches(size_t from, size_t to) const;
  /// What of [from, to) is in.
  std::vector<Range> Within(size_t from, size_t to) const;
  /// Places in all ranges.
  size_t count() const;
  std::span<const Range> list() const { return ranges_; }

 private:
  std::vector<Range> ranges_;
};

}  // namespace cormorant
