// Weights in tiles of 32 rows by 32 columns, as backends/vulkan/weights.h packs them.
//
// A lane has a row. Of each row and block of 32 columns there are kQuads 16-byte quads, and the
// quads of 32 rows are neighbours: [tile][block][quad][32 rows]. Nibbles of a word of a 4-bit type
// are columns 0 4 1 5 2 6 3 7 of its eight, so that two masks give four neighbours each.
// Scales: f16 d [tile][block][32 rows]; q4_1: words of d and m.
const uint kF32 = 0, kF16 = 1, kBF16 = 2, kQ8_0 = 3, kQ4_0 = 4, kQ4_1 = 5;
layout(constant_id = 1) const uint kType = 0;
const uint kQuads = kType == kF32 ? 8u : kType <= kBF16 ? 4u : kType == kQ8_0 ? 2u : 1u;
const bool kHasScale = kType >= kQ8_0;
const bool kIsNibble = kType >= kQ4_0;

uint QuadAt(uint tile, uint block, uint blocks, uint quad, uint lane) {
  return ((tile * blocks + block) * kQuads + quad) * 32u + lane;
}

/// d and m of a row's block: weight = d * quant + m; (1, 0) for float types.
vec2 Scale(Words scales, uint tile, uint block, uint blocks, uint lane) {
  if (!kHasScale) return vec2(1.0, 0.0);
  const uint at = (tile * blocks + block) * 32u + lane;
  if (kType == kQ4_1) return Halves(scales.v[at]);
  const float d = HalfToFloat((scales.v[at / 2u] >> (16u * (at & 1u))) & 0xffffu);
  return vec2(d, kType == kQ4_0 ? -8.0 * d : 0.0);
}

vec4 Bytes(uint word) {
  return vec4(word & 0xffu, (word >> 8) & 0xffu, (word >> 16) & 0xffu, word >> 24);
}

/// Quants (or float weights) of eight columns from their words: one of a 4-bit type, two of q8_0,
/// four of a 16-bit type, eight of f32.
void Decode(uvec4 a, uvec4 b, out vec4 low, out vec4 high) {
  if (kIsNibble) {
    low = Bytes(a.x & 0x0f0f0f0fu);
    high = Bytes((a.x >> 4) & 0x0f0f0f0fu);
  } else if (kType == kQ8_0) {
    low = SignedBytes(a.x);
    high = SignedBytes(a.y);
  } else if (kType == kF16) {
    low = vec4(Halves(a.x), Halves(a.y));
    high = vec4(Halves(a.z), Halves(a.w));
  } else if (kType == kBF16) {
    low = uintBitsToFloat(uvec4(a.x << 16, a.x & 0xffff0000u, a.y << 16, a.y & 0xffff0000u));
    high = uintBitsToFloat(uvec4(a.z << 16, a.z & 0xffff0000u, a.w << 16, a.w & 0xffff0000u));
  } else {
    low = uintBitsToFloat(a);
    high = uintBitsToFloat(b);
  }
}

/// Columns 8 piece .. 8 piece + 7 of a block, from its quads.
void Piece(uvec4 quads[kQuads], uint piece, out vec4 low, out vec4 high) {
  if (kIsNibble) {
    Decode(uvec4(quads[0][piece]), uvec4(0), low, high);
  } else if (kType == kQ8_0) {
    const uvec4 quad = quads[piece / 2u];
    Decode((piece & 1u) == 0 ? quad : quad.zwzw, uvec4(0), low, high);
  } else if (kType == kF32) {
    Decode(quads[piece * 2u], quads[piece * 2u + 1u], low, high);
  } else {
    Decode(quads[piece], uvec4(0), low, high);
  }
}

/// The same, loading no more of the block than it needs.
void LoadPiece(Words words, uint tile, uint block, uint blocks, uint lane, uint piece, out vec4 low,
               out vec4 high) {
  const uint quad = piece * kQuads / 4u;  // The first, or the one all eight are in.
  const uint at = QuadAt(tile, block, blocks, quad, lane) * 4u;
  uvec4 a = uvec4(0), b = uvec4(0);
  if (kIsNibble) {
    a.x = words.v[at + piece];
  } else if (kType == kQ8_0) {
    const uint first = at + (piece & 1u) * 2u;
    a.xy = uvec2(words.v[first], words.v[first + 1u]);
  } else {
    a = uvec4(words.v[at], words.v[at + 1u], words.v[at + 2u], words.v[at + 3u]);
    if (kType == kF32) {
      b = uvec4(words.v[at + 128u], words.v[at + 129u], words.v[at + 130u], words.v[at + 131u]);
    }
  }
  Decode(a, b, low, high);
}
