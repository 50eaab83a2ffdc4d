// Reading and comparing; see lockstep.h.
#include "tools/cormorant/lockstep.h"

#include <optional>

#include "tools/cormorant/interrupt.h"

namespace cli {
namespace {

int Keep(void* user, size_t index, const float* logits, size_t vocab) {
  Lockstep& step = *static_cast<Lockstep*>(user);
  if (step.begin + index >= step.score_from) {
    step.full.insert(step.full.end(), logits, logits + vocab);
  }
  return Interrupted() ? 1 : 0;
}

struct Comparison {
  const Lockstep& step;
  cormorant::Divergence& divergence;
};

int Compare(void* user, size_t index, const float* logits, size_t vocab) {
  const Comparison& comparison = *static_cast<Comparison*>(user);
  const Lockstep& step = comparison.step;
  const size_t token = step.begin + index;
  if (token >= step.score_from) {
    std::optional<uint32_t> next;
    if (token + 1 < step.ids.size()) next = step.ids[token + 1];
    const float* const full = &step.full[(token - step.first_scored()) * vocab];
    comparison.divergence.Add(full, logits, vocab, next);
  }
  return Interrupted() ? 1 : 0;
}

}  // namespace

void ReadFull(corm_session* full, size_t count, Lockstep& step) {
  step.full.clear();
  Check(corm_session_score(full, &step.ids[step.begin], count, &Keep, &step));
}

void ReadOther(corm_session* other, size_t count, const Lockstep& step,
               cormorant::Divergence& divergence) {
  Comparison comparison{step, divergence};
  Check(corm_session_score(other, &step.ids[step.begin], count, &Compare, &comparison));
}

}  // namespace cli
