// The greatest numbers of a row, or of a slice of one. See TopKOp in runtime/ops/ops.h.
//
// A workgroup a slice and row. The key of the last number to keep, (number, lowest index first), is
// found by radix selection; what is at or above it is collected and sorted, so the result does not
// depend on who came first. A long row takes two dispatches: slices
// leave their greatest, and those of all slices are the row of the second.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint kThreads = 64;
#include "radix.glsl"
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
shared uint taken;
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
  RadixStart(min(k, last - first));
  [[dont_unroll]] for (uint pass = 0; RadixNext(pass); ++pass) {
    [[dont_unroll]] for (uint at = first + gl_LocalInvocationID.x; at < last; at += kThreads) {
      RadixCount(pass, KeyOf(at));
    }
    RadixFinish(pass);
  }
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
    if (RadixTakes(own)) best[atomicAdd(taken, 1u)] = own;
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
