// window: attention sinks and the newest rows; the middle is dropped, oldest first.
//
// Source: Xiao et al. 2023, arXiv 2309.17453 (StreamingLLM), with positions kept as written until
// they are re-based. The baseline every other policy must beat.
#include "runtime/eviction/shared.h"

namespace cormorant {
namespace {

constexpr PolicyOption kOptions[] = {
    kSinksOption,
    {"--corm-window", "rows kept beside the sinks without a cap (1024)"},
};

EvictionRules Rules(const PolicyOptions& options) {
  EvictionRules rules;
  rules.evicts = true;
  rules.rank_by = RankBy::kPosition;
  rules.sinks = options.sinks;
  rules.recent = options.recent.value_or(0);
  rules.natural_age = options.window.value_or(options.capped ? kNever : 1024);
  return rules;
}

}  // namespace

extern const PolicyDef kPolicy_window;
const PolicyDef kPolicy_window = {"window", "keeps the first rows and the newest ones", kOptions,
                                  Rules};

}  // namespace cormorant
