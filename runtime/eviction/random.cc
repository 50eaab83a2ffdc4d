// random: rows leave by lot. Each row draws once, so what is left is a fair sample of all that was
// read, beside the sinks and the newest rows. What any policy must beat to be worth its work.
#include <algorithm>

#include "runtime/eviction/shared.h"

namespace cormorant {
namespace {

constexpr uint32_t kRecent = 256;

constexpr PolicyOption kOptions[] = {
    kSinksOption,
    {"--corm-recent", "newest rows that never leave (256; less under a small cap)"},
    kHeadBudgetOption,
};

EvictionRules Rules(const PolicyOptions& options) {
  EvictionRules rules;
  rules.evicts = true;
  rules.sinks = options.sinks;
  rules.rank_by = RankBy::kHash;
  rules.recent = options.recent.value_or(std::min(kRecent, options.rows_per_head / 4));
  rules.budget = options.budget.value_or(HeadBudget::kHead);
  return rules;
}

}  // namespace

extern const PolicyDef kPolicy_random;
const PolicyDef kPolicy_random = {"random", "drops rows by lot", kOptions, Rules};

}  // namespace cormorant
