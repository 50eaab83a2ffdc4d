// Who is in a canary: the places of keys are a specification, so they are written down here.
//
// The places were computed by a program of another language from the formula in rollout.h.
#include "runtime/engine/rollout.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace cormorant {
namespace {

TEST(Rollout, PlacesOfKeysNeverChange) {
  EXPECT_EQ(CanaryPlace("a"), 0x1.054552b1537d9p-1);
  EXPECT_EQ(CanaryPlace("alice@example.com"), 0x1.4f92cef1e4140p-2);
  EXPECT_EQ(CanaryPlace("Zoë"), 0x1.fc50dc3a0d468p-3);  // UTF-8: bytes above 127.
}

TEST(Rollout, TheShareIsRightAndWhoIsInStaysIn) {
  constexpr uint32_t kKeys = 10000;
  for (const char* prefix : {"user-", "7f3a", ""}) {  // Keys that differ in their last bytes.
    uint32_t on_before = 0;
    for (const double share : {0.0, 0.01, 0.1, 0.5, 0.9, 1.0}) {
      uint32_t on = 0;
      for (uint32_t i = 0; i < kKeys; ++i) {
        const std::string key = absl::StrCat(prefix, i);
        const absl::StatusOr<Mode> mode = CanaryMode(key, share);
        ASSERT_TRUE(mode.ok());
        EXPECT_EQ(*mode, *CanaryMode(key, share));
        if (*mode == Mode::kOff) continue;
        EXPECT_EQ(*mode, Mode::kOn);
        EXPECT_EQ(*CanaryMode(key, std::min(1.0, share * 1.5)), Mode::kOn) << key;
        ++on;
      }
      // Four standard deviations of a fair draw.
      EXPECT_NEAR(on, share * kKeys, 4 * std::sqrt(share * (1 - share) * kKeys) + 0.5) << share;
      EXPECT_GE(on, on_before);
      on_before = on;
    }
    // Neighbours are drawn apart: of ten in a row, hardly ever all.
    uint32_t alike = 0;
    for (uint32_t i = 0; i < kKeys; i += 10) {
      uint32_t on = 0;
      for (uint32_t j = i; j < i + 10; ++j) {
        on += *CanaryMode(absl::StrCat(prefix, j), 0.5) == Mode::kOn ? 1 : 0;
      }
      alike += on == 0 || on == 10 ? 1 : 0;
    }
    EXPECT_LT(alike, 12u);  // 2 of 1,024 are expected, of 1,000 tens.
  }
}

TEST(Rollout, WrongWordsAreNamed) {
  for (const char* name : {"off", "observe", "canary", "on"}) {
    EXPECT_EQ(ModeName(*ParseMode(name)), name);
  }
  EXPECT_TRUE(absl::IsInvalidArgument(ParseMode("").status()));
  EXPECT_NE(ParseMode("of").status().message().find("'of'"), std::string::npos);
  EXPECT_TRUE(absl::IsInvalidArgument(CanaryMode("", 0.5).status()));
  for (const double share : {-0.1, 1.1, std::nan("")}) {
    EXPECT_TRUE(absl::IsInvalidArgument(CanaryMode("a", share).status())) << share;
  }
}

}  // namespace
}  // namespace cormorant
