// Moves the oldest rows of each head behind those that stay. See KvCompactOp in runtime/ops/ops.h.
//
// A block a head. The key of the last row to leave, (age, lowest position first), is found by radix
// selection, so nothing is sorted. Who leaves is then a mask a page; sums over pages say which row
// fills which hole, and each move finds its two slots by bisection.
#pragma once
#include "shaders/gpu/kv.cuh"
#include "shaders/gpu/radix.cuh"

namespace cormorant::GPU_NAMESPACE::kernels {

constexpr uint32_t kCompactThreads = 128;

/// A head's compaction: three words a page of scratch.
struct Compaction {
  const CacheArguments& cache;
  Head head;
  uint32_t pages, keep;
  uint32_t* words;  // Masks of leaving rows, holes before, movers before.

  GPU_METHOD uint32_t& Mask(uint32_t page) const { return words[page * 3]; }
  GPU_METHOD uint32_t& Before(uint32_t page, bool of_holes) const {
    return words[page * 3 + (of_holes ? 1 : 2)];
  }
  /// The slots of a page below `limit`, as a mask.
  GPU_METHOD uint32_t Below(uint32_t page, uint32_t limit) const {
    const uint32_t first = page * kPageRows;
    if (limit <= first) return 0;
    return limit - first >= kPageRows ? 0xffffffffu : (1u << (limit - first)) - 1;
  }
  GPU_METHOD uint32_t Holes(uint32_t page) const { return Mask(page) & Below(page, keep); }
  GPU_METHOD uint32_t Movers(uint32_t page) const {
    return ~Mask(page) & Below(page, head.count) & ~Below(page, keep);
  }
};

GPU_FN void MaskPages(const Compaction& c, RadixKey last) {
  for (uint32_t p = gpu::Thread(); p < c.pages; p += gpu::BlockThreads()) {
    uint32_t* const page = PageOf(c.cache, c.head.table, c.head.index, p);
    const uint32_t rows = gpu::Min(c.head.count - p * kPageRows, kPageRows);
    uint32_t mask = 0;
    for (uint32_t r = 0; r < rows; ++r) {
      const RowState state = StateOf(c.cache, c.head.index, page, r);
      if (state.is_evictable && IsAtLeast({state.age, ~state.position}, last)) mask |= 1u << r;
    }
    c.Mask(p) = mask;
  }
  gpu::Sync();
}

/// Sets what is before each page; returns the number of movers.
GPU_FN uint32_t SumPages(const Compaction& c) {
  GPU_SHARED(uint32_t, hole_sums, kCompactThreads);
  GPU_SHARED(uint32_t, mover_sums, kCompactThreads);
  const uint32_t thread = gpu::Thread(), threads = gpu::BlockThreads();
  const uint32_t each = (c.pages + threads - 1) / threads;
  const uint32_t first = gpu::Min(thread * each, c.pages), last = gpu::Min(first + each, c.pages);
  uint32_t holes = 0, movers = 0;
  for (uint32_t p = first; p < last; ++p) {
    holes += gpu::PopCount(c.Holes(p));
    movers += gpu::PopCount(c.Movers(p));
  }
  hole_sums[thread] = holes;
  mover_sums[thread] = movers;
  gpu::Sync();
  uint32_t total = 0;
  holes = movers = 0;
  for (uint32_t t = 0; t < threads; ++t) {
    if (t == thread) movers = total;
    if (t < thread) holes += hole_sums[t];
    total += mover_sums[t];
  }
  for (uint32_t p = first; p < last; ++p) {
    c.Before(p, true) = holes;
    c.Before(p, false) = movers;
    holes += gpu::PopCount(c.Holes(p));
    movers += gpu::PopCount(c.Movers(p));
  }
  gpu::Sync();
  return total;
}

/// The slot of the hole or mover of rank j.
GPU_FN uint32_t SlotOfRank(const Compaction& c, bool of_holes, uint32_t j) {
  uint32_t low = 0, high = c.pages - 1;  // The last page with at most j before it.
  while (low < high) {
    const uint32_t middle = (low + high + 1) / 2;
    if (c.Before(middle, of_holes) <= j) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  uint32_t mask = of_holes ? c.Holes(low) : c.Movers(low);
  for (uint32_t skip = j - c.Before(low, of_holes); skip > 0; --skip) mask &= mask - 1;
  return low * kPageRows + gpu::LowestBit(mask);
}

template <class T>
GPU_FN void Swap(T& a, T& b) {
  const T old = a;
  a = b;
  b = old;
}

/// Rows a of one page and b of another change places.
GPU_FN void SwapRows(const CacheArguments& cache, uint32_t* from, uint32_t a, uint32_t* to,
                     uint32_t b) {
  const uint32_t dims = cache.head_dim, blocks = dims / 32;
  if (cache.key_type == kHalfRows) {
    for (uint32_t i = 0; i < dims; ++i) {
      Swap(Halves(to, 0)[i * kPageRows + b], Halves(from, 0)[i * kPageRows + a]);
    }
  } else {
    const uint32_t words = dims / WordDimensions(cache.key_type);
    for (uint32_t i = 0; i < words; ++i) Swap(to[i * kPageRows + b], from[i * kPageRows + a]);
    uint16_t *const scales = Halves(to, cache.key_scales_at), *const others =
                                                                  Halves(from, cache.key_scales_at);
    for (uint32_t i = 0; i < blocks; ++i)
      Swap(scales[i * kPageRows + b], others[i * kPageRows + a]);
  }
  const uint32_t words = dims / WordDimensions(cache.value_type);
  for (uint32_t i = 0; i < words; ++i) {
    Swap(to[cache.values_at + b * words + i], from[cache.values_at + a * words + i]);
  }
  if (cache.value_type != kHalfRows) {
    uint16_t *const scales = Halves(to, cache.value_scales_at), *const others = Halves(
                                                                    from, cache.value_scales_at);
    for (uint32_t i = 0; i < blocks; ++i) Swap(scales[b * blocks + i], others[a * blocks + i]);
  }
  Swap(to[cache.positions_at + b], from[cache.positions_at + a]);
  Swap(to[cache.last_important_at + b], from[cache.last_important_at + a]);
}

/// Grid: heads. Blocks have kCompactThreads threads.
GPU_KERNEL(kCompactThreads) KvCompact(const KvCompactArguments a) {
  const CacheArguments& cache = a.cache;
  const Head head = HeadOf(cache);
  const uint32_t evict = StepWord(cache.step, kStepEvictAt, head.index);
  if (evict == 0) return;
  const RadixKey last = RadixSelect(evict, head.count, [&](uint32_t slot, RadixKey* key) {
    const RowState state =
        StateOf(cache, head.index, PageOfSlot(cache, head, slot), slot % kPageRows);
    *key = {state.age, ~state.position};  // The greater leaves first.
    return state.is_evictable;
  });
  const Compaction c = {cache, head, (head.count + kPageRows - 1) / kPageRows, head.count - evict,
                        a.scratch + uint64_t{head.index} * cache.pages_per_head * 3};
  MaskPages(c, last);
  const uint32_t movers = SumPages(c);
  for (uint32_t j = gpu::Thread(); j < movers; j += gpu::BlockThreads()) {
    const uint32_t from = SlotOfRank(c, false, j), to = SlotOfRank(c, true, j);
    SwapRows(cache, PageOfSlot(cache, head, from), from % kPageRows, PageOfSlot(cache, head, to),
             to % kPageRows);
  }
}

}  // namespace cormorant::GPU_NAMESPACE::kernels
