// h2o-published: rows that were given the least attention in all leave first.
//
// Source: Zhang et al. 2023, arXiv 2306.14048 (heavy hitters), as published: sums over all queries,
// half of the room for the newest rows, the same room for every head. No sinks but --sinks.
#include <algorithm>

#include "runtime/cache/policy.h"

namespace cormorant {
namespace {

constexpr PolicyOption kOptions[] = {
    {"--sinks", "first tokens that never leave (4)"},
    {"--corm-recent", "newest rows that never leave (half of the room)"},
    {"--head-budget", "heads that share room: of a session, of a layer, or each its own (default)"},
};

EvictionRules Rules(const PolicyOptions& options) {
  EvictionRules rules;
  rules.evicts = true;
  rules.sinks = options.sinks;
  rules.judges = true;
  rules.mark_by = MarkBy::kAttention;
  rules.rank_by = RankBy::kAttention;
  rules.judged_rows = kNever;
  rules.recent = options.recent.value_or(options.rows_per_head / 2);
  rules.budget = options.budget.value_or(HeadBudget::kHead);
  return rules;
}

}  // namespace

extern const PolicyDef kPolicy_h2o_published;
const PolicyDef kPolicy_h2o_published = {
    "h2o-published",
    "drops rows with the least attention in all; half of the room is for the newest", kOptions,
    Rules};

}  // namespace cormorant
