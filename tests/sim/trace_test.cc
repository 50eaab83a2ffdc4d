// The whole engine by simulation: random traces of calls on several sessions, checked each step.
//
// A trace comes from its seed: caps, row types, chunk, context, policies, budgets, modes, and then
// appends, scores, generations, cancels, pins, purges, resets, and sessions that come and go. After
// every step and call: nothing exceeds a cap or budget, pages are those of the resident rows, rows
// plus dropped rows are the tokens read, policy "none" holds every row, and a call that fails does
// so in a documented way and keeps the log. The same seed gives the same tokens, whatever the
// number of threads.
#include <algorithm>
#include <map>

#include "absl/strings/str_cat.h"
#include "runtime/engine/shadow.h"
#include "tests/sim/driver.h"

namespace cormorant::sim {
namespace {

/// A cap on all memory leaves more for pages where fewer threads need less scratch.
enum class Caps { kAll, kSameForAnyThreads };

class Trace {
 public:
  Trace(const TinyModel& model, const std::string& backend, uint32_t seed, uint32_t threads,
        Caps caps)
      : model_(model), random_(seed) {
    options_ = Options(model, backend);
    options_.threads = threads;
    sessions_.resize(1 + Below(4));
    options_.max_sessions = static_cast<uint32_t>(sessions_.size()) + 1;  // One may be observed.
    options_.prefill_chunk = std::vector<uint32_t>{0, 0, 8, 33}[Below(4)];
    options_.context = std::vector<uint32_t>{0, 128, 200}[Below(3)];
    options_.kv_type =
        std::vector<std::string>{"f16", "q8_0", "q8_0:f16", "q8_0:q4_0", "q4_0"}[Below(5)];
    options_.all_logits = Below(2) == 0;
    const uint64_t kv_cap = KvCap(model, options_, 10 + Below(8));
    const uint32_t cap = Below(caps == Caps::kAll ? 4 : 2);
    if (cap == 1 || cap == 3) options_.kv_cap_bytes = kv_cap;
    if (cap >= 2) options_.memory_cap_bytes = kv_cap + FixedBytes();
    engine_ = Open(options_);
  }

  void Run(uint32_t calls) {
    ASSERT_NE(engine_, nullptr);
    for (uint32_t call = 0; call < calls; ++call) {
      ASSERT_NO_FATAL_FAILURE(Step()) << "call " << call << " " << what_;
      ASSERT_NO_FATAL_FAILURE(CheckAll()) << "call " << call << " " << what_;
    }
    sessions_.clear();
    pointers_.clear();
    CheckInvariants(*engine_, {});
    const MemoryLedger::Snapshot now = engine_->memory();
    ASSERT_EQ(now.kv_used, engine_->plan().device().memory.kv_metadata)
        << "slabs outlive all sessions";
  }

  /// Every token and outcome so far.
  const std::vector<uint64_t>& history() const { return history_; }
  const std::map<std::string, uint32_t>& outcomes() const { return outcomes_; }

 private:
  struct Slot {
    std::unique_ptr<Session> session;
    bool evicts = false;
    bool is_behind = false;     // A recall ended early: the cache is yet to be filled.
    std::vector<uint32_t> log;  // What the session must remember.
  };

  uint32_t Below(uint32_t limit) { return static_cast<uint32_t>(random_() % limit); }

  uint64_t FixedBytes() {
    const auto model = ModelFile::Open(options_.model_path);
    const auto backend = OpenBackend(options_);
    EngineOptions uncapped = options_;
    uncapped.kv_cap_bytes = uncapped.memory_cap_bytes = 0;
    const Backend* const devices[] = {backend->get()};
    return PlanEngine(uncapped, **model, devices, nullptr)->device().memory.fixed();
  }

