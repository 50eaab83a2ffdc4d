// See turns.h.
#include "runtime/ops/turns.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace cormorant {
namespace {

double RadiansOf(const RopeSpec& rope, const float* factors, uint32_t pair) {
  const double radians =
      std::pow(double{rope.base}, -2.0 * pair / rope.dims) * rope.frequency_scale;
  return factors == nullptr ? radians : radians / double{factors[pair]};
}

/// A number of turns without its whole ones, as a fraction of 2^64.
uint64_t FractionOf(long double turns) {
  const long double fraction = turns - std::floor(turns);
  return static_cast<uint64_t>(std::min(fraction * 0x1p64L, 0x1p64L - 2048.0L));
}

long double TurnsOf(double radians) {
  return static_cast<long double>(radians) / (2.0L * std::acos(-1.0L));
}

}  // namespace

bool HasSameTurns(const RopeSpec& a, const RopeSpec& b) {
  return a.dims == b.dims && a.base == b.base && a.frequency_scale == b.frequency_scale &&
         a.factors.region == b.factors.region && a.factors.offset == b.factors.offset;
}

void AppendTurns(const RopeSpec& rope, const float* factors, std::vector<uint32_t>* words) {
  for (uint32_t pair = 0; pair < rope.dims / 2; ++pair) {
    const uint64_t bits = FractionOf(TurnsOf(RadiansOf(rope, factors, pair)));
    words->push_back(static_cast<uint32_t>(bits));
    words->push_back(static_cast<uint32_t>(bits >> 32));
  }
}

double MeanTurnLength(double radians) {
  const double below = kExpectedPositions * std::sin(radians / 2);
  return below == 0.0 ? 1.0 : std::sin(kExpectedPositions * radians / 2) / below;
}

void AppendMeanTurns(const RopeSpec& rope, const float* factors, std::vector<uint32_t>* words) {
  for (uint32_t pair = 0; pair < rope.dims / 2; ++pair) {
    const double radians = RadiansOf(rope, factors, pair);
    const long double turns = TurnsOf(radians);
    const uint64_t bits = FractionOf(turns);
    const uint64_t middle = FractionOf(turns * (kExpectedPositions - 1) / 2);
    words->push_back(static_cast<uint32_t>(bits));
    words->push_back(static_cast<uint32_t>(bits >> 32));
    words->push_back(static_cast<uint32_t>(middle >> 32));
    words->push_back(std::bit_cast<uint32_t>(static_cast<float>(MeanTurnLength(radians))));
  }
}

}  // namespace cormorant
