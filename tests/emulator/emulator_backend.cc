// backends/gpu over the emulator, for one width of a wave.
#include "backends/gpu/gpu_backend.h"

#define EMULATOR_STRING_OF(name) #name
#define EMULATOR_STRING(name) EMULATOR_STRING_OF(name)

namespace cormorant::GPU_NAMESPACE {
namespace {

constexpr absl::string_view kName = EMULATOR_STRING(GPU_NAMESPACE);

}  // namespace

extern const BackendDef kEmulatorDef;
const BackendDef kEmulatorDef = {
    kName, -1, [] { return ListDevices(kName); },
    [](const DeviceOptions& options) { return OpenDevice(kName, options); }};

}  // namespace cormorant::GPU_NAMESPACE
