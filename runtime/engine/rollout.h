// Modes for a careful rollout of eviction: what a session does of what its options ask for.
//
// `off` drops nothing; `observe` decides everything, drops nothing and reports what it would have
// cost (shadow.h); `canary` is `on` for a share of keys and `off` for the others; `on` drops.
// Pure.
#pragma once
#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace cormorant {

enum class Mode : uint8_t { kOff, kObserve, kCanary, kOn };
/// "off", "observe", "canary" or "on"; INVALID_ARGUMENT for another name.
absl::StatusOr<Mode> ParseMode(absl::string_view name);
absl::string_view ModeName(Mode mode);

/// Where a key stands, in [0, 1): the upper 53 bits of fmix64(FNV-1a-64(key)), over 2^53.
///
/// FNV-1a is taken over the key's bytes, with the 64-bit offset basis 0xcbf29ce484222325 and prime
/// 0x100000001b3; fmix64 is the finaliser of MurmurHash3, without which keys that differ in their
/// last byte would stand side by side. The same on every machine, in every process and version: who
/// is in a canary stays in it, also when its share grows.
double CanaryPlace(absl::string_view key);

/// kOn when the key stands below `share`, else kOff. INVALID_ARGUMENT for an empty key or a share
/// outside [0, 1].
absl::StatusOr<Mode> CanaryMode(absl::string_view key, double share);

}  // namespace cormorant
