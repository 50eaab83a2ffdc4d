// y[r,:] = table[ids[r],:]. See EmbedOp in runtime/ops/ops.h.
//
// A thread makes eight neighbouring elements of a row. The table may be the output matrix too, so
// it lies in the tiles that matmuls read.
#pragma once
#include "shaders/gpu/step.cuh"
#include "shaders/gpu/weights.cuh"

namespace cormorant::GPU_NAMESPACE::kernels {

/// Grid: pieces of eight columns by threads, rows.
template <uint32_t kType>
GPU_KERNEL(64)
Embed(const EmbedArguments a) {
  const uint32_t row = gpu::BlockY(), piece = gpu::Block() * gpu::BlockThreads() + gpu::Thread();
  if (row >= a.step[kStepRows] || piece * 8 >= a.columns) return;
  const uint32_t id = StepWord(a.step, kStepIdsAt, row), block = piece / 4;
  const Eight eight = Piece<kType>(a.quads, id / 32, block, a.blocks, id % 32, piece % 4);
  const Scale scale = ScaleOf<kType>(a.scales, id / 32, block, a.blocks, id % 32);
  for (uint32_t i = 0; i < 8 && piece * 8 + i < a.columns; ++i) {
    float value = eight.v[i];
    // As the scalar dequantization, for the sign of zero's sake.
    if constexpr (Layout<kType>::kHasScale) {
      value = scale.d * (kType == kQ4_0 ? value - 8.0f : value);
      if constexpr (kType == kQ4_1) value += scale.m;
    }
    a.y[uint64_t{row} * a.columns + piece * 8 + i] = value;
  }
}

}  // namespace cormorant::GPU_NAMESPACE::kernels
