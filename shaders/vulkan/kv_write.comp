// Appends rows to the cache. See KvWriteOp in runtime/ops/ops.h.
//
// A workgroup stores one row of one KV head; an invocation stores blocks of 32 dimensions, or
// single ones as f16. All of them rotate q4_0 rows.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "kv.glsl"
#include "quantize.glsl"
layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint kThreads = 32;
shared float rotated[kRotation];
const uint kRotatedStride = 1;
#define ROTATED(i) rotated[i]
#define ROTATED_TYPE float
#include "rotate.glsl"

layout(push_constant) uniform Arguments {
  Floats k, v;
  Words step;
  Slabs slabs;
  Words tables;
  uint pages_per_slab, pages_per_head, layer;
};

/// Dimensions [first, first + 32) of a row.
void StoreQ8(Floats from, uint at, uint first, Page page, uint row, bool is_key) {
  float greatest = 0.0;
  [[dont_unroll]] for (uint d = 0; d < 32u; ++d) {
    greatest = max(greatest, abs(from.v[at + first + d]));
  }
  const vec2 scale = ScaleOf(greatest);
  const uint block = first / 32u;
  if (is_key) {
    SetPageHalf(page, kKeyScalesAt, block * kPageRows + row, FloatToHalf(scale.x));
  } else {
    SetPageHalf(page, kValueScalesAt, row * kRowBlocks + block, FloatToHalf(scale.x));
  }
  [[dont_unroll]] for (uint d = first; d < first + 32u; d += 4u) {
    uint word = 0;
    [[unroll]] for (uint j = 0; j < 4u; ++j) {
      word |= (uint(Quant(from.v[at + d + j], scale.y)) & 0xffu) << (8u * j);
    }
    const uint to = is_key ? d / 4u * kPageRows + row : kValuesAt + (row * kHeadDim + d) / 4u;
    page.slab.v[page.at + to] = word;
  }
}

/// Dimensions [first, first + 32) of a row, which are rotated[at] and what follows.
void StoreHalfBytes(uint at, uint first, Page page, uint row, bool is_key) {
  float least = rotated[at], most = least;
  [[dont_unroll]] for (uint d = 1u; d < 32u; ++d) {
    least = min(least, rotated[at + d]);
    most = max(most, rotated[at + d]);
  }
  const vec2 scale = HalfByteScaleOf(least, most);
  const uint block = first / 32u;
  if (is_key) {
    SetPageHalf(page, kKeyScalesAt, block * kPageRows + row, FloatToHalf(scale.x));
  } else {
    SetPageHalf(page, kValueScalesAt, row * kRowBlocks + block, FloatToHalf(scale.x));
  }
  [[dont_unroll]] for (uint w = 0; w < 4u; ++w) {
    const uint low = at + w * (is_key ? 8u : 4u), high = low + (is_key ? 4u : 16u);
    uint word = 0;
    [[unroll]] for (uint j = 0; j < 4u; ++j) {
      word |= QuantHalfByte(rotated[low + j], scale.y) << (8u * j);
      word |= QuantHalfByte(rotated[high + j], scale.y) << (8u * j + 4u);
    }
    const uint to = is_key ? (block * 4u + w) * kPageRows + row
                           : kValuesAt + (row * kRowBlocks + block) * 4u + w;
    page.slab.v[page.at + to] = word;
  }
}

void StoreRotated(Floats from, uint at, uint thread, Page page, uint row, bool is_key) {
  [[dont_unroll]] for (uint first = 0; first < kHeadDim; first += kRotation) {
    barrier();  // The block before may still be read.
    [[dont_unroll]] for (uint d = thread; d < kRotation; d += kThreads) {
      rotated[d] = from.v[at + first + d];
    }
    barrier();
    Rotate(1u, kRotation, kRotation);
    [[dont_unroll]] for (uint d = thread * 32u; d < kRotation; d += kThreads * 32u) {
      StoreHalfBytes(d, first + d, page, row, is_key);
    }
  }
}

void StoreHalves(Floats from, uint at, uint thread, Page page, uint row, bool is_key) {
  [[dont_unroll]] for (uint d = thread; d < kHeadDim; d += kThreads) {
    const uint half_bits = FloatToHalf(from.v[at + d]);
    if (is_key) {
      SetPageHalf(page, 0u, d * kPageRows + row, half_bits);
    } else {
      SetPageHalf(page, kValuesAt, row * kHeadDim + d, half_bits);
    }
  }
}

void main() {
  const uint row = gl_WorkGroupID.x, kv_head = gl_WorkGroupID.y, thread = gl_LocalInvocationID.x;
  if (row >= step.v[kStepRows]) return;
  const uint head = layer * kKvHeads + kv_head;
  const RowPlace place = PlaceOf(step, row, head);
  const uint s = place.sequence, slot = place.visible - 1u;  // The last it sees is its own.
  Cache cache = Cache(slabs, tables, pages_per_slab, pages_per_head, step.v[kStepHeads]);
  Page page = PageOf(cache, Sequence(step, s, kTable), head, slot / kPageRows);
  const uint in_page = slot % kPageRows, at = (row * kKvHeads + kv_head) * kHeadDim;

  if (place.i == 0 && Sequence(step, s, kForgets) != 0) {
    // What the rows that were there have summed is cleared.
    [[dont_unroll]] for (uint r = thread; r < slot; r += kThreads) {
      Page old = PageOf(cache, Sequence(step, s, kTable), head, r / kPageRows);
      const uint mark = old.at + kLastImportantAt + r % kPageRows;
      if (old.slab.v[mark] != kPinned) old.slab.v[mark] = 0u;
    }
  }
  if (kKeyType == kHalfRows) StoreHalves(k, at, thread, page, in_page, true);
  if (kValueType == kHalfRows) StoreHalves(v, at, thread, page, in_page, false);
  [[dont_unroll]] for (uint d = thread * 32u; d < kHeadDim; d += kThreads * 32u) {
    if (kKeyType == kByteRows) StoreQ8(k, at, d, page, in_page, true);
    if (kValueType == kByteRows) StoreQ8(v, at, d, page, in_page, false);
  }
  if (kKeyType == kHalfByteRows) StoreRotated(k, at, thread, page, in_page, true);
  if (kValueType == kHalfByteRows) StoreRotated(v, at, thread, page, in_page, false);
  if (thread == 0) {
    page.slab.v[page.at + kPositionsAt + in_page] = StepWord(step, kStepPositionsAt, row);
    page.slab.v[page.at + kLastImportantAt + in_page] =
        place.i < Sequence(step, s, kPinnedRows)          ? kPinned
        : Sequence(step, s, kMarkBy) == kMarkAttention ? 0u
                                                       : Sequence(step, s, kClock) + place.i + 1u;
  }
}
