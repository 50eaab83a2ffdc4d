// How far RoPE turns a pair, to full f32 precision at any position.
//
// A frequency is a 64-bit fixed-point fraction of a turn per position (host code writes the table:
// low word, high word, for each pair), so position * frequency keeps its fraction of a turn exact
// to 2^-44 at positions below 2^20, where an f32 angle would have lost it. Sine and cosine of the
// last eighth of a turn are polynomials (Taylor, error below 1e-9 at pi/4).

/// Turns of `positions` positions, as a 32-bit fraction.
uint TurnFraction(uint low, uint high, uint positions) {
  uint carry, unused;
  umulExtended(low, positions, carry, unused);
  return high * positions + carry;
}

/// cos and sin of fraction / 2^32 turns.
vec2 CosSin(uint fraction) {
  const uint eighth = (fraction + 0x20000000u) >> 30;  // Nearest quarter turn.
  const float x = float(int(fraction - (eighth << 30))) * 1.4629180792671596e-9;  // 2 pi / 2^32
  const float z = x * x;
  float s = fma(z, 2.7557319e-6, -1.9841270e-4);
  s = fma(s, z, 8.3333333e-3);
  s = fma(s, z, -1.6666667e-1);
  s = fma(s * z, x, x);
  float c = fma(z, -2.7557319e-7, 2.4801587e-5);
  c = fma(c, z, -1.3888889e-3);
  c = fma(c, z, 4.1666667e-2);
  c = fma(c, z, -0.5);
  c = fma(c, z, 1.0);
  switch (eighth & 3u) {
    case 0: return vec2(c, s);
    case 1: return vec2(-s, c);
    case 2: return vec2(-c, -s);
    default: return vec2(s, -c);
  }
}

/// How far `positions` positions turn a pair, by the plan's table of frequencies.
vec2 TurnOf(Words frequencies, uint pair, uint positions) {
  return CosSin(TurnFraction(frequencies.v[2u * pair], frequencies.v[2u * pair + 1u], positions));
}

vec2 Turn(vec2 pair, vec2 cos_sin) {
  return vec2(pair.x * cos_sin.x - pair.y * cos_sin.y, pair.x * cos_sin.y + pair.y * cos_sin.x);
}
