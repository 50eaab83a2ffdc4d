// The transform that rotates q4_0 rows, and queries and outputs that meet them: kv_page.h has it.
//
// Sums and one product, each rounded, in the order of strides: every device gets the same bits.
#pragma once
#include "shaders/gpu/arguments.h"
#include "shaders/gpu/gpu.h"

namespace cormorant::GPU_NAMESPACE::kernels {

/// Rows in shared memory: dimension d of row r is x[r * row_stride + d * dimension_stride].
struct SharedRows {
  uint32_t rows, row_stride, dimensions, dimension_stride;
};

/// Rotates them in place, `block` dimensions together. For all threads, who have written and synced
/// before, and may read after.
GPU_FN void RotateRows(gpu::SharedPointer<float> x, const SharedRows& at, uint32_t block,
                       float scale) {
  const uint32_t pairs = at.dimensions / 2, count = at.rows * at.dimensions;
  const bool rows_first = at.row_stride == 1;
  for (uint32_t stride = 1; stride < block; stride *= 2) {
    for (uint32_t i = gpu::Thread(); i < count / 2; i += gpu::BlockThreads()) {
      const uint32_t row = rows_first ? i % at.rows : i / pairs;
      const uint32_t pair = rows_first ? i / at.rows : i % pairs;
      const uint32_t d = pair / stride * 2 * stride + pair % stride;
      const uint32_t first = row * at.row_stride + d * at.dimension_stride;
      const uint32_t second = first + stride * at.dimension_stride;
      const float a = x[first], b = x[second];
      x[first] = a + b;
      x[second] = a - b;
    }
    gpu::Sync();
  }
  for (uint32_t i = gpu::Thread(); i < count; i += gpu::BlockThreads()) {
    const uint32_t row = rows_first ? i % at.rows : i / at.dimensions;
    const uint32_t d = rows_first ? i / at.rows : i % at.dimensions;
    const uint32_t place = row * at.row_stride + d * at.dimension_stride;
    x[place] = x[place] * scale;
  }
  gpu::Sync();
}

/// One block of a thread's own.
GPU_FN void RotateBlock(float* x, uint32_t block, float scale) {
  for (uint32_t stride = 1; stride < block; stride *= 2) {
    for (uint32_t d = 0; d < block; ++d) {
      if ((d & stride) != 0) continue;
      const float a = x[d], b = x[d + stride];
      x[d] = a + b;
      x[d + stride] = a - b;
    }
  }
  for (uint32_t d = 0; d < block; ++d) x[d] *= scale;
}

}  // namespace cormorant::GPU_NAMESPACE::kernels
