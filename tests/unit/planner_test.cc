// PlanEngine: the figures add up, caps hold to the byte, and the smallest cap that a refusal names
// is the smallest.
//
// Method: a tiny model written by the test, planned for the cpu and the reference backend. The cap
// that a refusal names must give a plan, and one byte less must be refused with the same figure.
#include "runtime/engine/planner.h"

#include <array>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/engine/engine.h"
#include "tests/golden/tiny_model.h"

namespace cormorant {
namespace {

using ::testing::HasSubstr;
using testing::TinyModel;
using testing::TinyModelOptions;

/// The number behind "the smallest cap that works is ", or 0.
uint64_t SmallestCap(const absl::Status& status) {
  const std::string text(status.message());
  const std::string mark = "the smallest cap that works is ";
  const size_t at = text.find(mark);
  if (at == std::string::npos) return 0;
  const size_t start = at + mark.size();
  uint64_t cap = 0;
  const size_t end = text.find_first_not_of("0123456789", start);
  EXPECT_TRUE(absl::SimpleAtoi(text.substr(start, end - start), &cap)) << text;
  return cap;
}

class Planner : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override { Load({}); }

  void Load(const TinyModelOptions& model) {
    tiny_ = std::make_unique<TinyModel>(model);
    options.model_path = tiny_->path();
    options.backend = GetParam();
    options.threads = 2;
    absl::StatusOr<std::unique_ptr<ModelFile>> file = ModelFile::Open(tiny_->path());
    ASSERT_TRUE(file.ok()) << file.status();
    model_ = *std::move(file);
    ASSERT_TRUE(model_->Usable().ok()) << model_->Usable();
    absl::StatusOr<std::unique_ptr<Backend>> backend = OpenBackend(options);
    ASSERT_TRUE(backend.ok()) << backend.status();
    backend_ = *std::move(backend);
  }

  absl::StatusOr<EnginePlan> Plan() {
    return PlanEngine(options, *model_, std::array<const Backend*, 1>{backend_.get()}, nullptr);
  }
  EnginePlan PlanOk() {
    const absl::StatusOr<EnginePlan> plan = Plan();
    EXPECT_TRUE(plan.ok()) << plan.status();
    return plan.ok() ? *plan : EnginePlan{};
  }
  void ExpectRefused(absl::StatusCode code, const std::string& what) {
    const absl::Status status = Plan().status();
    EXPECT_EQ(status.code(), code) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(what));
  }
  /// Sets `cap` too small, then to the figure named, then to one less.
  void ExpectSmallestCapIsExact(uint64_t* cap, uint64_t used_of(const EnginePlan&)) {
    *cap = 1;
    const uint64_t smallest = SmallestCap(Plan().status());
    ASSERT_GT(smallest, 1u) << Plan().status();
    *cap = smallest;
    const EnginePlan plan = PlanOk();
    EXPECT_EQ(used_of(plan), smallest);
    *cap = smallest - 1;
    const absl::Status less = Plan().status();
    EXPECT_TRUE(absl::IsResourceExhausted(less)) << less;
    EXPECT_EQ(SmallestCap(less), smallest);
    *cap = smallest - plan.page_bytes;
    EXPECT_EQ(SmallestCap(Plan().status()), smallest);
  }

  /// More pages would never be used.
  bool IsFull(const EnginePlan& plan) const {
    return plan.device().page_limit ==
           options.max_sessions * plan.geometry.heads() * plan.geometry.pages_per_head;
  }
  static uint64_t Total(const EnginePlan& plan) { return plan.device().memory.total(); }
  static uint64_t Kv(const EnginePlan& plan) {
    return plan.device().memory.kv_pages + plan.device().memory.kv_metadata;
  }

  EngineOptions options;
  std::unique_ptr<TinyModel> tiny_;
  std::unique_ptr<ModelFile> model_;
  std::unique_ptr<Backend> backend_;
};

