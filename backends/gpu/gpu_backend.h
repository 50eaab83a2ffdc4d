// CUDA and HIP as backends: devices, buffers, plans. Each makes its BackendDef of these.
#pragma once
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "backends/backend.h"
#include "shaders/gpu/kernel.h"

namespace cormorant::GPU_NAMESPACE {

/// `name` is the backend's: "cuda". Where there is no driver or device, one unusable entry says so.
std::vector<DeviceInfo> ListDevices(absl::string_view name);
absl::StatusOr<std::unique_ptr<Backend>> OpenDevice(absl::string_view name,
                                                    const DeviceOptions& options);

}  // namespace cormorant::GPU_NAMESPACE
