// Memory, transfers and ticks. See device.h.
#include "backends/vulkan/device.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "platform/log.h"
#include "runtime/base/status.h"
#include "runtime/base/units.h"

namespace cormorant::vulkan {
namespace {

constexpr uint64_t kStageBytes = 4u << 20;
/// Buffers up to this are put where a discrete device lets the host write: page tables, step data.
constexpr uint64_t kWindowBytesMax = 4u << 20;
constexpr uint64_t kWindowReadMax = 4096;
constexpr uint64_t kForever = ~uint64_t{0};

}  // namespace

void RecordBarrier(VkCommandBuffer commands, VkPipelineStageFlags from_stage,
                   VkAccessFlags from_access, VkPipelineStageFlags to_stage,
                   VkAccessFlags to_access) {
  const VkMemoryBarrier barrier = {VK_STRUCTURE_TYPE_MEMORY_BARRIER, nullptr, from_access,
                                   to_access};
  vkCmdPipelineBarrier(commands, from_stage, to_stage, 0, 1, &barrier, 0, nullptr, 0, nullptr);
}

DeviceBuffer::~DeviceBuffer() {
  // A lost device has no copies under way.
  device_->Wait(copied_).IgnoreError();
  vkDestroyBuffer(device_->handle(), handle_, nullptr);
  vkFreeMemory(device_->handle(), memory_, nullptr);
  device_->held_bytes_ -= allocated_bytes_;
}

absl::StatusOr<std::unique_ptr<LogicalDevice>> LogicalDevice::Open(const DeviceFacts& facts) {
  std::unique_ptr<LogicalDevice> device(new LogicalDevice(facts));
  CORM_RETURN_IF_ERROR(device->Create());
  return device;
}

absl::Status LogicalDevice::Create() {
  const float priority = 1.0f;
  VkDeviceQueueCreateInfo queue = {VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO};
  queue.queueFamilyIndex = facts_.queue_family;
  queue.queueCount = 1;
  queue.pQueuePriorities = &priority;
  VkPhysicalDeviceVulkan12Features features = {
      VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES};
  features.bufferDeviceAddress = VK_TRUE;
  features.timelineSemaphore = facts_.has_timeline;
  VkPhysicalDeviceVulkan13Features features13 = {
      VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_3_FEATURES};
  features13.shaderIntegerDotProduct = VK_TRUE;
  if (facts_.has_integer_dot) features.pNext = &features13;
  const char* const budget = VK_EXT_MEMORY_BUDGET_EXTENSION_NAME;
  VkDeviceCreateInfo info = {VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO, &features};
  info.queueCreateInfoCount = 1;
  info.pQueueCreateInfos = &queue;
  info.enabledExtensionCount = facts_.has_budget ? 1 : 0;
  info.ppEnabledExtensionNames = &budget;
  CORM_VK(vkCreateDevice(facts_.handle, &info, nullptr, &device_));
  vkGetDeviceQueue(device_, facts_.queue_family, 0, &queue_);
  VkCommandPoolCreateInfo pool = {VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO};
  pool.flags = VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT;
  pool.queueFamilyIndex = facts_.queue_family;
  CORM_VK(vkCreateCommandPool(device_, &pool, nullptr, &command_pool_));
  return CreateTimeline();
}

absl::Status LogicalDevice::CreateTimeline() {
  if (!facts_.has_timeline) return absl::OkStatus();
  VkSemaphoreTypeCreateInfo type = {VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO};
  type.semaphoreType = VK_SEMAPHORE_TYPE_TIMELINE;
  const VkSemaphoreCreateInfo info = {VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO, &type};
  CORM_VK(vkCreateSemaphore(device_, &info, nullptr, &timeline_));
  return absl::OkStatus();
}

LogicalDevice::~LogicalDevice() {
  if (device_ == VK_NULL_HANDLE) return;
  vkDeviceWaitIdle(device_);
  for (Stage& stage : stages_) stage.buffer.reset();
  for (const Pending& pending : pending_) vkDestroyFence(device_, pending.fence, nullptr);
  for (VkFence fence : free_fences_) vkDestroyFence(device_, fence, nullptr);
  Log(LogLevel::kInfo, absl::StrCat(facts_.name, ": at most ", held_bytes_most_,
                                    " bytes of device memory were held"));
  vkDestroySemaphore(device_, timeline_, nullptr);
  vkDestroyCommandPool(device_, command_pool_, nullptr);
  vkDestroyDevice(device_, nullptr);
  // What came after the last Wait, closing included, has no status to go to.
  const std::string messages = TakeValidationMessages();
  if (!messages.empty()) Log(LogLevel::kError, absl::StrCat("Vulkan validation: ", messages));
}

absl::StatusOr<std::unique_ptr<DeviceBuffer>> LogicalDevice::Allocate(uint64_t bytes,
                                                                      MemoryUse use) {
  if (bytes > facts_.allocation_max) {
    return absl::ResourceExhaustedError(
        absl::StrCat("one buffer of ", bytes, " bytes was asked for; the Vulkan device allows ",
                     facts_.allocation_max, " bytes in a piece"));
  }
  CORM_ASSIGN_OR_RETURN(std::unique_ptr<DeviceBuffer> buffer, MakeBuffer(bytes, use));
  if (buffer->mapped_ != nullptr) {
    std::memset(buffer->mapped_, 0, bytes);
  } else {
    CORM_RETURN_IF_ERROR(Fill(*buffer));
  }
  return buffer;
}

absl::StatusOr<std::unique_ptr<DeviceBuffer>> LogicalDevice::MakeBuffer(uint64_t bytes,
                                                                        MemoryUse use) {
  if (use == MemoryUse::kUpload) return Bind(bytes, facts_.upload_type, true);
  if (use == MemoryUse::kReadback) return Bind(bytes, facts_.readback_type, true);
  if (facts_.window_type != kNoMemoryType && bytes <= kWindowBytesMax) {
    auto buffer = Bind(bytes, facts_.window_type, true);
    if (!absl::IsResourceExhausted(buffer.status())) return buffer;  // It may be small and full.
  }
  return Bind(bytes, facts_.device_type, facts_.is_uma);
}

absl::StatusOr<std::unique_ptr<DeviceBuffer>> LogicalDevice::Bind(uint64_t bytes,
                                                                  uint32_t memory_type,
                                                                  bool is_mapped) {
  // What fails halfway is freed with the buffer.
  std::unique_ptr<DeviceBuffer> buffer(new DeviceBuffer(this));
  buffer->bytes_ = bytes;
  VkBufferCreateInfo info = {VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO};
  info.size = std::max<uint64_t>(RoundUp(bytes, 4), 4);  // Fills are of whole words.
  info.usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_TRANSFER_SRC_BIT |
               VK_BUFFER_USAGE_TRANSFER_DST_BIT | VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT;
  CORM_VK(vkCreateBuffer(device_, &info, nullptr, &buffer->handle_));
  VkMemoryRequirements needs;
  vkGetBufferMemoryRequirements(device_, buffer->handle_, &needs);
  if ((needs.memoryTypeBits >> memory_type & 1) == 0) {
    return absl::ResourceExhaustedError("the memory type takes no buffers");
  }
  VkMemoryAllocateFlagsInfo flags = {VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_FLAGS_INFO};
  flags.flags = VK_MEMORY_ALLOCATE_DEVICE_ADDRESS_BIT;
  VkMemoryAllocateInfo memory = {VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO, &flags};
  memory.allocationSize = needs.size;
  memory.memoryTypeIndex = memory_type;
  CORM_VK(vkAllocateMemory(device_, &memory, nullptr, &buffer->memory_));
  if (memory_type == facts_.device_type || memory_type == facts_.window_type) {
    buffer->allocated_bytes_ = needs.size;
    held_bytes_ += needs.size;
    held_bytes_most_ = std::max(held_bytes_most_, held_bytes_);
  }
  CORM_VK(vkBindBufferMemory(device_, buffer->handle_, buffer->memory_, 0));
  if (is_mapped) {
    void* mapped = nullptr;
    CORM_VK(vkMapMemory(device_, buffer->memory_, 0, VK_WHOLE_SIZE, 0, &mapped));
    buffer->mapped_ = static_cast<std::byte*>(mapped);
  }
  const VkBufferDeviceAddressInfo address = {VK_STRUCTURE_TYPE_BUFFER_DEVICE_ADDRESS_INFO, nullptr,
                                             buffer->handle_};
  buffer->address_ = vkGetBufferDeviceAddress(device_, &address);
  return buffer;
}

absl::StatusOr<LogicalDevice::Stage*> LogicalDevice::NextStage() {
  Stage& stage = stages_[next_stage_];
  next_stage_ ^= 1;
  if (stage.buffer == nullptr) {
    CORM_ASSIGN_OR_RETURN(stage.buffer, Allocate(kStageBytes, MemoryUse::kReadback));
  }
  if (stage.commands == VK_NULL_HANDLE) {
    VkCommandBufferAllocateInfo info = {VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO};
    info.commandPool = command_pool_;
    info.commandBufferCount = 1;
    CORM_VK(vkAllocateCommandBuffers(device_, &info, &stage.commands));
  }
  CORM_RETURN_IF_ERROR(Wait(stage.tick));
  return &stage;
}

absl::StatusOr<Tick> LogicalDevice::RunCopy(Stage& stage, VkBuffer from, VkBuffer to,
                                            const VkBufferCopy& copy) {
  const VkCommandBufferBeginInfo begin = {VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO, nullptr,
                                          VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT};
  CORM_VK(vkBeginCommandBuffer(stage.commands, &begin));
  constexpr VkPipelineStageFlags kWork =
      VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT;
  RecordBarrier(stage.commands, kWork, VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT,
                VK_PIPELINE_STAGE_TRANSFER_BIT,
                VK_ACCESS_TRANSFER_READ_BIT | VK_ACCESS_TRANSFER_WRITE_BIT);
  if (from == VK_NULL_HANDLE) {
    vkCmdFillBuffer(stage.commands, to, 0, VK_WHOLE_SIZE, 0);
  } else {
    vkCmdCopyBuffer(stage.commands, from, to, 1, &copy);
  }
  RecordBarrier(stage.commands, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_ACCESS_TRANSFER_WRITE_BIT,
                kWork | VK_PIPELINE_STAGE_HOST_BIT,
                VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT |
                    VK_ACCESS_TRANSFER_READ_BIT | VK_ACCESS_TRANSFER_WRITE_BIT |
                    VK_ACCESS_HOST_READ_BIT);
  CORM_VK(vkEndCommandBuffer(stage.commands));
  CORM_ASSIGN_OR_RETURN(stage.tick, Submit(stage.commands));
  return stage.tick;
}

absl::Status LogicalDevice::Fill(DeviceBuffer& buffer) {
  CORM_ASSIGN_OR_RETURN(Stage* const stage, NextStage());
  CORM_ASSIGN_OR_RETURN(buffer.copied_, RunCopy(*stage, VK_NULL_HANDLE, buffer.handle_, {}));
  return absl::OkStatus();
}

absl::Status LogicalDevice::Write(DeviceBuffer& to, uint64_t offset,
                                  std::span<const std::byte> from) {
  if (from.empty()) return absl::OkStatus();
  if (to.mapped_ != nullptr) {
    std::memcpy(to.mapped_ + offset, from.data(), from.size());
    return absl::OkStatus();
  }
  for (uint64_t at = 0; at < from.size(); at += kStageBytes) {
    const uint64_t bytes = std::min<uint64_t>(kStageBytes, from.size() - at);
    CORM_ASSIGN_OR_RETURN(Stage* const stage, NextStage());
    std::memcpy(stage->buffer->mapped_, from.data() + at, bytes);
    CORM_ASSIGN_OR_RETURN(
        to.copied_, RunCopy(*stage, stage->buffer->handle_, to.handle_, {0, offset + at, bytes}));
  }
  return absl::OkStatus();
}

absl::Status LogicalDevice::Read(std::span<std::byte> to, const DeviceBuffer& from,
                                 uint64_t offset) {
  if (to.empty()) return absl::OkStatus();
  // A discrete device's window is mapped, but the host reads it word by word.
  if (from.mapped_ != nullptr && (facts_.is_uma || to.size() <= kWindowReadMax)) {
    std::memcpy(to.data(), from.mapped_ + offset, to.size());
    return absl::OkStatus();
  }
  for (uint64_t at = 0; at < to.size(); at += kStageBytes) {
    const uint64_t bytes = std::min<uint64_t>(kStageBytes, to.size() - at);
    CORM_ASSIGN_OR_RETURN(Stage* const stage, NextStage());
    CORM_ASSIGN_OR_RETURN(const Tick tick, RunCopy(*stage, from.handle_, stage->buffer->handle_,
                                                   {offset + at, 0, bytes}));
    CORM_RETURN_IF_ERROR(Wait(tick));
    std::memcpy(to.data() + at, stage->buffer->mapped_, bytes);
  }
  return absl::OkStatus();
}

absl::Status LogicalDevice::LoseForTest() {
  static bool has_lost = false;  // In this process: what is opened afterwards stays.
  if (submits_++ == 0 && !has_lost) {
    const char* const asked = std::getenv("CORMORANT_VULKAN_LOSE_AT");
    if (asked == nullptr || !absl::SimpleAtoi(asked, &lose_at_)) lose_at_ = 0;
  }
  if (lose_at_ == 0 || submits_ < lose_at_) return absl::OkStatus();
  has_lost = true;
  return ToStatus(VK_ERROR_DEVICE_LOST, "CORMORANT_VULKAN_LOSE_AT");
}

absl::StatusOr<VkFence> LogicalDevice::FreeFence() {
  if (!free_fences_.empty()) {
    const VkFence fence = free_fences_.back();
    free_fences_.pop_back();
    return fence;
  }
  const VkFenceCreateInfo info = {VK_STRUCTURE_TYPE_FENCE_CREATE_INFO};
  VkFence fence = VK_NULL_HANDLE;
  CORM_VK(vkCreateFence(device_, &info, nullptr, &fence));
  return fence;
}

absl::StatusOr<Tick> LogicalDevice::Submit(VkCommandBuffer commands) {
  CORM_RETURN_IF_ERROR(LoseForTest());
  const Tick tick = tick_ + 1;
  VkTimelineSemaphoreSubmitInfo values = {VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO};
  values.signalSemaphoreValueCount = 1;
  values.pSignalSemaphoreValues = &tick;
  VkSubmitInfo info = {VK_STRUCTURE_TYPE_SUBMIT_INFO};
  info.commandBufferCount = 1;
  info.pCommandBuffers = &commands;
  VkFence fence = VK_NULL_HANDLE;
  if (timeline_ != VK_NULL_HANDLE) {
    info.pNext = &values;
    info.signalSemaphoreCount = 1;
    info.pSignalSemaphores = &timeline_;
  } else {
    CORM_ASSIGN_OR_RETURN(fence, FreeFence());
  }
  const VkResult result = vkQueueSubmit(queue_, 1, &info, fence);
  if (result != VK_SUCCESS) {
    if (fence != VK_NULL_HANDLE) free_fences_.push_back(fence);
    return ToStatus(result, "vkQueueSubmit");
  }
  if (fence != VK_NULL_HANDLE) pending_.push_back({tick, fence});
  tick_ = tick;
  return tick;
}

absl::Status LogicalDevice::Wait(Tick tick) {
  if (tick == 0) return absl::OkStatus();
  if (timeline_ != VK_NULL_HANDLE) {
    VkSemaphoreWaitInfo info = {VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO};
    info.semaphoreCount = 1;
    info.pSemaphores = &timeline_;
    info.pValues = &tick;
    CORM_VK(vkWaitSemaphores(device_, &info, kForever));
  }
  while (!pending_.empty() && pending_.front().tick <= tick) {
    const VkFence fence = pending_.front().fence;
    CORM_VK(vkWaitForFences(device_, 1, &fence, VK_TRUE, kForever));
    CORM_VK(vkResetFences(device_, 1, &fence));
    pending_.pop_front();
    free_fences_.push_back(fence);
  }
  return absl::OkStatus();
}

}  // namespace cormorant::vulkan
