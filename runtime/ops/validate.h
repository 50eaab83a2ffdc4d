// What a tape must be before a backend sees it: checked once, above all backends.
//
// Types, shapes, regions, alignment, ranges and overlaps are those of the docstrings in ops.h. What
// the step buffer holds is the engine's to get right and is not seen here.
#pragma once
#include <array>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "runtime/ops/dtype.h"
#include "runtime/ops/kv_page.h"
#include "runtime/ops/tape.h"

namespace cormorant {

/// What a weight of the weight table is.
struct WeightShape {
  DType dtype = DType::kF32;
  std::array<uint32_t, 3> shape = {1, 1, 1};
};

/// What a tape will be bound to. The arena and out have the bytes the tape says.
struct TapeLimits {
  KvGeometry geometry;  // Looked at only when an op uses the cache.
  std::vector<WeightShape> weights;
};

/// Every tensor of an arena or out starts at a multiple of this.
constexpr uint64_t kTensorAlignment = 64;

/// INVALID_ARGUMENT naming the first op and tensor that break a rule.
absl::Status Validate(const Tape& tape, const TapeLimits& limits);

}  // namespace cormorant
