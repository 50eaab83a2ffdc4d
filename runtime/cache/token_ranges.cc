// Adding and taking away ranges. See token_ranges.h.
#include "runtime/cache/token_ranges.h"

#include <algorithm>

namespace cormorant {

void TokenRanges::Add(size_t from, size_t to) {
  if (from >= to) return;
  std::vector<Range> ranges;
  for (const Range& range : ranges_) {
    if (range.second < from || range.first > to) {
      ranges.push_back(range);
    } else {
      from = std::min(from, range.first);
      to = std::max(to, range.second);
    }
  }
  ranges.emplace_back(from, to);
  std::sort(ranges.begin(), ranges.end());
  ranges_ = std::move(ranges);
}

void TokenRanges::Remove(size_t from, size_t to) {
  if (from >= to) return;
  std::vector<Range> ranges;
  for (const auto& [first, last] : ranges_) {
    if (first < std::min(last, from)) ranges.emplace_back(first, std::min(last, from));
    if (std::max(first, to) < last) ranges.emplace_back(std::max(first, to), last);
  }
  ranges_ = std::move(ranges);
}

void TokenRanges::Cut(size_t from, size_t to) {
  if (from >= to) return;
  Remove(from, to);
  const std::vector<Range> ranges = std::move(ranges_);
  ranges_.clear();
  for (const auto& [first, last] : ranges) {
    const size_t down = first >= to ? to - from : 0;
    Add(first - down, last - down);
  }
}

bool TokenRanges::Covers(size_t from, size_t to) const {
  return from >= to || std::any_of(ranges_.begin(), ranges_.end(), [&](const Range& range) {
           return range.first <= from && to <= range.second;
         });
}

bool TokenRanges::Touches(size_t from, size_t to) const {
  return std::any_of(ranges_.begin(), ranges_.end(), [&](const Range& range) {
    return std::max(range.first, from) < std::min(range.second, to);
  });
}

std::vector<TokenRanges::Range> TokenRanges::Within(size_t from, size_t to) const {
  std::vector<Range> within;
  for (const auto& [first, last] : ranges_) {
    const Range range(std::max(first, from), std::min(last, to));
    if (range.first < range.second) within.push_back(range);
  }
  return within;
}

size_t TokenRanges::count() const {
  size_t count = 0;
  for (const auto& [first, last] : ranges_) count += last - first;
  return count;
}

}  // namespace cormorant
