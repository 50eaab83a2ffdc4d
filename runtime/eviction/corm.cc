// corm: rows that stayed minor for all recent queries leave; under a cap, those that did so for the
// longest time leave first, across all heads and layers of the session.
//
// A row is important at a step when some query head of its group gives it at least c/t of its
// attention. The paper (arXiv 2404.15949, def. 1 and 2) drops a row that was minor for the last w
// queries and is not among the newest r. One counter a row, last_important, gives the same resident
// set as the paper's w-bit history, and a total order besides. CORM itself has no cap: that rows
// leave by rank under pressure is ours.
#include <algorithm>

#include "runtime/eviction/shared.h"

namespace cormorant {
namespace {

constexpr uint32_t kPaperWindow = 256;
// Under a cap; measured in docs/decisions/0014-reach.md and 0026-controller.md.
constexpr uint32_t kRowsPerReach = 16, kReachLeast = 8, kReachMost = 64;
constexpr float kRowsPerScale = 300.0f, kScaleLeast = 2.0f, kScaleMost = 4.0f;

}  // namespace

extern const PolicyOption kCormOptions[kCormOptionCount] = {
    {"--corm-window",
     "queries for which a row must have been minor to leave (256; with a cap: rows leave under "
     "pressure only, unless given)"},
    kRecentOption,
    {"--corm-basis",
     "t of the threshold c/t: step (tokens so far, the paper's) or resident (rows of the head, the "
     "default under a cap)"},
    {"--corm-scale",
     "c of the threshold c/t (under a cap a 300th of the rows that a head can hold, 2 to 4; else "
     "1, "
     "the paper's)"},
    {"--corm-reach",
     "steps for which each doubling of a share past c/t is remembered longer (under a cap a "
     "sixteenth of the rows that a head can hold, 8 to 64; else 0, the paper's)"},
    {"--corm-fade",
     "steps that each position of distance from an important row costs its neighbours, which are "
     "important with it (under a cap as many as a doubling of a share counts for; 0: they are "
     "not, the paper's)"},
    kSinksOption,
    kSessionBudgetOption,
};

EvictionRules CormRules(const PolicyOptions& options) {
  EvictionRules rules;
  rules.evicts = true;
  rules.judges = true;
  rules.rank_by = RankBy::kLastImportant;
  rules.sinks = options.sinks;
  rules.basis =
      options.basis.value_or(options.capped ? ThresholdBasis::kResident : ThresholdBasis::kStep);
  // Where few rows are held, few steps are all that is remembered of any.
  const auto rows = static_cast<float>(options.rows_per_head);
  const float scale = std::clamp(rows / kRowsPerScale, kScaleLeast, kScaleMost);
  const uint32_t reach = std::clamp(options.rows_per_head / kRowsPerReach, kReachLeast, kReachMost);
  rules.importance_scale = options.importance_scale.value_or(options.capped ? scale : 1.0f);
  rules.reach = options.reach.value_or(options.capped ? reach : 0);
  rules.fade = options.fade.value_or(options.capped ? reach : 0);
  rules.natural_age = options.window.value_or(options.capped ? kNever : kPaperWindow);
  rules.recent = RecentRows(options);
  rules.budget = options.budget.value_or(HeadBudget::kSession);
  rules.judged_rows = options.window.value_or(kPaperWindow);
  return rules;
}

extern const PolicyDef kPolicy_corm;
const PolicyDef kPolicy_corm = {
    "corm", "drops rows that no recent query gave its share of attention, oldest such row first",
    kCormOptions, CormRules};

}  // namespace cormorant
