// Names of modes, and who is in a canary. See rollout.h.
#include "runtime/engine/rollout.h"

#include <array>

#include "absl/strings/str_cat.h"
#include "runtime/base/hash.h"

namespace cormorant {
namespace {

constexpr std::array<absl::string_view, 4> kNames = {"off", "observe", "canary", "on"};

uint64_t Fmix64(uint64_t bits) {
  bits = (bits ^ bits >> 33) * 0xff51afd7ed558ccdu;
  bits = (bits ^ bits >> 33) * 0xc4ceb9fe1a85ec53u;
  return bits ^ bits >> 33;
}

}  // namespace

absl::StatusOr<Mode> ParseMode(absl::string_view name) {
  for (size_t i = 0; i < kNames.size(); ++i) {
    if (name == kNames[i]) return static_cast<Mode>(i);
  }
  return absl::InvalidArgumentError(
      absl::StrCat("mode '", name, "' is not known; expected off, observe, canary or on"));
}

absl::string_view ModeName(Mode mode) {
  return kNames[static_cast<size_t>(mode)];
}

double CanaryPlace(absl::string_view key) {
  return static_cast<double>(Fmix64(Fnv1a(key)) >> 11) * 0x1p-53;
}

absl::StatusOr<Mode> CanaryMode(absl::string_view key, double share) {
  if (key.empty()) {
    return absl::InvalidArgumentError(
        "mode canary needs a key: a text that names the user or the conversation");
  }
  if (!(share >= 0.0 && share <= 1.0)) {
    return absl::InvalidArgumentError(
        absl::StrCat("the canary's share is ", share, "; expected 0 to 1"));
  }
  return CanaryPlace(key) < share ? Mode::kOn : Mode::kOff;
}

}  // namespace cormorant
