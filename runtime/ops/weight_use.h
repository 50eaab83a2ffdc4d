// How a tape uses its weights: what a backend that keeps matrices in a layout of its own must know.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "runtime/ops/tape.h"

namespace cormorant {

enum class WeightUse : uint8_t {
  kNone,
  kVector,  // As it is.
  kMatrix,  // Rows of it in products or as embeddings.
};

/// Of each of `count` weights.
std::vector<WeightUse> WeightUses(size_t count, const Tape& tape);

}  // namespace cormorant
