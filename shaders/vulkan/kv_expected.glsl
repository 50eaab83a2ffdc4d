// Marks by what queries to come are expected to take from rows, for the kernel of KvScore.
//
// A workgroup a head, query head by query head of its group: invocations make the terms of z, a
// pair each, and then walk the rows twice, for what the softmax is divided by and for the shares.
// Until all query heads are done, a row's mark holds the bits of its sum of shares.
const float kExpectedUnits = 1073741824.0, kLeastScore = -1e38;
shared float terms[kHeadDim / 2u * kPairSums];
shared vec2 parts[kThreads];  // The greatest z of an invocation and its sum; then sums.

/// Sets what a, b, a^2, b^2 and a b of each pair of a key are multiplied with in z.
void SetTerms(uint at) {
  const uint position = Sequence(step, 0, kPositionClock);
  const float count = statistics.v[at], square = scale * scale;
  [[dont_unroll]] for (uint pair = gl_LocalInvocationID.x; pair < kHeadDim / 2u; pair += kThreads) {
    const uint of = at + 1u + pair * kPairSums, to = pair * kPairSums;
    const float x = statistics.v[of] / count, y = statistics.v[of + 1u] / count;
    const float xx = max(0.0, statistics.v[of + 2u] / count - x * x);
    const float yy = max(0.0, statistics.v[of + 3u] / count - y * y);
    const float xy = statistics.v[of + 4u] / count - x * y;
    vec2 mean = vec2(1.0, 0.0);  // Rotation: cos and sin.
    if (pair < pairs) {
      const uint word = 4u * pair;
      const uint fraction =
          TurnFraction(turns.v[word], turns.v[word + 1u], position) + turns.v[word + 2u];
      mean = uintBitsToFloat(turns.v[word + 3u]) * CosSin(fraction);
    }
    const float c = mean.x, s = mean.y;
    terms[to] = scale * (c * x - s * y);
    terms[to + 1u] = scale * (s * x + c * y);
    terms[to + 2u] = square / 2.0 * (c * c * xx - 2.0 * c * s * xy + s * s * yy);
    terms[to + 3u] = square / 2.0 * (s * s * xx + 2.0 * c * s * xy + c * c * yy);
    terms[to + 4u] = square * (c * s * (xx - yy) + (c * c - s * s) * xy);
  }
}

/// What dimensions 2 pair and 2 pair + 1 of a key add to z.
float Term(uint pair, vec2 key) {
  const uint at = pair * kPairSums;
  return (terms[at] + terms[at + 2u] * key.x + terms[at + 4u] * key.y) * key.x +
         (terms[at + 1u] + terms[at + 3u] * key.y) * key.y;
}

float own[kRotation];  // Dimensions of a key that rotate together.

/// z of a row.
float ExpectedScore(Page page, uint row) {
  float z = 0.0;
  if (kKeyType != kHalfByteRows) {
    [[dont_unroll]] for (uint i = 0; i < kQuads; ++i) {
      const vec4 key = Key4(page, row, i);
      z += Term(2u * i, key.xy) + Term(2u * i + 1u, key.zw);
    }
    return z;
  }
  [[dont_unroll]] for (uint first = 0; first < kHeadDim; first += kRotation) {
    [[dont_unroll]] for (uint d = 0u; d < kRotation; d += 4u) {
      const vec4 four = Key4(page, row, (first + d) / 4u);
      [[unroll]] for (uint j = 0u; j < 4u; ++j) own[d + j] = four[j];
    }
    [[dont_unroll]] for (uint stride = 1u; stride < kRotation; stride *= 2u) {
      [[dont_unroll]] for (uint pair = 0u; pair < kRotation / 2u; ++pair) {
        const uint d = pair / stride * 2u * stride + pair % stride;
        const float a = own[d], b = own[d + stride];
        own[d] = a + b;
        own[d + stride] = a - b;
      }
    }
    [[dont_unroll]] for (uint d = 0u; d < kRotation; d += 2u) {
      z += Term((first + d) / 2u, vec2(own[d], own[d + 1u]) * RotationScale());
    }
  }
  return z;
}

