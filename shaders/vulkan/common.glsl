// What every Vulkan kernel shares: buffers by address, the step buffer, exact conversions.
//
// Buffers are reached by device address (no descriptors): a plan freezes addresses in its push
// constants, so a recorded command buffer needs nothing else. Kernels use no subgroup operations,
// so none assumes a subgroup size (matmul_lanes alone does, for drivers on a CPU). Only 32-bit
// loads and stores are used: no 8-bit or 16-bit storage, no float16, no int64 is required.
//
// Transcendental functions are our own, because Vulkan promises too little of the built-in ones
// (sin and cos: 2^-11; exp: 3 + 2|x| ulp) and devices would disagree.
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference2 : require
#extension GL_EXT_control_flow_attributes : require

layout(buffer_reference, std430, buffer_reference_align = 4) buffer Words { uint v[]; };
layout(buffer_reference, std430, buffer_reference_align = 4) buffer Floats { float v[]; };
layout(buffer_reference, std430, buffer_reference_align = 16) readonly buffer Quads { uvec4 v[]; };
layout(buffer_reference, std430, buffer_reference_align = 8) readonly buffer Slabs { Words v[]; };

// StepHeader, in words (runtime/ops/step.h).
const uint kStepRows = 0, kStepOutRows = 1, kStepSequences = 2, kStepHeads = 3, kStepIdsAt = 4,
           kStepPositionsAt = 5, kStepOutIndexAt = 6, kStepSequencesAt = 7, kStepCountsAt = 8,
           kStepEvictAt = 9;
// StepSequence, in words.
const uint kSequenceWords = 21;
const uint kFirstRow = 0, kRows = 1, kTable = 2, kClock = 3, kPinnedRows = 4, kJudgedFrom = 5,
           kImportanceScale = 6, kBasis = 7, kRankBy = 8, kPositionClock = 9, kRecentFrom = 10,
           kNaturalAge = 11, kWindowAt = 12, kMarkBy = 13, kForgets = 14, kReach = 15,
           kFade = 16, kScoreBy = 17, kValueReach = 18, kWindowFrom = 19, kObserves = 20;
// RankBy and MarkBy.
const uint kByLastImportant = 0, kByPosition = 1, kByHash = 2, kByAttention = 3, kMarkAttention = 1;
// ScoreBy.
const uint kByPooledAttention = 1, kByKeyDifference = 2, kByExpectedAttention = 3;
const uint kPinned = 0xffffffffu;
const float kAttentionUnits = 65536.0;
const uint kDoublingsMost = 16;
const uint kAttentionMost = 0x80000000u;
const float kValueUnits = 256.0;

/// Word `word` of the array that begins at the byte the header's word `at` holds.
uint StepWord(Words step, uint at, uint word) {
  return step.v[step.v[at] / 4 + word];
}
/// Field of sequence s.
uint Sequence(Words step, uint s, uint field) {
  return StepWord(step, kStepSequencesAt, s * kSequenceWords + field);
}
/// Resident rows of a head of sequence s before the step.
uint Count(Words step, uint s, uint head) {
  return StepWord(step, kStepCountsAt, s * step.v[kStepHeads] + head);
}

/// Reach(max(1, x), reach) of runtime/ops/ops.h.
uint Reach(float x, uint reach) {
  const uint one = floatBitsToUint(1.0), bits = max(floatBitsToUint(x), one);
  return (min(bits - one, kDoublingsMost << 23) >> 7) * reach >> 16;
}

/// A row of the step in its sequence.
struct RowPlace {
  uint sequence;
  uint i;        // Among the sequence's rows.
  uint visible;  // Slots it sees in the head.
};

RowPlace PlaceOf(Words step, uint row, uint head) {
  uint s = 0;
  while (row >= Sequence(step, s, kFirstRow) + Sequence(step, s, kRows)) ++s;
  const uint i = row - Sequence(step, s, kFirstRow);
  return RowPlace(s, i, Count(step, s, head) + i + 1u);
}

