// keydiff: rows whose keys are most like the others of their head leave first. No query is asked.
//
// Source: Park et al. 2025, arXiv 2504.15364 (KeyDiff): cosine similarity of a key, as it is
// rotated, to the mean of the head's normalised keys. The same room for every head. The newest rows
// are kept besides, as for corm: text is mostly about what was just said, and keys do not tell.
#include "runtime/eviction/shared.h"

namespace cormorant {
namespace {

constexpr PolicyOption kOptions[] = {
    kSinksOption,
    kRecentOption,
    kHeadBudgetOption,
};

EvictionRules Rules(const PolicyOptions& options) {
  EvictionRules rules;
  rules.evicts = true;
  rules.score_by = ScoreBy::kKeyDifference;
  rules.rank_by = RankBy::kAttention;  // The greatest mark stays, whatever it is a measure of.
  rules.sinks = options.sinks;
  rules.recent = RecentRows(options);
  rules.budget = options.budget.value_or(HeadBudget::kHead);
  return rules;
}

}  // namespace

extern const PolicyDef kPolicy_keydiff;
const PolicyDef kPolicy_keydiff = {
    "keydiff", "drops rows whose keys are most like the others of their head", kOptions, Rules};

}  // namespace cormorant
