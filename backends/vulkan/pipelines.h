// Compute pipelines by shader and constants, made once a device and kept on disk between runs.
//
// The disk cache is a file of the driver's own bytes (VkPipelineCache) with a header and a checksum
// of ours: a damaged file is ignored, never handed to the driver. It lies in CORMORANT_CACHE_DIR,
// else XDG_CACHE_HOME/cormorant, else ~/.cache/cormorant; where none can be written there is none.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "backends/vulkan/device.h"

namespace cormorant::vulkan {

/// SPIR-V of one file of shaders/vulkan; generated as kShader_<file>.
struct Shader {
  const char* name;
  const uint32_t* words;
  size_t word_count;
};

/// Values of constant_id 0, 1, 2 ...
using Constants = std::vector<uint32_t>;

constexpr uint32_t kPushBytes = 128;  // What every device has for push constants.

class Pipelines {
 public:
  static absl::StatusOr<std::unique_ptr<Pipelines>> Create(LogicalDevice* device);
  ~Pipelines();

  VkPipelineLayout layout() const { return layout_; }
  absl::StatusOr<VkPipeline> Get(const Shader& shader, const Constants& constants);

 private:
  explicit Pipelines(LogicalDevice* device) : device_(device) {}
  void Save() const;

  LogicalDevice* const device_;
  VkPipelineLayout layout_ = VK_NULL_HANDLE;
  VkPipelineCache cache_ = VK_NULL_HANDLE;
  std::string path_;  // Empty: nowhere to keep it.
  size_t loaded_bytes_ = 0;
  std::map<std::pair<const Shader*, Constants>, VkPipeline> pipelines_;
};

}  // namespace cormorant::vulkan
