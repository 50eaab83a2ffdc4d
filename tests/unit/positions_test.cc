// MoveWindow against a search of all windows, and the names of rules.
//
// Method: heads with positions at random; the window that is asked for is found by trying each
// start in turn, as positions.h words it.
#include "runtime/cache/positions.h"

#include <algorithm>
#include <random>

#include "absl/strings/match.h"
#include "gtest/gtest.h"

namespace cormorant {
namespace {

using Heads = std::vector<std::vector<uint32_t>>;

Heads RandomHeads(std::mt19937& random, uint32_t next_position) {
  Heads heads(1 + random() % 5);
  for (std::vector<uint32_t>& rows : heads) {
    const uint32_t one_in = 1 + static_cast<uint32_t>(random() % 6);
    for (uint32_t p = 0; p < next_position; ++p) {
      if (random() % one_in == 0) rows.push_back(p);
    }
  }
  return heads;
}

uint32_t MostBefore(const Heads& heads, uint32_t from) {
  uint32_t most = 0;
  for (const std::vector<uint32_t>& rows : heads) {
    const auto before = std::count_if(rows.begin(), rows.end(), [&](auto p) { return p < from; });
    most = std::max(most, static_cast<uint32_t>(before));
  }
  return most;
}

TEST(Positions, TheWindowIsTheWidestThatLeavesTheRest) {
  std::mt19937 random(3);
  for (int i = 0; i < 300; ++i) {
    const uint32_t next = 1 + static_cast<uint32_t>(random() % 200);
    const uint32_t most = static_cast<uint32_t>(random() % (next + 1));
    const uint32_t free = i % 2 == 0 ? 0 : static_cast<uint32_t>(random() % 50);
    const Heads heads = RandomHeads(random, next);
    const PositionMove move =
        MoveWindow(heads, {.next_position = next, .most = most, .free = free});
    uint32_t from = 0;
    while (from < next && free + MostBefore(heads, from) + next - from > most) ++from;
    EXPECT_EQ(move.window_from, from);
    EXPECT_EQ(move.window_at, free + MostBefore(heads, from));
    EXPECT_EQ(move.next_position, move.window_at + next - from);
  }
}

TEST(Positions, WithoutAWindowRowsAreNeighbours) {
  const Heads heads = {{0, 5, 9}, {2, 3, 4, 8, 11}, {}};
  const PositionMove move = MoveWindow(heads, {.next_position = 12});
  EXPECT_EQ(move.window_from, 12u);
  EXPECT_EQ(move.window_at, 5u);
  EXPECT_EQ(move.next_position, 5u);
}

TEST(Positions, WhatFitsStaysWhereItIs) {
  const Heads heads = {{0, 5, 9}};
  const PositionMove move = MoveWindow(heads, {.next_position = 12, .most = 12});
  EXPECT_EQ(move.window_from, move.window_at);
  EXPECT_EQ(move.next_position, 12u);
}

TEST(Positions, RulesHaveNames) {
  EXPECT_EQ(ParsePositionRule("rebased").value(), PositionRule::kRebased);
  EXPECT_EQ(ParsePositionRule("windowed").value(), PositionRule::kWindowed);
  EXPECT_EQ(ParsePositionRule("original").value(), PositionRule::kOriginal);
  const absl::Status unknown = ParsePositionRule("shifted").status();
  EXPECT_TRUE(absl::IsInvalidArgument(unknown));
  EXPECT_TRUE(absl::StrContains(unknown.message(), "'shifted'")) << unknown;
}

}  // namespace
}  // namespace cormorant
