// The loader, the instance, and what devices say of themselves. See facts.h.
#include "backends/vulkan/facts.h"

#include <algorithm>
#include <cstdlib>
#include <mutex>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "runtime/base/status.h"

namespace cormorant::vulkan {

absl::Status ToStatus(VkResult result, absl::string_view what) {
  const std::string text = absl::StrCat(what, " gave VkResult ", static_cast<int>(result));
  switch (result) {
    case VK_ERROR_OUT_OF_DEVICE_MEMORY:
    case VK_ERROR_OUT_OF_HOST_MEMORY:
    case VK_ERROR_TOO_MANY_OBJECTS:
      return absl::ResourceExhaustedError(
          absl::StrCat("the Vulkan device has no more memory (", text,
                       "); close programs that use it or set a smaller cap"));
    case VK_ERROR_DEVICE_LOST:
      return absl::UnavailableError(absl::StrCat("the Vulkan device was lost (", text, ")"));
    default: return absl::InternalError(text);
  }
}

namespace {

constexpr uint32_t kSharedBytesMin = 32u << 10;

bool IsDisabled(absl::string_view feature) {
  const char* list = std::getenv("CORMORANT_VULKAN_DISABLE");
  if (list == nullptr) return false;
  const std::vector<absl::string_view> names = absl::StrSplit(list, ',');
  return std::find(names.begin(), names.end(), feature) != names.end();
}

std::mutex validation_mutex;
std::string validation_messages;

VKAPI_ATTR VkBool32 VKAPI_CALL OnMessage(VkDebugUtilsMessageSeverityFlagBitsEXT,
                                         VkDebugUtilsMessageTypeFlagsEXT,
                                         const VkDebugUtilsMessengerCallbackDataEXT* data, void*) {
  const std::lock_guard<std::mutex> lock(validation_mutex);
  absl::StrAppend(&validation_messages, data->pMessage, "\n");
  return VK_FALSE;
}

/// CORMORANT_VULKAN_VALIDATE: "1", or which extra checks: "sync" or "gpu".
absl::Status AddValidation(VkInstance* instance, VkInstanceCreateInfo info) {
  const absl::string_view asked = std::getenv("CORMORANT_VULKAN_VALIDATE");
  VkDebugUtilsMessengerCreateInfoEXT messenger = {
      VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT};
  messenger.messageSeverity = VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT |
                              VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT;
  messenger.messageType =
      VK_DEBUG_UTILS_MESSAGE_TYPE_GENERAL_BIT_EXT | VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT;
  messenger.pfnUserCallback = OnMessage;
  const VkValidationFeatureEnableEXT extra =
      asked == "gpu" ? VK_VALIDATION_FEATURE_ENABLE_GPU_ASSISTED_EXT
                     : VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT;
  VkValidationFeaturesEXT features = {VK_STRUCTURE_TYPE_VALIDATION_FEATURES_EXT, &messenger};
  features.enabledValidationFeatureCount = asked == "1" ? 0 : 1;
  features.pEnabledValidationFeatures = &extra;
  const char* const layer = "VK_LAYER_KHRONOS_validation";
  const char* const extension = VK_EXT_DEBUG_UTILS_EXTENSION_NAME;
  info.pNext = &features;
  info.enabledLayerCount = info.enabledExtensionCount = 1;
  info.ppEnabledLayerNames = &layer;
  info.ppEnabledExtensionNames = &extension;
  const VkResult result = vkCreateInstance(&info, nullptr, instance);
  if (result != VK_SUCCESS) {
    return absl::NotFoundError(absl::StrCat(
        "CORMORANT_VULKAN_VALIDATE is set, but no instance with the validation layer could be made "
        "(VkResult ",
        static_cast<int>(result), "); install vulkan-validationlayers"));
  }
  volkLoadInstance(*instance);
  VkDebugUtilsMessengerEXT unused;
  CORM_VK(vkCreateDebugUtilsMessengerEXT(*instance, &messenger, nullptr, &unused));
  return absl::OkStatus();
}

absl::StatusOr<VkInstance> MakeInstance() {
  if (volkInitialize() != VK_SUCCESS) {
    return absl::NotFoundError(
        "no Vulkan loader (libvulkan.so.1) on this machine; the graphics driver's package brings "
        "it");
  }
  VkApplicationInfo application = {VK_STRUCTURE_TYPE_APPLICATION_INFO};
  application.pApplicationName = "cormorant";
  application.apiVersion = VK_API_VERSION_1_2;
  if (volkGetInstanceVersion() >= VK_API_VERSION_1_3) application.apiVersion = VK_API_VERSION_1_3;
  VkInstanceCreateInfo info = {VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO};
  info.pApplicationInfo = &application;
  VkInstance instance = VK_NULL_HANDLE;
  if (std::getenv("CORMORANT_VULKAN_VALIDATE") != nullptr) {
    CORM_RETURN_IF_ERROR(AddValidation(&instance, info));
    return instance;
  }
  const VkResult result = vkCreateInstance(&info, nullptr, &instance);
  if (result != VK_SUCCESS) {
    return absl::NotFoundError(absl::StrCat("the Vulkan loader found no driver (VkResult ",
                                            static_cast<int>(result),
                                            "); install the graphics driver's Vulkan package"));
  }
  volkLoadInstance(instance);
  return instance;
}

bool HasExtension(VkPhysicalDevice device, absl::string_view name) {
  uint32_t count = 0;
  vkEnumerateDeviceExtensionProperties(device, nullptr, &count, nullptr);
  std::vector<VkExtensionProperties> extensions(count);
  vkEnumerateDeviceExtensionProperties(device, nullptr, &count, extensions.data());
  return std::any_of(extensions.begin(), extensions.end(),
                     [&](const auto& e) { return name == e.extensionName; });
}

/// The first type with all of `wanted` and none of `unwanted`.
uint32_t FindType(const VkPhysicalDeviceMemoryProperties& memory, VkMemoryPropertyFlags wanted,
                  VkMemoryPropertyFlags unwanted) {
  for (uint32_t i = 0; i < memory.memoryTypeCount; ++i) {
    const VkMemoryPropertyFlags flags = memory.memoryTypes[i].propertyFlags;
    if ((flags & wanted) == wanted && (flags & unwanted) == 0) return i;
  }
  return kNoMemoryType;
}

void ChooseMemory(VkPhysicalDeviceType type, DeviceFacts* facts) {
  constexpr VkMemoryPropertyFlags kLocal = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT;
  constexpr VkMemoryPropertyFlags kHost =
      VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
  constexpr VkMemoryPropertyFlags kCached = VK_MEMORY_PROPERTY_HOST_CACHED_BIT;
  VkPhysicalDeviceMemoryProperties memory;
  vkGetPhysicalDeviceMemoryProperties(facts->handle, &memory);
  const auto first = [](uint32_t a, uint32_t b) { return a != kNoMemoryType ? a : b; };
  const uint32_t shared =
      first(FindType(memory, kLocal | kHost | kCached, 0), FindType(memory, kLocal | kHost, 0));
  const bool may_be_uma =
      type == VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU || type == VK_PHYSICAL_DEVICE_TYPE_CPU;
  facts->is_uma = may_be_uma && shared != kNoMemoryType && !IsDisabled("uma");
  facts->device_type = facts->is_uma
                           ? shared
                           : first(FindType(memory, kLocal, VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT),
                                   FindType(memory, kLocal, 0));
  if (!facts->is_uma && !IsDisabled("window")) {
    facts->window_type = FindType(memory, kLocal | kHost, 0);
  }
  facts->upload_type = first(FindType(memory, kHost, kLocal), FindType(memory, kHost, 0));
  facts->readback_type = first(FindType(memory, kHost | kCached, 0), facts->upload_type);
  if (facts->device_type == kNoMemoryType) return;
  facts->heap = memory.memoryTypes[facts->device_type].heapIndex;
  facts->heap_bytes = memory.memoryHeaps[facts->heap].size;
}

/// Empty, or why the device cannot be used.
std::string WhyNot(const DeviceFacts& facts, const VkPhysicalDeviceProperties& properties,
                   bool has_address) {
  if (properties.apiVersion < VK_API_VERSION_1_2) {
    return absl::StrCat("the driver offers Vulkan ", VK_API_VERSION_MAJOR(properties.apiVersion),
                        ".", VK_API_VERSION_MINOR(properties.apiVersion),
                        "; 1.2 is needed: update the graphics driver");
  }
  if (!has_address) return "the driver lacks bufferDeviceAddress; update the graphics driver";
  if (facts.shared_bytes_max < kSharedBytesMin) {
    return absl::StrCat("workgroups have ", facts.shared_bytes_max, " bytes of shared memory; ",
                        kSharedBytesMin, " are needed");
  }
  if (facts.queue_family == kNoMemoryType) return "the device has no compute queue";
  if (facts.device_type == kNoMemoryType || facts.upload_type == kNoMemoryType) {
    return "the device lists no usable memory type";
  }
  return "";
}

uint32_t FindQueueFamily(VkPhysicalDevice device) {
  uint32_t count = 0;
  vkGetPhysicalDeviceQueueFamilyProperties(device, &count, nullptr);
  std::vector<VkQueueFamilyProperties> families(count);
  vkGetPhysicalDeviceQueueFamilyProperties(device, &count, families.data());
  uint32_t found = kNoMemoryType;
  for (uint32_t i = 0; i < count; ++i) {
    if ((families[i].queueFlags & VK_QUEUE_COMPUTE_BIT) == 0) continue;
    // A family for compute alone does not wait for the desktop's drawing.
    const bool is_graphics = (families[i].queueFlags & VK_QUEUE_GRAPHICS_BIT) != 0;
    if (found == kNoMemoryType || !is_graphics) found = i;
    if (!is_graphics) break;
  }
  return found;
}

DeviceFacts ReadFacts(VkPhysicalDevice device) {
  DeviceFacts facts;
  facts.handle = device;
  VkPhysicalDeviceVulkan13Properties properties13 = {
      VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_3_PROPERTIES};
  VkPhysicalDeviceMaintenance3Properties maintenance3 = {
      VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_3_PROPERTIES};
  VkPhysicalDeviceSubgroupProperties subgroup = {
      VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_PROPERTIES, &maintenance3};
  VkPhysicalDeviceDriverProperties driver = {VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_DRIVER_PROPERTIES,
                                             &subgroup};
  VkPhysicalDeviceProperties2 properties = {VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2,
                                            &driver};
  VkPhysicalDeviceVulkan12Features features = {
      VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES};
  VkPhysicalDeviceVulkan13Features features13 = {
      VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_3_FEATURES};
  VkPhysicalDeviceFeatures2 features2 = {VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, &features};
  VkPhysicalDeviceProperties basic;
  vkGetPhysicalDeviceProperties(device, &basic);
  const bool is_13 = basic.apiVersion >= VK_API_VERSION_1_3;
  if (basic.apiVersion >= VK_API_VERSION_1_2) {
    if (is_13) {
      maintenance3.pNext = &properties13;
      features.pNext = &features13;
    }
    vkGetPhysicalDeviceProperties2(device, &properties);
    vkGetPhysicalDeviceFeatures2(device, &features2);
  }
  facts.name = basic.deviceName;
  facts.driver = absl::StrCat(driver.driverName, " ", driver.driverInfo);
  std::copy_n(basic.pipelineCacheUUID, VK_UUID_SIZE, facts.cache_uuid.begin());
  facts.is_cpu = basic.deviceType == VK_PHYSICAL_DEVICE_TYPE_CPU && !IsDisabled("cpu");
  facts.has_timeline = features.timelineSemaphore != 0 && !IsDisabled("timeline");
  facts.has_budget =
      HasExtension(device, VK_EXT_MEMORY_BUDGET_EXTENSION_NAME) && !IsDisabled("budget");
  // A software driver that is to run the kernels of GPUs runs this one too.
  facts.has_integer_dot =
      is_13 && features13.shaderIntegerDotProduct != 0 && !IsDisabled("integer_dot") &&
      (properties13.integerDotProduct4x8BitPackedSignedAccelerated != 0 || IsDisabled("cpu"));
  facts.has_shuffle = (subgroup.supportedOperations & VK_SUBGROUP_FEATURE_SHUFFLE_BIT) != 0 &&
                      (subgroup.supportedStages & VK_SHADER_STAGE_COMPUTE_BIT) != 0 &&
                      !IsDisabled("shuffle");
  facts.subgroup_size = subgroup.subgroupSize;
  facts.shared_bytes_max = basic.limits.maxComputeSharedMemorySize;
  facts.workgroup_max = std::min(basic.limits.maxComputeWorkGroupInvocations,
                                 basic.limits.maxComputeWorkGroupSize[0]);
  facts.allocation_max = maintenance3.maxMemoryAllocationSize;
  facts.queue_family = FindQueueFamily(device);
  ChooseMemory(basic.deviceType, &facts);
  facts.reason = WhyNot(facts, basic, features.bufferDeviceAddress != 0);
  facts.usable = facts.reason.empty();
  return facts;
}

}  // namespace

MemoryBudget BudgetOf(const VkPhysicalDeviceMemoryProperties& memory,
                      const VkPhysicalDeviceMemoryBudgetPropertiesEXT& budget, uint32_t heap) {
  // At most the heap, as the specification asks of drivers.
  return {std::min(budget.heapBudget[heap], memory.memoryHeaps[heap].size), budget.heapUsage[heap]};
}

std::optional<MemoryBudget> ReadBudget(const DeviceFacts& facts) {
  if (!facts.has_budget) return std::nullopt;
  VkPhysicalDeviceMemoryBudgetPropertiesEXT budget = {
      VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_BUDGET_PROPERTIES_EXT};
  VkPhysicalDeviceMemoryProperties2 memory = {VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2,
                                              &budget};
  vkGetPhysicalDeviceMemoryProperties2(facts.handle, &memory);
  return BudgetOf(memory.memoryProperties, budget, facts.heap);
}

uint64_t FreeBytes(const std::optional<MemoryBudget>& budget, uint64_t heap_bytes) {
  if (!budget.has_value()) return heap_bytes;
  return budget->budget_bytes - std::min(budget->used_bytes, budget->budget_bytes);
}

absl::StatusOr<std::vector<DeviceFacts>> ReadDevices() {
  // Never destroyed: devices may live until the process ends, and drivers dislike being unloaded.
  static const auto* const instance = new absl::StatusOr<VkInstance>(MakeInstance());
  if (!instance->ok()) return instance->status();
  uint32_t count = 0;
  CORM_VK(vkEnumeratePhysicalDevices(**instance, &count, nullptr));
  std::vector<VkPhysicalDevice> handles(count);
  CORM_VK(vkEnumeratePhysicalDevices(**instance, &count, handles.data()));
  if (count == 0) return absl::NotFoundError("the Vulkan drivers found no device");
  std::vector<DeviceFacts> devices;
  for (VkPhysicalDevice handle : handles) devices.push_back(ReadFacts(handle));
  return devices;
}

std::string TakeValidationMessages() {
  const std::lock_guard<std::mutex> lock(validation_mutex);
  return std::exchange(validation_messages, {});
}

}  // namespace cormorant::vulkan
