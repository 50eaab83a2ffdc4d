// Messages of the validation layers that come after the last step, on the machine's own driver.
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "backends/vulkan/device.h"
#include "platform/log.h"

namespace cormorant::vulkan {
namespace {

TEST(VulkanValidation, WhatClosingADeviceShowsIsLoggedAsAnError) {
  setenv("CORMORANT_VULKAN_VALIDATE", "1", 1);  // Before the instance is made.
  const absl::StatusOr<std::vector<DeviceFacts>> devices = ReadDevices();
  if (!devices.ok()) GTEST_SKIP() << devices.status();
  if (!devices->front().usable) GTEST_SKIP() << devices->front().reason;
  std::string errors;
  SetLogSink([](void* to, int, const char* text) { *static_cast<std::string*>(to) += text; },
             &errors, LogLevel::kError);
  LogicalDevice::Open(devices->front()).status().IgnoreError();
  EXPECT_EQ(errors, "");
  {
    const auto device = LogicalDevice::Open(devices->front());
    ASSERT_TRUE(device.ok()) << device.status();
    const VkFenceCreateInfo info = {VK_STRUCTURE_TYPE_FENCE_CREATE_INFO};
    VkFence forgotten;
    ASSERT_EQ(vkCreateFence((*device)->handle(), &info, nullptr, &forgotten), VK_SUCCESS);
  }
  SetLogSink(nullptr, nullptr, LogLevel::kError);
  EXPECT_NE(errors.find("VkFence"), std::string::npos) << errors;
}

}  // namespace
}  // namespace cormorant::vulkan