TEST_P(Planner, WithoutACapThePoolHoldsEverySessionInFull) {
  for (uint32_t sessions : {1u, 3u}) {
    options.max_sessions = sessions;
    const EnginePlan plan = PlanOk();
    EXPECT_EQ(plan.context, 512u);
    EXPECT_EQ(plan.geometry.heads(), 4u);
    EXPECT_EQ(plan.prefill_chunk, 256u);
    EXPECT_EQ(plan.geometry.pages_per_head, (512u + 256u) / kPageRows);
    EXPECT_EQ(plan.device().page_limit, sessions * 4 * 24);
    EXPECT_EQ(plan.rows_per_head, sessions * 768);
    EXPECT_EQ(plan.page_bytes, 32u * 32 * 2 * 2 + 32 * 8);
    EXPECT_EQ(plan.device().memory.kv_pages, uint64_t{plan.device().page_limit} * plan.page_bytes);
    EXPECT_EQ(plan.device().memory.kv_metadata, uint64_t{sessions} * 4 * 24 * 4);
    EXPECT_EQ(plan.device().memory.total(),
              plan.device().memory.weights + plan.device().memory.activations +
                  plan.device().memory.staging + plan.device().memory.kv_metadata +
                  plan.device().memory.kv_pages);
    EXPECT_GE(plan.device().pages_per_slab, 1u);
    EXPECT_LE(plan.device().pages_per_slab, plan.device().page_limit);
  }
}

TEST_P(Planner, StatisticsOfQueriesAreMetadata) {
  options.max_sessions = 3;
  const MemoryPlan without = PlanOk().device().memory;
  options.query_statistics = true;
  const EnginePlan plan = PlanOk();
  const ModelConfig& config = model_->config();
  const uint64_t each = uint64_t{config.layers} * config.heads * (1 + config.head_dim / 2 * 5) * 4;
  EXPECT_EQ(plan.device().memory.kv_metadata, without.kv_metadata + 3 * each);
  ExpectSmallestCapIsExact(&options.kv_cap_bytes, Kv);
}

TEST_P(Planner, BucketsAreOneRowAllSessionsAndAChunk) {
  options.max_sessions = 5;
  options.prefill_chunk = 48;
  EXPECT_EQ(PlanOk().row_buckets, (std::vector<uint32_t>{1, 5, 48}));
  options.prefill_chunk = 5;
  EXPECT_EQ(PlanOk().row_buckets, (std::vector<uint32_t>{1, 5}));
  options.prefill_chunk = 1;
  options.max_sessions = 1;
  EXPECT_EQ(PlanOk().row_buckets, (std::vector<uint32_t>{1}));
  options.max_sessions = 100;
  options.prefill_chunk = 32;  // Fewer than sessions: their decode step is the largest.
  EXPECT_EQ(PlanOk().row_buckets, (std::vector<uint32_t>{1, 100}));
}

TEST_P(Planner, ChunksFollowTheOptionTheContextAndTheCap) {
  options.prefill_chunk = 4096;
  EXPECT_EQ(PlanOk().prefill_chunk, 256u);  // Half the context.
  options.prefill_chunk = 7;
  EXPECT_EQ(PlanOk().prefill_chunk, 7u);
  options.prefill_chunk = 0;
  options.context = 128;
  EXPECT_EQ(PlanOk().prefill_chunk, 64u);
  options.context = 0;
  uint32_t chunk_before = 0;
  for (uint64_t cap = 60u << 10; cap < (8u << 20); cap += 50u << 10) {
    options.kv_cap_bytes = cap;
    const absl::StatusOr<EnginePlan> plan = Plan();
    if (!plan.ok()) continue;
    EXPECT_TRUE(plan->prefill_chunk == 32 || plan->prefill_chunk <= plan->rows_per_head / 16);
    EXPECT_GE(plan->prefill_chunk, chunk_before) << "a larger cap, a smaller chunk";
    chunk_before = plan->prefill_chunk;
  }
  EXPECT_EQ(chunk_before, 32u);  // 768 rows a head at most: no room for more than 48.
}

TEST_P(Planner, CapsHoldToTheByteAndLeaveLessThanAPage) {
  for (uint32_t sessions : {1u, 2u, 4u}) {
    options.max_sessions = sessions;
    options.kv_cap_bytes = options.memory_cap_bytes = 0;
    const EnginePlan full = PlanOk();
    for (uint64_t cap = 1u << 20; cap < full.device().memory.total(); cap += 77777) {
      options.memory_cap_bytes = cap;
      const absl::StatusOr<EnginePlan> plan = Plan();
      if (!plan.ok()) continue;
      EXPECT_LE(plan->device().memory.total(), cap);
      EXPECT_TRUE(plan->device().memory.total() + plan->page_bytes > cap || IsFull(*plan)) << cap;
    }
    options.memory_cap_bytes = 0;
    for (uint64_t cap = 1u << 16; cap < Kv(full); cap += 33333) {
      options.kv_cap_bytes = cap;
      const absl::StatusOr<EnginePlan> plan = Plan();
      if (!plan.ok()) continue;
      EXPECT_LE(Kv(*plan), cap);
      EXPECT_TRUE(Kv(*plan) + plan->page_bytes > cap || IsFull(*plan)) << cap;
    }
  }
}

