// Statistics of queries: which are counted, where, and when they are erased.
//
// Method: they are read from the device, of a model whose steps are computed as any other's. How
// often a token is counted does not depend on how a text is cut into steps.
#include <set>

#include "absl/strings/match.h"
#include "tests/sim/driver.h"
#include "tests/sim/faulty_backend.h"

namespace cormorant::sim {
namespace {

constexpr uint32_t kSinks = 4;  // The policy's.

bool Go(uint64_t, uint64_t) {
  return true;
}

class QueryStatistics : public ::testing::TestWithParam<const char*> {
 protected:
  void OpenEngine(uint32_t chunk, uint32_t sessions = 2) {
    EngineOptions options = Options(model_, GetParam());
    options.prefill_chunk = chunk;
    options.max_sessions = sessions;
    options.query_statistics = true;
    DeviceOpeners openers;
    openers.device = [this, options]() -> absl::StatusOr<std::unique_ptr<Backend>> {
      return std::make_unique<FaultyBackend>(*OpenBackend(options), faults_);
    };
    engine_ = *Engine::CreateOn(openers, options, Go);
  }
  std::vector<uint32_t> Ids(size_t count) { return RandomIds(random_, count, model_.vocab()); }

  /// Sums of all heads of a table.
  std::vector<float> Sums(uint32_t table) const {
    const KvBinding& kv = *faults_->compiled.back().kv;
    std::vector<float> sums(kv.geometry.statistics_bytes() / 4);
    EXPECT_TRUE(faults_->device
                    ->Download(std::as_writable_bytes(std::span(sums)), *kv.statistics,
                               table * kv.geometry.statistics_bytes())
                    .ok());
    return sums;
  }
  /// How many queries the heads of a table have counted, if all the same.
  float Counted(uint32_t table) const {
    const std::vector<float> sums = Sums(table);
    std::set<float> counts;
    for (size_t at = 0; at < sums.size(); at += engine_->plan().geometry.query_sums()) {
      counts.insert(sums[at]);
    }
    EXPECT_EQ(counts.size(), 1u);
    return *counts.begin();
  }
  bool IsZero(uint32_t table) const {
    const std::vector<float> sums = Sums(table);
    return sums == std::vector<float>(sums.size());
  }
  std::unique_ptr<Session> Observing(bool zero_pages = false) {
    SessionOptions options;
    options.policy = "expected-attention";
    options.zero_pages = zero_pages;
    return MakeSession(engine_, options);
  }

  const TinyModel model_;
  const std::shared_ptr<Faults> faults_ = std::make_shared<Faults>();
  std::shared_ptr<Engine> engine_;
  std::mt19937 random_{3};
};

TEST_P(QueryStatistics, EveryQueryButThoseOfSinksIsCountedOnceInStepsOfAnySize) {
  const std::vector<uint32_t> ids = Ids(100);
  std::vector<float> first;
  for (const uint32_t chunk : {64u, 7u, 1u}) {
    OpenEngine(chunk);
    const std::unique_ptr<Session> none = MakeSession(engine_, "none");
    const std::unique_ptr<Session> session = Observing();
    ASSERT_TRUE(Append(*none, ids).ok());
    ASSERT_TRUE(Append(*session, ids).ok());
    EXPECT_TRUE(IsZero(0)) << "of a session that does not observe";
    EXPECT_EQ(Counted(1), 100 - kSinks);
    const std::vector<float> sums = Sums(1);
    if (first.empty()) first = sums;
    for (size_t i = 0; i < sums.size(); ++i) {
      ASSERT_NEAR(sums[i], first[i], 1e-2 + 1e-4 * std::fabs(first[i])) << "chunk " << chunk;
    }
    EXPECT_EQ(Continue(*session, 9).size(), 9u);
    EXPECT_EQ(Counted(1), 108 - kSinks) << "the last token is not read yet";
  }
}

TEST_P(QueryStatistics, ATextThatIsReadAgainIsCountedAnew) {
  OpenEngine(16);
  const std::unique_ptr<Session> session = Observing();
  const std::vector<uint32_t> ids = Ids(60);
  ASSERT_TRUE(Append(*session, ids).ok());
  const std::vector<float> sums = Sums(0);
  session->Reset();
  ASSERT_TRUE(Append(*session, ids).ok());
  EXPECT_EQ(Sums(0), sums);
  EXPECT_EQ(session->stats().bytes, engine_->plan().geometry.metadata_bytes() +
                                        PagesOf(*session) * engine_->plan().page_bytes);
}

TEST_P(QueryStatistics, AnEngineThatKeepsNoneRefusesThePolicy) {
  const std::shared_ptr<Engine> engine = Open(Options(model_, GetParam()));
  SessionOptions options;
  options.policy = "expected-attention";
  for (const Mode mode : {Mode::kOn, Mode::kObserve, Mode::kOff}) {
    options.mode = mode;
    const absl::Status status = Session::Create(engine, options).status();
    EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
    EXPECT_TRUE(absl::StrContains(status.message(), "query_statistics")) << status;
  }
}

TEST_P(QueryStatistics, AnObservedSessionCountsInItsShadow) {
  OpenEngine(16);
  SessionOptions options;
  options.policy = "expected-attention";
  options.mode = Mode::kObserve;
  options.kv_budget_bytes = engine_->plan().geometry.metadata_bytes() +
                            engine_->plan().geometry.heads() * 6 * engine_->plan().page_bytes;
  const std::unique_ptr<Session> session = MakeSession(engine_, options);
  ASSERT_TRUE(Append(*session, Ids(300)).ok());
  EXPECT_TRUE(IsZero(0));
  EXPECT_EQ(Counted(1), 300 - kSinks);
}

TEST_P(QueryStatistics, TheyAreErasedWhereRowsAre) {
  for (const bool zeroes : {false, true}) {
    OpenEngine(16);
    std::unique_ptr<Session> session = Observing(zeroes), other = Observing();
    ASSERT_TRUE(Append(*session, Ids(30)).ok());
    ASSERT_TRUE(Append(*other, Ids(40)).ok());
    session.reset();
    EXPECT_EQ(IsZero(0), zeroes);
    ASSERT_TRUE(other->Purge(0, 40, Go).ok());  // What nobody uses goes too.
    EXPECT_TRUE(IsZero(0));
    EXPECT_TRUE(IsZero(1));
  }
}

TEST_P(QueryStatistics, APurgeForgetsTheQueriesOfWhatItErased) {
  OpenEngine(16);
  const std::unique_ptr<Session> session = Observing(), fresh = Observing();
  std::vector<uint32_t> ids = Ids(90);
  ASSERT_TRUE(Append(*session, ids).ok());
  ASSERT_TRUE(session->Purge(20, 70, Go).ok());
  ids.erase(ids.begin() + 20, ids.begin() + 70);
  ASSERT_TRUE(Append(*fresh, std::span(ids).first(39)).ok());
  ASSERT_TRUE(Append(*fresh, std::span(ids).last(1)).ok());
  EXPECT_EQ(Sums(0), Sums(1));
}

CORM_ON_BACKENDS(QueryStatistics);

}  // namespace
}  // namespace cormorant::sim
