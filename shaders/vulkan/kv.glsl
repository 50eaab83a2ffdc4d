// The bytes of a KV page, as runtime/ops/kv_page.h lays them out, and the way to it.
//
// All offsets are in words and fold to constants when a pipeline is made for one geometry.
layout(constant_id = 1) const uint kHeadDim = 64;
layout(constant_id = 2) const uint kKeysAreQ8 = 0;
layout(constant_id = 3) const uint kValuesAreQ8 = 0;
layout(constant_id = 4) const uint kKvHeads = 1;  // G

const uint kPageRows = 32;
#define WORDS64(bytes) (((bytes) + 63u) / 64u * 16u)
const uint kRowBlocks = kHeadDim / 32u;
const uint kKeyScalesAt = WORDS64(kPageRows * kHeadDim * (kKeysAreQ8 != 0 ? 1u : 2u));
const uint kValuesAt = kKeyScalesAt + (kKeysAreQ8 != 0 ? WORDS64(kPageRows * kRowBlocks * 2u) : 0u);
const uint kValueScalesAt =
    kValuesAt + WORDS64(kPageRows * kHeadDim * (kValuesAreQ8 != 0 ? 1u : 2u));
const uint kPositionsAt =
    kValueScalesAt + (kValuesAreQ8 != 0 ? WORDS64(kPageRows * kRowBlocks * 2u) : 0u);
const uint kLastImportantAt = kPositionsAt + kPageRows;
const uint kPageWords = kLastImportantAt + kPageRows;

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

/// Dimensions 4i..4i+3 of the key of a row. Halves as the device converts them.
vec4 Key4(Page page, uint row, uint i) {
  if (kKeysAreQ8 != 0) {
    const float scale =
        HalfToFloat(PageHalf(page, kKeyScalesAt, i / 8u * kPageRows + row));
    return scale * SignedBytes(PageWord(page, i * kPageRows + row));
  }
  vec4 key;
  [[unroll]] for (uint j = 0; j < 4; ++j) {
    const vec2 pair = unpackHalf2x16(PageWord(page, ((i * 4u + j) * kPageRows + row) / 2u));
    key[j] = (row & 1u) == 0 ? pair.x : pair.y;
  }
  return key;
}

/// Dimensions 4i..4i+3 of the value of a row.
vec4 Value4(Page page, uint row, uint i) {
  if (kValuesAreQ8 != 0) {
    const float scale = HalfToFloat(PageHalf(page, kValueScalesAt, row * kRowBlocks + i / 8u));
    return scale * SignedBytes(PageWord(page, kValuesAt + (row * kHeadDim) / 4u + i));
  }
  const uint word = kValuesAt + (row * kHeadDim) / 2u + i * 2u;
  return vec4(unpackHalf2x16(PageWord(page, word)), unpackHalf2x16(PageWord(page, word + 1u)));
}