float ValueLength(Page page, uint row) {
  float square = 0.0;
  [[dont_unroll]] for (uint i = 0; i < kQuads; ++i) {
    const vec4 value = Value4(page, row, i);
    square += dot(value, value);
  }
  return sqrt(square);
}

/// Sets the greatest z of all rows that are not pinned, and the sum of exp(z - that).
void SumShares(Head head, out float most, out float total) {
  const uint thread = gl_LocalInvocationID.x;
  vec2 part = vec2(kLeastScore, 0.0);
  [[dont_unroll]] for (uint slot = thread; slot < head.count; slot += kThreads) {
    Page page = PageOfSlot(head, slot);
    if (PageWord(page, kLastImportantAt + slot % kPageRows) == kPinned) continue;
    const float z = ExpectedScore(page, slot % kPageRows), next = max(part.x, z);
    part = vec2(next, part.y * Exp(part.x - next) + Exp(z - next));
  }
  parts[thread] = part;
  barrier();
  most = kLeastScore;
  total = 0.0;
  [[dont_unroll]] for (uint t = 0; t < kThreads; ++t) most = max(most, parts[t].x);
  [[dont_unroll]] for (uint t = 0; t < kThreads; ++t) total += parts[t].y * Exp(parts[t].x - most);
  barrier();
}

/// Multiplies sums of shares with lengths of values; returns their sum.
float WeighShares(Head head) {
  const uint thread = gl_LocalInvocationID.x;
  float sum = 0.0;
  [[dont_unroll]] for (uint slot = thread; slot < head.count; slot += kThreads) {
    Page page = PageOfSlot(head, slot);
    const uint word = page.at + kLastImportantAt + slot % kPageRows;
    if (page.slab.v[word] == kPinned) continue;
    const float taken = uintBitsToFloat(page.slab.v[word]) * ValueLength(page, slot % kPageRows);
    page.slab.v[word] = floatBitsToUint(taken);
    sum += taken;
  }
  parts[thread].x = sum;
  barrier();
  sum = 0.0;
  [[dont_unroll]] for (uint t = 0; t < kThreads; ++t) sum += parts[t].x;
  return sum;
}

void ScoreExpected(Head head) {
  const uint thread = gl_LocalInvocationID.x;
  const uint group = query_heads / kKvHeads, layers = head.cache.heads / kKvHeads;
  if (group == 0u) return;
  const uint table_layer = head.table * layers + head.index / kKvHeads;
  const uint first = head.index % kKvHeads * group;
  if (statistics.v[StatisticsAt(table_layer, first, query_heads, kHeadDim)] == 0.0) return;
  [[dont_unroll]] for (uint j = 0; j < group; ++j) {
    SetTerms(StatisticsAt(table_layer, first + j, query_heads, kHeadDim));
    barrier();
    float most, total;
    SumShares(head, most, total);
    [[dont_unroll]] for (uint slot = thread; slot < head.count; slot += kThreads) {
      Page page = PageOfSlot(head, slot);
      const uint word = page.at + kLastImportantAt + slot % kPageRows;
      if (page.slab.v[word] == kPinned) continue;
      const float before = j == 0u ? 0.0 : uintBitsToFloat(page.slab.v[word]);
      const float share = Exp(ExpectedScore(page, slot % kPageRows) - most) / total;
      page.slab.v[word] = floatBitsToUint(before + share);
    }
    barrier();
  }
  const float sum = WeighShares(head);
  [[dont_unroll]] for (uint slot = thread; slot < head.count; slot += kThreads) {
    Page page = PageOfSlot(head, slot);
    const uint word = page.at + kLastImportantAt + slot % kPageRows;
    if (page.slab.v[word] == kPinned) continue;
    const float share = sum > 0.0 ? uintBitsToFloat(page.slab.v[word]) / sum : 0.0;
    page.slab.v[word] = uint(roundEven(share * kExpectedUnits));
  }
}
