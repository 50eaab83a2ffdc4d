// The engine: one model on one device under one cap, and the only path by which tokens run.
//
// It owns the stages (those of the devices, and the CPU's where they cannot hold all layers), the
// ledger and the model. Sessions hand it requests; the scheduler says whose tokens run next; the
// engine makes room, fills the step buffers, replays the plans and hands logits back. There is no
// thread of its own: of the callers waiting for a request, one drives the next step for all.
//
// A lost device takes all caches with it. The engine opens it again, or goes on on the CPU, and
// tells the application; requests then end with ABORTED and their sessions read their logs again.
//
// Run() is safe from any thread. What a request points to stays valid until Run() returns.
#pragma once
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "backends/backend.h"
#include "runtime/cache/ledger.h"
#include "runtime/engine/model_file.h"
#include "runtime/engine/planner.h"
#include "runtime/engine/sampler.h"
#include "runtime/engine/session_cache.h"
#include "runtime/engine/stage.h"
#include "runtime/engine/tuning.h"
#include "runtime/grammar/token_filter.h"
#include "runtime/sched/scheduler.h"
#include "runtime/text/tokenizer.h"

namespace cormorant {

enum class WantLogits : uint8_t {
  kNone,
  kTop,   // Of the last token, the greatest alone: a kilobyte from the device instead of V floats.
  kLast,  // Of the last token.
  kAll    // Of every token; needs EngineOptions::all_logits.
};

/// Tokens a session wants to read.
struct Request {
  SessionCache* cache = nullptr;
  uint64_t before = 0;  // Tokens the cache holds already, as its session believes.
  std::span<const uint32_t> ids;
  uint32_t chunk = UINT32_MAX;  // At most so many in a step, and EnginePlan::prefill_chunk.
  RowUse use = RowUse::kKeep;   // kProbe: ids see the cache and those of their own step.
  WantLogits want = WantLogits::kLast;

  // Written by the engine, valid in after_step and once Run has returned:
  size_t done = 0;            // Tokens that were read; Run goes on behind them.
  std::vector<float> logits;  // Of the last step's wanted rows, [logits_rows, V].
  uint32_t logits_rows = 0;
  std::vector<TokenLogit> top;  // kTop: the min(V, kTopLogits) greatest, greatest first.
};

/// Opens a device; called again when it was lost.
using DeviceOpener = std::function<absl::StatusOr<std::unique_ptr<Backend>>()>;

/// Where the engine computes.
struct DeviceOpeners {
  DeviceOpener device;
  DeviceOpener host;  // For layers no device can hold, and when one is lost for good. Or null.
  /// Further devices for what the first cannot hold, those that open, best first. Or null.
  std::function<std::vector<std::unique_ptr<Backend>>()> others;
};

enum class EngineEvent : int32_t {
  kDeviceLost = 0,
  kDeviceRestored = 1,  // Opened again: sessions read their logs again and go on.
  kHostFallback = 2,    // From here on the CPU computes.
  kMemoryShort = 3,     // Other programs take device memory that was planned with.
  kRecalled = 4,        // A recall has looked through copies.
  kReadAgain = 5,       // A recall read a session's log again.
  kReturned = 6,        // An answer needed what a recall had brought back, ...
  kFrozen = 7,          // ... so no row leaves on its own account for a while, ...
  kRelaxed = 8,         // ... or later than before.
  kDegraded = 9         // A recall could not bring back what was dropped.
};
/// Called on the thread of a call. May not call the engine.
using OnEvent = std::function<void(EngineEvent event, const std::string& message)>;

/// What the driver says of device memory, and how often it fell short of the plan.
struct MemoryWatch {
  MemoryBudget budget;  // Zeros where the driver does not say.
  uint64_t warnings = 0;
};

class Engine {
 public:
  using Progress = absl::FunctionRef<bool(uint64_t done, uint64_t total)>;

  /// Opens the device, plans, loads. Errors as corm_engine_create describes.
  static absl::StatusOr<std::shared_ptr<Engine>> Create(const EngineOptions& options,
                                                        Progress on_load,
                                                        OnEvent on_event = nullptr);
  /// The same on devices of the caller's, whatever options.backend says.
  static absl::StatusOr<std::shared_ptr<Engine>> CreateOn(DeviceOpeners openers,
                                                          const EngineOptions& options,
                                                          Progress on_load,
                                                          OnEvent on_event = nullptr);
  ~Engine();

  const EngineOptions& options() const { return options_; }
  /// Another after a device was lost and replaced; the old one stays valid.
  const EnginePlan& plan() const { return *plan_.load(); }
  const ModelFile& model() const { return *model_; }
  const std::shared_ptr<const Tokenizer>& tokenizer() const { return tokenizer_; }
  /// A grammar over this vocabulary, as long as no more than a few others are used in between the
  /// same one, which knows what it has met before.
  std::shared_ptr<TokenGrammar> GrammarFor(const std::shared_ptr<const Grammar>& grammar);
  /// Null where there is none.
  const Tuning* tuning() const { return tuning_.has_value() ? &*tuning_ : nullptr; }
  MemoryLedger::Snapshot memory() const { return ledger_.Read(); }
  MemoryWatch memory_watch() const;

