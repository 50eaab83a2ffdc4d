// corm-values: as corm, but a share of attention counts by the size of the value it brings: a row
// whose value is twice as large as is usual in its head is remembered as if its share had been
// twice as large. By what a share counts without a cap, where corm has no reach, values do not.
//
// Attention times the l1 norm of the value is VATP's score (Guo et al. 2024, arXiv 2406.12335).
#include "runtime/eviction/shared.h"

namespace cormorant {
namespace {

EvictionRules Rules(const PolicyOptions& options) {
  EvictionRules rules = CormRules(options);
  rules.value_reach = rules.reach;
  return rules;
}

}  // namespace

extern const PolicyDef kPolicy_corm_values;
const PolicyDef kPolicy_corm_values = {
    "corm-values", "as corm, with shares of attention weighed by the size of the row's value",
    kCormOptions, Rules};

}  // namespace cormorant
