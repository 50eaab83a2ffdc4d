// Layout of the step buffer: see step.h.
#include "runtime/ops/step.h"

#include "runtime/base/units.h"

namespace cormorant {

StepBuffer::StepBuffer(const Bounds& bounds) : bounds_(bounds) {
  uint64_t at = RoundUp(sizeof(StepHeader), 64);
  const auto take = [&at](uint64_t bytes) {
    const uint64_t start = at;
    at += RoundUp(bytes, 64);
    return static_cast<uint32_t>(start);
  };
  StepHeader header;
  header.heads = bounds.heads;
  header.ids_at = take(uint64_t{bounds.rows} * 4);
  header.positions_at = take(uint64_t{bounds.rows} * 4);
  header.out_index_at = take(uint64_t{bounds.out_rows} * 4);
  header.sequences_at = take(uint64_t{bounds.sequences} * sizeof(StepSequence));
  header.counts_at = take(uint64_t{bounds.sequences} * bounds.heads * 4);
  header.evict_at = take(uint64_t{bounds.heads} * 4);
  words_.resize(at / 8);
  this->header() = header;
  for (StepSequence& sequence : sequences()) sequence = StepSequence{};
}

}  // namespace cormorant
