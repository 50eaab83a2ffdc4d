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

/// The mean of a pair's rotations over kExpectedPositions positions is the rotation at the middle
/// one, (kExpectedPositions - 1) / 2 past the first, times this. `radians` a position.
double MeanTurnLength(double radians);
/// Four words a pair: those of AppendTurns, turns to the middle position as a 32-bit fraction, and
/// the bits of MeanTurnLength as f32.
void AppendMeanTurns(const RopeSpec& rope, const float* factors, std::vector<uint32_t>* words);

}  // namespace cormorant
