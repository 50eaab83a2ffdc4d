// See turns.h.
#include "runtime/ops/turns.h"

#include <algorithm>
#include <cmath>

namespace cormorant {

bool HasSameTurns(const RopeSpec& a, const RopeSpec& b) {
  return a.dims == b.dims && a.base == b.base && a.frequency_scale == b.frequency_scale &&
         a.factors.region == b.factors.region && a.factors.offset == b.factors.offset;
}

void AppendTurns(const RopeSpec& rope, const float* factors, std::vector<uint32_t>* words) {
  for (uint32_t pair = 0; pair < rope.dims / 2; ++pair) {
    double radians = std::pow(double{rope.base}, -2.0 * pair / rope.dims) * rope.frequency_scale;
    if (factors != nullptr) radians /= double{factors[pair]};
    const long double turns = static_cast<long double>(radians) / (2.0L * std::acos(-1.0L));
    const long double fraction = turns - std::floor(turns);
    const auto bits = static_cast<uint64_t>(std::min(fraction * 0x1p64L, 0x1p64L - 2048.0L));
    words->push_back(static_cast<uint32_t>(bits));
    words->push_back(static_cast<uint32_t>(bits >> 32));
  }
}

}  // namespace cormorant
