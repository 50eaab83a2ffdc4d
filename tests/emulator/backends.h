// The emulators as backends, of waves of 8, 32 and 64 lanes. Tests alone know them.
#pragma once
#include <span>

#include "backends/backend.h"

namespace cormorant::emulator {

std::span<const BackendDef* const> BackendDefs();

}  // namespace cormorant::emulator
