// h2o-published: rows that were given the least attention in all leave first.
//
// Source: Zhang et al. 2023, arXiv 2306.14048 (heavy hitters), as published: sums over all queries,
// half of the room for the newest rows, the same room for every head. No sinks but --sinks.
#include "runtime/eviction/shared.h"

namespace cormorant {
namespace {

constexpr PolicyOption kOptions[] = {
    kSinksOption,
    {"--corm-recent", "newest rows that never leave (half of the room)"},
    kHeadBudgetOption,
};

EvictionRules Rules(const PolicyOptions& options) {
  EvictionRules rules = SumsOfAttention(options, RankBy::kAttention);
  rules.recent = options.recent.value_or(options.rows_per_head / 2);
  return rules;
}

}  // namespace

extern const PolicyDef kPolicy_h2o_published;
const PolicyDef kPolicy_h2o_published = {
    "h2o-published",
    "drops rows with the least attention in all; half of the room is for the newest", kOptions,
    Rules};

}  // namespace cormorant
