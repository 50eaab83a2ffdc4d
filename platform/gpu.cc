// Device nodes of GPU drivers. See gpu.h.
#include "platform/gpu.h"

#include <filesystem>
#include <system_error>

#include "absl/strings/match.h"
#include "absl/strings/string_view.h"

namespace cormorant {
namespace {

#if defined(__linux__)
/// Whether a name in `folder` begins with one of `prefixes`.
template <size_t count>
bool HasName(const std::string& folder, const absl::string_view (&prefixes)[count]) {
  std::error_code error;
  std::filesystem::directory_iterator entry(folder, error);
  for (; !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    for (const absl::string_view prefix : prefixes) {
      if (absl::StartsWith(name, prefix)) return true;
    }
  }
  return false;
}
#endif

}  // namespace

bool MayHaveGpu(const std::string& folder) {
#if defined(__linux__)
  // The kernel's own drivers; then those of NVIDIA, WSL, Arm Mali, Adreno, Tegra, PowerVR, Vivante.
  static constexpr absl::string_view kRenderNodes[] = {"renderD"};
  static constexpr absl::string_view kNodes[] = {
      "nvidiactl", "dxg", "mali", "kgsl", "nvhost-gpu", "nvhost-ctrl", "pvr_sync", "galcore"};
  return HasName(folder + "/dri", kRenderNodes) || HasName(folder, kNodes);
#else
  static_cast<void>(folder);
  return true;
#endif
}

}  // namespace cormorant
