// y = x * w^T for many rows of x. See MatMulOp in runtime/ops/ops.h.
//
// Prefill is about arithmetic: a workgroup makes a block of kRowsOfX by kRowsOfW outputs, an
// invocation 4 * kM by 4 * kN of them in registers. For each 32 columns both sides are brought to
// shared memory as f32, transposed, so that four neighbours are one read.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "weights.glsl"
#include "matmul.glsl"
layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint kThreads = 64;
layout(constant_id = 2) const uint kRowsOfX = 64;
layout(constant_id = 3) const uint kRowsOfW = 64;
layout(constant_id = 4) const uint kM = 2;  // In fours.
layout(constant_id = 5) const uint kN = 2;

const uint kStrideX = kRowsOfX / 4u + 1u, kStrideW = kRowsOfW / 4u + 1u;
shared vec4 xs[32u * kStrideX];  // [column][row]
shared vec4 ws[32u * kStrideW];

void LoadX(uint first_row, uint rows, uint block) {
  [[dont_unroll]] for (uint i = gl_LocalInvocationID.x; i < kRowsOfX * 32u; i += kThreads) {
    const uint row = i / 32u, k = i % 32u, column = block * 32u + k;
    const bool is_live = first_row + row < rows && column < columns;
    xs[k * kStrideX + row / 4u][row % 4u] =
        is_live ? x.v[(first_row + row) * columns + column] : 0.0;
  }
}

void LoadW(uint first_tile, uint block) {
  [[dont_unroll]] for (uint i = gl_LocalInvocationID.x; i < kRowsOfW * 4u; i += kThreads) {
    const uint row = i % kRowsOfW, piece = i / kRowsOfW;
    const uint tile = min(first_tile + row / 32u, tiles - 1u);
    vec4 low, high;
    LoadPiece(quads, tile, block, blocks, row % 32u, piece, low, high);
    const vec2 scale = Scale(scales, tile, block, blocks, row % 32u);
    low = low * scale.x + scale.y;
    high = high * scale.x + scale.y;
    [[unroll]] for (uint j = 0; j < 4u; ++j) {
      ws[(piece * 8u + j) * kStrideW + row / 4u][row % 4u] = low[j];
      ws[(piece * 8u + 4u + j) * kStrideW + row / 4u][row % 4u] = high[j];
    }
  }
}

void main() {
  const uint first_row = gl_WorkGroupID.y * kRowsOfX, rows = step.v[live];
  if (first_row >= rows) return;
  const uint first_w = gl_WorkGroupID.x * kRowsOfW;
  // Where this invocation's outputs begin, in fours.
  const uint across = kRowsOfW / (4u * kN);
  const uint m0 = gl_LocalInvocationID.x / across * kM, n0 = gl_LocalInvocationID.x % across * kN;
  vec4 sum[kM * 4u][kN];
  [[unroll]] for (uint m = 0; m < kM * 4u; ++m) {
    [[unroll]] for (uint n = 0; n < kN; ++n) sum[m][n] = vec4(0.0);
  }
  [[dont_unroll]] for (uint block = 0; block < blocks; ++block) {
    LoadX(first_row, rows, block);
    LoadW(first_w / 32u, block);
    barrier();
    [[dont_unroll]] for (uint k = 0; k < 32u; ++k) {
      vec4 b[kN];
      [[unroll]] for (uint n = 0; n < kN; ++n) b[n] = ws[k * kStrideW + n0 + n];
      [[unroll]] for (uint m = 0; m < kM; ++m) {
        const vec4 a = xs[k * kStrideX + m0 + m];
        [[unroll]] for (uint i = 0; i < 4u; ++i) {
          [[unroll]] for (uint n = 0; n < kN; ++n) {
            sum[m * 4u + i][n] = fma(vec4(a[i]), b[n], sum[m * 4u + i][n]);
          }
        }
      }
    }
    barrier();
  }
  [[unroll]] for (uint m = 0; m < kM * 4u; ++m) {
    const uint row = first_row + m0 * 4u + m;
    [[unroll]] for (uint n = 0; n < kN * 4u; ++n) {
      Store(rows, row, first_w + n0 * 4u + n, sum[m][n / 4u][n % 4u]);
    }
  }
}
