// From ops to phases. See phases.h.
#include "backends/cpu/phases.h"

#include <algorithm>
#include <utility>

#include "runtime/base/units.h"

namespace cormorant::cpu {
namespace {

constexpr uint64_t kScratchAlignment = 4096;

bool IsSame(const Tensor& a, const Tensor& b) {
  return a.region == b.region && a.offset == b.offset && a.elements() == b.elements();
}

bool IsSame(const RopeSpec& a, const RopeSpec& b) {
  return a.dims == b.dims && a.base == b.base && a.frequency_scale == b.frequency_scale &&
         a.factors.present() == b.factors.present() && a.factors.offset == b.factors.offset;
}

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
  /// Ends the phase of row-wise steps: what follows needs all rows of what they wrote.
  void EndRows() {
    if (steps_.empty()) return;
    builder_.phases.push_back(
        MakeRowsPhase(std::exchange(steps_, {}), is_out_, builder_.kernels->tile_rows));
  }

  void Add(const EmbedOp& op) { AddStep(MakeEmbed(op)); }
  void Add(const RmsNormOp& op) { AddStep(MakeRmsNorm(op, *builder_.kernels)); }
  void Add(const ActOp& op) { AddStep(MakeAct(op, *builder_.kernels)); }
  void Add(const RopeOp& op) { AddStep(MakeRope(op, AnglesOf(op.rope), *builder_.kernels)); }
  void Add(const KvWriteOp& op) { AddStep(MakeKvWrite(op, *builder_.kernels)); }
  void Add(const GatherRowsOp& op) {
    EndRows();
    is_out_ = true;
    AddStep(MakeGather(op));
  }
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
  void Add(const KvRebaseOp& op) {
    EndRows();
    builder_.phases.push_back(MakeKvRebase(op, heads_, builder_.geometry, *builder_.kernels));
  }

  const Tape& tape_;
  PhaseBuilder& builder_;
  size_t at_ = 0;
  bool is_out_ = false;  // Past the tape's gather.
  std::vector<std::unique_ptr<RowStep>> steps_;
  std::vector<AngleTable> angles_;
  // Scratch that all ops of a kind share, one after the other:
  uint64_t tiles_ = 0, attend_ = 0, heads_ = 0;
};

void Compiler::SizeScratch() {
  const Kernels& kernels = *builder_.kernels;
  uint64_t tiles = 0, attend = 0, heads = 0;
  for (const Op& op : tape_.ops) {
    if (const auto* matmul = std::get_if<MatMulOp>(&op); matmul && IsPacked(matmul->w.dtype)) {
      const uint64_t count = CeilDiv(std::max(builder_.rows, builder_.out_rows), kernels.tile_rows);
      tiles = std::max(tiles, count * kernels.tile_bytes(matmul->w.shape[1] / kBlock));
    } else if (const auto* attention = std::get_if<AttendOp>(&op)) {
      attend = std::max(attend, AttendScratchBytes(*attention, builder_));
    } else if (std::holds_alternative<KvCompactOp>(op) || std::holds_alternative<KvRebaseOp>(op)) {
      heads = builder_.threads * HeadScratchBytes(builder_.geometry);
    }
  }
  tiles_ = builder_.Scratch(tiles);
  attend_ = builder_.Scratch(attend);
  heads_ = builder_.Scratch(heads);
}

const AngleTable& Compiler::AnglesOf(const RopeSpec& rope) {
  for (const AngleTable& table : angles_) {
    if (IsSame(table.rope, rope)) return table;
  }
  const uint64_t bytes = uint64_t{builder_.rows} * rope.dims * sizeof(float);
  angles_.push_back({rope, builder_.Scratch(bytes), builder_.Scratch(bytes)});
  AddStep(MakeAngles(angles_.back()));
  return angles_.back();
}

void Compiler::Add(const MatMulOp& first) {
  std::vector<MatMulOp> ops = {first};
  bool any_packed = IsPacked(first.w.dtype);
  while (at_ + 1 < tape_.ops.size()) {
    const auto* next = std::get_if<MatMulOp>(&tape_.ops[at_ + 1]);
    // A matmul that writes what another of the group reads or writes must wait for it.
    if (next == nullptr || !IsSame(next->x, first.x) || next->accumulate || first.accumulate) break;
    any_packed |= IsPacked(next->w.dtype);
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
  return {geometry.head_dim,
          layout.k,
          layout.k_scale,
          layout.v,
          layout.v_scale,
          layout.last_important,
          geometry.k_type == DType::kQ8_0,
          geometry.v_type == DType::kQ8_0};
}

}  // namespace cormorant::cpu
