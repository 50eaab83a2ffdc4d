// The transform that rotates q4_0 rows, and queries and outputs that meet them: kv_page.h has it.
//
// Include after kv.glsl. A kernel that rotates numbers in shared memory says which: ROTATED(i) is
// the i-th of an array in which neighbouring dimensions are kRotatedStride apart.

/// f32(1 / sqrt(kRotation)); a rotation has 32 dimensions or more.
float RotationScale() {
  if (kRotation == 32u) return uintBitsToFloat(0x3e3504f3u);
  if (kRotation == 64u) return 0.125;
  return kRotation == 128u ? uintBitsToFloat(0x3db504f3u) : 0.0625;
}

#ifdef ROTATED
/// Rotates `dimensions` dimensions of the first `columns` numbers (of one dimension), `block`
/// dimensions together, in place. For all invocations, who have written and passed a barrier
/// before, and may read after.
void Rotate(uint columns, uint dimensions, uint block) {
  const uint count = columns * dimensions;
  [[dont_unroll]] for (uint stride = 1u; stride < block; stride *= 2u) {
    [[dont_unroll]] for (uint i = gl_LocalInvocationID.x; i < count / 2u; i += kThreads) {
      const uint pair = i / columns, column = i % columns;
      const uint d = pair / stride * 2u * stride + pair % stride;
      const uint first = d * kRotatedStride + column;
      const uint second = first + stride * kRotatedStride;
      const ROTATED_TYPE a = ROTATED(first), b = ROTATED(second);
      ROTATED(first) = a + b;
      ROTATED(second) = a - b;
    }
    barrier();
  }
  [[dont_unroll]] for (uint i = gl_LocalInvocationID.x; i < count; i += kThreads) {
    const uint at = i / columns * kRotatedStride + i % columns;
    ROTATED(at) = ROTATED(at) * RotationScale();
  }
  barrier();
}
#endif
