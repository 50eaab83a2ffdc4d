// What the runtime says of files, devices and policies, as JSON for people and scripts.
#pragma once
#include <string>

#include "absl/status/statusor.h"
#include "runtime/engine/planner.h"

namespace cormorant {

/// A GGUF file and what would run here under these options. Fails only when the file cannot be read
/// as GGUF at all; whatever else is wrong is listed in "problems".
absl::StatusOr<std::string> DescribeModel(const EngineOptions& options);
std::string DescribeDevices();
std::string DescribePolicies();

}  // namespace cormorant
