// snapkv: rows that the last queries gave the least attention leave first, a row's attention being
// the mean over its neighbours: what a query finds is mostly to be read with what stands beside it.
//
// Source: Li et al. 2024, arXiv 2404.14469 (SnapKV): an observation window at the end of the
// prompt, pooling over 5, the window itself kept, the same room for every head. The paper
// compresses a prompt once; here the last queries before each cut are its window. The paper takes
// each query head by itself; here a KV head is judged by the sum over its group.
#include "runtime/eviction/shared.h"

namespace cormorant {
namespace {

constexpr uint32_t kObserved = 64;

constexpr PolicyOption kOptions[] = {
    kSinksOption,
    {"--corm-recent", "newest rows that never leave (64; less under a small cap)"},
    kHeadBudgetOption,
};

EvictionRules Rules(const PolicyOptions& options) {
  EvictionRules rules = SumsOfAttention(options, RankBy::kAttention);
  rules.score_by = ScoreBy::kPooledAttention;
  rules.judged_rows = kObserved;
  rules.observed = kObserved;
  rules.recent = RecentRows(options, kObserved);
  return rules;
}

}  // namespace

extern const PolicyDef kPolicy_snapkv;
const PolicyDef kPolicy_snapkv = {
    "snapkv", "drops rows that the last queries gave little attention, pooled over neighbours",
    kOptions, Rules};

}  // namespace cormorant
