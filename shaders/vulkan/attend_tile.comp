// Attention of many rows, with the stamps. See AttendOp in runtime/ops/ops.h.
//
// Prefill: a workgroup (grid: row blocks, groups of heads) takes kQueries queries, the rows of a
// block times the group's query heads, over all pages they see: flash attention (arXiv
// 2205.14135), page by page with a running maximum. An invocation has 4 queries by 4 rows of scores
// and 4 queries by an eighth of the dimensions of output. When rows are judged, a second pass over
// the keys with the log-sum-exp known stamps what was important: the newest step that says so wins.
// A block may hold rows of several sequences; they take turns.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "kv.glsl"
#include "attend.glsl"
layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint kThreads = 64;   // 2 * kQueries
layout(constant_id = 6) const uint kQueries = 32;   // A multiple of 4, at least kGroup.

layout(push_constant) uniform Arguments {
  Floats q, o;
  Words step;
  Slabs slabs;
  Words tables;
  uint pages_per_slab, pages_per_head, layer;
  float scale;
};
const uint kBlockRows = kQueries / kGroup;
const uint kQ4 = kQueries / 4u;
const uint kSlice = 64;  // Dimensions in shared memory at a time.
const uint kDimSlices = (kHeadDim + kSlice - 1u) / kSlice;
shared vec4 query[kDimSlices * kSlice * kQ4];  // [dimension][query]
shared vec4 slice_of[kSlice * 8u];             // Keys: [dimension][row / 4]; values: [row][dim / 4]
shared vec4 shares[32u * kQ4];                 // [row][query]
shared float greatest[kQueries], total[kQueries], correction[kQueries], least[kQueries];
shared uint visible[kQueries];
shared uint marks[32];

const uint kRotatedStride = kQ4;
#define ROTATED(i) query[i]
#define ROTATED_TYPE vec4
#include "rotate.glsl"

struct Block {
  uint sequence, first_row, row_end;  // Rows of the step.
  uint head, table, last_page;
};

uint RowOf(uint tile_row, uint query_index) {
  return tile_row + query_index / kGroup;
}

void LoadQueries(Block block, uint tile_row) {
  barrier();
  [[dont_unroll]] for (uint i = gl_LocalInvocationID.x; i < kQueries * kDimSlices * kSlice;
                       i += kThreads) {
    const uint d = i % (kDimSlices * kSlice), n = i / (kDimSlices * kSlice);
    const uint row = RowOf(tile_row, n);
    const bool is_live = row >= block.first_row && row < block.row_end && n < kBlockRows * kGroup;
    float value = 0.0;
    if (is_live && d < kHeadDim) {
      value = q.v[(FirstHead(row) + n % kGroup) * kHeadDim + d] * scale;
    }
    query[d * kQ4 + n / 4u][n % 4u] = value;
    if (d == 0) {
      // A dead query sees one slot: finite sums that nobody reads.
      visible[n] = is_live ? PlaceOf(step, row, block.head).visible : 1u;
      greatest[n] = -1e30;
      total[n] = 0.0;
    }
  }
  barrier();
  if (kKeyType == kHalfByteRows) Rotate(kQ4, kHeadDim, kRotation);
}

void LoadKeys(Page page, uint slice, uint rows) {
  if (kKeyType != kHalfRows) {
    [[dont_unroll]] for (uint i = gl_LocalInvocationID.x; i < kSlice / 4u * 32u; i += kThreads) {
      const uint row = i % 32u, column = slice * (kSlice / 4u) + i / 32u;
      const bool is_live = column * 4u < kHeadDim && row < rows;
      const vec4 key = is_live ? Key4(page, row, column) : vec4(0.0);
      [[unroll]] for (uint j = 0; j < 4u; ++j) {
        slice_of[(i / 32u * 4u + j) * 8u + row / 4u][row % 4u] = key[j];
      }
    }
  } else {  // A word has one dimension of two rows.
    [[dont_unroll]] for (uint i = gl_LocalInvocationID.x; i < kSlice * 16u; i += kThreads) {
      const uint row = i % 16u * 2u, d = i / 16u, dim = slice * kSlice + d;
      vec2 pair = vec2(0.0);
      if (dim < kHeadDim) pair = unpackHalf2x16(PageWord(page, (dim * kPageRows + row) / 2u));
      slice_of[d * 8u + row / 4u][row % 4u] = row < rows ? pair.x : 0.0;
      slice_of[d * 8u + row / 4u][row % 4u + 1u] = row + 1u < rows ? pair.y : 0.0;
    }
  }
  barrier();
}

