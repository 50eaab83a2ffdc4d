// Making and keeping pipelines. See pipelines.h.
#include "backends/vulkan/pipelines.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "platform/log.h"
#include "runtime/base/status.h"

namespace cormorant::vulkan {
namespace {

constexpr uint64_t kMagic = 0x31637076'6d726f63;  // "cormvpc1"

struct Header {
  uint64_t magic = kMagic;
  uint64_t bytes = 0;
  uint64_t checksum = 0;
};

/// FNV-1a, 64 bits.
uint64_t Checksum(absl::string_view bytes) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char byte : bytes) hash = (hash ^ static_cast<uint8_t>(byte)) * 0x100000001b3;
  return hash;
}

std::string CachePath(const DeviceFacts& facts) {
  std::string folder;
  if (const char* own = std::getenv("CORMORANT_CACHE_DIR"); own != nullptr) {
    folder = own;
  } else if (const char* xdg = std::getenv("XDG_CACHE_HOME"); xdg != nullptr && *xdg != '\0') {
    folder = absl::StrCat(xdg, "/cormorant");
  } else if (const char* home = std::getenv("HOME"); home != nullptr && *home != '\0') {
    folder = absl::StrCat(home, "/.cache/cormorant");
  }
  if (folder.empty()) return "";
  const absl::string_view uuid(reinterpret_cast<const char*>(facts.cache_uuid.data()),
                               facts.cache_uuid.size());
  return absl::StrCat(folder, "/vulkan-", absl::BytesToHexString(uuid), ".bin");
}

/// The driver's bytes, or nothing.
std::string LoadCache(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string all((std::istreambuf_iterator<char>(file)), {});
  Header header;
  if (all.size() < sizeof(header)) return "";
  std::memcpy(&header, all.data(), sizeof(header));
  const absl::string_view bytes = absl::string_view(all).substr(sizeof(header));
  const bool is_whole =
      header.magic == kMagic && header.bytes == bytes.size() && header.checksum == Checksum(bytes);
  if (!is_whole) {
    Log(LogLevel::kWarning, absl::StrCat("ignoring the damaged pipeline cache ", path));
    return "";
  }
  return std::string(bytes);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Pipelines>> Pipelines::Create(LogicalDevice* device) {
  std::unique_ptr<Pipelines> pipelines(new Pipelines(device));
  const VkPushConstantRange range = {VK_SHADER_STAGE_COMPUTE_BIT, 0, kPushBytes};
  VkPipelineLayoutCreateInfo layout = {VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO};
  layout.pushConstantRangeCount = 1;
  layout.pPushConstantRanges = &range;
  CORM_VK(vkCreatePipelineLayout(device->handle(), &layout, nullptr, &pipelines->layout_));
  pipelines->path_ = CachePath(device->facts());
  const std::string bytes = LoadCache(pipelines->path_);
  pipelines->loaded_bytes_ = bytes.size();
  VkPipelineCacheCreateInfo cache = {VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO};
  cache.initialDataSize = bytes.size();
  cache.pInitialData = bytes.data();
  CORM_VK(vkCreatePipelineCache(device->handle(), &cache, nullptr, &pipelines->cache_));
  return pipelines;
}

Pipelines::~Pipelines() {
  if (cache_ != VK_NULL_HANDLE) Save();
  for (const auto& [key, pipeline] : pipelines_) {
    vkDestroyPipeline(device_->handle(), pipeline, nullptr);
  }
  vkDestroyPipelineCache(device_->handle(), cache_, nullptr);
  vkDestroyPipelineLayout(device_->handle(), layout_, nullptr);
}

void Pipelines::Save() const {
  size_t bytes = 0;
  if (path_.empty() ||
      vkGetPipelineCacheData(device_->handle(), cache_, &bytes, nullptr) != VK_SUCCESS ||
      bytes <= loaded_bytes_) {
    return;
  }
  std::string data(bytes, '\0');
  if (vkGetPipelineCacheData(device_->handle(), cache_, &bytes, data.data()) != VK_SUCCESS) return;
  data.resize(bytes);
  const Header header{kMagic, data.size(), Checksum(data)};
  std::error_code ignored;
  std::filesystem::create_directories(std::filesystem::path(path_).parent_path(), ignored);
  // Another process may save at the same time: each writes its own file, the last rename stays.
  const std::string part = absl::StrCat(path_, ".", reinterpret_cast<uintptr_t>(this), ".part");
  {
    std::ofstream file(part, std::ios::binary);
    file.write(reinterpret_cast<const char*>(&header), sizeof(header));
    file.write(data.data(), static_cast<std::streamsize>(data.size()));
    if (!file.flush()) {
      std::remove(part.c_str());
      return;
    }
  }
  if (std::rename(part.c_str(), path_.c_str()) != 0) std::remove(part.c_str());
}

absl::StatusOr<VkPipeline> Pipelines::Get(const Shader& shader, const Constants& constants) {
  VkPipeline& pipeline = pipelines_[{&shader, constants}];
  if (pipeline != VK_NULL_HANDLE) return pipeline;
  VkShaderModuleCreateInfo module_info = {VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO};
  module_info.codeSize = shader.word_count * sizeof(uint32_t);
  module_info.pCode = shader.words;
  VkShaderModule module = VK_NULL_HANDLE;
  CORM_VK(vkCreateShaderModule(device_->handle(), &module_info, nullptr, &module));
  std::vector<VkSpecializationMapEntry> entries;
  for (uint32_t i = 0; i < constants.size(); ++i) entries.push_back({i, i * 4, 4});
  const VkSpecializationInfo specialization = {static_cast<uint32_t>(entries.size()),
                                               entries.data(), constants.size() * 4,
                                               constants.data()};
  VkComputePipelineCreateInfo info = {VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO};
  info.stage = {VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
                nullptr,
                0,
                VK_SHADER_STAGE_COMPUTE_BIT,
                module,
                "main",
                &specialization};
  info.layout = layout_;
  const VkResult result =
      vkCreateComputePipelines(device_->handle(), cache_, 1, &info, nullptr, &pipeline);
  vkDestroyShaderModule(device_->handle(), module, nullptr);
  if (result != VK_SUCCESS) {
    return ToStatus(result, absl::StrCat("making the pipeline ", shader.name));
  }
  return pipeline;
}

}  // namespace cormorant::vulkan
