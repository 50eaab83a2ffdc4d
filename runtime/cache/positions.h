// What becomes of positions when a session's tokens pass the model's context.
//
//   rebased    Rows close up: whatever stood between them in the text, they are neighbours.
//   windowed   Rows of a window before the next token keep their distances to it and to each other;
//              those before the window close up. The window is as wide as leaves a quarter of the
//              context for what comes. In both, places in front of all rows can be kept free.
//   original   Positions go on beyond the context, which models rarely stand; to compare with.
//
// Pure.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace cormorant {

enum class PositionRule : uint8_t { kRebased, kWindowed, kOriginal };
/// "rebased", "windowed" or "original"; INVALID_ARGUMENT for another name.
absl::StatusOr<PositionRule> ParsePositionRule(absl::string_view name);

/// Positions below which rotations are as exact as RopeOp says, and so where original ones end.
constexpr uint32_t kPositionsMost = 1u << 20;

/// Where rows of all heads go, as KvRebaseOp says.
struct PositionMove {
  uint32_t window_from = 0, window_at = 0;
  uint32_t next_position = 0;  // Afterwards.
};

/// What a move starts from and should come to.
struct PositionLimits {
  uint32_t next_position = 0;  // Before.
  uint32_t most = 0;           // Positions that may be taken afterwards, ...
  uint32_t free = 0;           // ... and of these, the first, that are left to others.
};

/// How the rows of `heads`, each head's positions ascending and below next_position, are moved so
/// that no more positions are taken than may be: with the widest window that allows it, or with
/// none, where a head has more rows than that. The window begins where the head with the most rows
/// before it ends, so it begins at the same position in all.
PositionMove MoveWindow(std::span<const std::vector<uint32_t>> heads, const PositionLimits& limits);

}  // namespace cormorant