void LoadValues(Page page, uint slice, uint rows) {
  [[dont_unroll]] for (uint i = gl_LocalInvocationID.x; i < kSlice / 4u * 32u; i += kThreads) {
    const uint row = i / (kSlice / 4u), column = slice * (kSlice / 4u) + i % (kSlice / 4u);
    slice_of[i] = column * 4u < kHeadDim && row < rows ? Value4(page, row, column) : vec4(0.0);
  }
  barrier();
}

/// Scores of 4 queries [n] by 4 rows of a page.
void Score(Page page, uint rows, out vec4 score[4]) {
  const uint n4 = gl_LocalInvocationID.x / 8u, r4 = gl_LocalInvocationID.x % 8u;
  [[unroll]] for (uint n = 0; n < 4u; ++n) score[n] = vec4(0.0);
  [[dont_unroll]] for (uint slice = 0; slice < kDimSlices; ++slice) {
    LoadKeys(page, slice, rows);
    [[dont_unroll]] for (uint d = 0; d < kSlice; ++d) {
      const vec4 a = query[(slice * kSlice + d) * kQ4 + n4], b = slice_of[d * 8u + r4];
      [[unroll]] for (uint n = 0; n < 4u; ++n) score[n] = fma(vec4(a[n]), b, score[n]);
    }
    barrier();
  }
}

/// Turns the page's scores into shares; sums and the correction of earlier pages follow.
void Softmax(uint page) {
  const uint n = gl_LocalInvocationID.x;
  if (n < kQueries) {
    const uint rows = min(visible[n] - min(page * 32u, visible[n]), 32u);
    float most = greatest[n];
    [[dont_unroll]] for (uint r = 0; r < rows; ++r) {
      most = max(most, shares[r * kQ4 + n / 4u][n % 4u]);
    }
    float sum = 0.0;
    [[dont_unroll]] for (uint r = 0; r < 32u; ++r) {
      const float share = r < rows ? Exp(shares[r * kQ4 + n / 4u][n % 4u] - most) : 0.0;
      shares[r * kQ4 + n / 4u][n % 4u] = share;
      sum += share;
    }
    correction[n] = Exp(greatest[n] - most);
    total[n] = fma(total[n], correction[n], sum);
    greatest[n] = most;
  }
  barrier();
}

// Dimensions slice * 64 + part * 8 + 0..7 of 4 queries, of this invocation.
vec4 sum[4][kDimSlices * 2u];

/// Whether the block has a row for a query, and where its output goes.
bool IsLive(Block block, uint row, uint index) {
  return row >= block.first_row && row < block.row_end && index < kBlockRows * kGroup;
}
uint OutputOf(uint row, uint index) {
  return (FirstHead(row) + index % kGroup) * kHeadDim;
}

void Write(Block block, uint tile_row) {
  const uint n4 = gl_LocalInvocationID.x / 8u, part = gl_LocalInvocationID.x % 8u;
  [[unroll]] for (uint n = 0; n < 4u; ++n) {
    const uint index = n4 * 4u + n, row = RowOf(tile_row, index);
    if (!IsLive(block, row, index)) continue;
    const uint at = OutputOf(row, index);
    [[unroll]] for (uint c = 0; c < kDimSlices * 8u; ++c) {
      const uint d = c / 8u * kSlice + part * 8u + c % 8u;
      if (d < kHeadDim) o.v[at + d] = sum[n][c / 4u][c % 4u] / total[index];
    }
  }
}

