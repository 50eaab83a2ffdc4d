// RMS norm over rows (arXiv 1910.07467, eq. 4). See RmsNormOp in runtime/ops/ops.h.
//
// One block a row: rows are few in decode and long, so the loads of x are the whole cost; x is read
// twice and stays in cache the second time. Where products with block types follow, y is stored as
// they read it too, which saves them a launch.
#pragma once
#include "shaders/gpu/arguments.h"
#include "shaders/gpu/quants.cuh"

namespace cormorant::GPU_NAMESPACE::kernels {

/// Grid: rows of the bucket. Blocks at or past the live rows return.
GPU_KERNEL(256) RmsNorm(const RmsNormArguments a) {
  const uint32_t row = gpu::Block();
  if (row >= a.step[a.live]) return;  // The whole block: no collective is skipped by half of it.
  const float* const x = a.x + uint64_t{row} * a.columns;
  float* const y = a.y + uint64_t{row} * a.columns;
  float sum = 0.0f;
  for (uint32_t c = gpu::Thread(); c < a.columns; c += gpu::BlockThreads()) sum += x[c] * x[c];
  const float mean = gpu::BlockSum(sum) / static_cast<float>(a.columns);
  const float scale = 1.0f / gpu::Sqrt(mean + a.eps);
  for (uint32_t c = gpu::Thread(); c < a.columns; c += gpu::BlockThreads()) {
    y[c] = x[c] * a.w[c] * scale;
  }
  if (a.quants == nullptr) return;
  gpu::Sync();
  const uint32_t blocks = a.columns / 32;
  for (uint32_t b = gpu::Thread(); b < blocks; b += gpu::BlockThreads()) {
    QuantizeBlock(y + b * 32, {a.quants, a.scales}, uint64_t{row} * blocks + b);
  }
}

}  // namespace cormorant::GPU_NAMESPACE::kernels
