// y = silu(gate) * up. See ActOp in runtime/ops/ops.h.
#pragma once
#include "shaders/gpu/arguments.h"
#include "shaders/gpu/quants.cuh"

namespace cormorant::GPU_NAMESPACE::kernels {

GPU_FN float SiluTimes(float gate, float up) {
  // exp(-gate) is infinite far below 0, where the quotient is gate * exp(gate) and still a number.
  const float silu = gate < -80.0f ? gate * gpu::Exp(gate) : gate / (1.0f + gpu::Exp(-gate));
  return silu * up;
}

/// A thread an element. Grid: columns by threads, rows.
GPU_KERNEL(128) Act(const ActArguments a) {
  const uint32_t row = gpu::BlockY(), column = gpu::Block() * gpu::BlockThreads() + gpu::Thread();
  if (row >= a.step[a.live] || column >= a.columns) return;
  const uint64_t i = uint64_t{row} * a.columns + column;
  a.y[i] = SiluTimes(a.gate[i], a.up[i]);
}

/// The same, stored for products with block types too. A thread 32 columns, so that no thread waits
/// for another. Grid: blocks of 32 by threads, rows.
GPU_KERNEL(64) ActQuantize(const ActArguments a) {
  const uint32_t row = gpu::BlockY(), block = gpu::Block() * gpu::BlockThreads() + gpu::Thread();
  const uint32_t blocks = a.columns / 32;
  if (row >= a.step[a.live] || block >= blocks) return;
  const uint64_t at = uint64_t{row} * a.columns + block * 32;
  for (uint32_t i = 0; i < 32; ++i) a.y[at + i] = SiluTimes(a.gate[at + i], a.up[at + i]);
  QuantizeBlock(a.y + at, {a.quants, a.scales}, uint64_t{row} * blocks + block);
}

}  // namespace cormorant::GPU_NAMESPACE::kernels
