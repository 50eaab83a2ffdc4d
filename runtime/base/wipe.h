// Overwriting memory that held what must not be found there later.
//
// What a container held in memory that it has outgrown is not reached.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstring>
#include <ranges>
#include <span>
#include <type_traits>

namespace cormorant {

/// Zeroes the elements, and the compiler may not leave it out because nobody reads them after.
template <std::ranges::contiguous_range Range>
void Wipe(Range& range) {
  if (std::ranges::empty(range)) return;
  explicit_bzero(std::ranges::data(range),
                 std::ranges::size(range) * sizeof(std::ranges::range_value_t<Range>));
}

/// Takes elements [from, to) out; later ones move down. No byte of them stays.
template <class Container>
void WipeRange(Container* values, size_t from, size_t to) {
  static_assert(std::is_trivially_copyable_v<typename Container::value_type>);
  const auto end = std::copy(values->begin() + static_cast<ptrdiff_t>(to), values->end(),
                             values->begin() + static_cast<ptrdiff_t>(from));
  const size_t left = static_cast<size_t>(end - values->begin());
  std::span behind(values->data() + left, values->size() - left);
  Wipe(behind);
  values->resize(left);
}

template <class Container>
void WipeAll(Container* values) {
  WipeRange(values, 0, values->size());
}

}  // namespace cormorant
