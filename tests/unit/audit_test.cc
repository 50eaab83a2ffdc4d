// The ring of records: positions become ranges, the oldest record makes room.
#include "runtime/cache/audit.h"

#include <gtest/gtest.h>

namespace cormorant {
namespace {

TEST(Audit, KeepsTheNewestRecordsAndCountsTheOthers) {
  Audit audit(2);
  audit.Add({.step = 1, .rebased = 0, .head = 0, .cause = DropCause::kForced, .positions = {}}, {});
  EXPECT_TRUE(audit.records().empty()) << "nothing was dropped";
  for (uint32_t step = 1; step <= 3; ++step) {
    audit.Add(
        {.step = step, .rebased = 0, .head = 7, .cause = DropCause::kNatural, .positions = {}},
        {9, 4, 5, 3, 7});
  }
  ASSERT_EQ(audit.records().size(), 2u);
  EXPECT_EQ(audit.forgotten(), 1u);
  EXPECT_EQ(audit.records().front().step, 2u);
  const std::vector<std::pair<uint32_t, uint32_t>> want = {{3, 5}, {7, 7}, {9, 9}};
  EXPECT_EQ(audit.records().back().positions, want);
}

}  // namespace
}  // namespace cormorant