/// Adds and subtracts fours of a slice of all queries that are `stride` fours apart.
void AddAndSubtract(uint stride) {
  [[dont_unroll]] for (uint i = gl_LocalInvocationID.x; i < kQueries * 8u; i += kThreads) {
    const uint pair = i % 8u;
    const uint first = i / 8u * 16u + pair / stride * 2u * stride + pair % stride;
    const vec4 a = slice_of[first], b = slice_of[first + stride];
    slice_of[first] = a + b;
    slice_of[first + stride] = a - b;
  }
  barrier();
}

/// Rotates sums of rotated values back and writes them: slices with each other and neighbours in
/// registers, the rest of a slice in shared memory, as [query][dimension / 4].
void WriteRotated(Block block, uint tile_row) {
  const uint thread = gl_LocalInvocationID.x, n4 = thread / 8u, part = thread % 8u;
  [[unroll]] for (uint apart = 1u; apart < kDimSlices; apart *= 2u) {
    if (kRotation <= apart * kSlice) continue;
    [[unroll]] for (uint i = 0; i < 4u * kDimSlices * 2u; ++i) {
      const uint n = i / (kDimSlices * 2u), c = i % (kDimSlices * 2u);
      if ((c / 2u & apart) != 0u) continue;
      const vec4 a = sum[n][c], b = sum[n][c + apart * 2u];
      sum[n][c] = a + b;
      sum[n][c + apart * 2u] = a - b;
    }
  }
  [[unroll]] for (uint slice = 0; slice < kDimSlices; ++slice) {
    [[unroll]] for (uint n = 0; n < 4u; ++n) {
      const float factor = RotationScale() / total[n4 * 4u + n];
      [[unroll]] for (uint half_slice = 0; half_slice < 2u; ++half_slice) {
        vec4 x = sum[n][slice * 2u + half_slice];
        x = vec4(x.x + x.y, x.x - x.y, x.z + x.w, x.z - x.w);
        x = vec4(x.xy + x.zw, x.xy - x.zw);
        slice_of[(n4 * 4u + n) * 16u + part * 2u + half_slice] = x * factor;
      }
    }
    barrier();
    [[unroll]] for (uint stride = 1u; stride < 16u; stride *= 2u) {
      if (stride * 4u < kRotation) AddAndSubtract(stride);
    }
    [[dont_unroll]] for (uint i = thread; i < kQueries * kSlice; i += kThreads) {
      const uint index = i / kSlice, row = RowOf(tile_row, index);
      const uint d = slice * kSlice + i % kSlice;
      if (IsLive(block, row, index) && d < kHeadDim) {
        o.v[OutputOf(row, index) + d] = slice_of[i / 4u][i % 4u];
      }
    }
    barrier();
  }
}

void Attend(Block block, Cache cache, uint tile_row) {
  const uint n4 = gl_LocalInvocationID.x / 8u, part = gl_LocalInvocationID.x % 8u;
  [[unroll]] for (uint n = 0; n < 4u; ++n) {
    [[unroll]] for (uint c = 0; c < kDimSlices * 2u; ++c) sum[n][c] = vec4(0.0);
  }
  [[dont_unroll]] for (uint p = 0; p < block.last_page; ++p) {
    Page page = PageOf(cache, block.table, block.head, p);
    const uint rows = min(Count(step, block.sequence, block.head) +
                              Sequence(step, block.sequence, kRows) - p * 32u, 32u);
    vec4 score[4];
    Score(page, rows, score);
    [[unroll]] for (uint r = 0; r < 4u; ++r) {
      shares[(part * 4u + r) * kQ4 + n4] = vec4(score[0][r], score[1][r], score[2][r], score[3][r]);
    }
    barrier();
    Softmax(p);
    [[unroll]] for (uint n = 0; n < 4u; ++n) {
      [[unroll]] for (uint c = 0; c < kDimSlices * 2u; ++c) sum[n][c] *= correction[n4 * 4u + n];
    }
    [[unroll]] for (uint slice = 0; slice < kDimSlices; ++slice) {
      LoadValues(page, slice, rows);
      [[dont_unroll]] for (uint r = 0; r < 32u; ++r) {
        const vec4 share = shares[r * kQ4 + n4];
        const vec4 low = slice_of[r * 16u + part * 2u], high = slice_of[r * 16u + part * 2u + 1u];
        [[unroll]] for (uint n = 0; n < 4u; ++n) {
          sum[n][slice * 2u] = fma(vec4(share[n]), low, sum[n][slice * 2u]);
          sum[n][slice * 2u + 1u] = fma(vec4(share[n]), high, sum[n][slice * 2u + 1u]);
        }
      }
      barrier();
    }
  }
  if (kValueType == kHalfByteRows) {
    WriteRotated(block, tile_row);
  } else {
    Write(block, tile_row);
  }
}

