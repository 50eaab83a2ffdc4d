// y = x * w^T for drivers that run on a CPU. See MatMulOp in runtime/ops/ops.h.
//
// Such a driver runs a subgroup in one vector register, where arithmetic is nearly free and every
// load or store of an invocation is a scalar one with a branch before it: what counts is loads per
// product. So nothing is staged in shared memory. A workgroup is one subgroup; each lane has kTiles
// rows of w, decodes eight columns at a time into registers, and meets kBatch rows of x, whose
// eight values the lanes load once and tell each other. (The one kernel that uses subgroup
// operations; it takes any subgroup size up to 32.)
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_shuffle : require
#include "common.glsl"
#include "weights.glsl"
#include "matmul.glsl"
layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint kLanes = 8;  // Of a subgroup: a power of two, at most 32.
layout(constant_id = 2) const uint kTiles = 4;  // Rows of w a lane.
layout(constant_id = 3) const uint kBatch = 1;  // Rows of x.

const uint kLoads = kLanes >= 8u ? 1u : 8u / kLanes;  // Of x a lane, for eight columns of a row.

/// Column `column` of a row of x; zero past the end.
float LoadX(uint row, uint column) {
  const float value = x.v[row * columns + min(column, columns - 1u)];
  return column < columns ? value : 0.0;
}

void main() {
  const uint lane = gl_LocalInvocationID.x, first_row = gl_WorkGroupID.y * kBatch;
  const uint rows = step.v[live];
  if (first_row >= rows) return;
  const uint first = gl_WorkGroupID.x * kTiles * kLanes + lane;  // Rows of w: every kLanes-th.
  float total[kTiles * kBatch];
  [[unroll]] for (uint i = 0; i < kTiles * kBatch; ++i) total[i] = 0.0;

  [[dont_unroll]] for (uint block = 0; block < blocks; ++block) {
    vec2 scale[kTiles];
    [[unroll]] for (uint t = 0; t < kTiles; ++t) {
      const uint n = min(first + t * kLanes, tiles * 32u - 1u);
      scale[t] = Scale(scales, n / 32u, block, blocks, n % 32u);
    }
    [[dont_unroll]] for (uint piece = 0; piece < 4u; ++piece) {
      // Lane l has columns l, l + kLanes ... of the eight.
      float values[kBatch * kLoads];
      [[unroll]] for (uint i = 0; i < kBatch * kLoads; ++i) {
        values[i] = LoadX(min(first_row + i / kLoads, rows - 1u),
                          block * 32u + piece * 8u + (lane + i % kLoads * kLanes) % 8u);
      }
      vec4 low[kTiles], high[kTiles];
      [[unroll]] for (uint t = 0; t < kTiles; ++t) {
        const uint n = min(first + t * kLanes, tiles * 32u - 1u);
        LoadPiece(quads, n / 32u, block, blocks, n % 32u, piece, low[t], high[t]);
        low[t] = low[t] * scale[t].x + scale[t].y;
        high[t] = high[t] * scale[t].x + scale[t].y;
      }
      [[unroll]] for (uint k = 0; k < 8u; ++k) {
        [[unroll]] for (uint r = 0; r < kBatch; ++r) {
          const float value = subgroupShuffle(values[r * kLoads + k / kLanes % kLoads], k % kLanes);
          [[unroll]] for (uint t = 0; t < kTiles; ++t) {
            const float weight = k < 4u ? low[t][k % 4u] : high[t][k % 4u];
            total[t * kBatch + r] = fma(value, weight, total[t * kBatch + r]);
          }
        }
      }
    }
  }
  [[unroll]] for (uint t = 0; t < kTiles; ++t) {
    const uint n = first + t * kLanes;
    [[unroll]] for (uint r = 0; r < kBatch; ++r) {
      Store(rows, first_row + r, n, total[t * kBatch + r]);
    }
  }
}
