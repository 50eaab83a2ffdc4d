// Attention of few rows, first half. See AttendOp in runtime/ops/ops.h.
//
// Decode reads the whole cache for one row, so the pages of a KV head are split over workgroups
// (grid: splits, KV heads, rows), and all query heads of the head's group share each read. A lane
// has a row of the page (keys lie transposed for that), slices of lanes share the dimensions. The
// scores go to memory: attend_finish needs them for the stamps, once the sum over all splits is
// known. Each split leaves its greatest score, its sum and its weighted values.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "kv.glsl"
#include "attend.glsl"
layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint kThreads = 64;

layout(push_constant) uniform Arguments {
  Floats q, scores, partials;
  Words step;
  Slabs slabs;
  Words tables;
  uint pages_per_slab, pages_per_head, layer, splits;
  float scale;
};
const uint kSlices = kThreads / 32u;
const uint kGroup4 = (kGroup + 3u) / 4u;
const uint kColumns = kHeadDim / 4u;  // Of values, in fours.
const uint kParts = kThreads > kColumns ? kThreads / kColumns : 1u;
const uint kColumnsEach = (kColumns + kThreads - 1u) / kThreads;
shared vec4 query[kHeadDim * kGroup4];               // [dimension][head of the group]
shared vec4 slice_scores[kSlices * 32u * kGroup4];   // [slice][row][head]
shared float shares[32u * kGroup];                   // [row][head]
shared float greatest[kGroup];
shared vec4 part_sums[kParts * kColumns];

void LoadQuery(uint row, uint kv_head) {
  [[dont_unroll]] for (uint i = gl_LocalInvocationID.x; i < kHeadDim * kGroup4 * 4u; i += kThreads) {
    const uint d = i % kHeadDim, g = i / kHeadDim;
    const uint head = row * kKvHeads * kGroup + kv_head * kGroup + g;
    query[d * kGroup4 + g / 4u][g % 4u] = g < kGroup ? q.v[head * kHeadDim + d] * scale : 0.0;
  }
  barrier();
}

/// This slice's part of the scores of a page.
void ScorePage(Page page) {
  const uint lane = gl_LocalInvocationID.x % 32u, slice = gl_LocalInvocationID.x / 32u;
  vec4 sum[kGroup4];
  [[unroll]] for (uint g = 0; g < kGroup4; ++g) sum[g] = vec4(0.0);
  [[dont_unroll]] for (uint i = slice; i < kHeadDim / 4u; i += kSlices) {
    const vec4 key = Key4(page, lane, i);
    [[unroll]] for (uint c = 0; c < 4u; ++c) {
      [[unroll]] for (uint g = 0; g < kGroup4; ++g) {
        sum[g] = fma(vec4(key[c]), query[(i * 4u + c) * kGroup4 + g], sum[g]);
      }
    }
  }
  [[unroll]] for (uint g = 0; g < kGroup4; ++g) {
    slice_scores[gl_LocalInvocationID.x * kGroup4 + g] = sum[g];
  }
}