  void Step() {
    Slot& slot = sessions_[Below(static_cast<uint32_t>(sessions_.size()))];
    if (slot.session == nullptr) return Create(slot);
    switch (Below(23)) {
      case 0: return Destroy(slot);
      case 1: return Reset(slot);
      case 2:
      case 3:
      case 4: return DoScore(slot);
      case 5:
      case 6:
      case 7:
      case 8:
      case 9: return DoAppend(slot);
      case 10:
      case 19: return DoRecall(slot);
      case 15: return DoRewind(slot);
      case 16: return DoPin(slot);
      case 17: return DoUnpin(slot);
      case 18: return DoPurge(slot);
      case 20:
      case 21: return DoRetain(slot);
      case 22: return DoRelease(slot);
      default: return DoGenerate(slot);
    }
  }

  void Create(Slot& slot) {
    what_ = "create";
    SessionOptions options;
    options.policy = std::vector<std::string>{"", "none", "window", "corm", "corm"}[Below(5)];
    options.sinks = Below(6);
    if (Below(3) == 0) options.window = 1 + Below(100);
    if (Below(3) == 0) options.recent = Below(40);
    if (Below(2) == 0) options.basis = ThresholdBasis::kResident;
    options.interval = Below(3) == 0 ? 1 + Below(80) : 0;
    if (Below(2) == 0) options.host_copies.bytes_most = Below(3) == 0 ? 20000 : 1 << 30;
    options.zero_pages = Below(4) == 0;
    options.audit = Below(3) == 0 ? 1 + Below(100) : 0;
    const KvGeometry& geometry = engine_->plan().geometry;
    if (Below(2) == 0) {
      options.kv_budget_bytes =
          geometry.heads() *
          (geometry.pages_per_head * 4 + uint64_t{4 + Below(6)} * engine_->plan().page_bytes);
    }
    const bool may_drop = options.kv_budget_bytes != 0 && options.policy != "none";
    const bool has_room = std::none_of(sessions_.begin(), sessions_.end(), [](const Slot& other) {
      return other.session != nullptr && other.session->shadow() != nullptr;
    });
    if (may_drop && has_room && Below(2) == 0) options.mode = Mode::kObserve;
    slot.session = MakeSession(engine_, options);
    slot.log.clear();
    slot.is_behind = false;
    const bool is_capped = options_.capped() || options.kv_budget_bytes != 0;
    const bool is_none = options.policy == "none" || (options.policy.empty() && !is_capped);
    slot.evicts = !is_none && options.mode == Mode::kOn;
    Refresh();
  }

  void Destroy(Slot& slot) {
    what_ = "destroy";
    slot.session.reset();
    Refresh();
  }

  void Reset(Slot& slot) {
    what_ = "reset";
    slot.session->Reset();
    slot.log.clear();
    slot.is_behind = false;
    ASSERT_EQ(slot.session->stats().rows, 0u);
    ASSERT_EQ(PagesOf(*slot.session), 0u);
  }

  void DoAppend(Slot& slot) {
    const std::vector<uint32_t> ids = RandomIds(random_, 1 + Below(120), model_.vocab());
    const bool pin = Below(8) == 0;
    const uint32_t steps = Below(4) == 0 ? 1 + Below(3) : 0;  // Cancelled after so many.
    what_ = absl::StrCat("append ", ids.size(), pin ? " pinned" : "");
    uint32_t step = 0;
    uint64_t last_done = 0;
    slot.session->ClearCancel();
    const absl::Status status = slot.session->Append(
        ids, pin ? RowUse::kPin : RowUse::kKeep, [&](uint64_t done, uint64_t total) {
          EXPECT_GT(done, last_done);
          EXPECT_EQ(total, ids.size());
          last_done = done;
          CheckInvariants(*engine_, pointers_);
          if (++step == steps && steps == 2)
            slot.session->Cancel();  // From inside, as from anywhere.
          return step != steps || steps == 2;
        });
    Judge(slot, status, ids, step != 0 && step == steps);
  }