  absl::StatusOr<std::unique_ptr<SessionCache>> CreateCache(const SessionCache::Settings& settings);
  /// Runs fn while no step runs: for what touches caches outside Run().
  void Exclusively(absl::FunctionRef<void()> fn);
  void DestroyCache(std::unique_ptr<SessionCache> cache);
  /// Forgets all rows of a cache, and overwrites with zeros whatever devices may hold of them or of
  /// rows it had before: pages in use and free ones, and the working memory of steps. On an error
  /// the rows are forgotten, but something may be left.
  absl::Status Erase(SessionCache& cache);
  /// Tells the application.
  void Tell(EngineEvent event, const std::string& message) const;

  /// Reads the request's tokens, in as many steps as it takes. After each of its steps calls
  /// after_step on this thread; false ends the request with CANCELLED. Tokens of finished steps
  /// stay in the cache, but for ABORTED: the cache was lost with its device and must be filled
  /// anew. UNAVAILABLE when there is no device to go on with.
  absl::Status Run(Request& request, absl::FunctionRef<bool()> after_step);

 private:
  /// A request while it is inside Run().
  struct Active {
    Request* request = nullptr;
    bool stepped = false;    // A step of it has ended since its owner last looked.
    size_t done_before = 0;  // Of the request, at the step that runs.
    uint32_t out_row = 0;    // Where its wanted rows begin among those of the step, ...
    uint32_t out_rows = 0;   // ... and how many there are.
    absl::Status status;
  };

  /// A request's part in the step that runs. Its owner waits, so it stays valid without the lock.
  struct Turn {
    Active* active = nullptr;
    uint32_t rows = 0;
  };

  Engine(DeviceOpeners openers, const EngineOptions& options, OnEvent on_event);
  absl::Status Load(Progress on_load);
  /// Plans and loads all stages, the first on what `open` opens.
  absl::Status OpenStages(const DeviceOpener& open, Progress on_load);
  std::vector<Stage::Bucket> MakeBuckets(const EnginePlan& plan) const;
  std::vector<KvStore*> stores() const;

  void Drive(std::unique_lock<std::mutex>& lock);
  void RunStep(std::span<const Turn> turns);
  /// UNAVAILABLE when a device is lost; what else happens to a turn is in its status.
  absl::Status RunTurns(std::span<const Turn> turns);
  absl::Status MakeRoom(SessionCache& cache, uint32_t rows, std::span<const Turn> turns);
  absl::Status TakeBack(SessionCache& cache, uint32_t stage, uint32_t rows,
                        std::span<const Turn> turns);
  absl::Status Replay(std::span<Active* const> actives, std::span<const uint32_t> rows);
  uint32_t FillStep(std::span<Active* const> actives, std::span<const uint32_t> rows,
                    uint32_t stage);
  absl::Status ReadLogits(const Active& active, const TopKOp& from);
  absl::Status ReadTop(const Active& active, const TopKOp& from);
  absl::Status Recover(const absl::Status& lost);
  void WatchMemory();

  const EngineOptions options_;
  const DeviceOpeners openers_;
  const OnEvent on_event_;
  MemoryLedger ledger_;
  std::unique_ptr<ModelFile> model_;
  std::optional<Tuning> tuning_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  std::deque<EnginePlan> plans_made_;  // All stay: their strings are given out.
  std::atomic<const EnginePlan*> plan_ = nullptr;
  std::vector<Stage::Bucket> buckets_;
  std::vector<std::unique_ptr<Stage>> stages_;  // Empty while there is no device.
  uint32_t losses_ = 0;                         // Of the device, in the last while.
  uint64_t steps_since_loss_ = 0;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool driving_ = false;  // Some thread runs a step or holds Exclusively.
  std::unique_ptr<Scheduler> scheduler_;
  RequestId next_request_ = 1;
  absl::flat_hash_map<RequestId, Active*> active_;
  std::vector<SessionCache*> caches_;
  std::mutex grammars_mutex_;
  std::shared_ptr<const TokenTrie> trie_;               // Null until there is a grammar.
  std::deque<std::shared_ptr<TokenGrammar>> grammars_;  // Last used first.
  MemoryWatch watch_;
  bool is_short_ = false;  // Of memory; warned of once.
};

/// Opens the backend the options name; "auto" takes the usable one with the highest priority.
absl::StatusOr<std::unique_ptr<Backend>> OpenBackend(const EngineOptions& options);
/// What Engine::Create would plan with this tuning, which may be null; nothing is loaded.
absl::StatusOr<EnginePlan> PlanOnThisMachine(const EngineOptions& options, const ModelFile& model,
                                             const Tuning* tuning);
/// Opens the best backend that computes on the CPU.
absl::StatusOr<std::unique_ptr<Backend>> OpenHost(const EngineOptions& options);

}  // namespace cormorant
