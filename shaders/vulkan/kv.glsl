// The bytes of a KV page, as runtime/ops/kv_page.h lays them out, and the way to it.
//
// All offsets are in words and fold to constants when a pipeline is made for one geometry.
layout(constant_id = 1) const uint kHeadDim = 64;
layout(constant_id = 2) const uint kKeyType = 0;  // One of those below.
layout(constant_id = 3) const uint kValueType = 0;
layout(constant_id = 4) const uint kKvHeads = 1;  // G

const uint kHalfRows = 0, kByteRows = 1, kHalfByteRows = 2;  // f16, q8_0, q4_0
const uint kPageRows = 32;
#define WORDS64(bytes) (((bytes) + 63u) / 64u * 16u)
const uint kRowBlocks = kHeadDim / 32u;
const uint kKeyBytes = kPageRows * kHeadDim * 2u >> kKeyType;
const uint kValueBytes = kPageRows * kHeadDim * 2u >> kValueType;
const uint kScaleWords = WORDS64(kPageRows * kRowBlocks * 2u);
const uint kKeyScalesAt = WORDS64(kKeyBytes);
const uint kValuesAt = kKeyScalesAt + (kKeyType != kHalfRows ? kScaleWords : 0u);
const uint kValueScalesAt = kValuesAt + WORDS64(kValueBytes);
const uint kPositionsAt = kValueScalesAt + (kValueType != kHalfRows ? kScaleWords : 0u);
const uint kLastImportantAt = kPositionsAt + kPageRows;
const uint kPageWords = kLastImportantAt + kPageRows;

// Dimensions that q4_0 rows rotate together: the greatest power of two up to 256 that divides.
const uint kRotation = (kHeadDim & (~kHeadDim + 1u)) < 256u ? kHeadDim & (~kHeadDim + 1u) : 256u;

/// Where the pages of a plan are: Bindings::kv.
struct Cache {
  Slabs slabs;
  Words tables;
  uint pages_per_slab, pages_per_head, heads;  // heads: L*G
};

struct Page {
  Words slab;
  uint at;  // First word.
};

Page PageOf(Cache cache, uint table, uint head, uint page) {
  const uint id = cache.tables.v[(table * cache.heads + head) * cache.pages_per_head + page];
  return Page(cache.slabs.v[id / cache.pages_per_slab], id % cache.pages_per_slab * kPageWords);
}

uint PageWord(Page page, uint word) {
  return page.slab.v[page.at + word];
}

/// 16 bits at index `i` (in halves) of the part that begins at word `part`.
uint PageHalf(Page page, uint part, uint i) {
  return (page.slab.v[page.at + part + i / 2u] >> (16u * (i & 1u))) & 0xffffu;
}
/// Neighbouring halves may be written by other invocations at the same time.
void SetPageHalf(Page page, uint part, uint i, uint bits) {
  const uint word = page.at + part + i / 2u, shift = 16u * (i & 1u);
  atomicAnd(page.slab.v[word], ~(0xffffu << shift));
  atomicOr(page.slab.v[word], bits << shift);
}

/// The low halves of the bytes of a word, as q4_0 has them.
vec4 HalfBytes(uint word) {
  return vec4(uvec4(word, word >> 8, word >> 16, word >> 24) & 15u) - 8.0;
}

/// Dimensions 4i..4i+3 of the key of a row; of q4_0 rows as they are held, rotated. Halves as the
/// device converts them.
vec4 Key4(Page page, uint row, uint i) {
  if (kKeyType != kHalfRows) {
    const float scale =
        HalfToFloat(PageHalf(page, kKeyScalesAt, i / 8u * kPageRows + row));
    if (kKeyType == kByteRows) return scale * SignedBytes(PageWord(page, i * kPageRows + row));
    return scale * HalfBytes(PageWord(page, i / 2u * kPageRows + row) >> (i % 2u * 4u));
  }
  vec4 key;
  [[unroll]] for (uint j = 0; j < 4; ++j) {
    const vec2 pair = unpackHalf2x16(PageWord(page, ((i * 4u + j) * kPageRows + row) / 2u));
    key[j] = (row & 1u) == 0 ? pair.x : pair.y;
  }
  return key;
}

/// Dimensions 4i..4i+3 of the value of a row; of q4_0 rows as they are held, rotated.
vec4 Value4(Page page, uint row, uint i) {
  if (kValueType != kHalfRows) {
    const uint block = row * kRowBlocks + i / 8u;
    const float scale = HalfToFloat(PageHalf(page, kValueScalesAt, block));
    if (kValueType == kByteRows) {
      return scale * SignedBytes(PageWord(page, kValuesAt + (row * kHeadDim) / 4u + i));
    }
    const uint word = PageWord(page, kValuesAt + block * 4u + i % 4u);
    return scale * HalfBytes(word >> (i / 4u % 2u * 4u));
  }
  const uint word = kValuesAt + (row * kHeadDim) / 2u + i * 2u;
  return vec4(unpackHalf2x16(PageWord(page, word)), unpackHalf2x16(PageWord(page, word + 1u)));
}
