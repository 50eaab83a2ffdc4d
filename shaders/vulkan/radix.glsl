// The key of the n-th greatest of many, by a workgroup: radix selection.
//
// Keys are pairs of words, the first counts more. The key is found byte by byte: a histogram of the
// next byte of the keys that match so far says which value the n-th has. Nothing is sorted and no
// key is kept, so they are made again in each of up to eight passes:
//
//   RadixStart(n);
//   for (uint pass = 0; RadixNext(pass); ++pass) {
//     for (each key of this invocation) RadixCount(pass, key);
//     RadixFinish(pass);
//   }
//
// RadixTakes says then which keys are the n greatest. Invocations go through this together.
shared uint radix_bins[256];
shared uint radix_key[2];  // Its bytes so far.
shared uint radix_wanted;  // Keys to find among those that match.
shared uint radix_equal;   // Keys that match.

void RadixStart(uint n) {
  if (gl_LocalInvocationID.x != 0) return;
  radix_key[0] = radix_key[1] = 0u;
  radix_wanted = n;
  radix_equal = 0u;
}

/// Makes ready for a pass; false when the key is known.
bool RadixNext(uint pass) {
  barrier();
  // All of those that are equal in the first word are wanted: the second need not be looked at.
  if (pass == 8u || (pass == 4u && radix_equal == radix_wanted)) return false;
  [[dont_unroll]] for (uint b = gl_LocalInvocationID.x; b < 256u; b += kThreads) radix_bins[b] = 0u;
  barrier();
  return true;
}

uint RadixShift(uint pass) {
  return 24u - 8u * (pass % 4u);
}

void RadixCount(uint pass, uvec2 key) {
  const uint word = pass / 4u, shift = RadixShift(pass);
  const uint above = pass % 4u == 0 ? 0u : 0xffffffffu << (shift + 8u);
  const bool matches = word == 0 ? (key.x & above) == radix_key[0]
                                 : key.x == radix_key[0] && (key.y & above) == radix_key[1];
  if (matches) atomicAdd(radix_bins[((word == 0 ? key.x : key.y) >> shift) & 255u], 1u);
}

void RadixFinish(uint pass) {
  barrier();
  if (gl_LocalInvocationID.x != 0) return;
  uint byte = 255u;
  [[dont_unroll]] while (byte > 0u && radix_bins[byte] < radix_wanted) {
    radix_wanted -= radix_bins[byte];
    --byte;
  }
  radix_key[pass / 4u] |= byte << RadixShift(pass);
  radix_equal = radix_bins[byte];
}

bool RadixTakes(uvec2 key) {
  return key.x > radix_key[0] || (key.x == radix_key[0] && key.y >= radix_key[1]);
}
