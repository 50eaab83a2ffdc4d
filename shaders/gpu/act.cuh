// y = silu(gate) * up. See ActOp in runtime/ops/ops.h.
#pragma once
#include "shaders/gpu/arguments.h"
#include "shaders/gpu/gpu.h"

namespace cormorant::GPU_NAMESPACE::kernels {

/// A thread an element. Grid: columns by threads, rows.
GPU_KERNEL(128) Act(const ActArguments a) {
  const uint32_t row = gpu::BlockY(), column = gpu::Block() * gpu::BlockThreads() + gpu::Thread();
  if (row >= a.step[a.live] || column >= a.columns) return;
  const uint64_t i = uint64_t{row} * a.columns + column;
  const float gate = a.gate[i];
  // exp(-gate) is infinite far below 0, where the quotient is gate * exp(gate) and still a number.
  const float silu = gate < -80.0f ? gate * gpu::Exp(gate) : gate / (1.0f + gpu::Exp(-gate));
  a.y[i] = silu * a.up[i];
}

}  // namespace cormorant::GPU_NAMESPACE::kernels
