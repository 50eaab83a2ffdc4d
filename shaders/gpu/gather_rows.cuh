// y[j,:] = x[out_index[j],:]. See GatherRowsOp in runtime/ops/ops.h.
#pragma once
#include "shaders/gpu/arguments.h"
#include "shaders/gpu/step.cuh"

namespace cormorant::GPU_NAMESPACE::kernels {

/// A thread an element. Grid: columns by threads, output rows.
GPU_KERNEL(128) GatherRows(const GatherRowsArguments a) {
  const uint32_t j = gpu::BlockY(), column = gpu::Block() * gpu::BlockThreads() + gpu::Thread();
  if (j >= a.step[kStepOutRows] || column >= a.columns) return;
  const uint64_t from = StepWord(a.step, kStepOutIndexAt, j);
  a.y[uint64_t{j} * a.columns + column] = a.x[from * a.columns + column];
}

}  // namespace cormorant::GPU_NAMESPACE::kernels
