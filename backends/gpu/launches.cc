// Ops on activations, and what all launches share. See launches.h.
#include "backends/gpu/launches.h"

#include <bit>
#include <cmath>

#include "runtime/base/check.h"
#include "runtime/base/units.h"
#include "runtime/ops/turns.h"

namespace cormorant::GPU_NAMESPACE {
namespace {

constexpr uint32_t kElementThreads = 128;  // Of kernels with a thread an element.
constexpr uint32_t kTopKSlice = 4096;      // Numbers a block looks at.

uint32_t Stride(const Tensor& tensor) {
  return tensor.shape[1] * tensor.shape[2];
}

}  // namespace

WeightType TypeOf(DType dtype) {
  switch (dtype) {
    case DType::kF32: return kF32;
    case DType::kF16: return kF16;
    case DType::kBF16: return kBF16;
    case DType::kQ8_0: return kQ8_0;
    case DType::kQ4_0: return kQ4_0;
    case DType::kQ4_1: return kQ4_1;
    default: break;  // WhyUnsupported has refused it.
  }
  CORM_CHECK(false);
  return kF32;
}

const uint32_t* LaunchBuilder::Frequencies(const RopeSpec& rope) {
  return Table(rope, false);
}
const uint32_t* LaunchBuilder::MeanTurns(const RopeSpec& rope) {
  return Table(rope, true);
}

const uint32_t* LaunchBuilder::Table(const RopeSpec& rope, bool is_mean) {
  const auto address = [this](const TurnTable& table) {
    return reinterpret_cast<const uint32_t*>(at_.scratch + uint64_t{table.at} * 4);
  };
  for (const TurnTable& table : turn_tables_) {
    if (table.is_mean == is_mean && HasSameTurns(table.rope, rope)) return address(table);
  }
  turn_tables_.push_back({rope, is_mean, static_cast<uint32_t>(tables.size())});
  const float* factors = nullptr;
  if (rope.factors.present() && at_.weights != nullptr) {
    factors = reinterpret_cast<const float*>(at_.weights->tensor(rope.factors.offset).data);
  }
  (is_mean ? AppendMeanTurns : AppendTurns)(rope, factors, &tables);
  return address(turn_tables_.back());
}

void LaunchBuilder::Build(const Tape& tape) {
  rows_ = tape.rows;
  out_rows_ = tape.out_rows;
  // Tables of RoPE come first in scratch; their size is known before any address is used.
  for (const Op& op : tape.ops) {
    if (const auto* rope = std::get_if<RopeOp>(&op)) Frequencies(rope->rope);
    if (const auto* rebase = std::get_if<KvRebaseOp>(&op)) Frequencies(rebase->rope);
    if (const auto* score = std::get_if<KvScoreOp>(&op)) MeanTurns(score->rope);
  }
  tables_bytes_ = RoundUp(tables.size() * 4, 256);
  scratch_bytes = tables_bytes_;
  tape_ = &tape;
  while (op_index_ < tape.ops.size()) {
    if (AddRotatedWrite() || AddMatVecs()) continue;
    std::visit([&](const auto& o) { Add(o); }, tape.ops[op_index_]);
    ++op_index_;
  }
}

void LaunchBuilder::Add(const EmbedOp& op) {
  constexpr uint32_t kThreads = 64;
  const uint32_t columns = op.table.shape[1];
  const EmbedArguments arguments = {At(op.y), Data(op.table), Scales(op.table),
                                    Step(),   columns,        Groups(columns, 32)};
  Emit(EmbedKernel(TypeOf(op.table.dtype)), {Groups(columns, 8 * kThreads), rows_, 1}, kThreads,
       arguments);
}

void LaunchBuilder::Add(const RmsNormOp& op) {
  RmsNormArguments arguments = {At(op.y), At(op.x), Data<float>(op.w), Step(), op.w.shape[0],
                                Live(),   op.eps,   nullptr,           nullptr};
  if (IsForDots(op.y)) {
    const QuantizedX to = KeepQuantized(op.y);
    arguments.quants = to.quants;
    arguments.scales = to.scales;
  }
  Emit(RmsNormKernel(), {Rows(), 1, 1}, 256, arguments);
}

void LaunchBuilder::Add(const ActOp& op) {
  const uint32_t columns = Stride(op.y);
  ActArguments arguments = {At(op.y), At(op.gate), At(op.up), Step(),
                            columns,  Live(),      nullptr,   nullptr};
  if (IsForDots(op.y)) {
    const QuantizedX to = KeepQuantized(op.y);
    arguments.quants = to.quants;
    arguments.scales = to.scales;
    Emit(ActQuantizeKernel(), {Groups(columns / 32, 64), Rows(), 1}, 64, arguments);
    return;
  }
  Emit(ActKernel(), {Groups(columns, kElementThreads), Rows(), 1}, kElementThreads, arguments);
}

void LaunchBuilder::Add(const RopeOp& op) {
  constexpr uint32_t kThreads = 64;
  const uint32_t pairs = op.rope.dims / 2;
  const RopeArguments arguments = {At(op.x),      Frequencies(op.rope), Step(),
                                   op.x.shape[1], op.x.shape[2],        pairs};
  Emit(RopeKernel(), {Groups(pairs, kThreads), rows_, 1}, kThreads, arguments);
}

void LaunchBuilder::Add(const GatherRowsOp& op) {
  is_out_ = true;
  const GatherRowsArguments arguments = {At(op.y), At(op.x), Step(), Stride(op.x)};
  Emit(GatherRowsKernel(), {Groups(Stride(op.x), kElementThreads), out_rows_, 1}, kElementThreads,
       arguments);
}

void LaunchBuilder::Add(const TopKOp& op) {
  constexpr uint32_t kThreads = 256;
  const uint32_t columns = op.x.shape[1], k = op.values.shape[1], sorted = std::bit_ceil(k);
  // Slices at least four times as long as what they leave, else the second launch has no less.
  const uint32_t slice = std::max(kTopKSlice, 4 * k), slices = Groups(columns, slice);
  if (slices == 1) {
    const TopKArguments whole = {At(op.x), nullptr, At(op.values), At<uint32_t>(op.indices),
                                 Step(),   columns, columns,       k,
                                 sorted,   Live()};
    Emit(TopKKernel(), {1, Rows(), 1}, kThreads, whole);
    return;
  }
  const uint64_t part_bytes = RoundUp(uint64_t{Rows()} * slices * k * 4, 256);
  const uintptr_t scratch = Scratch(2 * part_bytes);
  auto* const values = reinterpret_cast<float*>(scratch);
  auto* const indices = reinterpret_cast<uint32_t*>(scratch + part_bytes);
  const TopKArguments by_slice = {At(op.x), nullptr, values, indices, Step(),
                                  columns,  slice,   k,      sorted,  Live()};
  Emit(TopKKernel(), {slices, Rows(), 1}, kThreads, by_slice);
  const TopKArguments of_slices = {values, indices,    At(op.values), At<uint32_t>(op.indices),
                                   Step(), slices * k, slices * k,    k,
                                   sorted, Live()};
  Emit(TopKKernel(), {1, Rows(), 1}, kThreads, of_slices);
}

}  // namespace cormorant::GPU_NAMESPACE
