// Moves rows to new positions and turns their keys. See KvRebaseOp in runtime/ops/ops.h.
//
// A workgroup a head. Positions of a head are distinct, so a bit map of those before the window
// with sums of its words gives every row its rank without sorting. The map has as many bits as the
// head has slots; where positions go past that it is used again for the next ones.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "kv.glsl"
#include "quantize.glsl"
#include "rope.glsl"
#include "rotate.glsl"
#include "rows.glsl"
layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint kThreads = 64;

layout(push_constant) uniform Arguments {
  Scratch scratch;  // [heads][3][pages_per_head]: the map, set bits before each word, done rows.
  Words frequencies, step;
  Slabs slabs;
  Words tables;
  uint pages_per_slab, pages_per_head, pairs;
};
shared uint bit_sums[kThreads], map_total, last_position, rows_before, earlier;

void TurnHalves(Page page, uint row, uint positions, bool backwards) {
  [[dont_unroll]] for (uint pair = 0; pair < pairs; ++pair) {
    vec2 cos_sin = TurnOf(frequencies, pair, positions);
    if (backwards) cos_sin.y = -cos_sin.y;
    const uint a = 2u * pair * kPageRows + row, b = a + kPageRows;
    const vec2 turned =
        Turn(vec2(HalfToFloat(PageHalf(page, 0u, a)), HalfToFloat(PageHalf(page, 0u, b))), cos_sin);
    SetPageHalf(page, 0u, a, FloatToHalf(turned.x));
    SetPageHalf(page, 0u, b, FloatToHalf(turned.y));
  }
}

/// Two passes over a block's pairs: for the greatest magnitude, then for the quants.
void TurnBlock(Page page, uint row, uint block, uint positions, bool backwards) {
  const float scale = HalfToFloat(PageHalf(page, kKeyScalesAt, block * kPageRows + row));
  vec2 new_scale = vec2(0.0);
  float greatest = 0.0;
  [[dont_unroll]] for (uint pass = 0; pass < 2u; ++pass) {
    [[dont_unroll]] for (uint i = 0; i < 8u; ++i) {
      const uint at = page.at + (block * 8u + i) * kPageRows + row;
      const vec4 old = scale * SignedBytes(page.slab.v[at]);
      uint word = 0u;
      [[unroll]] for (uint j = 0; j < 2u; ++j) {
        const uint pair = block * 16u + i * 2u + j;
        vec2 both = j == 0 ? old.xy : old.zw;
        if (pair < pairs) {
          vec2 cos_sin = TurnOf(frequencies, pair, positions);
          if (backwards) cos_sin.y = -cos_sin.y;
          both = Turn(both, cos_sin);
        }
        greatest = max(greatest, max(abs(both.x), abs(both.y)));
        word |= ((uint(Quant(both.x, new_scale.y)) & 0xffu) |
                 ((uint(Quant(both.y, new_scale.y)) & 0xffu) << 8)) << (16u * j);
      }
      if (pass == 1u) page.slab.v[at] = word;
    }
    if (pass == 0u) new_scale = ScaleOf(greatest);
  }
  SetPageHalf(page, kKeyScalesAt, block * kPageRows + row, FloatToHalf(new_scale.x));
}

float own[kRotation];  // Dimensions of a key that rotate together.

void RotateOwn() {
  [[dont_unroll]] for (uint stride = 1u; stride < kRotation; stride *= 2u) {
    [[dont_unroll]] for (uint pair = 0u; pair < kRotation / 2u; ++pair) {
      const uint d = pair / stride * 2u * stride + pair % stride;
      const float a = own[d], b = own[d + stride];
      own[d] = a + b;
      own[d + stride] = a - b;
    }
  }
  [[dont_unroll]] for (uint d = 0u; d < kRotation; ++d) own[d] *= RotationScale();
}

void StoreOwn(Page page, uint row, uint at, uint block) {
  float least = own[at], most = least;
  [[dont_unroll]] for (uint d = at + 1u; d < at + 32u; ++d) {
    least = min(least, own[d]);
    most = max(most, own[d]);
  }
  const vec2 scale = HalfByteScaleOf(least, most);
  SetPageHalf(page, kKeyScalesAt, block * kPageRows + row, FloatToHalf(scale.x));
  [[dont_unroll]] for (uint w = 0u; w < 4u; ++w) {
    uint word = 0u;
    [[unroll]] for (uint j = 0u; j < 4u; ++j) {
      word |= QuantHalfByte(own[at + w * 8u + j], scale.y) << (8u * j);
      word |= QuantHalfByte(own[at + w * 8u + 4u + j], scale.y) << (8u * j + 4u);
    }
    page.slab.v[page.at + (block * 4u + w) * kPageRows + row] = word;
  }
}

/// Dimensions that rotate together, from `first` on: back, turned, and forth again.
void TurnRotated(Page page, uint row, uint first, uint positions, bool backwards) {
  [[dont_unroll]] for (uint d = 0u; d < kRotation; d += 4u) {
    const vec4 four = Key4(page, row, (first + d) / 4u);
    [[unroll]] for (uint j = 0u; j < 4u; ++j) own[d + j] = four[j];
  }
  RotateOwn();
  const uint turned = min(kRotation / 2u, pairs - first / 2u);
  [[dont_unroll]] for (uint i = 0u; i < turned; ++i) {
    vec2 cos_sin = TurnOf(frequencies, first / 2u + i, positions);
    if (backwards) cos_sin.y = -cos_sin.y;
    const vec2 both = Turn(vec2(own[2u * i], own[2u * i + 1u]), cos_sin);
    own[2u * i] = both.x;
    own[2u * i + 1u] = both.y;
  }
  RotateOwn();
  [[dont_unroll]] for (uint d = 0u; d < kRotation; d += 32u) {
    StoreOwn(page, row, d, (first + d) / 32u);
  }
}

