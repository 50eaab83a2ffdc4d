// Moves the oldest rows of each head behind those that stay. See KvCompactOp in runtime/ops/ops.h.
//
// A workgroup a head. The key of the last row to leave, (age, lowest position first), is found by
// radix selection, so nothing is sorted. Who leaves is then a mask a page; sums over pages say
// which row fills which hole, and each move finds its two slots by bisection.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "kv.glsl"
#include "rows.glsl"
layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint kThreads = 64;
#include "radix.glsl"

layout(push_constant) uniform Arguments {
  Scratch scratch;  // [heads][pages_per_head][3]: leaving rows, holes before, movers before.
  Words step;
  Slabs slabs;
  Words tables;
  uint pages_per_slab, pages_per_head;
};
const uint kMask = 0, kHoles = 1, kMovers = 2;
shared uint hole_sums[kThreads], mover_sums[kThreads], mover_total;

uint ScratchAt(Head head, uint page, uint field) {
  return (head.index * pages_per_head + page) * 3u + field;
}

/// The greater leaves first: age, then the complement of the position.
uvec2 KeyOf(RowState state) {
  return uvec2(state.age, ~state.position);
}

void SelectKey(Head head, uint evict) {
  RadixStart(evict);
  [[dont_unroll]] for (uint pass = 0; RadixNext(pass); ++pass) {
    [[dont_unroll]] for (uint slot = gl_LocalInvocationID.x; slot < head.count; slot += kThreads) {
      const RowState state = StateOf(step, head.index, PageOfSlot(head, slot), slot % kPageRows);
      if (state.is_evictable) RadixCount(pass, KeyOf(state));
    }
    RadixFinish(pass);
  }
}

void MaskPages(Head head, uint pages) {
  [[dont_unroll]] for (uint p = gl_LocalInvocationID.x; p < pages; p += kThreads) {
    Page page = PageOf(head.cache, head.table, head.index, p);
    const uint rows = min(head.count - p * kPageRows, kPageRows);
    uint mask = 0u;
    [[dont_unroll]] for (uint r = 0; r < rows; ++r) {
      const RowState state = StateOf(step, head.index, page, r);
      if (state.is_evictable && RadixTakes(KeyOf(state))) mask |= 1u << r;
    }
    scratch.v[ScratchAt(head, p, kMask)] = mask;
  }
  memoryBarrierBuffer();
  barrier();
}

/// The slots of a page below `limit`, as a mask.
uint Below(uint page, uint limit) {
  const uint first = page * kPageRows;
  if (limit <= first) return 0u;
  return limit - first >= kPageRows ? 0xffffffffu : (1u << (limit - first)) - 1u;
}
uint HolesOf(Head head, uint page, uint keep) {
  return scratch.v[ScratchAt(head, page, kMask)] & Below(page, keep);
}
uint MoversOf(Head head, uint page, uint keep) {
  return ~scratch.v[ScratchAt(head, page, kMask)] & Below(page, head.count) & ~Below(page, keep);
}

void SumPages(Head head, uint pages, uint keep) {
  const uint thread = gl_LocalInvocationID.x;
  const uint each = (pages + kThreads - 1u) / kThreads;
  const uint first = min(thread * each, pages), last = min(first + each, pages);
  uint holes = 0u, movers = 0u;
  [[dont_unroll]] for (uint p = first; p < last; ++p) {
    holes += bitCount(HolesOf(head, p, keep));
    movers += bitCount(MoversOf(head, p, keep));
  }
  hole_sums[thread] = holes;
  mover_sums[thread] = movers;
  barrier();
  holes = movers = 0u;
  [[dont_unroll]] for (uint t = 0; t < thread; ++t) {
    holes += hole_sums[t];
    movers += mover_sums[t];
  }
  [[dont_unroll]] for (uint p = first; p < last; ++p) {
    scratch.v[ScratchAt(head, p, kHoles)] = holes;
    scratch.v[ScratchAt(head, p, kMovers)] = movers;
    holes += bitCount(HolesOf(head, p, keep));
    movers += bitCount(MoversOf(head, p, keep));
  }
  if (thread == kThreads - 1u) mover_total = movers;
  memoryBarrierBuffer();
  barrier();
}

