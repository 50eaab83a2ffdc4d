// What the parts of the reference backend share: where a replay's bytes are, and the ops.
//
// The reference is the specification of runtime/ops/ops.h in code: one thread, sums in double, one
// short function an op, nothing clever. Other backends are held to it by tests/conformance.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "backends/backend.h"
#include "runtime/ops/kv_page.h"
#include "runtime/ops/ops.h"
#include "runtime/ops/step.h"

namespace cormorant::reference {

/// What is expected of a query's dimensions 2i and 2i + 1: means, variances and the covariance.
struct ExpectedPair {
  double mean_a = 0, mean_b = 0, aa = 0, ab = 0, bb = 0;
};

/// Memory that ops work in, so that a replay allocates nothing.
struct Scratch {
  std::vector<float> weights;       // One dequantized row of the longest weight.
  std::vector<float> k, v;          // [slots of a head, E], dequantized.
  std::vector<double> scores;       // [slots of a head]
  std::vector<double> sums;         // [E]
  std::vector<double> shares;       // [slots of a head]
  std::vector<ExpectedPair> pairs;  // [E/2], where statistics of queries are kept.
  std::vector<uint32_t> order;      // [slots of a head, or V]
  std::vector<uint32_t> marks;      // [slots of a head]
  std::vector<uint8_t> leaves;      // [slots of a head]
};

/// One replay of a plan: the bytes behind regions, and the rows that are live.
struct Replay {
  explicit Replay(StepView view) : step(view) {}

  std::span<const HostTensor> weights;
  std::byte* arena = nullptr;
  std::byte* out = nullptr;
  const KvBinding* kv = nullptr;
  StepView step;
  uint32_t rows = 0;  // Live rows of the op: the step's, or its output rows after GatherRows.
  Scratch* scratch = nullptr;

  template <class T = float>
  T* At(const Tensor& tensor) const {
    std::byte* region = tensor.region == Region::kArena ? arena : out;
    return reinterpret_cast<T*>(region + tensor.offset);
  }
  /// Row `row` of a weight with rows of `width`, as f32 in scratch: valid until the next call.
  const float* WeightRow(const Tensor& tensor, uint32_t row, uint32_t width) const;
};

/// The memory of a buffer of this backend.
std::byte* HostBytes(Buffer* buffer);

/// sum_k a[k] * b[k]. Eight sums that do not wait for each other let the compiler use vectors.
inline double Dot(const float* a, const float* b, uint32_t count) {
  double sums[8] = {};
  uint32_t k = 0;
  for (; k + 8 <= count; k += 8) {
    for (uint32_t j = 0; j < 8; ++j) sums[j] += double{a[k + j]} * double{b[k + j]};
  }
  for (; k < count; ++k) sums[0] += double{a[k]} * double{b[k]};
  return ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
}

/// The statistics of `head`, layer * H + query head, in a table (QueryStatsOp).
float* StatisticsOf(const KvBinding& kv, uint32_t table, uint32_t head);

/// The factors of a RopeSpec in scratch, or null.
const float* FactorsOf(const RopeSpec& rope, const Replay& replay);

/// cos and sin of the angle of pair `pair` at `position`, as RopeSpec says.
struct Turn {
  double cos, sin;
};
Turn TurnOf(const RopeSpec& rope, const float* factors, double position, uint32_t pair);

void Run(const EmbedOp& op, Replay& replay);
void Run(const RmsNormOp& op, Replay& replay);
void Run(const MatMulOp& op, Replay& replay);
void Run(const ActOp& op, Replay& replay);
void Run(const RopeOp& op, Replay& replay);
void Run(const GatherRowsOp& op, Replay& replay);
void Run(const TopKOp& op, Replay& replay);
void Run(const KvWriteOp& op, Replay& replay);
void Run(const AttendOp& op, Replay& replay);
void Run(const KvAgesOp& op, Replay& replay);
void Run(const KvCompactOp& op, Replay& replay);
void Run(const KvRebaseOp& op, Replay& replay);
void Run(const KvSpreadOp& op, Replay& replay);
void Run(const KvScoreOp& op, Replay& replay);
void Run(const QueryStatsOp& op, Replay& replay);

}  // namespace cormorant::reference
