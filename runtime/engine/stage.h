// One device's share of the model: its weights, its part of the cache, its plans.
//
// An engine has one stage, or more when a device cannot hold all layers: other devices and the CPU
// take the rest.
// A step is replayed part by part (runtime/ops/split.h); what one stage computes for another is
// copied between their arenas. Everything is charged to the ledger before it is allocated and given
// back when the stage goes, so a lost device can be dropped and made anew.
//
// Not thread-safe: touched only by the thread that runs the engine's step.
#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "backends/backend.h"
#include "runtime/cache/ledger.h"
#include "runtime/engine/kv_store.h"
#include "runtime/engine/model_file.h"
#include "runtime/engine/planner.h"
#include "runtime/ops/split.h"
#include "runtime/ops/step.h"

namespace cormorant {

/// UNIMPLEMENTED, with what to do about it, where the backend cannot compute an op of the tape.
absl::Status CheckSupport(const Backend& backend, const Tape& tape);

class Stage {
 public:
  /// The parts of one row bucket, those of all stages.
  struct Bucket {
    uint32_t rows = 0, out_rows = 0;
    std::vector<TapePart> parts;
  };
  struct Inputs {
    const EngineOptions& options;
    const ModelFile& model;
    const EnginePlan& plan;
    std::span<const Bucket> buckets;  // Ascending.
  };

  /// Loads the weights of stage `index` of the plan and compiles its parts. UNIMPLEMENTED when the
  /// backend lacks an op.
  static absl::StatusOr<std::unique_ptr<Stage>> Create(std::unique_ptr<Backend> backend,
                                                       uint32_t index, const Inputs& inputs,
                                                       MemoryLedger* ledger,
                                                       LoadObserver* observer);

  Backend& backend() { return *backend_; }
  KvStore& store() { return *store_; }
  const Buffer& out() const { return *out_; }
  StepBuffer& step() { return *step_; }

  /// Copies `rows` live rows of what another stage computed.
  absl::Status Take(const Handover& handover, Stage& from, uint32_t rows);
  /// Runs part `part` of bucket `bucket`, to its end. The part is one of this stage.
  absl::Status Run(size_t bucket, size_t part);
  /// Overwrites with zeros what the last steps left, free pages and statistics included.
  absl::Status Erase();

 private:
  Stage(std::unique_ptr<Backend> backend, uint32_t index)
      : index_(index), backend_(std::move(backend)) {}
  absl::Status Load(const Inputs& inputs, MemoryLedger* ledger, LoadObserver* observer);
  absl::Status Compile(const Inputs& inputs);

  const uint32_t index_;
  // In this order: what stands below is destroyed before what it came from.
  std::vector<Reservation> reserved_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Weights> weights_;
  std::unique_ptr<Buffer> arena_, out_;
  std::unique_ptr<KvStore> store_;
  std::unique_ptr<StepBuffer> step_;
  std::vector<std::vector<std::unique_ptr<Plan>>> plans_;  // [bucket][part]; null: not ours.
  std::vector<std::byte> handover_;                        // On its way between two devices.
};

}  // namespace cormorant