/// The slot of the hole or mover of rank j.
uint Select(Head head, uint pages, uint keep, uint field, uint j) {
  uint low = 0u, high = pages - 1u;  // The last page with at most j before it.
  [[dont_unroll]] while (low < high) {
    const uint middle = (low + high + 1u) / 2u;
    if (scratch.v[ScratchAt(head, middle, field)] <= j) {
      low = middle;
    } else {
      high = middle - 1u;
    }
  }
  uint mask = field == kHoles ? HolesOf(head, low, keep) : MoversOf(head, low, keep);
  const uint skip = j - scratch.v[ScratchAt(head, low, field)];
  [[dont_unroll]] for (uint k = 0; k < skip; ++k) mask &= mask - 1u;
  return low * kPageRows + uint(findLSB(mask));
}

void SwapWords(Page from, uint from_index, Page to, uint to_index) {
  const uint old = to.slab.v[to.at + to_index];
  to.slab.v[to.at + to_index] = from.slab.v[from.at + from_index];
  from.slab.v[from.at + from_index] = old;
}

void SwapHalves(Page from, Page to, uint part, uint from_index, uint to_index) {
  const uint old = PageHalf(to, part, to_index);
  SetPageHalf(to, part, to_index, PageHalf(from, part, from_index));
  SetPageHalf(from, part, from_index, old);
}

/// Rows a of one page and b of another change places.
void SwapRows(Page from, uint a, Page to, uint b) {
  if (kKeyType != kHalfRows) {
    [[dont_unroll]] for (uint i = 0; i < kHeadDim / 2u >> kKeyType; ++i) {
      SwapWords(from, i * kPageRows + a, to, i * kPageRows + b);
    }
    [[dont_unroll]] for (uint i = 0; i < kRowBlocks; ++i) {
      SwapHalves(from, to, kKeyScalesAt, i * kPageRows + a, i * kPageRows + b);
    }
  } else {
    [[dont_unroll]] for (uint i = 0; i < kHeadDim; ++i) {
      SwapHalves(from, to, 0u, i * kPageRows + a, i * kPageRows + b);
    }
  }
  const uint row_words = kHeadDim / 2u >> kValueType;
  [[dont_unroll]] for (uint i = 0; i < row_words; ++i) {
    SwapWords(from, kValuesAt + a * row_words + i, to, kValuesAt + b * row_words + i);
  }
  if (kValueType != kHalfRows) {
    [[dont_unroll]] for (uint i = 0; i < kRowBlocks; ++i) {
      SwapHalves(from, to, kValueScalesAt, a * kRowBlocks + i, b * kRowBlocks + i);
    }
  }
  SwapWords(from, kPositionsAt + a, to, kPositionsAt + b);
  SwapWords(from, kLastImportantAt + a, to, kLastImportantAt + b);
}

void main() {
  Head head = HeadOf(step, slabs, tables, pages_per_slab, pages_per_head);
  const uint evict = StepWord(step, kStepEvictAt, head.index);
  if (evict == 0u) return;
  SelectKey(head, evict);
  const uint pages = (head.count + kPageRows - 1u) / kPageRows, keep = head.count - evict;
  MaskPages(head, pages);
  SumPages(head, pages, keep);
  [[dont_unroll]] for (uint j = gl_LocalInvocationID.x; j < mover_total; j += kThreads) {
    const uint from = Select(head, pages, keep, kMovers, j);
    const uint to = Select(head, pages, keep, kHoles, j);
    SwapRows(PageOfSlot(head, from), from % kPageRows, PageOfSlot(head, to), to % kPageRows);
  }
}
