// How many rows each head loses, solved for a whole session from age histograms.
//
// Rows leave in order of age across heads that share a budget, all of the session's unless the
// policy says otherwise: one age is found at which they fit their pages, each head keeps a floor,
// and heads are then topped up to whole pages, since the rest of a started page costs nothing.
// A head may have a weight: its rows count as so many times older than they are, so that of heads
// that share a budget it gives up more (above 1) or fewer (below). Which of its rows go first stays
// as it is. Pure.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"

namespace cormorant {

struct CutProblem {
  std::span<const uint32_t> counts;  // Resident rows of each head.
  std::span<const uint32_t> ages;    // KvAgesOp's output: [heads, kAgeBins + 1].
  uint32_t room = 0;                 // Rows every head must be able to take afterwards, ...
  std::span<const uint32_t> more;    // ... and those of each head besides; empty: none.
  uint32_t page_limit = 0;           // Pages the session may hold, room included.
  uint32_t row_limit = 0;            // Rows a head may hold, room included.
  uint32_t floor = 0;                // Rows every head keeps if it has them.
  bool natural = false;              // Also drop what is past the policy's natural age.
  uint32_t shared_by = 0;            // Neighbouring heads that share a budget; 0: all.
  std::span<const float> weights;    // Of each head, of ages in steps; empty: all 1.
};

struct Cut {
  std::vector<uint32_t> evict;  // Rows each head loses.
  uint64_t natural = 0;         // Of their sum: rows past the natural age.
  uint64_t total = 0;
};

/// RESOURCE_EXHAUSTED when the rows that may not leave do not fit.
absl::StatusOr<Cut> SolveCut(const CutProblem& problem);

}  // namespace cormorant