int SignedByte(uint word, uint i) {
  return bitfieldExtract(int(word), int(8u * i), 8);
}
vec4 SignedBytes(uint word) {
  return vec4(SignedByte(word, 0), SignedByte(word, 1), SignedByte(word, 2), SignedByte(word, 3));
}

/// f16 to f32, exactly, subnormals too.
float HalfToFloat(uint bits) {
  const uint sign = (bits & 0x8000u) << 16, magnitude = bits & 0x7fffu;
  if (magnitude >= 0x7c00u) return uintBitsToFloat(sign | 0x7f800000u | (magnitude << 13));
  if (magnitude < 0x0400u) {
    return uintBitsToFloat(sign | floatBitsToUint(float(magnitude) * 5.9604644775390625e-8));
  }
  return uintBitsToFloat(sign | ((magnitude << 13) + 0x38000000u));
}

/// The two halves of a word.
vec2 Halves(uint word) {
  return vec2(HalfToFloat(word & 0xffffu), HalfToFloat(word >> 16));
}

/// Shifts `value` right by `shift` (1..31), to nearest even; `sticky`: more bits below.
uint RoundShift(uint value, uint shift, bool sticky) {
  const uint kept = value >> shift, rest = value & ((1u << shift) - 1u);
  const uint half_way = 1u << (shift - 1u);
  const bool up = rest > half_way || (rest == half_way && (sticky || (kept & 1u) == 1u));
  return kept + uint(up);
}

/// f32 to f16, to nearest even (packHalf2x16 may round otherwise).
uint FloatToHalf(float x) {
  const uint bits = floatBitsToUint(x), sign = (bits >> 16) & 0x8000u;
  const uint magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return sign | 0x7e00u;
  if (magnitude >= 0x47800000u) return sign | 0x7c00u;
  if (magnitude >= 0x38800000u) {  // Normal; a carry out of the mantissa is right as it is.
    const uint odd = (magnitude >> 13) & 1u;
    return sign | min((magnitude - 0x38000000u + 0xfffu + odd) >> 13, 0x7c00u);
  }
  if (magnitude < 0x33000000u) return sign;  // Below half of the smallest subnormal.
  const uint shift = 126u - (magnitude >> 23);  // 14..24
  return sign | RoundShift((magnitude & 0x7fffffu) | 0x800000u, shift, false);
}

/// e^x: within 2 ulp for |x| < 87, 0 below, infinity above. 2^n * p(r), x = n ln 2 + r.
float Exp(float x) {
  const float n = roundEven(clamp(x, -127.0, 128.0) * 1.44269504);
  float r = fma(n, -0.693145751953125, x);
  r = fma(n, -1.428606765330187e-6, r);
  float p = fma(r, 1.39336798e-3, 8.36320037e-3);
  p = fma(p, r, 4.16664647e-2);
  p = fma(p, r, 1.66665769e-1);
  p = fma(p, r, 0.5);
  p = fma(p * r, r, r) + 1.0;
  if (x < -87.0) return 0.0;
  if (x > 88.7) return uintBitsToFloat(0x7f800000u);
  return p * uintBitsToFloat(uint(int(n) + 126) << 23) * 2.0;
}

/// ln x for normal x > 0: within 3 ulp or 1e-7. 2 atanh of a mantissa in [sqrt(1/2), sqrt(2)).
float Log(float x) {
  const uint bits = floatBitsToUint(x);
  int exponent = int(bits >> 23) - 127;
  float m = uintBitsToFloat((bits & 0x7fffffu) | 0x3f800000u);
  if (m > 1.41421356) {
    m *= 0.5;
    exponent += 1;
  }
  const float s = (m - 1.0) / (m + 1.0), z = s * s;
  float p = fma(z, 0.2220000, 0.2857142857);
  p = fma(p, z, 0.4);
  p = fma(p, z, 0.6666666667);
  p = fma(p * z, s, 2.0 * s);
  return fma(float(exponent), 0.693145751953125, fma(float(exponent), 1.428606765330187e-6, p));
}

#define kInfinity uintBitsToFloat(0x7f800000u)  // No constant expression in GLSL.
