// What the kernels of AttendOp share: their query heads, and a row's threshold.
//
// A block has `heads` query heads of one KV head: all H / G of them, or a part where they are too
// many for its shared memory. Dimension y of the grid is KV heads by parts.
#pragma once
#include "shaders/gpu/kv.cuh"

namespace cormorant::GPU_NAMESPACE::kernels {

constexpr float kLeast = -1e30f;  // Below every score.

GPU_FN uint32_t KvHeadOf(const AttendArguments& a) {
  return gpu::BlockY() / (gpu::BlocksY() / a.cache.kv_heads);
}
/// The first of the block's query heads in a row of q.
GPU_FN uint32_t FirstHead(const AttendArguments& a, uint32_t row) {
  return (row * gpu::BlocksY() + gpu::BlockY()) * a.heads;
}

/// log(c / t) of a row: scores at or past log-sum-exp plus this are important.
GPU_FN float LogShare(const uint32_t* step, const RowPlace& place) {
  const uint32_t by_step = Sequence(step, place.sequence, kClock) + place.i + 1;
  const uint32_t t = Sequence(step, place.sequence, kBasis) == 0 ? by_step : place.visible;
  const float c = gpu::AsFloat(Sequence(step, place.sequence, kImportanceScale));
  return gpu::Log(c / static_cast<float>(t));
}

}  // namespace cormorant::GPU_NAMESPACE::kernels
