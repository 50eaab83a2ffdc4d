// From ops to phases. See phases.h.
#include "backends/cpu/phases.h"

#include <algorithm>
#include <type_traits>
#include <utility>

#include "runtime/base/units.h"
#include "runtime/ops/turns.h"

namespace cormorant::cpu {
namespace {

constexpr uint64_t kScratchAlignment = 4096;

/// Walks a tape and gathers neighbouring ops into phases.
class Compiler {
 public:
  Compiler(const Tape& tape, PhaseBuilder& builder) : tape_(tape), builder_(builder) {}

  void Run() {
    SizeScratch();
    for (at_ = 0; at_ < tape_.ops.size(); ++at_) {
      std::visit([this](const auto& op) { Add(op); }, tape_.ops[at_]);
    }
    EndRows();
  }

 private:
  void SizeScratch();
  const AngleTable& AnglesOf(const RopeSpec& rope);
  void AddStep(std::unique_ptr<RowStep> step) { steps_.push_back(std::move(step)); }
  /// Adds the step of a row-wise op to the phase of those before it, or to a new phase where one
  /// would write over rows that others of the phase still have to read.
  template <class OpType>
  void AddStep(const OpType& op, std::unique_ptr<RowStep> step) {
    bool collides = false;
    ForEachTensor(op, [&](const Tensor& tensor, Access access) {
      collides |= access != Access::kRead && Collides(tensor);
    });
    if (collides) EndRows();
    ForEachTensor(op, [&](const Tensor& tensor, Access access) {
      const bool is_scattered = std::is_same_v<OpType, GatherRowsOp> && access == Access::kRead;
      touched_.push_back({tensor, !is_scattered});
    });
    AddStep(std::move(step));
  }
  /// Whether writing rows of `tensor` touches other rows of what the phase has touched.
  bool Collides(const Tensor& tensor) const {
    return std::any_of(touched_.begin(), touched_.end(), [&](const Touched& touched) {
      const Tensor& other = touched.tensor;
      const bool is_row_by_row = touched.is_row_wise && tensor.offset == other.offset &&
                                 tensor.bytes() / tensor.shape[0] == other.bytes() / other.shape[0];
      return Overlap(tensor, other) && !is_row_by_row;
    });
  }
  /// Ends the phase of row-wise steps: what follows needs all rows of what they wrote.
  void EndRows() {
    touched_.clear();
    if (steps_.empty()) return;
    builder_.phases.push_back(
        MakeRowsPhase(std::exchange(steps_, {}), is_out_, builder_.kernels->tile_rows));
  }

  void Add(const EmbedOp& op) { AddStep(op, MakeEmbed(op)); }
  void Add(const RmsNormOp& op) { AddStep(op, MakeRmsNorm(op, *builder_.kernels)); }
  void Add(const ActOp& op) { AddStep(op, MakeAct(op, *builder_.kernels)); }
  void Add(const RopeOp& op) { AddStep(op, MakeRope(op, AnglesOf(op.rope), *builder_.kernels)); }
  void Add(const KvWriteOp& op) { AddStep(op, MakeKvWrite(op, *builder_.kernels)); }
  void Add(const GatherRowsOp& op) {
    EndRows();
    is_out_ = true;
    AddStep(op, MakeGather(op));
  }
  void Add(const TopKOp& op) { AddStep(op, MakeTopK(op)); }
  void Add(const MatMulOp& op);
  void Add(const AttendOp& op) {
    EndRows();
    AddAttend(op, attend_, builder_);
  }
  void Add(const KvAgesOp& op) {
    EndRows();
    builder_.phases.push_back(MakeKvAges(op));
  }
  void Add(const KvCompactOp&) {
    EndRows();
    builder_.phases.push_back(MakeKvCompact(heads_));
  }
  void Add(const KvSpreadOp&) {
    EndRows();
    builder_.phases.push_back(MakeKvSpread());
  }
  void Add(const KvScoreOp& op) {
    EndRows();
    builder_.phases.push_back(MakeKvScore(op, heads_));
  }
  void Add(const QueryStatsOp& op) {
    EndRows();
    builder_.phases.push_back(MakeQueryStats(op));
  }
  void Add(const KvRebaseOp& op) {
    EndRows();
    builder_.phases.push_back(MakeKvRebase(op, heads_, builder_.geometry, *builder_.kernels));
  }

