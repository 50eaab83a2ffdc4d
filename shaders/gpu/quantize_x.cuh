// Rows of x to 15 bits in blocks of 32 (quants.cuh), where no kernel before leaves them so.
#pragma once
#include "shaders/gpu/arguments.h"
#include "shaders/gpu/quants.cuh"

namespace cormorant::GPU_NAMESPACE::kernels {

/// A thread a block of 32. Grid: blocks by threads, rows.
GPU_KERNEL(64) QuantizeX(const QuantizeXArguments a) {
  const uint32_t row = gpu::BlockY(), block = gpu::Block() * gpu::BlockThreads() + gpu::Thread();
  if (row >= a.step[a.live] || block >= a.blocks) return;
  QuantizeBlock(a.x + uint64_t{row} * a.columns + block * 32, {a.quants, a.scales},
                uint64_t{row} * a.blocks + block);
}

}  // namespace cormorant::GPU_NAMESPACE::kernels
