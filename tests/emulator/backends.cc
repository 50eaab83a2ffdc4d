// See backends.h.
#include "tests/emulator/backends.h"

namespace cormorant {
namespace emulator8 {
extern const BackendDef kEmulatorDef;
}
namespace emulator32 {
extern const BackendDef kEmulatorDef;
}
namespace emulator64 {
extern const BackendDef kEmulatorDef;
}

std::span<const BackendDef* const> emulator::BackendDefs() {
  static const BackendDef* const kAll[] = {&emulator8::kEmulatorDef, &emulator32::kEmulatorDef,
                                           &emulator64::kEmulatorDef};
  return kAll;
}

}  // namespace cormorant
