// Ops on activations, and what all launches share. See launches.h.
#include "backends/gpu/launches.h"

#include <bit>
#include <cmath>

#include "runtime/base/check.h"
#include "runtime/base/units.h"

namespace cormorant::GPU_NAMESPACE {
namespace {

constexpr uint32_t kElementThreads = 128;  // Of kernels with a thread an element.
constexpr uint32_t kTopKSlice = 4096;      // Numbers a block looks at.

uint32_t Groups(uint64_t items, uint32_t each) {
  return static_cast<uint32_t>(CeilDiv(items, each));
}
uint32_t Stride(const Tensor& tensor) {
  return tensor.shape[1] * tensor.shape[2];
}

/// Which size of block to make rows by columns outputs with: large ones read less, but there must
/// be some for every processor, and few rows do not fill them.
uint32_t MatMulSize(const MatMulTile* tiles, uint32_t rows, uint32_t columns, uint32_t processors) {
  uint32_t size = kMatMulSizes - 1;
  const auto is_wasted = [&](const MatMulTile& tile) {
    return rows <= tile.rows / 2 ||
           Groups(rows, tile.rows) * Groups(columns, tile.columns) < processors;
  };
  while (size > 0 && is_wasted(tiles[size])) --size;
  return size;
}

WeightType TypeOf(DType dtype) {
  switch (dtype) {
    case DType::kF32: return kF32;
    case DType::kF16: return kF16;
    case DType::kBF16: return kBF16;
    case DType::kQ8_0: return kQ8_0;
    case DType::kQ4_0: return kQ4_0;
    case DType::kQ4_1: return kQ4_1;
    case DType::kU32: break;
  }
  CORM_CHECK(false);
  return kF32;
}

/// Turns a position, as a 64-bit fraction of a turn: low and high word.
void AddFrequency(double radians, std::vector<uint32_t>* to) {
  const long double turns = static_cast<long double>(radians) / (2.0L * std::acos(-1.0L));
  const long double fraction = turns - std::floor(turns);
  const uint64_t bits = static_cast<uint64_t>(std::min(fraction * 0x1p64L, 0x1p64L - 2048.0L));
  to->push_back(static_cast<uint32_t>(bits));
  to->push_back(static_cast<uint32_t>(bits >> 32));
}

bool SameRope(const RopeSpec& a, const RopeSpec& b) {
  return a.dims == b.dims && a.base == b.base && a.frequency_scale == b.frequency_scale &&
         a.factors.region == b.factors.region && a.factors.offset == b.factors.offset;
}

}  // namespace

const uint32_t* LaunchBuilder::Frequencies(const RopeSpec& rope) {
  const auto address = [this](uint32_t word) {
    return reinterpret_cast<const uint32_t*>(at_.scratch + uint64_t{word} * 4);
  };
  for (size_t i = 0; i < ropes_.size(); ++i) {
    if (SameRope(ropes_[i], rope)) return address(rope_at_[i]);
  }
  ropes_.push_back(rope);
  rope_at_.push_back(static_cast<uint32_t>(tables.size()));
  const float* factors = nullptr;
  if (rope.factors.present() && at_.weights != nullptr) {
    factors = reinterpret_cast<const float*>(at_.weights->tensor(rope.factors.offset).data);
  }
  for (uint32_t pair = 0; pair < rope.dims / 2; ++pair) {
    double frequency = std::pow(double{rope.base}, -2.0 * pair / rope.dims) * rope.frequency_scale;
    if (factors != nullptr) frequency /= double{factors[pair]};
    AddFrequency(frequency, &tables);
  }
  return address(rope_at_.back());
}

void LaunchBuilder::Build(const Tape& tape) {
  rows_ = tape.rows;
  out_rows_ = tape.out_rows;
  // Tables of RoPE come first in scratch; their size is known before any address is used.
  for (const Op& op : tape.ops) {
    if (const auto* rope = std::get_if<RopeOp>(&op)) Frequencies(rope->rope);
    if (const auto* rebase = std::get_if<KvRebaseOp>(&op)) Frequencies(rebase->rope);
  }
  tables_bytes_ = RoundUp(tables.size() * 4, 256);
  scratch_bytes = tables_bytes_;
  for (const Op& op : tape.ops) {
    std::visit([&](const auto& o) { Add(o); }, op);
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
  const RmsNormArguments arguments = {At(op.y), At(op.x), Data<float>(op.w), Step(), op.w.shape[0],
                                      Live(),   op.eps};
  Emit(RmsNormKernel(), {Rows(), 1, 1}, 256, arguments);
}

/// x in 15 bits, unless the ops just before left it there.
void LaunchBuilder::Quantize(const Tensor& x, MatMulArguments* arguments) {
  constexpr uint32_t kThreads = 64;
  const uint32_t blocks = arguments->blocks;
  const uint64_t quant_bytes = RoundUp(uint64_t{Rows()} * blocks * 64, 256);
  const uintptr_t scratch = Scratch(quant_bytes + RoundUp(uint64_t{Rows()} * blocks * 8, 256));
  auto* const quants = reinterpret_cast<uint32_t*>(scratch);
  auto* const scales = reinterpret_cast<float*>(scratch + quant_bytes);
  const bool is_there = quantized_.present() && quantized_at_ + 1 == op_index_ &&
                        quantized_.region == x.region && quantized_.offset == x.offset &&
                        quantized_.shape == x.shape;
  if (!is_there) {
    const QuantizeXArguments quantize = {At(x),  quants, scales, Step(), arguments->columns,
                                         blocks, Live()};
    Emit(QuantizeXKernel(), {Groups(blocks, kThreads), Rows(), 1}, kThreads, quantize);
  }
  arguments->quants = quants;
  arguments->x_scales = scales;
  quantized_ = x;
  quantized_at_ = op_index_;
}

void LaunchBuilder::Add(const MatMulOp& op) {
  const uint32_t rows_of_w = op.w.shape[0], columns = op.w.shape[1];
  const WeightType type = TypeOf(op.w.dtype);
  MatMulArguments arguments = {At(op.y),
                               At(op.x),
                               Data(op.w),
                               Scales(op.w),
                               Step(),
                               rows_of_w,
                               columns,
                               Groups(columns, 32),
                               Groups(rows_of_w, 32),
                               Live(),
                               op.accumulate ? 1u : 0u,
                               nullptr,
                               nullptr};
  const bool is_dot = Info(op.w.dtype).block > 1;
  if (is_dot) Quantize(op.x, &arguments);
  // An output may be what a neighbour would read as x: then it is not what was quantized.
  if (Overlap(op.y, quantized_)) quantized_ = {};
  if (Rows() <= kFewRows) {
    const uint32_t batch = std::bit_ceil(Rows());
    // Enough slices to have many reads under way, but some blocks for each.
    const uint32_t threads = std::clamp(std::bit_ceil(arguments.blocks * 8), 64u, 512u);
    Emit(MatVecKernel(type, batch), {arguments.tiles, 1, 1}, threads, arguments);
    return;
  }
  CORM_CHECK(uint64_t{Rows()} * arguments.blocks * 32 <= UINT32_MAX);
  const MatMulTile* const tiles = is_dot ? kMatMulDotTiles : kMatMulTiles;
  const uint32_t size = MatMulSize(tiles, Rows(), rows_of_w, processors_);
  const MatMulTile& tile = tiles[size];
  Emit(MatMulKernel(type, size), {Groups(rows_of_w, tile.columns), Groups(Rows(), tile.rows), 1},
       tile.threads, arguments);
}

void LaunchBuilder::Add(const ActOp& op) {
  const ActArguments arguments = {At(op.y), At(op.gate), At(op.up), Step(), Stride(op.y), Live()};
  Emit(ActKernel(), {Groups(Stride(op.y), kElementThreads), Rows(), 1}, kElementThreads, arguments);
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
