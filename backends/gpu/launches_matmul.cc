// Products with weights, what brings x to them, and what neighbours share. See launches.h.
#include <bit>

#include "backends/gpu/launches.h"
#include "runtime/base/check.h"
#include "runtime/base/units.h"

namespace cormorant::GPU_NAMESPACE {
namespace {

bool IsDot(const MatMulOp& op) {
  return Info(op.w.dtype).block > 1;
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

}  // namespace

bool LaunchBuilder::IsForDots(const Tensor& y) const {
  if (op_index_ + 1 >= tape_->ops.size()) return false;
  const auto* const next = std::get_if<MatMulOp>(&tape_->ops[op_index_ + 1]);
  return next != nullptr && IsDot(*next) && IsSame(next->x, y);
}

LaunchBuilder::QuantizedX LaunchBuilder::KeepQuantized(const Tensor& x) {
  const uint32_t blocks = x.shape[1] / 32;
  const uint64_t quant_bytes = RoundUp(uint64_t{Rows()} * blocks * 64, 256);
  const uintptr_t scratch = Scratch(quant_bytes + RoundUp(uint64_t{Rows()} * blocks * 8, 256));
  quantized_ = x;
  quantized_at_ = op_index_;
  return {reinterpret_cast<uint32_t*>(scratch), reinterpret_cast<float*>(scratch + quant_bytes)};
}

LaunchBuilder::QuantizedX LaunchBuilder::Quantize(const Tensor& x) {
  constexpr uint32_t kThreads = 64;
  // Unless the op just before left it there.
  const bool is_there =
      quantized_.present() && quantized_at_ + 1 == op_index_ && IsSame(quantized_, x);
  const QuantizedX to = KeepQuantized(x);
  if (is_there) return to;
  const uint32_t columns = x.shape[1], blocks = columns / 32;
  const QuantizeXArguments quantize = {At(x),   to.quants, to.scales, Step(),
                                       columns, blocks,    Live()};
  Emit(QuantizeXKernel(), {Groups(blocks, kThreads), Rows(), 1}, kThreads, quantize);
  return to;
}

MatMulArguments LaunchBuilder::ArgumentsOf(const MatMulOp& op) {
  const uint32_t rows_of_w = op.w.shape[0], columns = op.w.shape[1];
  QuantizedX x;
  if (IsDot(op)) x = Quantize(op.x);
  // An output may be what a neighbour would read as x: then it is not what was quantized.
  if (Overlap(op.y, quantized_)) quantized_ = {};
  return {At(op.y),
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
          x.quants,
          x.scales};
}

uint32_t LaunchBuilder::MatVecsTogether() const {
  const auto at = [this](uint32_t i) {
    const size_t index = op_index_ + i;
    return index < tape_->ops.size() ? std::get_if<MatMulOp>(&tape_->ops[index]) : nullptr;
  };
  const MatMulOp* const first = at(0);
  if (first == nullptr || Rows() > kFewRows) return 0;
  uint32_t count = 0;
  for (const MatMulOp* op = first; op != nullptr && count < kMatVecParts; op = at(count)) {
    bool fits = IsSame(op->x, first->x) && op->w.dtype == first->w.dtype;
    // They run side by side: none may write what another reads or writes.
    fits = fits && (count == 0 || !Overlap(op->y, op->x));
    for (uint32_t i = 0; i < count; ++i) {
      fits = fits && !Overlap(op->y, at(i)->y) && !Overlap(at(i)->y, op->x);
    }
    if (!fits) break;
    ++count;
  }
  return count;
}

bool LaunchBuilder::AddMatVecs() {
  const uint32_t count = MatVecsTogether();
  if (count == 0) return false;
  MatVecArguments all = {};
  uint32_t tiles = 0;
  for (uint32_t i = 0; i < kMatVecParts; ++i) {
    all.first_tile[i] = tiles;
    if (i >= count) continue;
    all.part[i] = ArgumentsOf(std::get<MatMulOp>(tape_->ops[op_index_]));
    tiles += all.part[i].tiles;
    ++op_index_;
  }
  const MatMulOp& op = std::get<MatMulOp>(tape_->ops[op_index_ - 1]);
  // Enough slices to have many reads under way, but some blocks for each.
  const uint32_t threads = std::clamp(std::bit_ceil(all.part[0].blocks * 8), 64u, 512u);
  Emit(MatVecKernel(TypeOf(op.w.dtype), std::bit_ceil(Rows())), {tiles, 1, 1}, threads, all);
  return true;
}

void LaunchBuilder::Add(const MatMulOp& op) {
  const MatMulArguments arguments = ArgumentsOf(op);
  // Kernels count x in 32 bits.
  CORM_CHECK(uint64_t{Rows()} * op.x.shape[1] <= UINT32_MAX);
  const MatMulTile* const tiles = IsDot(op) ? kMatMulDotTiles : kMatMulTiles;
  const uint32_t size = MatMulSize(tiles, Rows(), arguments.rows_of_w, processors_);
  const MatMulTile& tile = tiles[size];
  Emit(MatMulKernel(TypeOf(op.w.dtype), size),
       {Groups(arguments.rows_of_w, tile.columns), Groups(Rows(), tile.rows), 1}, tile.threads,
       arguments);
}

}  // namespace cormorant::GPU_NAMESPACE
