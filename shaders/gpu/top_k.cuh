// The greatest numbers of a row, or of a slice of one. See TopKOp in runtime/ops/ops.h.
//
// A block a slice and row. The key of the last number to keep, (number, lowest index first), is
// found by radix selection; what is at or above it is collected and sorted, so the result does not
// depend on who came first. A long row takes two launches: slices leave their greatest, and those
// of all slices are the row of the second.
#pragma once
#include "shaders/gpu/arguments.h"
#include "shaders/gpu/radix.cuh"
#include "shaders/gpu/step.cuh"

namespace cormorant::GPU_NAMESPACE::kernels {

constexpr uint32_t kMostSorted = 1024;  // kTopKMax of ops.h.
constexpr uint32_t kMinusInfinity = 0xff800000u;

/// A number as an integer of the same order. NaN is -infinity, -0 is +0.
GPU_FN uint32_t Ordered(float value) {
  uint32_t bits = gpu::AsWord(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) bits = kMinusInfinity;
  if (bits == 0x80000000u) bits = 0;
  return bits >> 31 != 0 ? ~bits : bits | 0x80000000u;
}

/// Greatest first (bitonic), in shared memory: keys, and where in x they are.
GPU_FN void SortKeys(gpu::SharedPointer<uint32_t> high, gpu::SharedPointer<uint32_t> low,
                     gpu::SharedPointer<uint32_t> places, uint32_t count) {
  for (uint32_t size = 2; size <= count; size *= 2) {
    for (uint32_t stride = size / 2; stride > 0; stride /= 2) {
      gpu::Sync();
      for (uint32_t i = gpu::Thread(); i < count / 2; i += gpu::BlockThreads()) {
        const uint32_t a = 2 * i - (i & (stride - 1)), b = a + stride;
        const RadixKey first = {high[a], low[a]}, second = {high[b], low[b]};
        const bool descends = (a & size) == 0;
        if (IsAtLeast(first, second) == descends) continue;
        const uint32_t place_a = places[a], place_b = places[b];
        high[a] = second.high;
        low[a] = second.low;
        places[a] = place_b;
        high[b] = first.high;
        low[b] = first.low;
        places[b] = place_a;
      }
    }
  }
  gpu::Sync();
}

/// Grid: slices, rows.
GPU_KERNEL(256) TopK(const TopKArguments a) {
  GPU_SHARED(uint32_t, high, kMostSorted);
  GPU_SHARED(uint32_t, low, kMostSorted);
  GPU_SHARED(uint32_t, places, kMostSorted);
  GPU_SHARED(uint32_t, taken, 1);
  const uint32_t thread = gpu::Thread(), threads = gpu::BlockThreads(), row = gpu::BlockY();
  if (row >= a.step[a.live]) return;
  const uint32_t first = gpu::Block() * a.slice;
  const uint32_t count = gpu::Min(a.slice, a.count - first);
  const uint64_t at = uint64_t{row} * a.count + first;
  const auto key_of = [&](uint32_t i, RadixKey* key) {
    const uint32_t index = a.indices_of != nullptr ? a.indices_of[at + i] : first + i;
    *key = {Ordered(a.x[at + i]), ~index};
    return true;
  };
  const RadixKey last = RadixSelect(gpu::Min(a.k, count), count, key_of);
  // Places that stay empty stand behind every number.
  for (uint32_t i = thread; i < a.sorted; i += threads) high[i] = low[i] = places[i] = 0;
  if (thread == 0) taken[0] = 0;
  gpu::Sync();
  for (uint32_t i = thread; i < count; i += threads) {
    RadixKey key;
    key_of(i, &key);
    if (!IsAtLeast(key, last)) continue;
    const uint32_t to = gpu::AtomicAdd(taken, 0, 1u);
    if (to >= a.sorted) continue;  // Candidates that stand for nothing may be equal.
    high[to] = key.high;
    low[to] = key.low;
    places[to] = i;
  }
  gpu::Sync();
  SortKeys(high, low, places, a.sorted);
  const uint64_t to = (uint64_t{row} * gpu::Blocks() + gpu::Block()) * a.k;
  for (uint32_t i = thread; i < a.k; i += threads) {
    uint32_t bits = kMinusInfinity, index = 0xffffffffu;
    if (i < taken[0]) {
      index = ~low[i];
      bits = gpu::AsWord(a.x[at + places[i]]);
      if ((bits & 0x7fffffffu) > 0x7f800000u) bits = kMinusInfinity;
    }
    a.values[to + i] = gpu::AsFloat(bits);
    a.indices[to + i] = index;
  }
}

}  // namespace cormorant::GPU_NAMESPACE::kernels
