// Opening engines and judging them from outside. See driver.h.
#include "tests/sim/driver.h"

#include <algorithm>
#include <numeric>

#include "runtime/base/units.h"
#include "runtime/ops/kv_page.h"

namespace cormorant::sim {

EngineOptions Options(const TinyModel& model, const std::string& backend) {
  EngineOptions options;
  options.model_path = model.path();
  options.backend = backend;
  options.threads = 1;
  return options;
}

absl::StatusOr<std::shared_ptr<Engine>> TryOpen(const EngineOptions& options) {
  return Engine::Create(options, [](uint64_t done, uint64_t total) {
    EXPECT_LE(done, total);
    return true;
  });
}

std::shared_ptr<Engine> Open(const EngineOptions& options) {
  absl::StatusOr<std::shared_ptr<Engine>> engine = TryOpen(options);
  EXPECT_TRUE(engine.ok()) << engine.status();
  return engine.ok() ? *engine : nullptr;
}

std::unique_ptr<Session> MakeSession(const std::shared_ptr<Engine>& engine,
                                     const SessionOptions& options) {
  absl::StatusOr<std::unique_ptr<Session>> session = Session::Create(engine, options);
  EXPECT_TRUE(session.ok()) << session.status();
  return session.ok() ? *std::move(session) : nullptr;
}

std::unique_ptr<Session> MakeSession(const std::shared_ptr<Engine>& engine,
                                     const std::string& policy) {
  SessionOptions options;
  options.policy = policy;
  return MakeSession(engine, options);
}

uint64_t KvCap(const TinyModel& model, const EngineOptions& options, uint32_t pages_per_head) {
  KvGeometry geometry{model.options().layers,
                      model.options().kv_heads,
                      model.options().head_dim,
                      DType::kF16,
                      DType::kF16,
                      0,
                      options.query_statistics ? model.options().heads : 0};
  EXPECT_TRUE(ParseKvType(options.kv_type, &geometry.k_type, &geometry.v_type).ok());
  const uint64_t page_bytes = KvPageLayout(geometry).page_bytes;
  const uint32_t context = options.context != 0 ? options.context : model.options().context;
  // Tables are sized for the context and one chunk, which is at most half of it.
  geometry.pages_per_head =
      static_cast<uint32_t>(CeilDiv(uint64_t{context} + context / 2, kPageRows));
  return geometry.heads() * pages_per_head * page_bytes +
         options.max_sessions * geometry.metadata_bytes();
}

std::vector<uint32_t> RandomIds(std::mt19937& random, size_t count, uint32_t vocab) {
  std::vector<uint32_t> ids(count);
  for (uint32_t& id : ids) id = static_cast<uint32_t>(random() % vocab);
  return ids;
}

GenerateOptions Greedy(uint64_t max_tokens) {
  GenerateOptions options;
  options.sampler.temperature = 0.0f;
  options.max_tokens = max_tokens;
  options.ignore_end = true;
  return options;
}

GenerateOptions GreedyOverAll(uint64_t max_tokens) {
  GenerateOptions options = Greedy(max_tokens);
  options.sampler.repetition_penalty = 0.5f;
  options.sampler.repetition_window = 0;
  return options;
}

absl::Status Append(Session& session, std::span<const uint32_t> ids, bool pin) {
  return session.Append(ids, pin ? RowUse::kPin : RowUse::kKeep,
                        [](uint64_t, uint64_t) { return true; });
}

std::vector<uint32_t> Continue(Session& session, const GenerateOptions& options) {
  const size_t before = session.tokens().size();
  GenerateResult result;
  const absl::Status status = session.Generate(
      options, [](uint32_t, absl::string_view) { return true; }, &result);
  EXPECT_TRUE(status.ok()) << status;
  return {session.tokens().begin() + static_cast<ptrdiff_t>(before), session.tokens().end()};
}

std::vector<uint32_t> Continue(Session& session, uint64_t max_tokens) {
  return Continue(session, Greedy(max_tokens));
}

std::vector<float> Score(Session& session, std::span<const uint32_t> ids) {
  std::vector<float> all;
  size_t next = 0;
  const absl::Status status = session.Score(ids, [&](size_t index, std::span<const float> logits) {
    EXPECT_EQ(index, next++);
    all.insert(all.end(), logits.begin(), logits.end());
    return true;
  });
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(next, ids.size());
  return all;
}

bool AllFinite(std::span<const float> values) {
  return std::all_of(values.begin(), values.end(), [](float x) { return std::isfinite(x); });
}

std::vector<std::vector<uint32_t>> RowsOf(const Session& session) {
  std::vector<std::vector<uint32_t>> positions;
  for (uint32_t h = 0; h < session.engine().plan().geometry.heads(); ++h) {
    positions.push_back(*session.ResidentPositions(h));
  }
  return positions;
}

uint64_t PagesOf(const Session& session) {
  const EnginePlan& plan = session.engine().plan();
  return (session.stats().bytes - plan.geometry.metadata_bytes()) / plan.page_bytes;
}

namespace {

void CheckLedger(const Engine& engine) {
  const MemoryLedger::Snapshot now = engine.memory();
  const MemoryPlan memory = engine.plan().device_memory();
  ASSERT_TRUE(now.cap == 0 || now.peak <= now.cap) << now.peak << " of " << now.cap;
  ASSERT_TRUE(now.kv_cap == 0 || now.kv_peak <= now.kv_cap) << now.kv_peak << " of " << now.kv_cap;
  ASSERT_LE(now.used, now.peak);
  ASSERT_LE(now.kv_used, now.kv_peak);
  ASSERT_LE(now.peak, memory.total());
  const auto of = [&](MemoryCategory category) {
    return now.by_category[static_cast<size_t>(category)];
  };
  ASSERT_EQ(std::accumulate(now.by_category.begin(), now.by_category.end(), uint64_t{0}), now.used);
  ASSERT_EQ(of(MemoryCategory::kWeights), memory.weights);
  ASSERT_EQ(of(MemoryCategory::kActivations), memory.activations);
  ASSERT_EQ(of(MemoryCategory::kStaging), memory.staging);
  ASSERT_EQ(of(MemoryCategory::kProgram), memory.program);
  ASSERT_EQ(of(MemoryCategory::kKvMetadata), memory.kv_metadata);
  ASSERT_EQ(of(MemoryCategory::kKvPages) % engine.plan().page_bytes, 0u);
  const uint64_t device_kv = of(MemoryCategory::kKvPages) + memory.kv_metadata;
  uint64_t host_fixed = 0;
  for (const StagePlan& stage : engine.plan().stages) {
    if (stage.place == MemoryPlace::kHost) host_fixed += stage.memory.fixed();
  }
  ASSERT_EQ(now.kv_used + host_fixed, device_kv + now.host_used);
}

}  // namespace

void CheckInvariants(const Engine& engine, std::span<const Session* const> sessions) {
  ASSERT_NO_FATAL_FAILURE(CheckLedger(engine));
  const EnginePlan& plan = engine.plan();
  uint64_t pages = 0, page_limit = 0, kv_metadata = 0;
  for (const StagePlan& stage : plan.stages) {
    page_limit += stage.page_limit;
    kv_metadata += stage.memory.kv_metadata;
  }
  for (const Session* session : sessions) {
    if (session == nullptr) continue;
    const uint64_t held = PagesOf(*session);
    uint64_t needed = 0, rows = 0;
    for (uint32_t count : session->row_counts()) {
      needed += CeilDiv(count, kPageRows);
      rows += count;
      // Positions of a head are distinct and below the next one.
      ASSERT_LE(count, session->next_position());
    }
    ASSERT_EQ(held, needed);
    ASSERT_EQ(session->stats().rows, rows);
    ASSERT_LE(session->next_position(), plan.context);
    pages += held;
  }
  ASSERT_LE(pages, page_limit);
  ASSERT_LE(pages * plan.page_bytes, engine.memory().kv_used - kv_metadata);
}

}  // namespace cormorant::sim