  void DoScore(Slot& slot) {
    const std::vector<uint32_t> ids = RandomIds(random_, 1 + Below(20), model_.vocab());
    what_ = absl::StrCat("score ", ids.size());
    size_t next = 0;
    slot.session->ClearCancel();
    const absl::Status status =
        slot.session->Score(ids, [&](size_t index, std::span<const float> logits) {
          EXPECT_EQ(index, next++);
          EXPECT_EQ(logits.size(), model_.vocab());
          EXPECT_TRUE(AllFinite(logits));
          CheckInvariants(*engine_, pointers_);
          return true;
        });
    EXPECT_TRUE(!status.ok() || next == ids.size());
    Judge(slot, status, ids, false);
  }

  void DoRecall(Slot& slot) {
    const std::vector<uint32_t> ids = RandomIds(random_, 1 + Below(40), model_.vocab());
    const uint32_t steps = Below(3) == 0 ? 1 + Below(6) : 0;  // Cancelled after so many.
    what_ = absl::StrCat("recall ", ids.size());
    uint32_t step = 0;
    slot.session->ClearCancel();
    const auto recalled = slot.session->Recall(ids, [&](uint64_t done, uint64_t total) {
      EXPECT_LE(done, total);
      CheckInvariants(*engine_, pointers_);
      return ++step != steps;
    });
    const absl::Status& status = recalled.status();
    ASSERT_EQ(slot.session->tokens(), slot.log);
    if (recalled.ok() && recalled->from_copies) ++outcomes_["from copies"];
    if (recalled.ok() && recalled->tokens_read > 0) ++outcomes_["read again"];
    if (!absl::IsFailedPrecondition(status)) {
      ASSERT_TRUE(status.ok() || absl::IsResourceExhausted(status) || absl::IsOutOfRange(status) ||
                  (absl::IsCancelled(status) && step == steps))
          << status;
      if (!status.ok() && slot.evicts) slot.is_behind = true;
    }
    Note(status, slot.log);
  }

  void DoPin(Slot& slot) {
    const auto [from, to] = Range(slot);
    what_ = absl::StrCat("pin ", from, " to ", to);
    const size_t pinned = slot.session->pins().count();
    ReadAgain(slot,
              [&](Session::Progress progress) { return slot.session->Pin(from, to, progress); });
    if (from < to && to <= slot.log.size() && slot.session->pins().count() > pinned) {
      ASSERT_TRUE(slot.session->pins().Covers(from, to));
    }
  }

  void DoUnpin(Slot& slot) {
    const auto [from, to] = Range(slot);
    what_ = absl::StrCat("unpin ", from, " to ", to);
    ReadAgain(slot,
              [&](Session::Progress progress) { return slot.session->Unpin(from, to, progress); });
    if (from < to && to <= slot.log.size() && slot.session->UseOf(from, to) <= RowUse::kPin) {
      ASSERT_FALSE(slot.session->pins().Touches(from, to));
    }
  }

  void DoRetain(Slot& slot) {
    const auto [from, to] = Range(slot);
    const RowUse how = Below(3) == 0 ? RowUse::kRetain : RowUse::kRetainOnHost;
    what_ = absl::StrCat("retain ", from, " to ", to, " as ", static_cast<int>(how));
    ReadAgain(slot, [&](Session::Progress progress) {
      return slot.session->Retain(from, to, how, progress);
    });
  }

  void DoRelease(Slot& slot) {
    const auto [from, to] = Range(slot);
    what_ = absl::StrCat("release ", from, " to ", to);
    ReadAgain(slot, [&](Session::Progress progress) {
      return slot.session->Release(from, to, progress);
    });
    if (from < to && to <= slot.log.size()) {
      ASSERT_LE(slot.session->UseOf(from, to), RowUse::kPin);
    }
  }

