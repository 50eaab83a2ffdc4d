// The greatest numbers of a row. See TopKOp in runtime/ops/ops.h.
//
// One scan of the row. After its beginning nearly all numbers lie below the k-th greatest so far,
// so many at a time are held against that bound. What passes is collected, and cut back to the k
// greatest when the room for it is full, which raises the bound. A number and its index are one
// integer, so that the order, ties included, is one comparison. (128 of 49,152 normal numbers: 18
// microseconds, 7 of them for the comparisons with the bound.)
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <functional>

#include "backends/cpu/phases.h"

namespace cormorant::cpu {
namespace {

/// GCC 12 unrolls a loop of 16 before it could make vectors of it: 2.5 times slower.
constexpr uint32_t kScanStep = 32;
/// Numbers collected beyond k before a cut, at least.
constexpr uint32_t kSlackMin = 64;

float Ranked(float x) {
  return std::isnan(x) ? -INFINITY : x;
}

/// Greater for what stands before: the number as an integer of the same order, then the index.
uint64_t Key(float x, uint32_t index) {
  const uint32_t bits = std::bit_cast<uint32_t>(Ranked(x) + 0.0f);  // -0 becomes +0.
  const uint32_t ordered = (bits >> 31) != 0 ? ~bits : bits | 0x80000000u;
  return uint64_t{ordered} << 32 | ~index;
}
uint32_t IndexOf(uint64_t key) {
  return ~static_cast<uint32_t>(key);
}

bool AnyAbove(const float* x, float bound) {
  uint32_t above = 0;  // No early end: the compiler makes vectors of it.
  for (uint32_t i = 0; i < kScanStep; ++i) above |= static_cast<uint32_t>(x[i] > bound);
  return above != 0;
}

void FindTop(const float* x, uint32_t width, uint32_t k, float* values, uint32_t* indices) {
  std::array<uint64_t, 2 * kTopKMax> keys;
  const uint32_t room = k + std::max(k, kSlackMin);
  uint32_t count = 0;
  float bound = -INFINITY;  // A number not above it stands behind k others.
  const auto cut = [&] {
    std::nth_element(keys.begin(), keys.begin() + (k - 1), keys.begin() + count, std::greater<>());
    count = k;
    bound = Ranked(x[IndexOf(keys[k - 1])]);
  };
  uint32_t at = 0;
  for (; at < std::min(width, room); ++at) keys[count++] = Key(x[at], at);
  cut();
  const auto collect = [&](uint32_t last) {
    for (; at < last; ++at) {
      if (!(x[at] > bound)) continue;
      keys[count++] = Key(x[at], at);
      if (count == room) cut();
    }
  };
  while (at + kScanStep <= width) {
    if (AnyAbove(x + at, bound)) {
      collect(at + kScanStep);
    } else {
      at += kScanStep;
    }
  }
  collect(width);
  cut();
  std::sort(keys.begin(), keys.begin() + k, std::greater<>());
  for (uint32_t i = 0; i < k; ++i) {
    indices[i] = IndexOf(keys[i]);
    values[i] = Ranked(x[indices[i]]);
  }
}

class TopK final : public RowStep {
 public:
  explicit TopK(const TopKOp& op) : op_(op) {}
  void Run(const Replay& replay, uint32_t first, uint32_t last) const override {
    const uint32_t width = op_.x.shape[1], k = op_.values.shape[1];
    for (uint64_t o = first; o < last; ++o) {
      FindTop(replay.At(op_.x) + o * width, width, k, replay.At(op_.values) + o * k,
              replay.At<uint32_t>(op_.indices) + o * k);
    }
  }

 private:
  const TopKOp op_;
};

}  // namespace

std::unique_ptr<RowStep> MakeTopK(const TopKOp& op) {
  return std::make_unique<TopK>(op);
}

}  // namespace cormorant::cpu
