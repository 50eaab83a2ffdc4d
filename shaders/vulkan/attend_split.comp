// Attention of few rows, first half. See AttendOp in runtime/ops/ops.h.
//
// Decode reads the whole cache for one row, so the pages of a KV head are split over workgroups
// (grid: splits, groups of query heads, rows), and the query heads of a group share each read. A
// lane scores whole rows (keys lie transposed for that; a word of f16 keys has two rows), so
// scoring needs no exchange. Scores go to memory: once their maximum is known the values are
// weighed, and attend_finish needs them for the stamps. Each split leaves its greatest score, its
// sum of shares and its weighted values.
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
const uint kGroup4 = (kGroup + 3u) / 4u;
const uint kRowsEach = kKeyType != kHalfRows ? 1u : 2u;  // Rows a lane scores.
const uint kPageLanes = 32u / kRowsEach;
const uint kPagesAtOnce = kThreads / kPageLanes;
const uint kColumns = kHeadDim / 4u;  // Of values, in fours.
const uint kParts = kThreads > kColumns ? kThreads / kColumns : 1u;
const uint kColumnsEach = (kColumns + kThreads - 1u) / kThreads;
shared vec4 query[kHeadDim * kGroup4];              // [dimension][head of the group]
shared float shares[kPagesAtOnce * 32u * kGroup];   // [page][row][head]
shared float lane_values[kThreads * kGroup];        // [lane][head]
shared vec4 part_sums[kParts * kColumns];
vec4 row_scores[kRowsEach * kGroup4];               // [row][head], of this lane

const uint kRotatedStride = kGroup4;
#define ROTATED(i) query[i]
#define ROTATED_TYPE vec4
#include "rotate.glsl"

/// The group's queries, scaled, and rotated as keys are.
void LoadQuery(uint first_head) {
  const uint count = kHeadDim * kGroup4 * 4u;
  [[dont_unroll]] for (uint i = gl_LocalInvocationID.x; i < count; i += kThreads) {
    const uint d = i % kHeadDim, g = i / kHeadDim;
    const float value = g < kGroup ? q.v[(first_head + g) * kHeadDim + d] * scale : 0.0;
    query[d * kGroup4 + g / 4u][g % 4u] = value;
  }
  barrier();
  if (kKeyType == kHalfByteRows) Rotate(kGroup4, kHeadDim, kRotation);
}

/// Scores of this lane's rows of a page, the first of them `row`.
void ScoreRows(Page page, uint row) {
  [[unroll]] for (uint i = 0; i < kRowsEach * kGroup4; ++i) row_scores[i] = vec4(0.0);
  [[dont_unroll]] for (uint i = 0; i < kHeadDim / 4u; ++i) {
    vec4 key = vec4(0.0);
    if (kKeyType != kHalfRows) key = Key4(page, row, i);
    [[unroll]] for (uint c = 0; c < 4u; ++c) {
      const uint d = i * 4u + c;
      vec2 pair = vec2(key[c]);
      if (kKeyType == kHalfRows) pair = unpackHalf2x16(PageWord(page, (d * kPageRows + row) / 2u));
      [[unroll]] for (uint g = 0; g < kGroup4; ++g) {
        const vec4 a = query[d * kGroup4 + g];
        [[unroll]] for (uint r = 0; r < kRowsEach; ++r) {
          row_scores[r * kGroup4 + g] = fma(vec4(pair[r]), a, row_scores[r * kGroup4 + g]);
        }
      }
    }
  }
}

/// Folds lane_values of all lanes into those of the first, by maximum or by sum.
void Fold(bool by_maximum) {
  const uint thread = gl_LocalInvocationID.x;
  barrier();
  [[dont_unroll]] for (uint n = kThreads / 2u; n > 0; n /= 2u) {
    if (thread < n) {
      [[unroll]] for (uint g = 0; g < kGroup; ++g) {
        const float a = lane_values[thread * kGroup + g];
        const float b = lane_values[(thread + n) * kGroup + g];
        lane_values[thread * kGroup + g] = by_maximum ? max(a, b) : a + b;
      }
    }
    barrier();
  }
}

