// tova: the rows that the last query gave the least attention leave first.
//
// Source: Oren et al. 2024, arXiv 2401.06104 (TOVA). The paper takes the mean over a layer's heads
// and keeps the same tokens for all of them; here each KV head, which has rows of its own, judges
// for itself by the mean over its query heads.
#include "runtime/eviction/shared.h"

namespace cormorant {
namespace {

constexpr PolicyOption kOptions[] = {
    kSinksOption,
    {"--corm-recent", "newest rows that never leave (0)"},
    kHeadBudgetOption,
};

EvictionRules Rules(const PolicyOptions& options) {
  EvictionRules rules = SumsOfAttention(options, RankBy::kAttention);
  rules.judged_rows = 1;
  rules.observed = 1;
  rules.recent = options.recent.value_or(0);
  return rules;
}

}  // namespace

extern const PolicyDef kPolicy_tova;
const PolicyDef kPolicy_tova = {
    "tova", "drops the rows that the last query gave the least attention", kOptions, Rules};

}  // namespace cormorant