  const Tape& tape_;
  PhaseBuilder& builder_;
  size_t at_ = 0;
  bool is_out_ = false;  // Past the tape's gather.
  struct Touched {
    Tensor tensor;
    bool is_row_wise;
  };
  std::vector<std::unique_ptr<RowStep>> steps_;
  std::vector<Touched> touched_;  // By the steps of the phase.
  std::vector<AngleTable> angles_;
  // Scratch that all ops of a kind share, one after the other:
  uint64_t tiles_ = 0, attend_ = 0, heads_ = 0;
};

void Compiler::SizeScratch() {
  const Kernels& kernels = *builder_.kernels;
  uint64_t tiles = 0, attend = 0, heads = 0;
  for (const Op& op : tape_.ops) {
    if (const auto* matmul = std::get_if<MatMulOp>(&op); matmul && IsBlockType(matmul->w.dtype)) {
      const uint64_t count = CeilDiv(std::max(builder_.rows, builder_.out_rows), kernels.tile_rows);
      tiles = std::max(tiles, count * kernels.tile_bytes(matmul->w.shape[1] / kBlock));
    } else if (const auto* attention = std::get_if<AttendOp>(&op)) {
      attend = std::max(attend, AttendScratchBytes(*attention, builder_));
    } else if (std::holds_alternative<KvCompactOp>(op) || std::holds_alternative<KvRebaseOp>(op) ||
               std::holds_alternative<KvScoreOp>(op)) {
      heads = builder_.threads * HeadScratchBytes(builder_.geometry);
    }
  }
  tiles_ = builder_.Scratch(tiles);
  attend_ = builder_.Scratch(attend);
  heads_ = builder_.Scratch(heads);
}

const AngleTable& Compiler::AnglesOf(const RopeSpec& rope) {
  for (const AngleTable& table : angles_) {
    if (HasSameTurns(table.rope, rope)) return table;
  }
  const uint64_t bytes = uint64_t{builder_.rows} * rope.dims * sizeof(float);
  angles_.push_back({rope, builder_.Scratch(bytes), builder_.Scratch(bytes)});
  AddStep(MakeAngles(angles_.back()));
  return angles_.back();
}

void Compiler::Add(const MatMulOp& first) {
  std::vector<MatMulOp> ops = {first};
  bool any_packed = IsBlockType(first.w.dtype);
  while (at_ + 1 < tape_.ops.size()) {
    const auto* next = std::get_if<MatMulOp>(&tape_.ops[at_ + 1]);
    if (next == nullptr || !IsSame(next->x, first.x)) break;
    // One that writes what another of the group writes must wait for it.
    const auto shares = [&](const MatMulOp& op) { return Overlap(op.y, next->y); };
    if (std::any_of(ops.begin(), ops.end(), shares)) break;
    any_packed |= IsBlockType(next->w.dtype);
    ops.push_back(*next);
    ++at_;
  }
  if (any_packed) AddStep(MakeQuantize(first.x, tiles_, *builder_.kernels));
  EndRows();
  builder_.phases.push_back(MakeMatMuls(std::move(ops), tiles_, is_out_, builder_));
}

}  // namespace

uint64_t PhaseBuilder::Scratch(uint64_t bytes) {
  return std::exchange(scratch_bytes, scratch_bytes + RoundUp(bytes, kScratchAlignment));
}

void BuildPhases(const Tape& tape, PhaseBuilder& builder) {
  builder.rows = tape.rows;
  builder.out_rows = tape.out_rows;
  Compiler(tape, builder).Run();
}

PageShape ShapeOf(const KvGeometry& geometry) {
  const KvPageLayout layout(geometry);
  const auto row_type = [](DType type) {
    return type == DType::kF16 ? RowType::kF16 : type == DType::kQ8_0 ? RowType::kQ8 : RowType::kQ4;
  };
  const uint32_t rotation_block = RotationBlock(geometry.head_dim);
  return {geometry.head_dim,
          layout.k,
          layout.k_scale,
          layout.v,
          layout.v_scale,
          layout.last_important,
          row_type(geometry.k_type),
          row_type(geometry.v_type),
          rotation_block,
          RotationScale(rotation_block)};
}

}  // namespace cormorant::cpu