  void DoPurge(Slot& slot) {
    const auto [from, to] = Range(slot);
    what_ = absl::StrCat("purge ", from, " to ", to);
    const bool is_in = from < to && to <= slot.log.size();
    if (is_in) {  // Erased whatever becomes of the call.
      slot.log.erase(slot.log.begin() + static_cast<ptrdiff_t>(from),
                     slot.log.begin() + static_cast<ptrdiff_t>(to));
      slot.is_behind = true;
    }
    ReadAgain(slot,
              [&](Session::Progress progress) { return slot.session->Purge(from, to, progress); });
  }

  void DoRewind(Slot& slot) {
    const uint32_t back = 1 + Below(Below(3) == 0 ? 200 : 20);
    const size_t to = slot.log.size() - std::min<size_t>(slot.log.size(), back);
    what_ = absl::StrCat("rewind to ", to);
    slot.session->ClearCancel();
    const uint64_t rows = slot.session->stats().rows;
    const absl::Status status = slot.session->Rewind(to);
    ASSERT_TRUE(status.ok()) << status;
    slot.log.resize(to);
    const bool is_there = slot.session->stats().rows > 0;
    if (rows > 0 && to > 1) ++outcomes_[is_there ? "taken back" : "rewound"];
    slot.is_behind = slot.is_behind || !is_there;
    Note(status, slot.session->tokens());
  }

  /// A part of the log, or beyond.
  std::pair<size_t, size_t> Range(const Slot& slot) {
    const uint32_t from = Below(static_cast<uint32_t>(slot.log.size()) + 1);
    return {from, from + Below(Below(3) == 0 ? 400 : 40)};
  }

  /// A call that may read the whole log anew.
  void ReadAgain(Slot& slot, absl::FunctionRef<absl::Status(Session::Progress)> call) {
    const uint32_t steps = Below(3) == 0 ? 1 + Below(6) : 0;  // Cancelled after so many.
    uint32_t step = 0;
    slot.session->ClearCancel();
    const absl::Status status = call([&](uint64_t done, uint64_t total) {
      EXPECT_LE(done, total);
      EXPECT_LT(total, slot.log.size() + 1);
      CheckInvariants(*engine_, pointers_);
      return ++step != steps;
    });
    const bool is_refused = absl::IsInvalidArgument(status) || absl::IsFailedPrecondition(status);
    ASSERT_TRUE(status.ok() || is_refused || absl::IsResourceExhausted(status) ||
                (absl::IsCancelled(status) && step == steps))
        << status;
    if (status.ok() && step > 0) slot.is_behind = false;
    if (!status.ok() && !is_refused) slot.is_behind = true;
    Note(status, slot.session->tokens());
  }

  /// What a call that reads ids may leave behind.
  void Judge(Slot& slot, const absl::Status& status, std::span<const uint32_t> ids,
             bool was_cancelled) {
    const std::vector<uint32_t>& tokens = slot.session->tokens();
    ASSERT_GE(tokens.size(), slot.log.size());
    const size_t done = tokens.size() - slot.log.size();
    ASSERT_LE(done, ids.size());
    ASSERT_TRUE(std::equal(slot.log.begin(), slot.log.end(), tokens.begin()));
    ASSERT_TRUE(std::equal(ids.begin(), ids.begin() + static_cast<ptrdiff_t>(done),
                           tokens.begin() + static_cast<ptrdiff_t>(slot.log.size())));
    if (status.ok()) {
      ASSERT_EQ(done, ids.size());
      slot.is_behind = false;
    } else if (absl::IsCancelled(status)) {
      ASSERT_TRUE(was_cancelled);
    } else if (!slot.evicts) {
      // Refused as a whole, and for the reason it gives.
      ASSERT_EQ(done, 0u) << status;
      const bool is_past = slot.log.size() + ids.size() > engine_->plan().context;
      ASSERT_EQ(status.code(),
                is_past ? absl::StatusCode::kOutOfRange : absl::StatusCode::kResourceExhausted);
    } else {
      ASSERT_TRUE(absl::IsResourceExhausted(status)) << status;
    }
    slot.log = tokens;
    Note(status, tokens);
  }