void TurnKey(Page page, uint row, uint old_position, uint new_position) {
  const bool backwards = new_position < old_position;
  const uint positions = backwards ? old_position - new_position : new_position - old_position;
  if (kKeyType == kHalfRows) {
    TurnHalves(page, row, positions, backwards);
    return;
  }
  if (kKeyType == kHalfByteRows) {
    [[dont_unroll]] for (uint first = 0; first < 2u * pairs; first += kRotation) {
      TurnRotated(page, row, first, positions, backwards);
    }
    return;
  }
  [[dont_unroll]] for (uint block = 0; block * 16u < pairs; ++block) {
    TurnBlock(page, row, block, positions, backwards);
  }
}

/// Of rows before the window: the last position, and their number.
void FindRowsBefore(Head head, uint window_from) {
  if (gl_LocalInvocationID.x == 0) last_position = rows_before = earlier = 0u;
  barrier();
  [[dont_unroll]] for (uint slot = gl_LocalInvocationID.x; slot < head.count; slot += kThreads) {
    const uint position = PageWord(PageOfSlot(head, slot), kPositionsAt + slot % kPageRows);
    if (position >= window_from) continue;
    atomicMax(last_position, position);
    atomicAdd(rows_before, 1u);
  }
  barrier();
}

/// Sets word sums from the map: its set bits before each word.
void SumMap(uint map) {
  const uint thread = gl_LocalInvocationID.x;
  const uint each = (pages_per_head + kThreads - 1u) / kThreads;
  const uint first = min(thread * each, pages_per_head);
  const uint last = min(first + each, pages_per_head);
  uint sum = 0u;
  [[dont_unroll]] for (uint w = first; w < last; ++w) sum += bitCount(scratch.v[map + w]);
  bit_sums[thread] = sum;
  barrier();
  sum = 0u;
  [[dont_unroll]] for (uint t = 0; t < thread; ++t) sum += bit_sums[t];
  [[dont_unroll]] for (uint w = first; w < last; ++w) {
    scratch.v[map + pages_per_head + w] = sum;
    sum += bitCount(scratch.v[map + w]);
  }
  if (thread == kThreads - 1u) map_total = sum;
  memoryBarrierBuffer();
  barrier();
}

void main() {
  const uint thread = gl_LocalInvocationID.x;
  Head head = HeadOf(step, slabs, tables, pages_per_slab, pages_per_head);
  if (head.count == 0u) return;
  const uint map = head.index * 3u * pages_per_head, done = map + 2u * pages_per_head;
  const uint extent = pages_per_head * kPageRows;
  const uint window_from = Sequence(step, 0, kWindowFrom);
  const uint window_at = Sequence(step, 0, kWindowAt);
  [[dont_unroll]] for (uint w = thread; w < pages_per_head; w += kThreads) scratch.v[done + w] = 0u;
  FindRowsBefore(head, window_from);
  [[dont_unroll]] for (uint base = 0u; base <= last_position; base += extent) {
    [[dont_unroll]] for (uint w = thread; w < pages_per_head; w += kThreads) {
      scratch.v[map + w] = 0u;
    }
    memoryBarrierBuffer();
    barrier();
    [[dont_unroll]] for (uint slot = thread; slot < head.count; slot += kThreads) {
      const uint position = PageWord(PageOfSlot(head, slot), kPositionsAt + slot % kPageRows);
      const bool is_done = ((scratch.v[done + slot / 32u] >> (slot % 32u)) & 1u) != 0;
      if (is_done || position >= window_from || position - base >= extent) continue;
      const uint bit = position - base;
      atomicOr(scratch.v[map + bit / 32u], 1u << (bit % 32u));
    }
    memoryBarrierBuffer();
    barrier();
    SumMap(map);
    const uint rank_at = window_at - rows_before + earlier;  // Of the map's first row.
    [[dont_unroll]] for (uint slot = thread; slot < head.count; slot += kThreads) {
      Page page = PageOfSlot(head, slot);
      const uint row = slot % kPageRows, position = PageWord(page, kPositionsAt + row);
      const bool is_done = ((scratch.v[done + slot / 32u] >> (slot % 32u)) & 1u) != 0;
      const bool is_in_window = position >= window_from;
      if (is_done || (!is_in_window && position - base >= extent)) continue;
      uint new_position = window_at + (position - window_from);
      if (!is_in_window) {
        const uint word = (position - base) / 32u, bit = (position - base) % 32u;
        new_position = rank_at + scratch.v[map + pages_per_head + word] +
                       bitCount(scratch.v[map + word] & ((1u << bit) - 1u));
      }
      atomicOr(scratch.v[done + slot / 32u], 1u << (slot % 32u));
      if (new_position == position) continue;
      page.slab.v[page.at + kPositionsAt + row] = new_position;
      TurnKey(page, row, position, new_position);
    }
    barrier();
    if (thread == 0) earlier += map_total;
    barrier();
  }
}
