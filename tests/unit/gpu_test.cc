// MayHaveGpu: what counts as a sign of a GPU among device nodes, in folders made for it.
#include "platform/gpu.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "backends/backend.h"

namespace cormorant {
namespace {

#if defined(__linux__)
class GpuNodes : public ::testing::Test {
 protected:
  void TearDown() override { std::filesystem::remove_all(folder_); }

  bool MayHaveGpuWith(const std::string& node) {
    const std::filesystem::path path = folder_ / node;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path) << "";
    const bool may_have = MayHaveGpu(folder_.string());
    std::filesystem::remove_all(folder_);
    return may_have;
  }

  const std::filesystem::path folder_ =
      std::filesystem::temp_directory_path() / absl::StrCat("cormorant_gpu_test_", getpid());
};

TEST_F(GpuNodes, OfDriversAreSigns) {
  for (const char* node : {"dri/renderD128", "dri/renderD129", "nvidiactl", "dxg", "mali0",
                           "kgsl-3d0", "nvhost-ctrl-gpu"}) {
    EXPECT_TRUE(MayHaveGpuWith(node)) << node;
  }
}

TEST_F(GpuNodes, OfOtherThingsAreNone) {
  // A card without a render node only shows pictures.
  for (const char* node : {"null", "dri/card0", "nvme0n1", "renderD128", "kvm"}) {
    EXPECT_FALSE(MayHaveGpuWith(node)) << node;
  }
  EXPECT_FALSE(MayHaveGpu(folder_.string())) << "no such folder";
}
#endif

// `auto` must not load the drivers of a kind of device that the machine cannot have.
TEST(Backends, OfGpusSayCheaplyWhetherThereMayBeOne) {
  for (const BackendDef* def : AllBackendDefs()) {
    if (def->name != "vulkan") continue;
    ASSERT_NE(def->may_have_devices, nullptr);
    EXPECT_EQ(def->may_have_devices(), MayHaveGpu());
  }
}

}  // namespace
}  // namespace cormorant
