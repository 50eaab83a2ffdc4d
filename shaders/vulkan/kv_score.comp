// Marks to rank rows by. See KvScoreOp in runtime/ops/ops.h.
//
// A workgroup a head. Keys are read twice, an invocation a row: for their lengths, as parts of the
// mean, and for their cosines with it. The mean itself has an invocation for four dimensions.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "kv.glsl"
#include "rope.glsl"
#include "rotate.glsl"
#include "rows.glsl"
#include "statistics.glsl"
layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint kThreads = 64;
#include "mark_window.glsl"

layout(push_constant) uniform Arguments {
  Floats statistics;
  Words turns, step;  // Turns as AppendMeanTurns has them.
  Slabs slabs;
  Words tables;
  uint pages_per_slab, pages_per_head, query_heads, pairs;
  float scale;
};
const uint kPoolMost = 2;
const uint kQuads = kHeadDim / 4u;
#include "kv_expected.glsl"
shared vec4 mean[kQuads];         // Times the number of rows.
shared float inverses[kThreads];  // Of lengths of keys, of a row an invocation.

/// The mean around a row. The sum itself may not fit a word, so fifths are summed.
uint NewMark(uint place) {
  uint sum = 0u, rest = 0u;
  [[unroll]] for (uint i = 0; i <= 2u * kPoolMost; ++i) {
    const uint mark = marks[place + i - kPoolMost];
    sum += mark / (2u * kPoolMost + 1u);
    rest += mark % (2u * kPoolMost + 1u);
  }
  return sum + rest / (2u * kPoolMost + 1u);
}

/// 1 / sqrt(square), or 0 of zeros.
float InverseLength(float square) {
  return square > 0.0 ? 1.0 / sqrt(square) : 0.0;
}

void SumUnitKeys(Head head) {
  const uint thread = gl_LocalInvocationID.x;
  [[dont_unroll]] for (uint i = thread; i < kQuads; i += kThreads) mean[i] = vec4(0.0);
  [[dont_unroll]] for (uint first = 0; first < head.count; first += kThreads) {
    const uint slot = first + thread;
    float square = 0.0;
    if (slot < head.count) {
      Page page = PageOfSlot(head, slot);
      [[dont_unroll]] for (uint i = 0; i < kQuads; ++i) {
        const vec4 key = Key4(page, slot % kPageRows, i);
        square += dot(key, key);
      }
    }
    inverses[thread] = InverseLength(square);
    barrier();
    const uint rows = min(kThreads, head.count - first);
    [[dont_unroll]] for (uint i = thread; i < kQuads; i += kThreads) {
      vec4 sum = vec4(0.0);
      [[dont_unroll]] for (uint r = 0; r < rows; ++r) {
        sum += inverses[r] * Key4(PageOfSlot(head, first + r), (first + r) % kPageRows, i);
      }
      mean[i] += sum;
    }
    barrier();
  }
}

void ScoreKeyDifference(Head head) {
  SumUnitKeys(head);
  float square = 0.0;
  [[dont_unroll]] for (uint i = 0; i < kQuads; ++i) square += dot(mean[i], mean[i]);
  const float mean_inverse = InverseLength(square);
  [[dont_unroll]] for (uint slot = gl_LocalInvocationID.x; slot < head.count; slot += kThreads) {
    Page page = PageOfSlot(head, slot);
    const uint word = page.at + kLastImportantAt + slot % kPageRows;
    if (page.slab.v[word] == kPinned) continue;
    float own = 0.0, product = 0.0;
    [[dont_unroll]] for (uint i = 0; i < kQuads; ++i) {
      const vec4 key = Key4(page, slot % kPageRows, i);
      own += dot(key, key);
      product += dot(key, mean[i]);
    }
    const float cosine = product * InverseLength(own) * mean_inverse;
    page.slab.v[word] = uint(roundEven(kAttentionUnits * max(0.0, 1.0 - cosine)));
  }
}

void main() {
  const uint score_by = Sequence(step, 0, kScoreBy);
  if (score_by == 0u) return;
  Head head = HeadOf(step, slabs, tables, pages_per_slab, pages_per_head);
  if (score_by == kByPooledAttention) {
    RewriteMarks(step, head);
  } else if (score_by == kByKeyDifference) {
    ScoreKeyDifference(head);
  } else {
    ScoreExpected(head);
  }
}
