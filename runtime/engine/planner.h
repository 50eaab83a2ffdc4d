// The memory plan of an engine, made in full before anything is allocated.
//
// Weights, scratch of the largest step, step buffer, logits and page tables come first; the KV pool
// gets what the caps leave. What a device cannot hold goes to further devices, each with a share of
// the layers after its memory, as few devices as will do; and what all of them cannot hold stays on
// the CPU: the last layers, as few as will do (split.h says how a step then runs). When even that
// is not enough the plan fails with the smallest cap that works. Pure: it asks backends sizes and
// allocates nothing.
#pragma once
#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "backends/backend.h"
#include "runtime/cache/ledger.h"
#include "runtime/engine/model_file.h"
#include "runtime/ops/kv_page.h"

namespace cormorant {

struct EngineOptions {
  std::string model_path;
  std::string backend = "auto";
  uint32_t device = 0;
  uint32_t devices = 0;  // That may hold the model together; 0: all of the backend.
  uint32_t threads = 0;
  uint64_t memory_cap_bytes = 0;  // 0: none.
  uint64_t kv_cap_bytes = 0;      // 0: none.
  std::string kv_type = "f16";    // Or "auto", see row_type.h.
  std::string tuning;             // Path, "auto" or "" for none, see tuning.h.
  uint32_t context = 0;           // 0: the model's own.
  uint32_t max_sessions = 1;
  uint32_t prefill_chunk = 0;  // 0: chosen.
  bool all_logits = false;
  bool query_statistics = false;  // Kept for policies that observe queries (EvictionRules).

  bool capped() const { return memory_cap_bytes != 0 || kv_cap_bytes != 0; }
};

/// Bytes by purpose.
struct MemoryPlan {
  uint64_t weights = 0;
  uint64_t activations = 0;
  uint64_t staging = 0;
  uint64_t kv_metadata = 0;
  uint64_t kv_pages = 0;  // Upper bound.
  uint64_t program = 0;   // What the device rounds up, beside pages.

  uint64_t fixed() const { return weights + activations + staging + program; }
  uint64_t kv() const { return kv_metadata + kv_pages; }
  uint64_t total() const { return fixed() + kv(); }
};

/// One device's share of the model.
struct StagePlan {
  std::string backend, device, details;  // What computes it.
  MemoryPlace place = MemoryPlace::kDevice;
  uint32_t first_layer = 0;
  KvGeometry geometry;      // Of its layers.
  uint32_t page_limit = 0;  // Pages its pool may hold.
  uint32_t pages_per_slab = 0;
  MemoryPlan memory;
};

struct EnginePlan {
  KvGeometry geometry;  // Of all layers.
  std::string kv_type;  // Of rows, as in the options.
  uint32_t context = 0;
  uint32_t prefill_chunk = 0;
  uint32_t page_bytes = 0;
  uint32_t rows_per_head = 0;         // Mean rows a head can hold with one session.
  bool capped = false;                // By the options, or by the device's own memory.
  bool short_of_memory = false;       // A device's own memory ends before the options' caps.
  std::vector<uint32_t> row_buckets;  // Ascending; the last is the larger of chunk and sessions.
  std::vector<StagePlan> stages;      // The devices, then the CPU where it takes part.

  const StagePlan& device() const { return stages.front(); }
  MemoryPlan device_memory() const;  // Of all devices together.
  std::vector<uint32_t> stage_layers() const;
  uint32_t out_rows(uint32_t rows, bool all_logits, uint32_t sessions) const {
    return all_logits ? rows : std::min(rows, sessions);
  }
};

/// What a session may count on.
struct SessionPlan {
  bool capped = false;         // By the engine's caps or by a budget of its own.
  uint32_t rows_per_head = 0;  // Mean rows a head can hold beside all other sessions.
  uint32_t prefill_chunk = 0;  // Most tokens it reads in a step.
};

/// Tapes of KV maintenance; their out region holds the age histograms.
Tape AgesTape(const KvGeometry& geometry, const RopeSpec& rope);
Tape CompactTape();
Tape RebaseTape(const RopeSpec& rope);

/// Parses "f16", "q8_0" or "K:V".
absl::Status ParseKvType(const std::string& text, DType* k, DType* v);

/// INVALID_ARGUMENT for options that can never work, RESOURCE_EXHAUSTED when the caps cannot hold
/// the model. `devices` are those that may be used, best first, at least one. `host` computes the
/// layers that they cannot hold; null where there is no such help, as when the device is the CPU.
absl::StatusOr<EnginePlan> PlanEngine(const EngineOptions& options, const ModelFile& model,
                                      std::span<const Backend* const> devices, const Backend* host);

/// The plan of a session that may hold `budget_bytes` of KV pages and metadata; 0: no budget of its
/// own. RESOURCE_EXHAUSTED with the smallest budget that works.
absl::StatusOr<SessionPlan> PlanSession(const EngineOptions& options, const EnginePlan& plan,
                                        uint64_t budget_bytes);

}  // namespace cormorant
