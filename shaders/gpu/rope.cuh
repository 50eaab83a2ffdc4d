// Rotates pairs of x by the row's position. See RopeOp in runtime/ops/ops.h.
#pragma once
#include "shaders/gpu/angle.cuh"

namespace cormorant::GPU_NAMESPACE::kernels {

/// A thread a pair of a row, for all heads: they share the angle. Grid: pairs by threads, rows.
GPU_KERNEL(64) Rope(const RopeArguments a) {
  const uint32_t row = gpu::BlockY(), pair = gpu::Block() * gpu::BlockThreads() + gpu::Thread();
  if (row >= a.step[kStepRows] || pair >= a.pairs) return;
  const Angle angle = AngleOf(a.frequencies, pair, StepWord(a.step, kStepPositionsAt, row));
  for (uint32_t h = 0; h < a.heads; ++h) {
    RotatePair(a.x + (uint64_t{row} * a.heads + h) * a.head_dim + 2 * pair, angle);
  }
}

}  // namespace cormorant::GPU_NAMESPACE::kernels
