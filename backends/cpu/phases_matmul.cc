// Matrix products: all matmuls of one x are one phase, its items pieces of their weights.
//
// A piece is big enough that taking it from the shared counter costs nothing and small enough that
// threads end together. In prefill a piece's weights stay in cache while the tiles pass by.
#include <algorithm>

#include "backends/cpu/phases.h"
#include "runtime/format/quants.h"

namespace cormorant::cpu {
namespace {

constexpr uint32_t kItemsPerThread = 8;
// Rows that pass over a piece of weights before the next piece: their tiles fit a core's L2 cache.
constexpr uint32_t kRowsAtOnce = 64;

class MatMuls final : public Phase {
 public:
  MatMuls(std::vector<MatMulOp> ops, uint64_t tiles, bool is_out, const PhaseBuilder& builder)
      : ops_(std::move(ops)), tiles_(tiles), is_out_(is_out), kernels_(*builder.kernels) {
    for (const MatMulOp& op : ops_) units_ += PanelCount(op.w.shape[0]);
    piece_ = std::max(1u, units_ / (builder.threads * kItemsPerThread));
  }

  uint32_t Items(const Replay& replay) const override {
    return Rows(replay) == 0 ? 0 : (units_ + piece_ - 1) / piece_;
  }

  void Run(const Replay& replay, uint32_t item, uint32_t) const override {
    uint32_t first = item * piece_;
    const uint32_t last = std::min(units_, first + piece_);
    uint32_t op_first = 0;
    for (const MatMulOp& op : ops_) {
      const uint32_t op_last = op_first + PanelCount(op.w.shape[0]);
      const uint32_t end = std::min(last, op_last);
      if (first < end) {
        Multiply(op, replay, first - op_first, end - op_first);
        first = end;
      }
      op_first = op_last;
    }
  }

 private:
  uint32_t Rows(const Replay& replay) const { return is_out_ ? replay.out_rows() : replay.rows(); }

  /// Units [first, last) of 16 columns of y.
  void Multiply(const MatMulOp& op, const Replay& replay, uint32_t first, uint32_t last) const {
    const uint32_t rows = Rows(replay);
    for (uint32_t row = 0; row < rows; row += kRowsAtOnce) {
      const uint32_t row_end = std::min(rows, row + kRowsAtOnce);
      if (IsBlockType(op.w.dtype)) {
        MultiplyPacked(op, replay, first, last, row, row_end);
      } else {
        MultiplyDense(op, replay, first, last, row, row_end);
      }
    }
  }

  void MultiplyPacked(const MatMulOp& op, const Replay& replay, uint32_t first, uint32_t last,
                      uint32_t row, uint32_t row_end) const {
    PanelTask task;
    task.type = PanelTypeOf(op.w.dtype);
    task.blocks = op.w.shape[1] / kBlock;
    task.panels = replay.weights->panels(op.w.offset);
    task.panel_bytes = PanelBytes(op.w.dtype, op.w.shape[1]);
    task.levels = LevelsOf(op.w.dtype);
    task.tiles = replay.Scratch<uint8_t>(tiles_);
    task.tile_bytes = kernels_.tile_bytes(task.blocks);
    task.y = replay.At(op.y);
    task.columns = op.w.shape[0];
    task.first_panel = first;
    task.last_panel = last;
    task.first_row = row;
    task.last_row = row_end;
    task.accumulate = op.accumulate;
    kernels_.multiply_panels(task);
  }

  void MultiplyDense(const MatMulOp& op, const Replay& replay, uint32_t first, uint32_t last,
                     uint32_t row, uint32_t row_end) const {
    DenseTask task;
    task.type = op.w.dtype == DType::kF32   ? DenseType::kF32
                : op.w.dtype == DType::kF16 ? DenseType::kF16
                                            : DenseType::kBF16;
    task.w = reinterpret_cast<const uint8_t*>(replay.weights->tensor(op.w.offset).data);
    task.x = replay.At(op.x);
    task.y = replay.At(op.y);
    task.inner = op.w.shape[1];
    task.columns = op.w.shape[0];
    task.first_column = first * kPanelRows;
    task.last_column = std::min(task.columns, last * kPanelRows);
    task.first_row = row;
    task.last_row = row_end;
    task.accumulate = op.accumulate;
    kernels_.multiply_dense(task);
  }

  const std::vector<MatMulOp> ops_;
  const uint64_t tiles_;
  const bool is_out_;
  const Kernels& kernels_;
  uint32_t units_ = 0;  // Of 16 columns, over all ops.
  uint32_t piece_ = 1;  // Units of an item.
};

}  // namespace

std::unique_ptr<Phase> MakeMatMuls(std::vector<MatMulOp> ops, uint64_t tiles, bool is_out,
                                   const PhaseBuilder& builder) {
  return std::make_unique<MatMuls>(std::move(ops), tiles, is_out, builder);
}

}  // namespace cormorant::cpu