void Mark(Block block, Cache cache, uint tile_row) {
  const uint thread = gl_LocalInvocationID.x, n4 = thread / 8u, r4 = thread % 8u;
  const Marking marking = MarkingOf(step, block.sequence);
  if (thread < kQueries) {
    const uint row = RowOf(tile_row, thread);
    least[thread] = kInfinity;
    if (row >= block.first_row && row < block.row_end && thread < kBlockRows * kGroup) {
      const RowPlace place = PlaceOf(step, row, block.head);
      if (place.i >= Sequence(step, place.sequence, kJudgedFrom)) {
        least[thread] =
            greatest[thread] + Log(total[thread]) + LogShare(step, place, marking);
      }
    }
  }
  if (thread < 32u) marks[thread] = 0u;
  barrier();
  const uint clock = Sequence(step, block.sequence, kClock) + 1u -
                     Sequence(step, block.sequence, kFirstRow);
  [[dont_unroll]] for (uint p = 0; p < block.last_page; ++p) {
    Page page = PageOf(cache, block.table, block.head, p);
    const uint rows = min(Count(step, block.sequence, block.head) +
                              Sequence(step, block.sequence, kRows) - p * 32u, 32u);
    vec4 score[4];
    Score(page, rows, score);
    [[unroll]] for (uint r = 0; r < 4u; ++r) {
      uint mark = 0u;
      [[unroll]] for (uint n = 0; n < 4u; ++n) {
        const uint index = n4 * 4u + n;
        if (p * 32u + r4 * 4u + r >= visible[index]) continue;
        const uint now = clock + RowOf(tile_row, index);
        mark = MarkWith(marking, mark, now, score[n][r], least[index]);
      }
      if (marking.sums) {
        atomicAdd(marks[r4 * 4u + r], mark);
      } else if (mark > 0u) {
        atomicMax(marks[r4 * 4u + r], mark);
      }
    }
    barrier();
    [[dont_unroll]] for (uint r = thread; r < 32u; r += kThreads) {
      LeaveMark(marking, page, r, marks[r]);
      marks[r] = 0u;
    }
    barrier();
  }
}

void main() {
  const uint tile_row = gl_WorkGroupID.x * kBlockRows, rows = step.v[kStepRows];
  if (tile_row >= rows) return;
  Cache cache = Cache(slabs, tables, pages_per_slab, pages_per_head, step.v[kStepHeads]);
  Block block;
  block.head = layer * kKvHeads + KvHead();
  const uint sequences = step.v[kStepSequences];
  [[dont_unroll]] for (uint s = 0; s < sequences; ++s) {
    const uint first = Sequence(step, s, kFirstRow), end = first + Sequence(step, s, kRows);
    block.sequence = s;
    block.first_row = max(first, tile_row);
    block.row_end = min(end, tile_row + kBlockRows);
    if (block.first_row >= block.row_end) continue;
    block.table = Sequence(step, s, kTable);
    block.last_page = (Count(step, s, block.head) + block.row_end - first + 31u) / 32u;
    LoadQueries(block, tile_row);
    Attend(block, cache, tile_row);
    if (block.row_end - first > Sequence(step, s, kJudgedFrom)) Mark(block, cache, tile_row);
  }
}
