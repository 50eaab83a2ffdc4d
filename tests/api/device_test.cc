// What an application sees of a device that is too small for its model, or is lost.
#include <vector>

#include "tests/api/session_fixture.h"

namespace api_test {
namespace {

class Device : public ApiModel {
 protected:
  void SetUp() override {
    ApiModel::SetUp();
    if (IsSkipped()) return;
    options.backend = TestBackend();
    options.on_event = [](void* user, const corm_event* event) {
      EXPECT_EQ(event->struct_size, sizeof(corm_event));
      EXPECT_NE(*event->message, '\0');
      static_cast<std::vector<int32_t>*>(user)->push_back(event->kind);
    };
    options.on_event_user = &events;
  }
  void TearDown() override { unsetenv("CORMORANT_VULKAN_LOSE_AT"); }

  corm_engine_info Info() {
    corm_engine_info info;
    corm_engine_info_init(&info);
    EXPECT_CORM_OK(corm_engine_get_info(engine.get(), &info));
    return info;
  }

  std::vector<int32_t> events;
};

TEST_F(Device, LayersThatDoNotFitStayOnTheCpu) {
  options.memory_cap_bytes = 60u << 20;
  if (!TryOpen()) GTEST_SKIP() << corm_last_error();
  const corm_engine_info info = Info();
  EXPECT_STREQ(info.backend, TestBackend());
  EXPECT_GT(info.host_layers, 0u);
  EXPECT_LT(info.host_layers, info.layers);
  EXPECT_FALSE(Ask("Say hello.", 4).empty());
  const corm_memory_stats memory = Memory();
  EXPECT_LE(memory.peak, memory.cap);
  EXPECT_GT(memory.host, 0u);
  EXPECT_EQ(memory.host_peak, memory.host);
}

TEST_F(Device, ALostDeviceIsAnEventAndNotAnError) {
  options.backend = "cpu";
  ASSERT_NO_FATAL_FAILURE(Open());
  const std::string want = Ask("What is the capital of France?", 8);
  options.backend = "vulkan";
  setenv("CORMORANT_VULKAN_LOSE_AT", "5", 1);
  if (!TryOpen()) GTEST_SKIP() << corm_last_error();
  EXPECT_EQ(Ask("What is the capital of France?", 8), want);
  EXPECT_EQ(events, (std::vector<int32_t>{CORM_EVENT_DEVICE_LOST, CORM_EVENT_DEVICE_RESTORED}));
  EXPECT_STREQ(Info().backend, "vulkan");
}

}  // namespace
}  // namespace api_test