  void DoGenerate(Slot& slot) {
    GenerateOptions options = Greedy(1 + Below(40));
    if (Below(2) == 0) options.sampler.temperature = 0.8f, options.sampler.seed = random_();
    options.ignore_end = Below(4) != 0;
    const uint32_t stop_after = Below(5) == 0 ? 1 + Below(10) : 0;
    what_ = absl::StrCat("generate ", options.max_tokens);
    uint32_t events = 0;
    GenerateResult result;
    slot.session->ClearCancel();
    const absl::Status status = slot.session->Generate(
        options,
        [&](uint32_t id, absl::string_view) {
          EXPECT_EQ(id, slot.session->tokens().back());
          CheckInvariants(*engine_, pointers_);
          return ++events != stop_after;
        },
        &result);
    const std::vector<uint32_t>& tokens = slot.session->tokens();
    const uint64_t grown = tokens.size() - slot.log.size();
    ASSERT_TRUE(std::equal(slot.log.begin(), slot.log.end(), tokens.begin()));
    ASSERT_EQ(grown, result.generated_tokens + (result.stop_reason == StopReason::kEnd ? 1 : 0));
    ASSERT_LE(result.generated_tokens, options.max_tokens);
    if (status.ok()) {
      ASSERT_TRUE(result.stop_reason == StopReason::kEnd ||
                  result.generated_tokens == options.max_tokens);
    } else if (absl::IsCancelled(status)) {
      ASSERT_EQ(events, stop_after);
    } else if (absl::IsOutOfRange(status)) {
      ASSERT_FALSE(slot.evicts);
      ASSERT_EQ(tokens.size(), engine_->plan().context + 1);  // The last one is not read.
      ASSERT_EQ(result.stop_reason, StopReason::kCap);
    } else {
      ASSERT_TRUE(absl::IsFailedPrecondition(status) || absl::IsResourceExhausted(status))
          << status;
    }
    slot.log = tokens;
    Note(status, tokens);
  }

  void CheckAll() {
    ASSERT_NO_FATAL_FAILURE(CheckInvariants(*engine_, pointers_));
    const uint64_t heads = engine_->plan().geometry.heads();
    for (const Slot& slot : sessions_) {
      if (slot.session == nullptr) continue;
      ASSERT_EQ(slot.session->tokens(), slot.log);
      // Every row that was read is resident or was counted out. One token may not be read yet.
      const SessionCache::Stats stats = slot.session->stats();
      const uint64_t rows = stats.rows + stats.evicted_total - stats.returned_total;
      const uint64_t read = rows / heads;
      ASSERT_EQ(read * heads, rows);
      ASSERT_LE(stats.host_rows, rows - stats.rows);
      ASSERT_LE(read, slot.log.size());
      if (!slot.is_behind) {
        ASSERT_GE(read + 1, slot.log.size());
      }
      if (stats.rebased == 0) CheckStaying(*slot.session, static_cast<size_t>(read));
      const uint64_t budget = slot.session->options().kv_budget_bytes;
      ASSERT_TRUE(budget == 0 || stats.bytes <= budget) << stats.bytes << " of " << budget;
      if (const Shadow* shadow = slot.session->shadow(); shadow != nullptr) {
        const Observed seen = shadow->observed();
        ASSERT_TRUE(!seen.status.ok() || slot.is_behind || seen.tokens == read)
            << seen.tokens << " of " << read;
        ASSERT_TRUE(std::isfinite(seen.divergence.KlMean()));
        ++outcomes_[seen.status.ok() ? "observed" : "shadow ended"];
      }
      if (slot.evicts) continue;
      ASSERT_EQ(stats.evicted_total + stats.rebased, 0u);
      for (uint32_t count : slot.session->row_counts()) ASSERT_EQ(count, read);
      ASSERT_EQ(slot.session->next_position(), read);
    }
  }

