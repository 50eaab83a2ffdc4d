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
  if (kType == kQ4_1) {
    const uint both = scales.v[at];
    return vec2(HalfToFloat(both & 0xffffu), HalfToFloat(both >> 16));
  }
  const float d = HalfToFloat((scales.v[at / 2u] >> (16u * (at & 1u))) & 0xffffu);
  return vec2(d, kType == kQ4_0 ? -8.0 * d : 0.0);
}

vec4 Bytes(uint word) {
  return vec4(word & 0xffu, (word >> 8) & 0xffu, (word >> 16) & 0xffu, word >> 24);
}

/// Quants (or float weights) of columns 8 piece .. 8 piece + 7 of a block, from its quads.
void Piece(uvec4 quads[kQuads], uint piece, out vec4 low, out vec4 high) {
  if (kIsNibble) {
    const uint word = quads[0][piece];
    low = Bytes(word & 0x0f0f0f0fu);
    high = Bytes((word >> 4) & 0x0f0f0f0fu);
  } else if (kType == kQ8_0) {
    const uvec4 quad = quads[piece / 2u];
    const uint a = quad[(piece & 1u) * 2u], b = quad[(piece & 1u) * 2u + 1u];
    low = vec4(bitfieldExtract(int(a), 0, 8), bitfieldExtract(int(a), 8, 8),
               bitfieldExtract(int(a), 16, 8), int(a) >> 24);
    high = vec4(bitfieldExtract(int(b), 0, 8), bitfieldExtract(int(b), 8, 8),
                bitfieldExtract(int(b), 16, 8), int(b) >> 24);
  } else if (kType == kF16) {
    const uvec4 quad = quads[piece];
    low = vec4(HalfToFloat(quad.x & 0xffffu), HalfToFloat(quad.x >> 16),
               HalfToFloat(quad.y & 0xffffu), HalfToFloat(quad.y >> 16));
    high = vec4(HalfToFloat(quad.z & 0xffffu), HalfToFloat(quad.z >> 16),
                HalfToFloat(quad.w & 0xffffu), HalfToFloat(quad.w >> 16));
  } else if (kType == kBF16) {
    const uvec4 quad = quads[piece];
    low = uintBitsToFloat(uvec4(quad.x << 16, quad.x & 0xffff0000u, quad.y << 16,
                                quad.y & 0xffff0000u));
    high = uintBitsToFloat(uvec4(quad.z << 16, quad.z & 0xffff0000u, quad.w << 16,
                                 quad.w & 0xffff0000u));
  } else {
    low = uintBitsToFloat(quads[piece * 2u]);
    high = uintBitsToFloat(quads[piece * 2u + 1u]);
  }
}

/// Piece, loading no more of the block than it needs.
void LoadPiece(Quads quads, uint tile, uint block, uint blocks, uint lane, uint piece,
               out vec4 low, out vec4 high) {
  uvec4 raw[kQuads];
  const uint first = piece * kQuads / 4u, last = (piece * kQuads + kQuads - 1u) / 4u;
  [[unroll]] for (uint q = 0; q < kQuads; ++q) raw[q] = uvec4(0);
  [[unroll]] for (uint q = 0; q < kQuads; ++q) {
    if (q >= first && q <= last) raw[q] = quads.v[QuadAt(tile, block, blocks, q, lane)];
  }
  Piece(raw, piece, low, high);
}
