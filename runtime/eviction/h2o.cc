// h2o: rows that were given the least attention for each token since they were written leave first.
//
// Source: Zhang et al. 2023, arXiv 2306.14048 (heavy hitters): half of the room is for the newest
// rows. The paper's sums grow with age, so old rows win; here a sum is divided by the row's age.
// h2o-published has the paper's.
#include "runtime/eviction/shared.h"

namespace cormorant {
namespace {

constexpr PolicyOption kOptions[] = {
    kSinksOption,
    {"--corm-recent", "newest rows that never leave (half of the room)"},
    kHeadBudgetOption,
};

EvictionRules Rules(const PolicyOptions& options) {
  EvictionRules rules = SumsOfAttention(options, RankBy::kMeanAttention);
  rules.recent = options.recent.value_or(options.rows_per_head / 2);
  return rules;
}

}  // namespace

extern const PolicyDef kPolicy_h2o;
const PolicyDef kPolicy_h2o = {
    "h2o", "drops rows with the least attention for their age; half of the room is for the newest",
    kOptions, Rules};

}  // namespace cormorant
