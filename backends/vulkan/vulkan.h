// Vulkan's functions, loaded at run time by volk, and what turns their results into statuses.
#pragma once
#include <volk.h>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace cormorant::vulkan {

/// RESOURCE_EXHAUSTED for memory, UNAVAILABLE for a lost device, INTERNAL for the rest.
absl::Status ToStatus(VkResult result, absl::string_view what);

/// The function returns the status of a call that is not VK_SUCCESS.
#define CORM_VK(call)                                                                  \
  do {                                                                                 \
    const VkResult corm_vk_ = (call);                                                  \
    if (corm_vk_ != VK_SUCCESS) return ::cormorant::vulkan::ToStatus(corm_vk_, #call); \
  } while (false)

}  // namespace cormorant::vulkan
