// The greatest numbers of a row, or of a slice of one. See TopKOp in runtime/ops/ops.h.
//
// A workgroup a slice and row. The key of the last number to keep, (number, lowest index first), is
// found byte by byte with histograms (radix selection); what is at or above it is collected and
// sorted, so the result does not depend on who came first. A long row takes two dispatches: slices
// leave their greatest, and those of all slices are the row of the second.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint kThreads = 64;
layout(constant_id = 1) const uint kSorted = 128;     // k up to a power of two.
layout(constant_id = 2) const uint kHasIndices = 0;   // Whether `indices_of` names the numbers.

layout(push_constant) uniform Arguments {
  Words x, indices_of;    // [rows][count]
  Words values, indices;  // [rows][slices][k]
  Words row_of_all;       // [rows][columns]: what the indices mean.
  Words step;
  uint count, slice, k, columns, live;
};
const uint kMinusInfinity = 0xff800000u;
shared uint bins[256];
shared uint key[2], wanted, equal, taken;
shared uvec2 best[kSorted];

/// A number as an integer of the same order. NaN is -infinity, -0 is +0.
uint Ordered(uint bits) {
  if ((bits & 0x7fffffffu) > 0x7f800000u) bits = kMinusInfinity;
  if (bits == 0x80000000u) bits = 0u;
  return (bits >> 31) != 0 ? ~bits : bits | 0x80000000u;
}

/// The greater comes first: the number, then the complement of its index.
uvec2 KeyOf(uint at) {
  const uint index = kHasIndices != 0 ? indices_of.v[at] : at - gl_WorkGroupID.y * count;
  return uvec2(Ordered(x.v[at]), ~index);
}

void SelectKey(uint first, uint last) {
  const uint thread = gl_LocalInvocationID.x;
  if (thread == 0) {
    key[0] = key[1] = 0u;
    wanted = min(k, last - first);
    equal = 0u;
  }
  [[dont_unroll]] for (uint pass = 0; pass < 8u; ++pass) {
    barrier();
    // All of those that are equal in the number are wanted: no index needs to be looked at.
    if (pass == 4u && equal == wanted) break;
    const uint word = pass / 4u, shift = 24u - 8u * (pass % 4u);
    [[dont_unroll]] for (uint b = thread; b < 256u; b += kThreads) bins[b] = 0u;
    barrier();
    const uvec2 found = uvec2(key[0], key[1]);
    const uint above = pass % 4u == 0 ? 0u : 0xffffffffu << (shift + 8u);
    [[dont_unroll]] for (uint at = first + thread; at < last; at += kThreads) {
      const uvec2 own = KeyOf(at);
      const bool matches = word == 0 ? (own.x & above) == found.x
                                     : own.x == found.x && (own.y & above) == found.y;
      if (matches) atomicAdd(bins[((word == 0 ? own.x : own.y) >> shift) & 255u], 1u);
    }
    barrier();
    if (thread == 0) {
      uint byte = 255u;
      [[dont_unroll]] while (byte > 0u && bins[byte] < wanted) {
        wanted -= bins[byte];
        --byte;
      }
      key[word] |= byte << shift;
      equal = bins[byte];
    }
  }
  barrier();
}

/// Greatest first (bitonic).
void Sort() {
  [[dont_unroll]] for (uint size = 2u; size <= kSorted; size *= 2u) {
    [[dont_unroll]] for (uint stride = size / 2u; stride > 0u; stride /= 2u) {
      barrier();
      [[dont_unroll]] for (uint i = gl_LocalInvocationID.x; i < kSorted / 2u; i += kThreads) {
        const uint a = 2u * i - (i & (stride - 1u)), b = a + stride;
        const uvec2 low = best[a], high = best[b];
        const bool is_less = low.x < high.x || (low.x == high.x && low.y < high.y);
        const bool descends = (a & size) == 0u;
        if (is_less == descends) {
          best[a] = high;
          best[b] = low;
        }
      }
    }
  }
  barrier();
}

void main() {
  const uint thread = gl_LocalInvocationID.x, row = gl_WorkGroupID.y;
  if (row >= step.v[live]) return;
  const uint first = row * count + gl_WorkGroupID.x * slice;
  const uint last = min(first + slice, (row + 1u) * count);
  SelectKey(first, last);
  [[dont_unroll]] for (uint i = thread; i < kSorted; i += kThreads) best[i] = uvec2(0u);
  if (thread == 0) taken = 0u;
  barrier();
  [[dont_unroll]] for (uint at = first + thread; at < last; at += kThreads) {
    const uvec2 own = KeyOf(at);
    const bool is_kept = own.x > key[0] || (own.x == key[0] && own.y >= key[1]);
    if (is_kept) best[atomicAdd(taken, 1u)] = own;
  }
  barrier();
  Sort();
  const uint to = (row * gl_NumWorkGroups.x + gl_WorkGroupID.x) * k;
  [[dont_unroll]] for (uint i = thread; i < k; i += kThreads) {
    // A slice shorter than k leaves places that stand behind every number.
    uint index = 0xffffffffu, bits = kMinusInfinity;
    if (i < taken) {
      index = ~best[i].y;
      bits = row_of_all.v[row * columns + index];
      if ((bits & 0x7fffffffu) > 0x7f800000u) bits = kMinusInfinity;
    }
    values.v[to + i] = bits;
    indices.v[to + i] = index;
  }
}
