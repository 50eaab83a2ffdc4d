// The byte cap. Every byte the engine holds on a device is reserved here first.
//
// Reserve() fails instead of overshooting, so `used <= cap` holds at every moment and not on
// average. A second, narrower cap covers the KV store alone: pages and their metadata. Nothing here
// decides what to drop; see policy.h and cut.h.
//
// Thread-safe.
#pragma once
#include <array>
#include <cstdint>
#include <mutex>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace cormorant {

enum class MemoryCategory : uint8_t {
  kWeights,
  kKvPages,
  kKvMetadata,   // Page tables.
  kActivations,  // Temporaries of a step and scratch of its kernels.
  kStaging,      // What is copied between host and device: step buffer, logits.
  kProgram,      // Compiled plans.
};
constexpr size_t kMemoryCategories = 6;

absl::string_view CategoryName(MemoryCategory category);

class MemoryLedger {
 public:
  /// Caps in bytes; 0 means none.
  MemoryLedger(uint64_t cap_bytes, uint64_t kv_cap_bytes)
      : cap_bytes_(cap_bytes), kv_cap_bytes_(kv_cap_bytes) {}

  /// Takes `bytes`, or RESOURCE_EXHAUSTED with what is used and what was asked for.
  absl::Status Reserve(MemoryCategory category, uint64_t bytes);
  void Release(MemoryCategory category, uint64_t bytes);

  struct Snapshot {
    uint64_t cap = 0, kv_cap = 0;
    uint64_t used = 0, peak = 0;
    uint64_t kv_used = 0, kv_peak = 0;
    std::array<uint64_t, kMemoryCategories> by_category = {};
  };
  Snapshot Read() const;

 private:
  const uint64_t cap_bytes_;
  const uint64_t kv_cap_bytes_;
  mutable std::mutex mutex_;
  Snapshot now_;
};

}  // namespace cormorant
