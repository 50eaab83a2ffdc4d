// See positions.h.
#include "runtime/cache/positions.h"

#include <algorithm>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace cormorant {

absl::StatusOr<PositionRule> ParsePositionRule(absl::string_view name) {
  if (name == "rebased") return PositionRule::kRebased;
  if (name == "windowed") return PositionRule::kWindowed;
  if (name == "original") return PositionRule::kOriginal;
  return absl::InvalidArgumentError(
      absl::StrCat("positions '", name, "' are not known; expected rebased, windowed or original"));
}

PositionMove MoveWindow(std::span<const std::vector<uint32_t>> heads,
                        const PositionLimits& limits) {
  const auto move = [&](uint32_t from) {
    uint32_t before = 0;  // Rows of the head that has the most before the window.
    for (const std::vector<uint32_t>& rows : heads) {
      const auto first = std::lower_bound(rows.begin(), rows.end(), from);
      before = std::max(before, static_cast<uint32_t>(first - rows.begin()));
    }
    const uint32_t at = limits.free + before;
    return PositionMove{from, at, at + (limits.next_position - from)};
  };
  // The later the window begins, the fewer positions are taken.
  uint32_t from = 0, none = limits.next_position;
  while (from < none) {
    const uint32_t middle = from + (none - from) / 2;
    if (move(middle).next_position > limits.most) {
      from = middle + 1;
    } else {
      none = middle;
    }
  }
  return move(from);
}

}  // namespace cormorant
