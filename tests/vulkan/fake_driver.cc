// Objects and copies of the fake driver. See fake_driver.h.
#include "tests/vulkan/fake_driver.h"

#include <cstring>
#include <memory>
#include <utility>

#include "runtime/base/check.h"

namespace cormorant::vulkan {
namespace {

FakeDriver* the_driver = nullptr;  // Of the functions, which are plain pointers.

struct Anything {};

}  // namespace

template <class Object, class Handle>
void FakeDriver::Make(Object* object, Handle* handle) {
  objects_.insert(object);
  *handle = reinterpret_cast<Handle>(object);
}

template <class Object, class Handle>
void FakeDriver::Destroy(Handle handle) {
  auto* object = reinterpret_cast<Object*>(handle);
  if (object == nullptr) return;
  CORM_CHECK(objects_.erase(object) == 1);  // Destroyed twice, or never made.
  delete object;
}

FakeDriver::FakeDriver() {
  CORM_CHECK(the_driver == nullptr);
  the_driver = this;
  SetMemoryFunctions();
  SetDeviceFunctions();
  SetRecordingFunctions();
}

FakeDriver::~FakeDriver() {
  the_driver = nullptr;
}

DeviceFacts FakeDriver::Facts() const {
  DeviceFacts facts;
  facts.name = "fake";
  facts.has_timeline = true;
  facts.allocation_max = 1u << 30;
  facts.device_type = facts.upload_type = facts.readback_type = 0;
  return facts;
}

void FakeDriver::FailNext(const std::string& function, VkResult result, uint32_t memory_type) {
  failing_ = function;
  failure_ = result;
  failing_type_ = memory_type;
}

VkResult FakeDriver::Result(const std::string& function, uint32_t memory_type) {
  if (function != failing_ || memory_type != failing_type_) return VK_SUCCESS;
  failing_.clear();
  return failure_;
}

void FakeDriver::Run(const Command& command) {
  std::byte* const to = command.to->memory->bytes.data();
  if (command.from == nullptr) {
    std::memset(to, 0, command.to->bytes / 4 * 4);
    return;
  }
  CORM_CHECK(command.copy.srcOffset + command.copy.size <= command.from->bytes);
  CORM_CHECK(command.copy.dstOffset + command.copy.size <= command.to->bytes);
  std::memcpy(to + command.copy.dstOffset,
              command.from->memory->bytes.data() + command.copy.srcOffset, command.copy.size);
}

void FakeDriver::SetMemoryFunctions() {
  vkCreateBuffer = [](VkDevice, const VkBufferCreateInfo* info, const VkAllocationCallbacks*,
                      VkBuffer* buffer) {
    const VkResult result = the_driver->Result("vkCreateBuffer");
    if (result == VK_SUCCESS) the_driver->Make(new BufferObject{info->size}, buffer);
    return result;
  };
  vkDestroyBuffer = [](VkDevice, VkBuffer buffer, const VkAllocationCallbacks*) {
    const auto* object = reinterpret_cast<BufferObject*>(buffer);
    if (object == nullptr) return;
    for (const Submitted& submitted : the_driver->pending_) {
      for (const Command& command : submitted.list) {
        if (command.from == object || command.to == object) ++the_driver->freed_in_use_;
      }
    }
    the_driver->Destroy<BufferObject>(buffer);
  };
  vkGetBufferMemoryRequirements = [](VkDevice, VkBuffer buffer, VkMemoryRequirements* needs) {
    *needs = {reinterpret_cast<BufferObject*>(buffer)->bytes, 16, ~0u};
  };
  vkAllocateMemory = [](VkDevice, const VkMemoryAllocateInfo* info, const VkAllocationCallbacks*,
                        VkDeviceMemory* memory) {
    const VkResult result = the_driver->Result("vkAllocateMemory", info->memoryTypeIndex);
    if (result != VK_SUCCESS) return result;
    std::vector<std::byte> garbage(info->allocationSize, std::byte{0xcd});
    the_driver->Make(new Memory{std::move(garbage), info->memoryTypeIndex}, memory);
    return VK_SUCCESS;
  };
  vkFreeMemory = [](VkDevice, VkDeviceMemory memory, const VkAllocationCallbacks*) {
    the_driver->Destroy<Memory>(memory);
  };
  vkBindBufferMemory = [](VkDevice, VkBuffer buffer, VkDeviceMemory memory, VkDeviceSize) {
    auto* const bound = reinterpret_cast<Memory*>(memory);
    const VkResult result = the_driver->Result("vkBindBufferMemory", bound->type);
    if (result == VK_SUCCESS) reinterpret_cast<BufferObject*>(buffer)->memory = bound;
    return result;
  };
  vkMapMemory = [](VkDevice, VkDeviceMemory memory, VkDeviceSize, VkDeviceSize, VkMemoryMapFlags,
                   void** mapped) {
    auto* const object = reinterpret_cast<Memory*>(memory);
    *mapped = object->bytes.data();
    return the_driver->Result("vkMapMemory", object->type);
  };
  vkGetBufferDeviceAddress = [](VkDevice, const VkBufferDeviceAddressInfo*) {
    return VkDeviceAddress{4096};
  };
}

void FakeDriver::SetDeviceFunctions() {
  vkCreateDevice = [](VkPhysicalDevice, const VkDeviceCreateInfo*, const VkAllocationCallbacks*,
                      VkDevice* device) {
    the_driver->Make(new Anything, device);
    return VK_SUCCESS;
  };
  vkDestroyDevice = [](VkDevice device, const VkAllocationCallbacks*) {
    the_driver->Destroy<Anything>(device);
  };
  vkGetDeviceQueue = [](VkDevice, uint32_t, uint32_t, VkQueue* queue) { *queue = nullptr; };
  vkDeviceWaitIdle = [](VkDevice) {
    for (const Submitted& submitted : the_driver->pending_) {
      for (const Command& command : submitted.list) the_driver->Run(command);
    }
    the_driver->pending_.clear();
    return VK_SUCCESS;
  };
  vkCreateCommandPool = [](VkDevice, const VkCommandPoolCreateInfo*, const VkAllocationCallbacks*,
                           VkCommandPool* pool) {
    the_driver->Make(new std::vector<std::unique_ptr<Commands>>, pool);
    return VK_SUCCESS;
  };
  vkDestroyCommandPool = [](VkDevice, VkCommandPool pool, const VkAllocationCallbacks*) {
    the_driver->Destroy<std::vector<std::unique_ptr<Commands>>>(pool);
  };
  vkAllocateCommandBuffers = [](VkDevice, const VkCommandBufferAllocateInfo* info,
                                VkCommandBuffer* commands) {
    auto* const pool = reinterpret_cast<std::vector<std::unique_ptr<Commands>>*>(info->commandPool);
    pool->push_back(std::make_unique<Commands>());
    *commands = reinterpret_cast<VkCommandBuffer>(pool->back().get());
    return VK_SUCCESS;
  };
  vkCreateSemaphore = [](VkDevice, const VkSemaphoreCreateInfo*, const VkAllocationCallbacks*,
                         VkSemaphore* semaphore) {
    the_driver->Make(new Anything, semaphore);
    return VK_SUCCESS;
  };
  vkDestroySemaphore = [](VkDevice, VkSemaphore semaphore, const VkAllocationCallbacks*) {
    the_driver->Destroy<Anything>(semaphore);
  };
}

void FakeDriver::SetRecordingFunctions() {
  vkBeginCommandBuffer = [](VkCommandBuffer commands, const VkCommandBufferBeginInfo*) {
    reinterpret_cast<Commands*>(commands)->list.clear();
    return VK_SUCCESS;
  };
  vkEndCommandBuffer = [](VkCommandBuffer) { return VK_SUCCESS; };
  vkCmdPipelineBarrier = [](VkCommandBuffer, VkPipelineStageFlags, VkPipelineStageFlags,
                            VkDependencyFlags, uint32_t, const VkMemoryBarrier*, uint32_t,
                            const VkBufferMemoryBarrier*, uint32_t, const VkImageMemoryBarrier*) {};
  vkCmdFillBuffer = [](VkCommandBuffer commands, VkBuffer to, VkDeviceSize, VkDeviceSize,
                       uint32_t) {
    reinterpret_cast<Commands*>(commands)->list.push_back(
        {nullptr, reinterpret_cast<BufferObject*>(to), {}});
  };
  vkCmdCopyBuffer = [](VkCommandBuffer commands, VkBuffer from, VkBuffer to, uint32_t,
                       const VkBufferCopy* copy) {
    reinterpret_cast<Commands*>(commands)->list.push_back(
        {reinterpret_cast<BufferObject*>(from), reinterpret_cast<BufferObject*>(to), *copy});
  };
  vkQueueSubmit = [](VkQueue, uint32_t, const VkSubmitInfo* info, VkFence) {
    const auto* values = static_cast<const VkTimelineSemaphoreSubmitInfo*>(info->pNext);
    the_driver->pending_.push_back({values->pSignalSemaphoreValues[0],
                                    reinterpret_cast<Commands*>(info->pCommandBuffers[0])->list});
    return VK_SUCCESS;
  };
  vkWaitSemaphores = [](VkDevice, const VkSemaphoreWaitInfo* info, uint64_t) {
    std::vector<Submitted>& pending = the_driver->pending_;
    while (!pending.empty() && pending.front().tick <= info->pValues[0]) {
      for (const Command& command : pending.front().list) the_driver->Run(command);
      pending.erase(pending.begin());
    }
    return VK_SUCCESS;
  };
}

}  // namespace cormorant::vulkan