void main() {
  const uint split = gl_WorkGroupID.x, kv_head = gl_WorkGroupID.y, row = gl_WorkGroupID.z;
  if (row >= step.v[kStepRows]) return;
  const uint thread = gl_LocalInvocationID.x, lane = thread % 32u, slice = thread / 32u;
  const uint head = layer * kKvHeads + kv_head, slots = pages_per_head * kPageRows;
  const RowPlace place = PlaceOf(step, row, head);
  const uint table = Sequence(step, place.sequence, kTable);
  Cache cache = Cache(slabs, tables, pages_per_slab, pages_per_head, step.v[kStepHeads]);
  const uint pages = (place.visible + 31u) / 32u, each = (pages + splits - 1u) / splits;
  const uint first_page = split * each, last_page = min(first_page + each, pages);
  const uint first_head = (row * kKvHeads + kv_head) * kGroup;  // Of q and scores.
  if (first_page >= last_page) {
    if (thread < kGroup) partials.v[((first_head + thread) * splits + split) * (kHeadDim + 2u) + 1u] = 0.0;
    return;
  }
  LoadQuery(row, kv_head);

  float most[kGroup];  // Of the rows of this lane; this slice has every kSlices-th head.
  [[unroll]] for (uint g = 0; g < kGroup; ++g) most[g] = -kInfinity;
  [[dont_unroll]] for (uint p = first_page; p < last_page; ++p) {
    ScorePage(PageOf(cache, table, head, p));
    barrier();
    const uint slot = p * 32u + lane;
    [[unroll]] for (uint g = 0; g < kGroup; ++g) {
      if (g % kSlices != slice || slot >= place.visible) continue;
      float score = 0.0;
      [[unroll]] for (uint w = 0; w < kSlices; ++w) {
        score += slice_scores[(w * 32u + lane) * kGroup4 + g / 4u][g % 4u];
      }
      scores.v[(first_head + g) * slots + slot] = score;
      most[g] = max(most[g], score);
    }
    barrier();
  }
  [[unroll]] for (uint g = 0; g < kGroup; ++g) {
    if (g % kSlices == slice) shares[lane * kGroup + g] = most[g];
  }
  barrier();
  if (thread < kGroup) {
    float m = -kInfinity;
    [[dont_unroll]] for (uint r = 0; r < 32u; ++r) m = max(m, shares[r * kGroup + thread]);
    greatest[thread] = m;
  }
  barrier();

  float total[kGroup];
  vec4 sum[kGroup * kColumnsEach];
  [[unroll]] for (uint g = 0; g < kGroup; ++g) total[g] = 0.0;
  [[unroll]] for (uint g = 0; g < kGroup * kColumnsEach; ++g) sum[g] = vec4(0.0);
  const uint part = thread / kColumns, first_column = thread % kColumns;
  [[dont_unroll]] for (uint p = first_page; p < last_page; ++p) {
    const uint slot = p * 32u + lane;
    [[unroll]] for (uint g = 0; g < kGroup; ++g) {
      if (g % kSlices != slice) continue;
      float share = 0.0;
      if (slot < place.visible) {
        share = Exp(scores.v[(first_head + g) * slots + slot] - greatest[g]);
      }
      total[g] += share;
      shares[lane * kGroup + g] = share;
    }
    barrier();
    Page page = PageOf(cache, table, head, p);
    const uint rows = min(place.visible - p * 32u, 32u);
    if (part < kParts) {
      [[dont_unroll]] for (uint r = part; r < rows; r += kParts) {
        [[unroll]] for (uint c = 0; c < kColumnsEach; ++c) {
          const uint column = first_column + c * kThreads;
          if (column >= kColumns) continue;
          const vec4 value = Value4(page, r, column);
          [[unroll]] for (uint g = 0; g < kGroup; ++g) {
            sum[g * kColumnsEach + c] = fma(vec4(shares[r * kGroup + g]), value,
                                            sum[g * kColumnsEach + c]);
          }
        }
      }
    }
    barrier();
  }

  [[unroll]] for (uint g = 0; g < kGroup; ++g) {
    if (g % kSlices == slice) shares[lane * kGroup + g] = total[g];
  }
  [[unroll]] for (uint g = 0; g < kGroup; ++g) {
    const uint at = ((first_head + g) * splits + split) * (kHeadDim + 2u);
    if (part < kParts) {
      [[unroll]] for (uint c = 0; c < kColumnsEach; ++c) {
        const uint column = first_column + c * kThreads;
        if (column < kColumns) part_sums[part * kColumns + column] = sum[g * kColumnsEach + c];
      }
    }
    barrier();
    [[dont_unroll]] for (uint d = thread; d < kHeadDim; d += kThreads) {
      float value = 0.0;
      [[dont_unroll]] for (uint w = 0; w < kParts; ++w) {
        value += part_sums[w * kColumns + d / 4u][d % 4u];
      }
      partials.v[at + 2u + d] = value;
    }
    if (thread == 0) {
      float sum_of_shares = 0.0;
      [[dont_unroll]] for (uint r = 0; r < 32u; ++r) sum_of_shares += shares[r * kGroup + g];
      partials.v[at] = greatest[g];
      partials.v[at + 1u] = sum_of_shares;
    }
    barrier();
  }
}