TEST_P(Planner, TheNarrowerOfTwoCapsDecides) {
  options.kv_cap_bytes = 200u << 10;
  const EnginePlan kv_alone = PlanOk();
  options.memory_cap_bytes = kv_alone.device().memory.total();
  EXPECT_EQ(PlanOk().device().page_limit, kv_alone.device().page_limit);
  options.memory_cap_bytes -= kv_alone.page_bytes;
  EXPECT_EQ(PlanOk().device().page_limit, kv_alone.device().page_limit - 1);
  options.memory_cap_bytes = 1u << 30;
  EXPECT_EQ(PlanOk().device().page_limit, kv_alone.device().page_limit);
}

TEST_P(Planner, TheSmallestCapNamedIsTheSmallest) {
  for (uint32_t sessions : {1u, 3u}) {
    for (uint32_t chunk : {0u, 1u, 100u}) {
      for (const char* kv_type : {"f16", "q8_0", "q4_0", "q8_0:f16"}) {
        SCOPED_TRACE(absl::StrCat(sessions, " sessions, chunk ", chunk, ", ", kv_type));
        options.max_sessions = sessions;
        options.prefill_chunk = chunk;
        options.kv_type = kv_type;
        options.kv_cap_bytes = 0;
        ExpectSmallestCapIsExact(&options.memory_cap_bytes, Total);
        options.memory_cap_bytes = 0;
        ExpectSmallestCapIsExact(&options.kv_cap_bytes, Kv);
      }
    }
  }
}

TEST_P(Planner, ARefusalNamesTheCapThatIsTooSmall) {
  options.memory_cap_bytes = 1000;
  ExpectRefused(absl::StatusCode::kResourceExhausted, "--mem-cap 1000 is below ");
  options.memory_cap_bytes = 1u << 30;
  options.kv_cap_bytes = 1000;
  ExpectRefused(absl::StatusCode::kResourceExhausted, "--kv-cap 1000 is below ");
  ExpectRefused(absl::StatusCode::kResourceExhausted, "--kv-type q8_0");
  options.kv_type = "q8_0:q4_0";
  ExpectRefused(absl::StatusCode::kResourceExhausted, "--kv-type q4_0");
  options.kv_type = "q4_0";
  EXPECT_FALSE(absl::StrContains(Plan().status().message(), "--kv-type"));
}

TEST_P(Planner, KvTypesChangeThePageAndNothingElse) {
  options.kv_type = "f16";
  const EnginePlan f16 = PlanOk();
  const uint32_t half = 32 * 32 * 2, quants = 32 * 32, scales = 32 * 2, words = 32 * 8;
  const uint32_t half_bytes = quants / 2;
  const std::pair<const char*, uint32_t> cases[] = {
      {"f16", 2 * half + words},
      {"q8_0", 2 * (quants + scales) + words},
      {"q8_0:f16", half + quants + scales + words},
      {"f16:q8_0", half + quants + scales + words},
      {"q4_0", 2 * (half_bytes + scales) + words},
      {"q8_0:q4_0", quants + half_bytes + 2 * scales + words},
      {"q4_0:f16", half_bytes + scales + half + words}};
  for (const auto& [kv_type, page_bytes] : cases) {
    options.kv_type = kv_type;
    const EnginePlan plan = PlanOk();
    EXPECT_EQ(plan.page_bytes, page_bytes) << kv_type;
    EXPECT_EQ(plan.device().page_limit, f16.device().page_limit);
    EXPECT_EQ(plan.device().memory.weights, f16.device().memory.weights);
  }
  for (const char* kv_type : {"", "q4_1", "f32", "f16:", ":f16", "f16:f16:f16", "F16"}) {
    options.kv_type = kv_type;
    ExpectRefused(absl::StatusCode::kInvalidArgument, "KV type '");
  }
}

