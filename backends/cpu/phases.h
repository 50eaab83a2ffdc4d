// What a compiled tape is on the CPU: phases, one after the other, each a number of independent
// items.
//
// All threads walk the phases; within one they take items from a shared counter, and the next
// begins when all items are done, whoever did them. Nobody waits for a thread that has taken
// nothing: one that the system interrupts catches up later, and holds the others up for one item at
// most. Which thread runs an item never changes its result.
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "backends/backend.h"
#include "backends/cpu/kernels.h"
#include "backends/cpu/weights.h"
#include "runtime/ops/kv_page.h"
#include "runtime/ops/ops.h"
#include "runtime/ops/step.h"

namespace cormorant::cpu {

/// One replay: the bytes behind regions, and the step's rows.
struct Replay {
  StepView step;
  const CpuWeights* weights = nullptr;
  std::byte* arena = nullptr;
  std::byte* out = nullptr;
  const KvBinding* kv = nullptr;
  std::byte* scratch = nullptr;

  uint32_t rows() const { return step.header().rows; }
  uint32_t out_rows() const { return step.header().out_rows; }
  template <class T = float>
  T* At(const Tensor& tensor) const {
    std::byte* region = tensor.region == Region::kArena ? arena : out;
    return reinterpret_cast<T*>(region + tensor.offset);
  }
  template <class T = float>
  T* Scratch(uint64_t offset) const {
    return reinterpret_cast<T*>(scratch + offset);
  }
  /// An f32 weight, as the model file holds it.
  const float* Floats(const Tensor& tensor) const {
    return reinterpret_cast<const float*>(weights->tensor(tensor.offset).data);
  }
};

class Phase {
 public:
  virtual ~Phase() = default;
  virtual uint32_t Items(const Replay& replay) const = 0;
  /// `thread` names the caller's share of per-thread scratch.
  virtual void Run(const Replay& replay, uint32_t item, uint32_t thread) const = 0;
};

/// What phases are built with: the device, and scratch that is counted as it is handed out.
struct PhaseBuilder {
  PhaseBuilder(const Kernels* kernel_table, uint32_t thread_count, const KvGeometry& cache)
      : kernels(kernel_table), threads(thread_count), geometry(cache) {}

  const Kernels* const kernels;
  const uint32_t threads;
  const KvGeometry geometry;
  uint32_t rows = 1, out_rows = 1;  // Of the bucket.
  uint64_t scratch_bytes = 0;
  std::vector<std::unique_ptr<Phase>> phases;

  /// Bytes of scratch that begin at a multiple of a page.
  uint64_t Scratch(uint64_t bytes);
};

/// The phases of a tape, in order. Pure but for the builder.
void BuildPhases(const Tape& tape, PhaseBuilder& builder);

/// A row-wise step of a rows phase: it reads and writes the given rows alone.
class RowStep {
 public:
  virtual ~RowStep() = default;
  /// Rows [first, last), at most a tile of them, the first at a tile's start.
  virtual void Run(const Replay& replay, uint32_t first, uint32_t last) const = 0;
};

/// cos and sin of the step's positions for one RopeSpec: [rows][dims] each, as `rotate` wants them.
struct AngleTable {
  RopeSpec rope;
  uint64_t cosines = 0, sines = 0;  // Scratch offsets.
};
std::unique_ptr<RowStep> MakeAngles(const AngleTable& table);
std::unique_ptr<RowStep> MakeEmbed(const EmbedOp& op);
std::unique_ptr<RowStep> MakeRmsNorm(const RmsNormOp& op, const Kernels& kernels);
std::unique_ptr<RowStep> MakeAct(const ActOp& op, const Kernels& kernels);
std::unique_ptr<RowStep> MakeRope(const RopeOp& op, const AngleTable& table,
                                  const Kernels& kernels);
std::unique_ptr<RowStep> MakeKvWrite(const KvWriteOp& op, const Kernels& kernels);
std::unique_ptr<RowStep> MakeGather(const GatherRowsOp& op);
std::unique_ptr<RowStep> MakeTopK(const TopKOp& op);
/// Quantizes x [R,K] into tiles at `tiles`.
std::unique_ptr<RowStep> MakeQuantize(const Tensor& x, uint64_t tiles, const Kernels& kernels);

/// Runs steps one after the other on each tile of rows.
std::unique_ptr<Phase> MakeRowsPhase(std::vector<std::unique_ptr<RowStep>> steps, bool is_out,
                                     uint32_t tile_rows);
/// Matmuls of one x, whose tiles are at `tiles` where weights are packed.
std::unique_ptr<Phase> MakeMatMuls(std::vector<MatMulOp> ops, uint64_t tiles, bool is_out,
                                   const PhaseBuilder& builder);
void AddAttend(const AttendOp& op, uint64_t scratch, PhaseBuilder& builder);
/// Bytes of scratch that AddAttend's phases share.
uint64_t AttendScratchBytes(const AttendOp& op, const PhaseBuilder& builder);
std::unique_ptr<Phase> MakeKvAges(const KvAgesOp& op);
/// Each thread has HeadScratchBytes at scratch + thread * that.
std::unique_ptr<Phase> MakeKvCompact(uint64_t scratch);
std::unique_ptr<Phase> MakeKvScore(const KvScoreOp& op, uint64_t scratch);
std::unique_ptr<Phase> MakeQueryStats(const QueryStatsOp& op);
std::unique_ptr<Phase> MakeKvSpread();
std::unique_ptr<Phase> MakeKvRebase(const KvRebaseOp& op, uint64_t scratch,
                                    const KvGeometry& geometry, const Kernels& kernels);
/// Scratch of one thread for compaction, scores and re-basing.
uint64_t HeadScratchBytes(const KvGeometry& geometry);

PageShape ShapeOf(const KvGeometry& geometry);
uint8_t* PageAt(const KvBinding& kv, uint32_t page);
/// The statistics of `head`, layer * H + query head, in a table (QueryStatsOp).
float* StatisticsOf(const KvBinding& kv, uint32_t table, uint32_t head);
/// Page ids of a head.
const uint32_t* PageTable(const KvBinding& kv, uint32_t table, uint32_t head);
/// Radians a position, for each pair of a RopeSpec.
double Frequency(const RopeSpec& rope, const Replay& replay, uint32_t pair);
/// The entries of one pair for the kernel `rotate`.
void SetAngle(double angle, uint32_t pair, float* cosines, float* sines);

}  // namespace cormorant::cpu
