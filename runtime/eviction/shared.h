// What several policies have in common: options they share, and how sums of attention rank rows.
#pragma once
#include <algorithm>

#include "runtime/cache/policy.h"

namespace cormorant {

constexpr PolicyOption kSinksOption = {"--sinks", "first tokens that never leave (4)"};
constexpr PolicyOption kRecentOption = {
    "--corm-recent", "newest rows that never leave (256; less under a small cap)"};
constexpr PolicyOption kSessionBudgetOption = {
    "--head-budget", "heads that share room: of a session (default), layer, or each its own"};
constexpr PolicyOption kHeadBudgetOption = {
    "--head-budget", "heads that share room: of a session, of a layer, or each its own (default)"};

constexpr uint32_t kRecent = 256;
/// Newest rows that never leave: unless asked for, `most`, but at most a quarter of what a head can
/// hold is set aside for rows too young to be judged.
inline uint32_t RecentRows(const PolicyOptions& options, uint32_t most = kRecent) {
  return options.recent.value_or(std::min(most, options.rows_per_head / 4));
}

/// What corm and corm-values have in common.
constexpr size_t kCormOptionCount = 8;
extern const PolicyOption kCormOptions[kCormOptionCount];
EvictionRules CormRules(const PolicyOptions& options);

/// Rows are ranked by attention that queries gave them, summed, head by head. All queries of a step
/// count, and the sums never begin anew.
inline EvictionRules SumsOfAttention(const PolicyOptions& options, RankBy rank_by) {
  EvictionRules rules;
  rules.evicts = true;
  rules.judges = true;
  rules.mark_by = MarkBy::kAttention;
  rules.rank_by = rank_by;
  rules.judged_rows = kNever;
  rules.sinks = options.sinks;
  rules.budget = options.budget.value_or(HeadBudget::kHead);
  return rules;
}

}  // namespace cormorant