TEST_P(Planner, OptionsThatCanNeverWorkAreRefused) {
  const EngineOptions good = options;
  options.context = 513;
  ExpectRefused(absl::StatusCode::kInvalidArgument, "a context of 513");
  options.context = 127;
  ExpectRefused(absl::StatusCode::kInvalidArgument, "a context of 127");
  options = good;
  options.max_sessions = 0;
  ExpectRefused(absl::StatusCode::kInvalidArgument, "max_sessions is 0");
  options.max_sessions = 1025;
  ExpectRefused(absl::StatusCode::kInvalidArgument, "max_sessions is 1025");
  options = good;
  options.prefill_chunk = 4097;
  ExpectRefused(absl::StatusCode::kInvalidArgument, "prefill chunk is 4097");
}

TEST_P(Planner, NarrowHeadsCannotHoldQuantizedRows) {
  Load({.head_dim = 20});
  PlanOk();
  for (const char* kv_type : {"q8_0:f16", "f16:q4_0"}) {
    options.kv_type = kv_type;
    ExpectRefused(absl::StatusCode::kInvalidArgument, "heads of a multiple of 32");
  }
}

TEST_P(Planner, AllLogitsAreCountedAsStaging) {
  const EnginePlan last = PlanOk();
  options.all_logits = true;
  const EnginePlan all = PlanOk();
  EXPECT_GE(all.device().memory.staging,
            last.device().memory.staging + uint64_t{255} * tiny_->vocab() * sizeof(float));
  EXPECT_EQ(all.out_rows(256, true, 1), 256u);
  EXPECT_EQ(all.out_rows(256, false, 3), 3u);
  EXPECT_EQ(all.out_rows(1, false, 3), 1u);
}

TEST_P(Planner, TheSamePlanTwice) {
  options.memory_cap_bytes = 3u << 20;
  const EnginePlan a = PlanOk(), b = PlanOk();
  EXPECT_EQ(a.device().memory.total(), b.device().memory.total());
  EXPECT_EQ(a.device().page_limit, b.device().page_limit);
}

TEST_P(Planner, ABudgetIsASmallerCapForOneSession) {
  const EnginePlan plan = PlanOk();
  const uint64_t tables = uint64_t{plan.geometry.heads()} * plan.geometry.pages_per_head * 4;
  const SessionPlan none = *PlanSession(options, plan, 0);
  EXPECT_FALSE(none.capped);
  EXPECT_EQ(none.rows_per_head, 768u);
  EXPECT_EQ(none.prefill_chunk, 256u);
  for (const uint32_t pages : {4u, 7u, 16u, 1000u}) {
    const uint64_t budget = tables + uint64_t{plan.geometry.heads()} * pages * plan.page_bytes;
    const SessionPlan session = *PlanSession(options, plan, budget);
    EXPECT_TRUE(session.capped);
    EXPECT_EQ(session.rows_per_head, std::min(pages * 32, 768u));
    options.kv_cap_bytes = budget;
    EXPECT_EQ(session.prefill_chunk, PlanOk().prefill_chunk) << pages;
    options.kv_cap_bytes = 0;
    // Beside others it counts on its share at most.
    options.max_sessions = 3;
    EXPECT_EQ(PlanSession(options, plan, budget)->rows_per_head, std::min(pages * 32, 768u / 3));
    options.max_sessions = 1;
  }
  for (const uint32_t asked : {0u, 100u}) {
    options.prefill_chunk = asked;
    const EnginePlan with = PlanOk();
    const absl::Status refused = PlanSession(options, with, 1).status();
    ASSERT_TRUE(absl::IsResourceExhausted(refused)) << refused;
    uint64_t smallest = 0;
    const std::string text(refused.message());
    const size_t at = text.find("is below ") + 9;
    ASSERT_TRUE(absl::SimpleAtoi(text.substr(at, text.find(' ', at) - at), &smallest)) << text;
    EXPECT_TRUE(PlanSession(options, with, smallest).ok());
    EXPECT_EQ(PlanSession(options, with, smallest - 1).status().message(),
              absl::StrCat("--kv-budget ", smallest - 1, text.substr(text.find(" is below"))));
    EXPECT_EQ(text.find("--prefill-chunk") != text.npos, asked != 0) << text;
  }
}

INSTANTIATE_TEST_SUITE_P(On, Planner, ::testing::Values("cpu", "reference"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace cormorant
