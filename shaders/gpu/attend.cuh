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

/// What attention leaves at rows: StepSequence's mark_by and reach.
struct Marking {
  bool sums;
  uint32_t reach;
};
GPU_FN Marking MarkingOf(const uint32_t* step, uint32_t sequence) {
  return {Sequence(step, sequence, kMarkBy) == kMarkAttention, Sequence(step, sequence, kReach)};
}

/// log(c / t) of a row: scores at or past log-sum-exp plus this are important. 0 where attention is
/// summed.
GPU_FN float LogShare(const uint32_t* step, const RowPlace& place, const Marking& marking) {
  if (marking.sums) return 0.0f;
  const uint32_t by_step = Sequence(step, place.sequence, kClock) + place.i + 1;
  const uint32_t basis = Sequence(step, place.sequence, kBasis);
  const uint32_t t = basis == 0 ? by_step : basis == 1 ? place.visible : 1;
  const float c = gpu::AsFloat(Sequence(step, place.sequence, kImportanceScale));
  return gpu::Log(c / static_cast<float>(t));
}

/// The stamp of a row with x times the least share that counts, x >= 1.
GPU_FN uint32_t StampOf(uint32_t now, float log_x, uint32_t reach) {
  return reach == 0 ? now : now + Reach(gpu::Exp(log_x), reach);
}

/// What a query in step `now` makes of a row's mark; `least` is log-sum-exp plus LogShare.
GPU_FN uint32_t MarkWith(const Marking& marking, uint32_t mark, uint32_t now, float score,
                         float least) {
  const float log_x = score - least;
  if (marking.sums) {
    return mark + static_cast<uint32_t>(gpu::RoundEven(gpu::Exp(log_x) * kAttentionUnits));
  }
  return log_x >= 0.0f ? gpu::Max(mark, StampOf(now, log_x, marking.reach)) : mark;
}
/// Leaves a mark in a page. Sums are whole units, so they do not depend on the order of blocks.
GPU_FN void LeaveMark(const Marking& marking, uint32_t* at, uint32_t mark) {
  if (mark == 0) return;
  if (!marking.sums) {
    gpu::AtomicMax(at, mark);
  } else if (*at < kAttentionMost) {
    gpu::AtomicAdd(at, mark);
  }
}

}  // namespace cormorant::GPU_NAMESPACE::kernels
