// The byte cap. Every byte the engine holds on a device is reserved here first.
//
// Reserve() fails instead of overshooting, so `used <= cap` holds at every moment and not on
// average. The cap is on the memory of the device that the engine was opened on; what layers take
// that were left to the CPU is counted beside it. A second, narrower cap covers the KV store alone,
// pages and their metadata, wherever they lie. Nothing here decides what to drop; see policy.h and
// cut.h.
//
// Thread-safe.
#pragma once
#include <array>
#include <cstdint>
#include <mutex>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace cormorant {

enum class MemoryCategory : uint8_t {
  kWeights,
  kKvPages,
  kKvMetadata,   // Page tables.
  kActivations,  // Temporaries of a step and scratch of its kernels.
  kStaging,      // What is copied between host and device: step buffer, logits.
  kProgram,      // Compiled plans, and what the device rounds up.
};
constexpr size_t kMemoryCategories = 6;

absl::string_view CategoryName(MemoryCategory category);

enum class MemoryPlace : uint8_t {
  kDevice,  // Under the cap.
  kHost,    // Of layers that a capped device could not hold.
};

class MemoryLedger {
 public:
  /// Caps in bytes; 0 means none.
  MemoryLedger(uint64_t cap_bytes, uint64_t kv_cap_bytes)
      : cap_bytes_(cap_bytes), kv_cap_bytes_(kv_cap_bytes) {}

  /// Takes `bytes`, or RESOURCE_EXHAUSTED with what is used and what was asked for.
  absl::Status Reserve(MemoryPlace place, MemoryCategory category, uint64_t bytes);
  void Release(MemoryPlace place, MemoryCategory category, uint64_t bytes);

  struct Snapshot {
    uint64_t cap = 0, kv_cap = 0;
    uint64_t used = 0, peak = 0;                               // On the device.
    uint64_t host_used = 0, host_peak = 0;                     // Beside it.
    uint64_t kv_used = 0, kv_peak = 0;                         // On both.
    std::array<uint64_t, kMemoryCategories> by_category = {};  // On the device.
  };
  Snapshot Read() const;

 private:
  const uint64_t cap_bytes_;
  const uint64_t kv_cap_bytes_;
  mutable std::mutex mutex_;
  Snapshot now_;
};

/// Bytes reserved for as long as the object lives.
class Reservation {
 public:
  Reservation() = default;
  static absl::StatusOr<Reservation> Take(MemoryLedger* ledger, MemoryPlace place,
                                          MemoryCategory category, uint64_t bytes);
  Reservation(Reservation&& other) noexcept { *this = std::move(other); }
  Reservation& operator=(Reservation&& other) noexcept;
  ~Reservation() { Give(); }

 private:
  void Give();
  MemoryLedger* ledger_ = nullptr;
  MemoryPlace place_ = MemoryPlace::kDevice;
  MemoryCategory category_ = MemoryCategory::kWeights;
  uint64_t bytes_ = 0;
};

}  // namespace cormorant
