// Overwriting what must not stay in memory.
//
// The stores are volatile: no compiler may leave them out because the memory is freed afterwards.
// What a container held in memory that it has outgrown is not reached.
#pragma once
#include <algorithm>
#include <cstddef>
#include <string>
#include <type_traits>
#include <vector>

namespace cormorant {

inline void Wipe(void* data, size_t bytes) {
  volatile unsigned char* const at = static_cast<unsigned char*>(data);
  for (size_t i = 0; i < bytes; ++i) at[i] = 0;
}

/// Takes elements [from, to) out; later ones move down. No byte of them stays.
template <class Container>
void WipeRange(Container* values, size_t from, size_t to) {
  using Element = typename Container::value_type;
  static_assert(std::is_trivially_copyable_v<Element>);
  const auto begin = values->begin();
  const auto end = std::copy(begin + static_cast<ptrdiff_t>(to), values->end(),
                             begin + static_cast<ptrdiff_t>(from));
  const size_t left = static_cast<size_t>(end - begin);
  Wipe(values->data() + left, (values->size() - left) * sizeof(Element));
  values->resize(left);
}

template <class Container>
void WipeAll(Container* container) {
  WipeRange(container, 0, container->size());
}

}  // namespace cormorant
