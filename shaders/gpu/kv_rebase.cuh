// Moves rows to new positions and turns their keys. See KvRebaseOp in runtime/ops/ops.h.
//
// A block a head. Positions of a head are distinct, so a bit map of those before the window with
// sums of its words gives every row its rank without sorting. The map has as many bits as the head
// has slots; where positions go past that it is used again, from the next position that is left.
#pragma once
#include "shaders/gpu/angle.cuh"
#include "shaders/gpu/hadamard.cuh"
#include "shaders/gpu/kv.cuh"

namespace cormorant::GPU_NAMESPACE::kernels {

constexpr uint32_t kRebaseThreads = 128;
constexpr uint32_t kNoPosition = 0xffffffffu;

/// By how much a key is turned, and the pairs that are.
struct KeyTurn {
  const uint32_t* frequencies;
  uint32_t pairs, positions;
  bool is_backwards;
};

GPU_FN void TurnPair(const KeyTurn& turn, uint32_t pair, float* a, float* b) {
  Angle angle = AngleOf(turn.frequencies, pair, turn.positions);
  if (turn.is_backwards) angle.sin = -angle.sin;
  const float first = *a, second = *b;
  *a = first * angle.cos - second * angle.sin;
  *b = first * angle.sin + second * angle.cos;
}

GPU_FN void TurnHalves(const KeyTurn& turn, uint32_t* page, uint32_t row) {
  for (uint32_t pair = 0; pair < turn.pairs; ++pair) {
    uint16_t* const at = Halves(page, 0) + 2 * pair * kPageRows + row;
    float a = gpu::HalfToFloat(at[0]), b = gpu::HalfToFloat(at[kPageRows]);
    TurnPair(turn, pair, &a, &b);
    at[0] = static_cast<uint16_t>(gpu::FloatToHalf(a));
    at[kPageRows] = static_cast<uint16_t>(gpu::FloatToHalf(b));
  }
}

/// Two passes over a block's words: for the greatest magnitude, then for the quants.
GPU_FN void TurnBlock(const CacheArguments& cache, const KeyTurn& turn, uint32_t* page,
                      uint32_t row, uint32_t block) {
  uint16_t* const stored = Halves(page, cache.key_scales_at) + block * kPageRows + row;
  const float scale = gpu::HalfToFloat(*stored);
  QuantScale next = {0.0f, 0.0f};
  float greatest = 0.0f;
  for (uint32_t pass = 0; pass < 2; ++pass) {
    for (uint32_t i = 0; i < 8; ++i) {
      uint32_t* const at = page + (block * 8 + i) * kPageRows + row;
      const gpu::Float4 old = Dequantize(*at, scale);
      float v[4] = {old.x, old.y, old.z, old.w};
      uint32_t word = 0;
      for (uint32_t j = 0; j < 4; j += 2) {
        const uint32_t pair = block * 16 + i * 2 + j / 2;
        if (pair < turn.pairs) TurnPair(turn, pair, &v[j], &v[j + 1]);
        greatest = gpu::Max(greatest, gpu::Max(gpu::Abs(v[j]), gpu::Abs(v[j + 1])));
        word |= (QuantByte(v[j], next.inverse) | QuantByte(v[j + 1], next.inverse) << 8) << (8 * j);
      }
      if (pass == 1) *at = word;
    }
    if (pass == 0) next = QuantScaleOf(greatest);
  }
  *stored = static_cast<uint16_t>(gpu::FloatToHalf(next.d));
}

/// Dimensions that rotate together, from `first` on: back, turned, and forth again.
GPU_FN void TurnRotated(const CacheArguments& cache, const KeyTurn& turn, uint32_t* page,
                        uint32_t row, uint32_t first) {
  float x[kRotationMost];
  const uint32_t block = cache.rotation_block;
  for (uint32_t d = 0; d < block; d += 4) {
    const gpu::Float4 four = Key4<kHalfByteRows>(cache, page, row, (first + d) / 4);
    x[d] = four.x;
    x[d + 1] = four.y;
    x[d + 2] = four.z;
    x[d + 3] = four.w;
  }
  RotateBlock(x, block, cache.rotation_scale);
  for (uint32_t d = 0; d < block && (first + d) / 2 < turn.pairs; d += 2) {
    TurnPair(turn, (first + d) / 2, &x[d], &x[d + 1]);
  }
  RotateBlock(x, block, cache.rotation_scale);
  for (uint32_t d = 0; d < block; d += 32) {
    StoreHalfBytes(cache, x, d, first + d, page, row, true);
  }
}

/// Gives a row its new position and turns its key there.
GPU_FN void MoveTo(const KvRebaseArguments& a, uint32_t* page, uint32_t row, uint32_t position) {
  const uint32_t old = page[a.cache.positions_at + row];
  if (old == position) return;
  page[a.cache.positions_at + row] = position;
  const bool is_backwards = position < old;
  const KeyTurn turn = {a.frequencies, a.pairs, is_backwards ? old - position : position - old,
                        is_backwards};
  if (a.cache.key_type == kHalfRows) return TurnHalves(turn, page, row);
  if (a.cache.key_type == kHalfByteRows) {
    for (uint32_t first = 0; first < 2 * a.pairs; first += a.cache.rotation_block) {
      TurnRotated(a.cache, turn, page, row, first);
    }
    return;
  }
  for (uint32_t block = 0; block * 16 < a.pairs; ++block) {
    TurnBlock(a.cache, turn, page, row, block);
  }
}

GPU_FN uint32_t BlockMin(uint32_t value) {
  return ~gpu::BlockMax(~value);
}

/// Sets the set bits before each word of the map; returns all.
GPU_FN uint32_t SumMap(const uint32_t* map, uint32_t* before, uint32_t words) {
  GPU_SHARED(uint32_t, sums, kRebaseThreads);
  const uint32_t thread = gpu::Thread(), threads = gpu::BlockThreads();
  const uint32_t each = (words + threads - 1) / threads;
  const uint32_t first = gpu::Min(thread * each, words), last = gpu::Min(first + each, words);
  uint32_t own = 0;
  for (uint32_t w = first; w < last; ++w) own += gpu::PopCount(map[w]);
  sums[thread] = own;
  gpu::Sync();
  uint32_t sum = 0, total = 0;
  for (uint32_t t = 0; t < threads; ++t) {
    if (t == thread) sum = total;
    total += sums[t];
  }
  for (uint32_t w = first; w < last; ++w) {
    before[w] = sum;
    sum += gpu::PopCount(map[w]);
  }
  gpu::Sync();
  return total;
}

/// Grid: heads. Blocks have kRebaseThreads threads.
GPU_KERNEL(kRebaseThreads) KvRebase(const KvRebaseArguments a) {
  const CacheArguments& cache = a.cache;
  const uint32_t thread = gpu::Thread(), threads = gpu::BlockThreads();
  const uint32_t words = cache.pages_per_head, extent = words * kPageRows;
  const Head head = HeadOf(cache);
  if (head.count == 0) return;
  uint32_t* const map = a.scratch + uint64_t{head.index} * 3 * words;
  uint32_t *const before = map + words, *const done = before + words;
  const uint32_t window_from = Sequence(cache.step, 0, kWindowFrom);
  const uint32_t window_at = Sequence(cache.step, 0, kWindowAt);
  uint32_t least = kNoPosition, before_window = 0;
  for (uint32_t w = thread; w < words; w += threads) done[w] = 0;
  for (uint32_t slot = thread; slot < head.count; slot += threads) {
    const uint32_t* const page = PageOfSlot(cache, head, slot);
    const uint32_t position = page[cache.positions_at + slot % kPageRows];
    least = gpu::Min(least, position);
    if (position < window_from) ++before_window;
  }
  uint32_t next = window_at - gpu::BlockSum(before_window);  // Position of the first.
  for (uint32_t base = BlockMin(least); base != kNoPosition; base = BlockMin(least)) {
    for (uint32_t w = thread; w < words; w += threads) map[w] = 0;
    gpu::Sync();
    // Rows that were moved may have new positions in this part: `done` knows them.
    for (uint32_t slot = thread; slot < head.count; slot += threads) {
      const uint32_t* const page = PageOfSlot(cache, head, slot);
      const uint32_t position = page[cache.positions_at + slot % kPageRows];
      const uint32_t place = position - base;
      const bool is_done = (done[slot / 32] >> (slot % 32) & 1) != 0;
      if (!is_done && position < window_from && place < extent) {
        gpu::AtomicOr(map + place / 32, 1u << (place % 32));
      }
    }
    gpu::Sync();
    const uint32_t total = SumMap(map, before, words);
    least = kNoPosition;
    for (uint32_t slot = thread; slot < head.count; slot += threads) {
      uint32_t* const page = PageOfSlot(cache, head, slot);
      const uint32_t position = page[cache.positions_at + slot % kPageRows];
      if ((done[slot / 32] >> (slot % 32) & 1) != 0) continue;
      const uint32_t place = position - base;
      const bool is_in_window = position >= window_from;
      if (!is_in_window && place >= extent) {
        least = gpu::Min(least, position);
        continue;
      }
      gpu::AtomicOr(done + slot / 32, 1u << (slot % 32));
      uint32_t moved_to = window_at + (position - window_from);
      if (!is_in_window) {
        const uint32_t lower = map[place / 32] & ((1u << (place % 32)) - 1);
        moved_to = next + before[place / 32] + gpu::PopCount(lower);
      }
      MoveTo(a, page, slot % kPageRows, moved_to);
    }
    gpu::Sync();
    next += total;
  }
}

}  // namespace cormorant::GPU_NAMESPACE::kernels
