// y = x * w^T for few rows of x. See MatMulOp in runtime/ops/ops.h.
//
// Decode reads every weight once, so this is about memory: a workgroup makes 32 * kTiles outputs;
// its 32 lanes have one row of w each (the 16-byte quads of 32 rows are neighbours), its slices
// take turns at blocks of 32 columns, and their sums meet in shared memory. x is staged in shared
// memory piece by piece and serves kTiles rows of w a lane. The scale of a block is applied to its
// whole sum, its minimum to the sum of x.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "weights.glsl"
#include "matmul.glsl"
layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint kThreads = 64;  // 32 lanes a slice.
layout(constant_id = 2) const uint kTiles = 1;
layout(constant_id = 3) const uint kBatch = 1;      // Rows of x.
layout(constant_id = 4) const uint kChunk = 1024;   // Columns staged at a time: whole blocks.

const uint kSlices = kThreads / 32u;
const uint kChunkBlocks = kChunk / 32u;
shared vec4 staged[kBatch * kChunk / 4u];
shared float sums[kBatch * kChunkBlocks];  // Of x, by block.
shared float partial[kSlices * kTiles * kBatch * 32u];

void Stage(uint first_row, uint row_count, uint first_column) {
  const uint thread = gl_LocalInvocationID.x;
  barrier();
  [[dont_unroll]] for (uint i = thread; i < kBatch * kChunk / 4u; i += kThreads) {
    const uint row = i / (kChunk / 4u), column = first_column + i % (kChunk / 4u) * 4u;
    vec4 value = vec4(0.0);
    if (row < row_count) {
      const uint at = (first_row + row) * columns + column;
      if (column + 3u < columns) {
        value = vec4(x.v[at], x.v[at + 1u], x.v[at + 2u], x.v[at + 3u]);
      } else {
        for (uint j = 0; j < 3u; ++j) {
          if (column + j < columns) value[j] = x.v[at + j];
        }
      }
    }
    staged[i] = value;
  }
  barrier();
  if (!kIsNibble) return;
  [[dont_unroll]] for (uint i = thread; i < kBatch * kChunkBlocks; i += kThreads) {
    vec4 sum = staged[i * 8u];
    [[unroll]] for (uint j = 1; j < 8u; ++j) sum += staged[i * 8u + j];
    sums[i] = (sum.x + sum.y) + (sum.z + sum.w);
  }
  barrier();
}

void main() {
  const uint lane = gl_LocalInvocationID.x % 32u, slice = gl_LocalInvocationID.x / 32u;
  const uint first_row = gl_WorkGroupID.y * kBatch, first_tile = gl_WorkGroupID.x * kTiles;
  const uint rows = step.v[live];
  if (first_row >= rows) return;
  float total[kTiles * kBatch];
  [[unroll]] for (uint i = 0; i < kTiles * kBatch; ++i) total[i] = 0.0;

  [[dont_unroll]] for (uint chunk = 0; chunk < blocks; chunk += kChunkBlocks) {
    Stage(first_row, min(rows - first_row, kBatch), chunk * 32u);
    const uint chunk_blocks = min(blocks - chunk, kChunkBlocks);
    [[dont_unroll]] for (uint b = slice; b < chunk_blocks; b += kSlices) {
      uvec4 raw[kTiles][kQuads];
      float sum[kTiles * kBatch];
      [[unroll]] for (uint t = 0; t < kTiles; ++t) {
        const uint tile = min(first_tile + t, tiles - 1u);
        [[unroll]] for (uint q = 0; q < kQuads; ++q) {
          raw[t][q] = Quads(quads).v[QuadAt(tile, chunk + b, blocks, q, lane)];
        }
        [[unroll]] for (uint r = 0; r < kBatch; ++r) sum[t * kBatch + r] = 0.0;
      }
      [[unroll]] for (uint piece = 0; piece < 4u; ++piece) {
        vec4 low[kTiles], high[kTiles];
        [[unroll]] for (uint t = 0; t < kTiles; ++t) Piece(raw[t], piece, low[t], high[t]);
        [[unroll]] for (uint r = 0; r < kBatch; ++r) {
          const uint at = r * (kChunk / 4u) + b * 8u + piece * 2u;
          const vec4 a = staged[at], c = staged[at + 1u];
          [[unroll]] for (uint t = 0; t < kTiles; ++t) {
            sum[t * kBatch + r] += dot(a, low[t]) + dot(c, high[t]);
          }
        }
      }
      [[unroll]] for (uint t = 0; t < kTiles; ++t) {
        const vec2 scale =
            Scale(scales, min(first_tile + t, tiles - 1u), chunk + b, blocks, lane);
        [[unroll]] for (uint r = 0; r < kBatch; ++r) {
          const uint i = t * kBatch + r;
          total[i] = fma(scale.x, sum[i], total[i]);
          if (kIsNibble) total[i] = fma(scale.y, sums[r * kChunkBlocks + b], total[i]);
        }
      }
    }
  }

  [[unroll]] for (uint i = 0; i < kTiles * kBatch; ++i) {
    partial[(slice * kTiles * kBatch + i) * 32u + lane] = total[i];
  }
  barrier();
  [[dont_unroll]] for (uint i = slice; i < kTiles * kBatch; i += kSlices) {
    float sum = 0.0;
    [[dont_unroll]] for (uint s = 0; s < kSlices; ++s) {
      sum += partial[(s * kTiles * kBatch + i) * 32u + lane];
    }
    Store(rows, first_row + i % kBatch, (first_tile + i / kBatch) * 32u + lane, sum);
  }
}