void main() {
  const uint split = gl_WorkGroupID.x, row = gl_WorkGroupID.z;
  if (row >= step.v[kStepRows]) return;
  const uint thread = gl_LocalInvocationID.x;
  const uint page_lane = thread / kPageLanes, first_of_lane = thread % kPageLanes * kRowsEach;
  const uint head = layer * kKvHeads + KvHead(), slots = pages_per_head * kPageRows;
  const RowPlace place = PlaceOf(step, row, head);
  const uint table = Sequence(step, place.sequence, kTable);
  Cache cache = Cache(slabs, tables, pages_per_slab, pages_per_head, step.v[kStepHeads]);
  const uint pages = (place.visible + 31u) / 32u, each = (pages + splits - 1u) / splits;
  const uint first_page = split * each, last_page = min(first_page + each, pages);
  const uint first_head = FirstHead(row);  // Of q and scores.
  if (first_page >= last_page) {
    const uint at = ((first_head + thread) * splits + split) * (kHeadDim + 2u);
    if (thread < kGroup) partials.v[at + 1u] = 0.0;
    return;
  }
  LoadQuery(first_head);

  float most[kGroup];
  [[unroll]] for (uint g = 0; g < kGroup; ++g) most[g] = -kInfinity;
  [[dont_unroll]] for (uint p = first_page + page_lane; p < last_page; p += kPagesAtOnce) {
    ScoreRows(PageOf(cache, table, head, p), first_of_lane);
    [[unroll]] for (uint r = 0; r < kRowsEach; ++r) {
      const uint slot = p * 32u + first_of_lane + r;
      if (slot >= place.visible) continue;
      [[unroll]] for (uint g = 0; g < kGroup; ++g) {
        const float score = row_scores[r * kGroup4 + g / 4u][g % 4u];
        scores.v[(first_head + g) * slots + slot] = score;
        most[g] = max(most[g], score);
      }
    }
  }
  [[unroll]] for (uint g = 0; g < kGroup; ++g) lane_values[thread * kGroup + g] = most[g];
  Fold(true);

  float greatest[kGroup], total[kGroup];
  vec4 sum[kGroup * kColumnsEach];
  [[unroll]] for (uint g = 0; g < kGroup; ++g) {
    greatest[g] = lane_values[g];
    total[g] = 0.0;
  }
  [[unroll]] for (uint i = 0; i < kGroup * kColumnsEach; ++i) sum[i] = vec4(0.0);
  const uint part = thread / kColumns, first_column = thread % kColumns;
  [[dont_unroll]] for (uint first = first_page; first < last_page; first += kPagesAtOnce) {
    barrier();
    [[unroll]] for (uint r = 0; r < kRowsEach; ++r) {
      const uint slot = (first + page_lane) * 32u + first_of_lane + r;
      const bool is_live = first + page_lane < last_page && slot < place.visible;
      [[unroll]] for (uint g = 0; g < kGroup; ++g) {
        float share = 0.0;
        if (is_live) share = Exp(scores.v[(first_head + g) * slots + slot] - greatest[g]);
        total[g] += share;
        shares[(page_lane * 32u + first_of_lane + r) * kGroup + g] = share;
      }
    }
    barrier();
    const uint count = part < kParts ? min(kPagesAtOnce, last_page - first) : 0u;
    [[dont_unroll]] for (uint p = 0; p < count; ++p) {
      Page page = PageOf(cache, table, head, first + p);
      const uint rows = min(place.visible - (first + p) * 32u, 32u);
      [[dont_unroll]] for (uint r = part; r < rows; r += kParts) {
        [[unroll]] for (uint c = 0; c < kColumnsEach; ++c) {
          const uint column = first_column + c * kThreads;
          if (column >= kColumns) continue;
          const vec4 value = Value4(page, r, column);
          [[unroll]] for (uint g = 0; g < kGroup; ++g) {
            const float share = shares[(p * 32u + r) * kGroup + g];
            sum[g * kColumnsEach + c] = fma(vec4(share), value, sum[g * kColumnsEach + c]);
          }
        }
      }
    }
  }
  [[unroll]] for (uint g = 0; g < kGroup; ++g) lane_values[thread * kGroup + g] = total[g];
  Fold(false);

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
      partials.v[at] = greatest[g];
      partials.v[at + 1u] = lane_values[g];
    }
    barrier();
  }
}
