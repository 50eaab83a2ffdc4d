// The key of the n-th greatest of many, by a block: radix selection.
//
// Keys are pairs of words, the first counts more. The key is found byte by byte: a histogram of the
// next byte of the keys that match so far says which value the n-th has. Nothing is sorted and no
// key is kept, so they are made again in each of up to eight passes. Threads go through this
// together: KeyOf(item, &key) says whether an item has a key, for items below `count`.
#pragma once
#include "shaders/gpu/gpu.h"

namespace cormorant::GPU_NAMESPACE::kernels {

struct RadixKey {
  uint32_t high, low;
};

GPU_FN bool IsAtLeast(RadixKey a, RadixKey b) {
  return a.high > b.high || (a.high == b.high && a.low >= b.low);
}

/// Where a search is: the bytes found, and how many keys that match them are wanted and there.
struct RadixState {
  RadixKey key;
  uint32_t wanted, equal;
};

/// Thread 0's part of a pass: the byte of the n-th key. Returns it with what is left to find.
GPU_FN RadixState RadixStep(gpu::SharedPointer<uint32_t> bins, RadixState state, uint32_t pass) {
  uint32_t byte = 255;
  while (byte > 0 && bins[byte] < state.wanted) {
    state.wanted -= bins[byte];
    --byte;
  }
  const uint32_t bits = byte << (24 - 8 * (pass % 4));
  if (pass < 4) {
    state.key.high |= bits;
  } else {
    state.key.low |= bits;
  }
  state.equal = bins[byte];
  return state;
}

/// The key of the n-th greatest, for every thread; 1 <= n <= number of keys.
template <class KeyOf>
GPU_FN RadixKey RadixSelect(uint32_t n, uint32_t count, KeyOf&& key_of) {
  GPU_SHARED(uint32_t, bins, 256);
  GPU_SHARED(uint32_t, found, 4);
  RadixState state = {{0, 0}, n, 0};
  for (uint32_t pass = 0; pass < 8; ++pass) {
    // All of those that are equal in the first word are wanted: the second need not be looked at.
    if (pass == 4 && state.equal == state.wanted) break;
    for (uint32_t b = gpu::Thread(); b < 256; b += gpu::BlockThreads()) bins[b] = 0;
    gpu::Sync();
    const uint32_t shift = 24 - 8 * (pass % 4);
    const uint32_t above = pass % 4 == 0 ? 0 : 0xffffffffu << (shift + 8);
    for (uint32_t i = gpu::Thread(); i < count; i += gpu::BlockThreads()) {
      RadixKey key;
      if (!key_of(i, &key)) continue;
      const bool matches = pass < 4
                               ? (key.high & above) == state.key.high
                               : key.high == state.key.high && (key.low & above) == state.key.low;
      if (matches) gpu::AtomicAdd(bins, (pass < 4 ? key.high : key.low) >> shift & 255u, 1u);
    }
    gpu::Sync();
    if (gpu::Thread() == 0) {
      const RadixState next = RadixStep(bins, state, pass);
      found[0] = next.key.high;
      found[1] = next.key.low;
      found[2] = next.wanted;
      found[3] = next.equal;
    }
    gpu::Sync();
    state = {{found[0], found[1]}, found[2], found[3]};
  }
  gpu::Sync();  // The shared words are free for the next search.
  return state.key;
}

}  // namespace cormorant::GPU_NAMESPACE::kernels
