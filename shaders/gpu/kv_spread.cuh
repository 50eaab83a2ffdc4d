// Important rows make their neighbours important. See KvSpreadOp in runtime/ops/ops.h.
#pragma once
#include "shaders/gpu/mark_window.cuh"

namespace cormorant::GPU_NAMESPACE::kernels {

constexpr uint32_t kSpreadMost = 16;  // Of ops.h.
static_assert(kSpreadMost <= kMarksBeside);

/// A block a head. Grid: heads.
GPU_KERNEL(128) KvSpread(const KvSpreadArguments a) {
  const uint32_t fade = Sequence(a.cache.step, 0, kFade);
  if (fade == 0) return;
  RewriteMarks(a.cache, [&](const auto& marks, uint32_t place) {
    uint32_t best = marks[place];
    for (uint32_t d = 1; d <= kSpreadMost; ++d) {
      const uint32_t before = marks[place - d], behind = marks[place + d], cost = d * fade;
      const uint32_t near = gpu::Max(before, behind);
      best = gpu::Max(best, near - gpu::Min(near, cost));
    }
    return best;
  });
}

}  // namespace cormorant::GPU_NAMESPACE::kernels
