// random: rows leave by lot. Each row draws once, so what is left is a fair sample of all that was
// read, beside the sinks and the newest rows. What any policy must beat to be worth its work.
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
  rules.sinks = options.sinks;
  rules.rank_by = RankBy::kHash;
  rules.recent = RecentRows(options);
  rules.budget = options.budget.value_or(HeadBudget::kHead);
  return rules;
}

}  // namespace

extern const PolicyDef kPolicy_random;
const PolicyDef kPolicy_random = {"random", "drops rows by lot", kOptions, Rules};

}  // namespace cormorant
