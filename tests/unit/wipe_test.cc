// What is taken out of a container is gone from its memory too.
#include "runtime/base/wipe.h"

#include <gtest/gtest.h>

#include <array>
#include <numeric>

namespace cormorant {
namespace {

/// A container whose memory can be looked at beyond its end.
struct Words {
  using value_type = uint32_t;
  uint32_t* data() { return memory.data(); }
  uint32_t* begin() { return memory.data(); }
  uint32_t* end() { return memory.data() + count; }
  size_t size() const { return count; }
  void resize(size_t to) { count = to; }
  std::array<uint32_t, 8> memory;
  size_t count = 8;
};

TEST(Wipe, LeavesNoCopyBehindTheEnd) {
  Words words;
  std::iota(words.begin(), words.end(), 1u);
  WipeRange(&words, 2, 5);
  EXPECT_EQ(words.count, 5u);
  EXPECT_EQ(words.memory, (std::array<uint32_t, 8>{1, 2, 6, 7, 8, 0, 0, 0}));
  WipeAll(&words);
  EXPECT_EQ(words.count, 0u);
  EXPECT_EQ(words.memory, (std::array<uint32_t, 8>{}));
}

}  // namespace
}  // namespace cormorant
