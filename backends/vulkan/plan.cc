// Recording and submitting plans. See plan.h.
#include "backends/vulkan/plan.h"

#include <algorithm>
#include <cstdlib>
#include <random>

#include "absl/strings/numbers.h"
#include "runtime/base/status.h"
#include "runtime/base/units.h"

namespace cormorant::vulkan {
namespace {

constexpr uint64_t kAlignment = 256;
/// Counted for the addresses of slabs: 512 of them, 8 GiB of pages.
constexpr uint64_t kSlabListBytes = 4096;

/// Dispatches with nothing between them may run in any order, and a software driver that keeps the
/// order hides a barrier that is missing. With CORMORANT_VULKAN_SHUFFLE=seed they are shuffled.
void Shuffle(std::vector<const Dispatch*>& group, std::mt19937* random) {
  if (random != nullptr) std::shuffle(group.begin(), group.end(), *random);
}

}  // namespace

uint64_t DevicePlan::Bytes(const Tape& tape, const KvGeometry& geometry, const Tuning& tuning,
                           uint64_t step_bytes) {
  DispatchBuilder builder(tuning, geometry, 1, {});
  builder.Build(tape);
  return kSlabListBytes + RoundUp(step_bytes, kAlignment) +
         RoundUp(builder.scratch_bytes, kAlignment);
}

absl::StatusOr<std::unique_ptr<DevicePlan>> DevicePlan::Compile(const Tape& tape,
                                                                const Bindings& bindings,
                                                                const Tuning& tuning,
                                                                LogicalDevice* device,
                                                                Pipelines* pipelines) {
  std::unique_ptr<DevicePlan> plan(new DevicePlan(bindings, device));
  const KvBinding none;
  const KvBinding& kv = bindings.kv == nullptr ? none : *bindings.kv;
  plan->step_at_ = RoundUp(kv.slabs.size() * sizeof(VkDeviceAddress), kAlignment);
  plan->scratch_at_ = plan->step_at_ + RoundUp(bindings.step_bytes, kAlignment);
  DispatchBuilder sizes(tuning, kv.geometry, kv.pages_per_slab, {});
  sizes.Build(tape);
  CORM_ASSIGN_OR_RETURN(
      plan->memory_, device->Allocate(plan->scratch_at_ + RoundUp(sizes.scratch_bytes, kAlignment),
                                      MemoryUse::kDevice));
  if (plan->memory_->mapped() == nullptr) {
    CORM_ASSIGN_OR_RETURN(plan->upload_, device->Allocate(plan->scratch_at_, MemoryUse::kUpload));
  }
  const auto address = [](const Buffer* buffer) {
    return buffer == nullptr ? 0 : static_cast<const DeviceBuffer*>(buffer)->address();
  };
  Addresses addresses;
  addresses.weights = static_cast<const DeviceWeights*>(bindings.weights);
  addresses.arena = address(bindings.arena);
  addresses.out = address(bindings.out);
  addresses.tables = address(kv.tables);
  addresses.statistics = address(kv.statistics);
  addresses.slabs = plan->memory_->address();
  addresses.step = addresses.slabs + plan->step_at_;
  addresses.scratch = addresses.slabs + plan->scratch_at_;
  DispatchBuilder builder(tuning, kv.geometry, kv.pages_per_slab, addresses);
  builder.Build(tape);
  CORM_RETURN_IF_ERROR(device->Write(*plan->memory_, plan->scratch_at_,
                                     std::as_bytes(std::span<const uint32_t>(builder.tables))));
  CORM_RETURN_IF_ERROR(plan->Record(builder.dispatches, pipelines));
  return plan;
}

DevicePlan::~DevicePlan() {
  // A lost device reports it here too; there is nothing left to wait for then.
  device_->Wait(last_).IgnoreError();
  if (commands_ != VK_NULL_HANDLE) {
    vkFreeCommandBuffers(device_->handle(), device_->command_pool(), 1, &commands_);
  }
}

absl::Status DevicePlan::Record(std::span<const Dispatch> dispatches, Pipelines* pipelines) {
  VkCommandBufferAllocateInfo info = {VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO};
  info.commandPool = device_->command_pool();
  info.commandBufferCount = 1;
  CORM_VK(vkAllocateCommandBuffers(device_->handle(), &info, &commands_));
  const VkCommandBufferBeginInfo begin = {VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO};
  CORM_VK(vkBeginCommandBuffer(commands_, &begin));
  if (upload_ != nullptr) {
    const VkBufferCopy copy = {0, 0, scratch_at_};
    vkCmdCopyBuffer(commands_, upload_->handle(), memory_->handle(), 1, &copy);
  }
  constexpr VkAccessFlags kShader = VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT;
  constexpr VkPipelineStageFlags kCompute = VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT;
  RecordBarrier(commands_, VK_PIPELINE_STAGE_TRANSFER_BIT | kCompute,
                VK_ACCESS_TRANSFER_WRITE_BIT | VK_ACCESS_SHADER_WRITE_BIT, kCompute, kShader);
  const char* const seed = std::getenv("CORMORANT_VULKAN_SHUFFLE");
  uint32_t seed_value = 0;
  std::mt19937 random(seed != nullptr && absl::SimpleAtoi(seed, &seed_value) ? seed_value : 0);

  const auto record = [&](const Dispatch& dispatch) -> absl::Status {
    CORM_ASSIGN_OR_RETURN(const VkPipeline pipeline,
                          pipelines->Get(*dispatch.shader, dispatch.constants));
    vkCmdBindPipeline(commands_, VK_PIPELINE_BIND_POINT_COMPUTE, pipeline);
    vkCmdPushConstants(commands_, pipelines->layout(), VK_SHADER_STAGE_COMPUTE_BIT, 0,
                       static_cast<uint32_t>(dispatch.arguments.size()), dispatch.arguments.data());
    vkCmdDispatch(commands_, dispatch.grid[0], dispatch.grid[1], dispatch.grid[2]);
    return absl::OkStatus();
  };
  std::vector<const Dispatch*> group;  // Since the last barrier.
  const auto flush = [&]() -> absl::Status {
    Shuffle(group, seed != nullptr ? &random : nullptr);
    for (const Dispatch* dispatch : group) CORM_RETURN_IF_ERROR(record(*dispatch));
    group.clear();
    return absl::OkStatus();
  };
  for (const Dispatch& dispatch : dispatches) {
    const bool must_wait = std::any_of(group.begin(), group.end(), [&](const Dispatch* earlier) {
      return Conflict(*earlier, dispatch);
    });
    if (must_wait) {
      CORM_RETURN_IF_ERROR(flush());
      RecordBarrier(commands_, kCompute, VK_ACCESS_SHADER_WRITE_BIT, kCompute, kShader);
    }
    group.push_back(&dispatch);
  }
  CORM_RETURN_IF_ERROR(flush());
  RecordBarrier(
      commands_, kCompute, VK_ACCESS_SHADER_WRITE_BIT,
      VK_PIPELINE_STAGE_HOST_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT,
      VK_ACCESS_HOST_READ_BIT | VK_ACCESS_TRANSFER_READ_BIT | VK_ACCESS_TRANSFER_WRITE_BIT);
  CORM_VK(vkEndCommandBuffer(commands_));
  return absl::OkStatus();
}

absl::Status DevicePlan::WriteSlabs() {
  if (bindings_.kv == nullptr) return absl::OkStatus();
  const std::vector<Buffer*>& slabs = bindings_.kv->slabs;
  bool changed = slabs_.size() != slabs.size();
  slabs_.resize(slabs.size());
  for (size_t i = 0; i < slabs.size(); ++i) {
    const VkDeviceAddress address =
        slabs[i] == nullptr ? 0 : static_cast<const DeviceBuffer*>(slabs[i])->address();
    changed = changed || slabs_[i] != address;
    slabs_[i] = address;
  }
  if (!changed) return absl::OkStatus();
  DeviceBuffer& to = upload_ != nullptr ? *upload_ : *memory_;
  return device_->Write(to, 0, std::as_bytes(std::span<const VkDeviceAddress>(slabs_)));
}

absl::StatusOr<Tick> DevicePlan::Submit(std::span<const std::byte> step) {
  CORM_RETURN_IF_ERROR(device_->Wait(last_));
  CORM_RETURN_IF_ERROR(WriteSlabs());
  DeviceBuffer& to = upload_ != nullptr ? *upload_ : *memory_;
  CORM_RETURN_IF_ERROR(device_->Write(to, step_at_, step));
  CORM_ASSIGN_OR_RETURN(last_, device_->Submit(commands_));
  return last_;
}

}  // namespace cormorant::vulkan
