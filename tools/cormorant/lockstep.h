// Two sessions that read the same tokens, teacher-forced, and how far their next-token
// distributions are apart: what `eval` and `tune` measure.
//
// The full session reads first and its logits are held, from `score_from` on; then the other reads
// the same tokens and is compared, each position where the real text continues also by the
// likelihood of the real next token. A text may go chunk by chunk, so that one chunk's logits are
// held at a time, or as one, so that many others can be compared with the same full session.
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

#include "runtime/engine/divergence.h"
#include "tools/cormorant/handles.h"

namespace cli {

struct Lockstep {
  std::vector<uint32_t> ids;  // May be longer than what is read: the next token is in there.
  size_t score_from = 0;      // Token from which on there is a comparison.
  size_t begin = 0;           // First token of the chunk.
  std::vector<float> full;    // Of the chunk's tokens that are compared, [tokens, vocab].

  size_t first_scored() const { return std::max(begin, score_from); }
};

/// Reads `count` tokens from step.begin on and holds the logits. Like the next, it throws a Failure
/// on an error or Ctrl-C.
void ReadFull(corm_session* full, size_t count, Lockstep& step);
/// Reads the same tokens and compares.
void ReadOther(corm_session* other, size_t count, const Lockstep& step,
               cormorant::Divergence& divergence);

}  // namespace cli
