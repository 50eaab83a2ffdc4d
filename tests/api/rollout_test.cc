// Budgets and modes through the C API, on a real model.
//
// Method: as `cormorant eval` does, a session that keeps every row and one that drops read the same
// text in lockstep; what mode "observe" reports must be what they show.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "tests/api/session_fixture.h"

namespace api_test {
namespace {

using ::testing::HasSubstr;

class ApiRollout : public ApiModel {
 protected:
  SessionPtr Make(const char* mode, uint64_t budget) {
    session_options.mode = mode;
    session_options.kv_budget_bytes = budget;
    corm_session* made = nullptr;
    EXPECT_CORM_OK(corm_session_create(engine.get(), &session_options, &made));
    return SessionPtr(made);
  }
  static corm_observed Observed(const corm_session* session) {
    corm_observed observed;
    corm_observed_init(&observed);
    EXPECT_CORM_OK(corm_session_get_observed(session, &observed));
    return observed;
  }
  static corm_kv_stats StatsOf(const corm_session* session) {
    corm_kv_stats stats;
    corm_kv_stats_init(&stats);
    EXPECT_CORM_OK(corm_session_get_stats(session, &stats));
    return stats;
  }
};

/// Log probabilities after every token, [tokens][vocab].
using LogProbabilities = std::vector<std::vector<double>>;

LogProbabilities Score(corm_session* session, const std::vector<uint32_t>& ids) {
  LogProbabilities rows;
  const auto take = [](void* user, size_t, const float* logits, size_t vocab) {
    std::vector<double> row(logits, logits + vocab);
    const double top = *std::max_element(row.begin(), row.end());
    double sum = 0;
    for (const double x : row) sum += std::exp(x - top);
    for (double& x : row) x -= top + std::log(sum);
    static_cast<LogProbabilities*>(user)->push_back(std::move(row));
    return 0;
  };
  EXPECT_CORM_OK(corm_session_score(session, ids.data(), ids.size(), take, &rows));
  return rows;
}

TEST_F(ApiRollout, ObserveReportsWhatALockstepFinds) {
  constexpr uint64_t kBudget = 3 << 20;
  options.all_logits = 1;
  options.prefill_chunk = 32;
  options.max_sessions = 4;
  OpenEngine();
  std::string text;
  for (int i = 0; i < 14; ++i) {
    text += "Keeper " + std::to_string(i * 37) + " of the lighthouse wrote about the calm sea. ";
  }
  const std::vector<uint32_t> ids = Encode(text);
  ASSERT_GT(ids.size(), 200u);
  const SessionPtr full = Make("off", kBudget), kept = Make("on", kBudget);
  const SessionPtr observed = Make("observe", kBudget);
  const LogProbabilities p = Score(full.get(), ids), q = Score(kept.get(), ids);
  EXPECT_EQ(Score(observed.get(), ids), p) << "observing changed the session";
  std::vector<double> kl;
  double same = 0, nll_full = 0, nll_kept = 0;
  for (size_t i = 0; i < ids.size(); ++i) {
    double sum = 0;
    for (size_t v = 0; v < p[i].size(); ++v) sum += std::exp(p[i][v]) * (p[i][v] - q[i][v]);
    kl.push_back(sum);
    same += std::max_element(p[i].begin(), p[i].end()) - p[i].begin() ==
                    std::max_element(q[i].begin(), q[i].end()) - q[i].begin()
                ? 1
                : 0;
    if (i + 1 == ids.size()) continue;
    nll_full -= p[i][ids[i + 1]];
    nll_kept -= q[i][ids[i + 1]];
  }
  const corm_observed seen = Observed(observed.get());
  const auto count = static_cast<double>(ids.size());
  EXPECT_EQ(seen.tokens, ids.size());
  EXPECT_EQ(seen.compared, ids.size());
  EXPECT_EQ(seen.ended, nullptr);
  EXPECT_NEAR(seen.kl_mean, std::accumulate(kl.begin(), kl.end(), 0.0) / count, 1e-6);
  EXPECT_GT(seen.kl_mean, 1e-4);
  std::sort(kl.begin(), kl.end());
  EXPECT_NEAR(seen.kl_max, kl.back(), 1e-6);
  EXPECT_NEAR(seen.kl_p99, kl[(kl.size() * 99 + 99) / 100 - 1], 1e-6);
  EXPECT_NEAR(seen.top1_agreement, same / count, 1e-12);
  EXPECT_NEAR(seen.perplexity_full / std::exp(nll_full / (count - 1)), 1, 1e-6);
  EXPECT_NEAR(seen.perplexity_kept / std::exp(nll_kept / (count - 1)), 1, 1e-6);
  const corm_kv_stats held = StatsOf(kept.get());
  EXPECT_EQ(seen.rows_kept, held.rows_kept);
  EXPECT_EQ(seen.bytes, held.bytes);
  EXPECT_LE(seen.bytes_peak, kBudget);
  EXPECT_GE(seen.bytes_peak, seen.bytes);
  EXPECT_EQ(seen.evicted_total, held.evicted_total);
  EXPECT_GT(held.evicted_total, 0u);
  EXPECT_EQ(seen.evicted_forced, held.evicted_forced);
  EXPECT_EQ(seen.rebased, 0u);
  EXPECT_EQ(StatsOf(observed.get()).evicted_total, 0u);
  EXPECT_EQ(StatsOf(observed.get()).rows_kept, count);
}

TEST_F(ApiRollout, AnObservedConversationIsTheSameConversation) {
  options.max_sessions = 2;
  options.kv_type = "q8_0";
  OpenEngine();
  std::string passage = "Here is a report.";
  for (int i = 0; i < 40; ++i) passage += " On day " + std::to_string(i) + " the sea was calm.";
  std::string want;
  for (const char* mode : {"off", "observe"}) {
    SCOPED_TRACE(mode);
    session.reset();
    session = Make(mode, 3 << 20);
    const std::string answer = Ask(passage + " What was calm?", 20) + Ask("Thank you.", 10);
    if (want.empty()) want = answer;
    EXPECT_EQ(answer, want);
  }
  const corm_observed seen = Observed(session.get());
  EXPECT_GT(seen.compared, 20u);
  EXPECT_GT(seen.evicted_total, 0u);
  EXPECT_EQ(seen.ended, nullptr);
  ASSERT_CORM_OK(corm_session_reset(session.get()));
  EXPECT_EQ(Observed(session.get()).compared, 0u);

  // A question that cannot be kept under the budget ends what is observed, and nothing else.
  const std::vector<uint32_t> ids = Tokens(700);
  ASSERT_CORM_OK(corm_session_append(session.get(), ids.data(), ids.size(), CORM_APPEND_PIN,
                                     nullptr, nullptr));
  EXPECT_EQ(Stats().tokens, 700u);
  EXPECT_THAT(Observed(session.get()).ended, HasSubstr("may not leave"));
}

TEST_F(ApiRollout, ModesAreReadableAndWrongOnesAreRefused) {
  options.max_sessions = 2;
  OpenEngine();
  EXPECT_STREQ(StatsOf(Make(nullptr, 0).get()).mode, "on");
  EXPECT_STREQ(StatsOf(Make("off", 8 << 20).get()).mode, "off");
  EXPECT_STREQ(StatsOf(Make("observe", 8 << 20).get()).mode, "observe");
  corm_observed observed;
  corm_observed_init(&observed);
  EXPECT_EQ(corm_session_get_observed(Make("on", 0).get(), &observed), CORM_FAILED_PRECONDITION);
  EXPECT_EQ(corm_session_get_observed(nullptr, &observed), CORM_INVALID_ARGUMENT);
  session_options.key = "alice@example.com";  // Stands at 0.328.
  session_options.canary = 0.33;
  EXPECT_STREQ(StatsOf(Make("canary", 8 << 20).get()).mode, "on");
  session_options.canary = 0.32;
  EXPECT_STREQ(StatsOf(Make("canary", 8 << 20).get()).mode, "off");

  const auto refused = [&](const char* mode, uint64_t budget) {
    session_options.mode = mode;
    session_options.kv_budget_bytes = budget;
    corm_session* made = nullptr;
    const corm_status status = corm_session_create(engine.get(), &session_options, &made);
    EXPECT_EQ(made, nullptr);
    return status;
  };
  EXPECT_EQ(refused("perhaps", 0), CORM_INVALID_ARGUMENT);
  EXPECT_THAT(corm_last_error(), HasSubstr("perhaps"));
  EXPECT_EQ(refused("observe", 0), CORM_INVALID_ARGUMENT);
  EXPECT_THAT(corm_last_error(), HasSubstr("kv_budget_bytes"));
  EXPECT_EQ(refused("on", 100 << 10), CORM_RESOURCE_EXHAUSTED);
  EXPECT_THAT(corm_last_error(), ::testing::ContainsRegex("below [0-9]+ bytes"));
  session_options.canary = 1.5;
  EXPECT_EQ(refused("canary", 0), CORM_INVALID_ARGUMENT);
  session_options.canary = 0.5;
  session_options.key = nullptr;
  EXPECT_EQ(refused("canary", 0), CORM_INVALID_ARGUMENT);
  EXPECT_THAT(corm_last_error(), HasSubstr("key"));
  // One place in the engine is not enough to observe in.
  const SessionPtr other = Make("on", 0);
  EXPECT_EQ(refused("observe", 8 << 20), CORM_RESOURCE_EXHAUSTED);
  EXPECT_THAT(corm_last_error(), HasSubstr("two of the engine's sessions"));
}

}  // namespace
}  // namespace api_test
