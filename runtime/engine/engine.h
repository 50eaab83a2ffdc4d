// The engine: one model on one device under one cap, and the only path by which tokens run.
//
// It owns the device, the weights, the plans, the ledger and the KV store. Sessions hand it
// requests; the scheduler says whose tokens run next; the engine makes room, fills the step buffer,
// replays the plan and hands logits back. There is no thread of its own: of the callers waiting for
// a request, one drives the next step for all of them.
//
// Run() is safe from any thread. What a request points to stays valid until Run() returns.
#pragma once
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "backends/backend.h"
#include "runtime/cache/ledger.h"
#include "runtime/engine/kv_store.h"
#include "runtime/engine/model_file.h"
#include "runtime/engine/planner.h"
#include "runtime/engine/sampler.h"
#include "runtime/engine/session_cache.h"
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
  std::span<const uint32_t> ids;
  bool pin = false;
  WantLogits want = WantLogits::kLast;

  // Written by the engine, valid in after_step and once Run has returned:
  size_t done = 0;            // Tokens that are in the cache.
  std::vector<float> logits;  // Of the last step's wanted rows, [logits_rows, V].
  uint32_t logits_rows = 0;
  std::vector<TokenLogit> top;  // kTop: the min(V, kTopLogits) greatest, greatest first.
};

class Engine {
 public:
  using Progress = absl::FunctionRef<bool(uint64_t done, uint64_t total)>;

  /// Opens the device, plans, loads. Errors as corm_engine_create describes.
  static absl::StatusOr<std::shared_ptr<Engine>> Create(const EngineOptions& options,
                                                        Progress on_load);
  /// The same on a backend that is open already, whatever options.backend says.
  static absl::StatusOr<std::shared_ptr<Engine>> CreateOn(std::unique_ptr<Backend> backend,
                                                          const EngineOptions& options,
                                                          Progress on_load);
  ~Engine();

  const EngineOptions& options() const { return options_; }
  const EnginePlan& plan() const { return plan_; }
  const ModelFile& model() const { return *model_; }
  const Backend& backend() const { return *backend_; }
  const std::shared_ptr<const Tokenizer>& tokenizer() const { return tokenizer_; }
  MemoryLedger::Snapshot memory() const { return ledger_.Read(); }

  absl::StatusOr<std::unique_ptr<SessionCache>> CreateCache(const SessionCache::Settings& settings);
  /// Runs fn while no step runs: for what touches caches outside Run().
  void Exclusively(absl::FunctionRef<void()> fn);
  void DestroyCache(std::unique_ptr<SessionCache> cache);

  /// Reads the request's tokens, in as many steps as it takes. After each of its steps calls
  /// after_step on this thread; false ends the request with CANCELLED. Tokens of finished steps
  /// stay in the cache whatever happens.
  absl::Status Run(Request& request, absl::FunctionRef<bool()> after_step);

 private:
  struct Compiled {
    uint32_t rows;
    TopKOp top;  // Where in out logits, values and indices are.
    std::unique_ptr<Plan> plan;
  };
  /// A request while it is inside Run().
  struct Active {
    Request* request = nullptr;
    bool stepped = false;   // A step of it has ended since its owner last looked.
    uint32_t out_row = 0;   // Where its wanted rows begin among those of the step, ...
    uint32_t out_rows = 0;  // ... and how many there are.
    absl::Status status;
  };

  /// A request's part in the step that runs. Its owner waits, so it stays valid without the lock.
  struct Turn {
    Active* active = nullptr;
    uint32_t rows = 0;
  };

  Engine(std::unique_ptr<Backend> backend, const EngineOptions& options);
  absl::Status Load(Progress on_load);
  absl::Status LoadWeights(Progress on_load);
  absl::Status CompilePlans();

  void Drive(std::unique_lock<std::mutex>& lock);
  void RunStep(std::span<const Turn> turns);
  absl::Status MakeRoom(SessionCache& cache, uint32_t rows, std::span<const Turn> turns);
  absl::Status Replay(std::span<Active* const> actives, std::span<const uint32_t> rows);
  uint32_t FillStep(std::span<Active* const> actives, std::span<const uint32_t> rows);
  absl::Status ReadLogits(const Active& active, const TopKOp& from);
  absl::Status ReadTop(const Active& active, const TopKOp& from);

  const EngineOptions options_;
  MemoryLedger ledger_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<ModelFile> model_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  EnginePlan plan_;
  std::unique_ptr<Weights> weights_;
  std::unique_ptr<Buffer> arena_, out_;
  std::unique_ptr<KvStore> store_;
  std::vector<Compiled> plans_;
  std::unique_ptr<StepBuffer> step_;

  std::mutex mutex_;
  std::condition_variable changed_;
  bool driving_ = false;  // Some thread runs a step or holds Exclusively.
  std::unique_ptr<Scheduler> scheduler_;
  RequestId next_request_ = 1;
  absl::flat_hash_map<RequestId, Active*> active_;
  std::vector<SessionCache*> caches_;
};

/// Opens the backend the options name; "auto" takes the usable one with the highest priority.
absl::StatusOr<std::unique_ptr<Backend>> OpenBackend(const EngineOptions& options);

}  // namespace cormorant
