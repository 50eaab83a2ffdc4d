// expected-attention: rows that queries to come are expected to take the least from leave first:
// the attention that Gaussian queries, like those of the session so far, would give the key on
// average over the next 512 positions, times the length of the value.
//
// Source: Devoto et al. 2025, arXiv 2510.00636, in the form its authors publish (kvpress,
// ExpectedAttentionPress): the first four rows stay, and no query of theirs is counted; the same
// room for every head. The paper has the covariance of all dimensions; here it is that of each pair
// that RoPE turns, which running sums can hold. The paper compresses a prompt once; here the
// queries are those of the whole session, each time that room is needed.
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
  rules.observes_queries = true;
  rules.score_by = ScoreBy::kExpectedAttention;
  rules.rank_by = RankBy::kAttention;  // The greatest mark stays, whatever it is a measure of.
  rules.sinks = options.sinks;
  rules.recent = RecentRows(options);
  rules.budget = options.budget.value_or(HeadBudget::kHead);
  return rules;
}

}  // namespace

extern const PolicyDef kPolicy_expected_attention;
const PolicyDef kPolicy_expected_attention = {
    "expected-attention", "drops rows that queries to come are expected to take the least from",
    kOptions, Rules};

}  // namespace cormorant
