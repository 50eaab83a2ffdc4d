// Overwriting memory that held what must not be found there later.
#pragma once
#include <cstring>
#include <ranges>
#include <span>

namespace cormorant {

/// Zeroes the elements, and the compiler may not leave it out because nobody reads them after.
template <std::ranges::contiguous_range Range>
void Wipe(Range& range) {
  if (std::ranges::empty(range)) return;
  explicit_bzero(std::ranges::data(range),
                 std::ranges::size(range) * sizeof(std::ranges::range_value_t<Range>));
}

}  // namespace cormorant
