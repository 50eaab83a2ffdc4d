// One tape for several devices: cut between layers, each part a tape of its own.
//
// A stage is a device's share: some neighbouring layers and their part of the cache. The last stage
// also computes what comes before the first layer and after the last one: the embedding and the
// output matrix, which are often the same weight, lie on one device. So with two stages the parts
// are: embedding (last stage), its layers (first stage), the other layers and logits (last stage).
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "runtime/ops/tape.h"

namespace cormorant {

/// A tensor that a part reads and a part of another stage wrote. It has the same place in the
/// arenas of both.
struct Handover {
  uint32_t from = 0;  // Stage.
  Tensor tensor;      // [R, ...], of which the live rows matter.
};

/// Neighbouring ops on one device. Layers are numbered from the stage's first.
struct TapePart {
  uint32_t stage = 0;
  Tape tape;
  std::vector<Handover> inputs;
};

/// Parts in the order in which they run. `layers` are those of each stage, none of them 0; their
/// sum is the tape's. One stage gives the tape itself.
std::vector<TapePart> SplitTape(const Tape& tape, std::span<const uint32_t> layers);

/// All ops of one stage as one tape: how the stage uses its weights. Not to be compiled.
Tape StageTape(std::span<const TapePart> parts, uint32_t stage);

}  // namespace cormorant
