#include "runtime/cache/controller.h"

#include <gtest/gtest.h>

namespace cormorant {
namespace {

TEST(Controller, GoesDownAtOnce) {
  Controller controller(1000);
  EXPECT_FALSE(controller.Observe(10, 720)) << "within the band";
  EXPECT_TRUE(controller.Observe(11, 700));
  EXPECT_EQ(controller.rows(), 700u);
  EXPECT_FALSE(controller.Observe(12, 700));
  EXPECT_TRUE(controller.Observe(13, 100));
}

TEST(Controller, GoesUpAfterATime) {
  Controller controller(1000);
  EXPECT_FALSE(controller.Observe(5000, 1500));
  EXPECT_FALSE(controller.Observe(5000 + Controller::kDwell - 1, 1500));
  EXPECT_TRUE(controller.Observe(5000 + Controller::kDwell, 1600));
  EXPECT_EQ(controller.rows(), 1600u);
}

TEST(Controller, WaitsAnewWhenTheRoomWasTakenMeanwhile) {
  Controller controller(1000);
  EXPECT_FALSE(controller.Observe(0, 2000));
  EXPECT_FALSE(controller.Observe(200, 1000));
  EXPECT_FALSE(controller.Observe(300, 2000));
  EXPECT_FALSE(controller.Observe(500, 2000));
  EXPECT_TRUE(controller.Observe(556, 2000));
}

TEST(Controller, WaitsAnewWhenTheClockBeginsAnew) {
  Controller controller(1000);
  EXPECT_FALSE(controller.Observe(900, 2000));
  controller.Restart();
  EXPECT_FALSE(controller.Observe(40, 2000));
  EXPECT_TRUE(controller.Observe(300, 2000));
}

}  // namespace
}  // namespace cormorant
