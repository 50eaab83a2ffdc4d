// The table of exclusions: see exclusions.h.
#include "tests/conformance/exclusions.h"

namespace cormorant::conformance {

std::span<const Exclusion> Exclusions() {
  return {};
}

}  // namespace cormorant::conformance
