// tova: the rows that the last query gave the least attention leave first.
//
// Source: Oren et al. 2024, arXiv 2401.06104 (TOVA). The paper takes the mean over a layer's heads
// and keeps the same tokens for all of them; here each KV head, which has rows of its own, judges
// for itself by the mean over its query heads.
#include <algorithm>

#include "runtime/cache/policy.h"

namespace cormorant {
namespace {

constexpr PolicyOption kOptions[] = {
    {"--sinks", "first tokens that never leave (4)"},
    {"--corm-recent", "newest rows that never leave (0)"},
    {"--head-budget", "heads that share room: of a session, of a layer, or each its own (default)"},
};

EvictionRules Rules(const PolicyOptions& options) {
  EvictionRules rules;
  rules.evicts = true;
  rules.sinks = options.sinks;
  rules.judges = true;
  rules.mark_by = MarkBy::kAttention;
  rules.rank_by = RankBy::kAttention;
  rules.judged_rows = 1;
  rules.observed = 1;
  rules.recent = options.recent.value_or(0);
  rules.budget = options.budget.value_or(HeadBudget::kHead);
  return rules;
}

}  // namespace

extern const PolicyDef kPolicy_tova;
const PolicyDef kPolicy_tova = {
    "tova", "drops the rows that the last query gave the least attention", kOptions, Rules};

}  // namespace cormorant