  /// Tokens that are pinned have a row in every head once they are read; those that are retained on
  /// the host there or here.
  void CheckStaying(const Session& session, size_t read) {
    uint64_t missing = 0;
    for (uint32_t h = 0; h < session.engine().plan().geometry.heads(); ++h) {
      const std::vector<uint32_t> positions = *session.ResidentPositions(h);
      for (const auto& [first, last] : session.pins().list()) {
        for (size_t at = first; at < std::min(last, read); ++at) {
          ASSERT_TRUE(std::binary_search(positions.begin(), positions.end(), at))
              << "token " << at << " of head " << h;
        }
      }
      for (const auto& [first, last] : session.retained_on_host().list()) {
        for (size_t at = first; at < std::min(last, read); ++at) {
          missing += std::binary_search(positions.begin(), positions.end(), at) ? 0 : 1;
        }
      }
    }
    ASSERT_EQ(missing, session.stats().retained_rows);
    if (missing > 0) ++outcomes_["on the host"];
  }

  void Note(const absl::Status& status, const std::vector<uint32_t>& tokens) {
    ++outcomes_[absl::StatusCodeToString(status.code())];
    history_.push_back(static_cast<uint64_t>(status.code()));
    uint64_t hash = 1469598103934665603u;
    for (uint32_t token : tokens) hash = (hash ^ token) * 1099511628211u;
    history_.push_back(hash);
  }

  void Refresh() {
    pointers_.clear();
    for (const Slot& slot : sessions_) pointers_.push_back(slot.session.get());
  }

  const TinyModel& model_;
  std::mt19937 random_;
  EngineOptions options_;
  std::shared_ptr<Engine> engine_;
  std::vector<Slot> sessions_;
  std::vector<const Session*> pointers_;
  std::string what_;
  std::vector<uint64_t> history_;
  std::map<std::string, uint32_t> outcomes_;
};

class Traces : public ::testing::TestWithParam<const char*> {};

TEST_P(Traces, HoldEveryPromiseAtEveryStep) {
  const TinyModel model({.type = GgufType::kQ8_0});
  const bool is_fast = std::string(GetParam()) == "cpu";
  std::map<std::string, uint32_t> outcomes;
  for (uint32_t seed = 0; seed < (is_fast ? 64u : 5u); ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    Trace trace(model, GetParam(), seed, seed % 8 == 7 ? 2 : 1, Caps::kAll);
    ASSERT_NO_FATAL_FAILURE(trace.Run(60));
    for (const auto& [code, count] : trace.outcomes()) outcomes[code] += count;
  }
  // The traces reach what they are meant to reach.
  for (const char* code : {"OK", "CANCELLED", "OUT_OF_RANGE", "RESOURCE_EXHAUSTED", "observed"}) {
    EXPECT_GT(outcomes[code], 0u) << code;
  }
  for (const char* way : {"from copies", "read again", "shadow ended", "on the host"}) {
    EXPECT_TRUE(outcomes[way] > 0 || !is_fast) << way;
  }
  EXPECT_GT(outcomes["OK"], outcomes["RESOURCE_EXHAUSTED"]);
}

TEST_P(Traces, TheSameSeedGivesTheSameTokensOnAnyNumberOfThreads) {
  const TinyModel model({.type = GgufType::kQ4_1});
  const bool is_fast = std::string(GetParam()) == "cpu";
  for (uint32_t seed = 100; seed < (is_fast ? 104u : 101u); ++seed) {
    Trace a(model, GetParam(), seed, 1, Caps::kSameForAnyThreads);
    Trace b(model, GetParam(), seed, 3, Caps::kSameForAnyThreads);
    ASSERT_NO_FATAL_FAILURE(a.Run(40));
    ASSERT_NO_FATAL_FAILURE(b.Run(40));
    EXPECT_EQ(a.history(), b.history()) << "seed " << seed;
  }
}

CORM_ON_BACKENDS(Traces);

}  // namespace
}  // namespace cormorant::sim
