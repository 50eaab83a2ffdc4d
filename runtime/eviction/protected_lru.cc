// protected-lru: the row that was looked at least recently leaves first; a tenth of the room is set
// aside for the first rows and a tenth for the newest, up to 1,024 rows each.
//
// "Looked at" means a share of at least 1/32 of some query's attention, which at most 32 rows have.
// The baseline that a study of globally capped caches found hard to beat once both ends are
// protected (arXiv 2605.18053, of which only the abstract was at hand; the share is ours).
#include <algorithm>

#include "runtime/eviction/shared.h"

namespace cormorant {
namespace {

constexpr float kShare = 1.0f / 32;
constexpr uint32_t kTenthMost = 1024;
constexpr uint32_t kUncappedAge = 1024;

constexpr PolicyOption kOptions[] = {
    {"--sinks", "first tokens that never leave (a tenth of the room)"},
    {"--corm-recent", "newest rows that never leave (a tenth of the room)"},
    {"--corm-scale", "1/32 of this is the share of attention that counts (1)"},
    {"--corm-window", "tokens after which a row that nobody looked at leaves without a cap (1024)"},
    kSessionBudgetOption,
};

EvictionRules Rules(const PolicyOptions& options) {
  EvictionRules rules;
  rules.evicts = true;
  rules.judges = true;
  rules.rank_by = RankBy::kLastImportant;
  const uint32_t tenth = std::min(options.rows_per_head / 10, kTenthMost);
  rules.sinks = std::max(options.sinks, tenth);
  rules.recent = options.recent.value_or(tenth);
  rules.basis = ThresholdBasis::kOne;
  rules.importance_scale = kShare * options.importance_scale.value_or(1.0f);
  rules.natural_age = options.window.value_or(options.capped ? kNever : kUncappedAge);
  rules.budget = options.budget.value_or(HeadBudget::kSession);
  rules.judged_rows = kNever;
  return rules;
}

}  // namespace

extern const PolicyDef kPolicy_protected_lru;
const PolicyDef kPolicy_protected_lru = {
    "protected-lru", "drops what was looked at least recently; both ends are protected", kOptions,
    Rules};

}  // namespace cormorant
