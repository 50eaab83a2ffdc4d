// RoPE's frequencies as fractions of a turn, with which kernels of 32-bit arithmetic turn pairs
// exactly at any position: position * fraction loses whole turns and nothing else.
#pragma once
#include <cstdint>
#include <vector>

#include "runtime/ops/ops.h"

namespace cormorant {

/// Whether two specs turn the same.
bool HasSameTurns(const RopeSpec& a, const RopeSpec& b);
/// Appends turns a position of each pair, as a 64-bit fraction of a turn: low word, high word.
/// `factors` are the numbers of rope.factors; null where there are none.
void AppendTurns(const RopeSpec& rope, const float* factors, std::vector<uint32_t>* words);

}  // namespace cormorant
