// HIP as a backend: the module's one exported function.
#include <string>

#include "backends/gpu/gpu_backend.h"
#include "backends/module.h"
#include "platform/gpu.h"

namespace cormorant {
namespace {

const BackendDef kDef = {
    "hip", 15, [] { return hip::ListDevices("HIP"); },
    [](const DeviceOptions& options) { return hip::OpenDevice("hip", options); },
    [] { return MayHaveGpu(); }};

}  // namespace
}  // namespace cormorant

extern "C" __attribute__((visibility("default"))) const cormorant::BackendModule*
cormorant_backend_module() {
  static const auto* const build = new std::string(cormorant::ModuleBuild(CORMORANT_VERSION));
  static const cormorant::BackendModule module = {build->c_str(), &cormorant::kDef,
                                                  cormorant::SetLogSink};
  return &module;
}
