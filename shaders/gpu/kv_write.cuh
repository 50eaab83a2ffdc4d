// Appends rows to the cache, rotated first where that is asked for too. See KvWriteOp and RopeOp in
// runtime/ops/ops.h.
#pragma once
#include "shaders/gpu/angle.cuh"
#include "shaders/gpu/hadamard.cuh"
#include "shaders/gpu/kv.cuh"

namespace cormorant::GPU_NAMESPACE::kernels {

/// Dimensions [first, first + 32) of a row.
GPU_FN void StoreQ8(const CacheArguments& cache, const float* from, uint32_t first, uint32_t* page,
                    uint32_t row, bool is_key) {
  float greatest = 0.0f;
  for (uint32_t d = 0; d < 32; ++d) greatest = gpu::Max(greatest, gpu::Abs(from[first + d]));
  const QuantScale scale = QuantScaleOf(greatest);
  const uint32_t block = first / 32, half = gpu::FloatToHalf(scale.d);
  if (is_key) {
    Halves(page, cache.key_scales_at)[block * kPageRows + row] = static_cast<uint16_t>(half);
  } else {
    Halves(page, cache.value_scales_at)[row * (cache.head_dim / 32) + block] =
        static_cast<uint16_t>(half);
  }
  for (uint32_t d = first; d < first + 32; d += 4) {
    uint32_t word = 0;
    for (uint32_t j = 0; j < 4; ++j) word |= QuantByte(from[d + j], scale.inverse) << (8 * j);
    page[is_key ? d / 4 * kPageRows + row : cache.values_at + (row * cache.head_dim + d) / 4] =
        word;
  }
}

/// A whole row in half bytes, by all threads.
GPU_FN void StoreRotated(const CacheArguments& cache, const float* from, uint32_t* page,
                         uint32_t row, bool is_key) {
  GPU_SHARED(float, rotated, kRotationMost);
  const uint32_t block = cache.rotation_block;
  for (uint32_t first = 0; first < cache.head_dim; first += block) {
    gpu::Sync();  // The block before may still be read.
    for (uint32_t d = gpu::Thread(); d < block; d += gpu::BlockThreads()) {
      rotated[d] = from[first + d];
    }
    gpu::Sync();
    RotateRows(rotated, {1, block, block, 1}, block, cache.rotation_scale);
    for (uint32_t d = gpu::Thread() * 32; d < block; d += gpu::BlockThreads() * 32) {
      StoreHalfBytes(cache, rotated, d, first + d, page, row, is_key);
    }
  }
}

/// Rotates the block's key and the queries of its group, in place: heads share the angles.
GPU_FN void RotateGroup(const KvWriteArguments& a, uint32_t row, uint32_t kv_head) {
  const uint32_t dims = a.cache.head_dim, group = a.heads_of_q / a.cache.kv_heads;
  const uint32_t position = StepWord(a.cache.step, kStepPositionsAt, row);
  float* const k = a.k + (uint64_t{row} * a.cache.kv_heads + kv_head) * dims;
  float* const q = a.q + (uint64_t{row} * a.heads_of_q + kv_head * group) * dims;
  for (uint32_t pair = gpu::Thread(); pair < a.pairs; pair += gpu::BlockThreads()) {
    const Angle angle = AngleOf(a.frequencies, pair, position);
    RotatePair(k + 2 * pair, angle);
    for (uint32_t h = 0; h < group; ++h) RotatePair(q + uint64_t{h} * dims + 2 * pair, angle);
  }
  gpu::Sync();
}

/// Clears what the first `slots` rows of a head have summed.
GPU_FN void Forget(const CacheArguments& cache, uint32_t table, uint32_t head, uint32_t slots) {
  for (uint32_t slot = gpu::Thread(); slot < slots; slot += gpu::BlockThreads()) {
    uint32_t* const page = PageOf(cache, table, head, slot / kPageRows);
    uint32_t& sum = page[cache.last_important_at + slot % kPageRows];
    if (sum != kPinnedRow) sum = 0;
  }
}

/// A block stores one row of one KV head; a thread blocks of 32 dimensions, or single ones as f16.
/// Grid: rows, KV heads.
GPU_KERNEL(64) KvWrite(const KvWriteArguments a) {
  const CacheArguments& cache = a.cache;
  const uint32_t* const step = cache.step;
  const uint32_t row = gpu::Block(), kv_head = gpu::BlockY(), thread = gpu::Thread();
  if (row >= step[kStepRows]) return;
  if (a.q != nullptr) RotateGroup(a, row, kv_head);
  const uint32_t head = cache.layer * cache.kv_heads + kv_head, dims = cache.head_dim;
  const RowPlace place = PlaceOf(step, row, head);
  const uint32_t slot = place.visible - 1;  // The last it sees is its own.
  uint32_t* const page =
      PageOf(cache, Sequence(step, place.sequence, kTable), head, slot / kPageRows);
  const uint32_t in_page = slot % kPageRows;
  if (place.i == 0 && Sequence(step, place.sequence, kForgets) != 0) {
    Forget(cache, Sequence(step, place.sequence, kTable), head, slot);
  }
  const uint64_t at = (uint64_t{row} * cache.kv_heads + kv_head) * dims;
  for (uint32_t d = thread; d < dims; d += gpu::BlockThreads()) {
    if (cache.key_type == kHalfRows) {
      Halves(page, 0)[d * kPageRows + in_page] =
          static_cast<uint16_t>(gpu::FloatToHalf(a.k[at + d]));
    }
    if (cache.value_type == kHalfRows) {
      Halves(page, cache.values_at)[in_page * dims + d] =
          static_cast<uint16_t>(gpu::FloatToHalf(a.v[at + d]));
    }
  }
  for (uint32_t d = thread * 32; d < dims; d += gpu::BlockThreads() * 32) {
    if (cache.key_type == kByteRows) StoreQ8(cache, a.k + at, d, page, in_page, true);
    if (cache.value_type == kByteRows) StoreQ8(cache, a.v + at, d, page, in_page, false);
  }
  if (cache.key_type == kHalfByteRows) StoreRotated(cache, a.k + at, page, in_page, true);
  if (cache.value_type == kHalfByteRows) StoreRotated(cache, a.v + at, page, in_page, false);
  if (thread != 0) return;
  page[cache.positions_at + in_page] = StepWord(step, kStepPositionsAt, row);
  const uint32_t mark = Sequence(step, place.sequence, kMarkBy) == kMarkAttention
                            ? 0
                            : Sequence(step, place.sequence, kClock) + place.i + 1;
  page[cache.last_important_at + in_page] =
      place.i < Sequence(step, place.sequence, kPinnedRows) ? kPinnedRow : mark;
}

}  // namespace cormorant::GPU_NAMESPACE::kernels
