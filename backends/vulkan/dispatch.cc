// Ops on activations, and what all dispatches share. See dispatch.h.
#include "backends/vulkan/dispatch.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "gen/vulkan_shaders.h"
#include "runtime/base/units.h"
#include "runtime/ops/turns.h"

namespace cormorant::vulkan {
namespace {

constexpr uint32_t kTile = 32;
constexpr uint32_t kElementThreads = 64;  // Of kernels with an invocation an element.
constexpr uint32_t kLanesBatchMax = 8;    // Rows of x whose sums stay in registers.
constexpr uint32_t kSliceBlocks = 4;      // Blocks of columns a slice of a matvec has, at least.
constexpr uint32_t kStagedBytes = 8192;   // Of x, in a matvec's shared memory.

uint32_t Groups(uint64_t items, uint32_t each) {
  return static_cast<uint32_t>(CeilDiv(items, each));
}

template <class OpType>
std::vector<Range> TensorRanges(const OpType& op) {
  std::vector<Range> ranges;
  ForEachTensor(op, [&](const Tensor& tensor, Access access) {
    if (tensor.region != Region::kArena && tensor.region != Region::kOut) return;
    ranges.push_back(Touch(tensor, access != Access::kRead));
  });
  return ranges;
}

uint32_t Stride(const Tensor& tensor) {
  return tensor.shape[1] * tensor.shape[2];
}

}  // namespace

Range Touch(const Tensor& tensor, bool is_write) {
  return {tensor.region == Region::kArena ? Resource::kArena : Resource::kOut, tensor.offset,
          tensor.offset + tensor.bytes(), is_write};
}

Tuning TuningOf(const DeviceFacts& facts) {
  Tuning tuning;
  tuning.has_dot = facts.has_integer_dot;
  tuning.matvec_threads = std::min(tuning.matvec_threads, std::bit_floor(facts.workgroup_max));
  if (facts.workgroup_max < 256) tuning.matmul_m = 2;  // 128 is what every device allows.
  if (facts.is_cpu) {
    // Loads are dear and arithmetic is cheap where a subgroup is one vector register, and idle
    // workgroups are not free.
    tuning.lanes = facts.has_shuffle && facts.subgroup_size <= 32 ? facts.subgroup_size : 0;
    tuning.matmul_m = tuning.matmul_n = 2;
    tuning.row_threads = 32;
    tuning.attend_threads = tuning.top_k_threads = 32;
    tuning.top_k_slice = 16384;
    tuning.splits = 2;
  }
  return tuning;
}

std::string Tuning::ToString() const {
  const std::string matmul =
      lanes != 0 ? absl::StrCat("matmul by lanes of ", lanes)
                 : absl::StrCat("matvec by ", matvec_threads, ", matmul ", matmul_rows, "x",
                                matmul_columns, " by ", 4 * matmul_m, "x", 4 * matmul_n,
                                has_dot ? " in dot products of bytes" : " in f32");
  return absl::StrCat(matmul, ", rows by ", row_threads, ", attention in ", splits, " splits");
}

bool Conflict(const Dispatch& earlier, const Dispatch& next) {
  for (const Range& a : earlier.ranges) {
    for (const Range& b : next.ranges) {
      const bool overlap = a.resource == b.resource && a.begin < b.end && b.begin < a.end;
      if (overlap && (a.is_write || b.is_write)) return true;
    }
  }
  return false;
}

VkDeviceAddress DispatchBuilder::At(const Tensor& tensor) const {
  return (tensor.region == Region::kArena ? at_.arena : at_.out) + tensor.offset;
}
VkDeviceAddress DispatchBuilder::Data(const Tensor& weight) const {
  return at_.weights == nullptr ? 0 : at_.weights->data(weight.offset);
}
VkDeviceAddress DispatchBuilder::Scales(const Tensor& weight) const {
  return at_.weights == nullptr ? 0 : at_.weights->scales(weight.offset);
}

VkDeviceAddress DispatchBuilder::Frequencies(const RopeSpec& rope) {
  return Table(rope, false);
}
VkDeviceAddress DispatchBuilder::MeanTurns(const RopeSpec& rope) {
  return Table(rope, true);
}

VkDeviceAddress DispatchBuilder::Table(const RopeSpec& rope, bool is_mean) {
  const auto address = [this](const TurnTable& table) { return at_.scratch + table.at * 4; };
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

void DispatchBuilder::Build(const Tape& tape) {
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
  for (const Op& op : tape.ops) {
    std::visit([&](const auto& o) { Add(o); }, op);
    ++op_index_;
  }
}

void DispatchBuilder::Add(const EmbedOp& op) {
  const uint32_t columns = op.table.shape[1];
  const struct {
    VkDeviceAddress y, quads, scales, step;
    uint32_t columns, blocks;
  } arguments = {At(op.y), Data(op.table), Scales(op.table),
                 at_.step, columns,        Groups(columns, kTile)};
  Emit(kShader_embed, {kElementThreads, ShaderType(op.table.dtype)},
       {Groups(columns, 8 * kElementThreads), rows_, 1}, arguments)
      .ranges = TensorRanges(op);
}

void DispatchBuilder::Add(const RmsNormOp& op) {
  const struct {
    VkDeviceAddress y, x, w, step;
    uint32_t columns, live;
    float eps;
  } arguments = {At(op.y), At(op.x), Data(op.w), at_.step, op.w.shape[0], Live(), op.eps};
  Emit(kShader_rms_norm, {tuning_.row_threads}, {Rows(), 1, 1}, arguments).ranges =
      TensorRanges(op);
}

MatMulArguments DispatchBuilder::MatMulOf(const MatMulOp& op) const {
  const uint32_t rows_of_w = op.w.shape[0], columns = op.w.shape[1];
  return {At(op.y),
          At(op.x),
          Data(op.w),
          Scales(op.w),
          at_.step,
          rows_of_w,
          columns,
          Groups(columns, kTile),
          Groups(rows_of_w, kTile),
          Live(),
          op.accumulate ? 1u : 0u,
          0};
}

void DispatchBuilder::AddMatMulLanes(const MatMulOp& op) {
  const MatMulArguments arguments = MatMulOf(op);
  const uint32_t batch = std::bit_ceil(std::min(Rows(), kLanesBatchMax));
  const uint32_t tiles = batch > 1 ? 4 : 8;
  Emit(kShader_matmul_lanes, {tuning_.lanes, ShaderType(op.w.dtype), tiles, batch},
       {Groups(arguments.rows_of_w, tiles * tuning_.lanes), Groups(Rows(), batch), 1}, arguments)
      .ranges = TensorRanges(op);
}

void DispatchBuilder::AddMatVec(const MatMulOp& op) {
  const MatMulArguments arguments = MatMulOf(op);
  const uint32_t batch = std::bit_ceil(std::min(Rows(), tuning_.few_rows));
  const uint32_t chunk = std::min(kStagedBytes / 4 / batch, arguments.blocks * kTile);
  // Enough slices to have many reads under way, but some blocks for each.
  const uint32_t threads = std::clamp(std::bit_ceil(arguments.blocks * kTile / kSliceBlocks), 64u,
                                      tuning_.matvec_threads);
  Emit(kShader_matvec, {threads, ShaderType(op.w.dtype), 1, batch, chunk},
       {arguments.tiles, Groups(Rows(), batch), 1}, arguments)
      .ranges = TensorRanges(op);
}

void DispatchBuilder::AddMatMulDot(const MatMulOp& op) {
  MatMulArguments arguments = MatMulOf(op);
  const uint64_t quants_bytes = RoundUp(uint64_t{Rows()} * arguments.blocks * 64, 256);
  const uint64_t scales_bytes = RoundUp(uint64_t{Rows()} * arguments.blocks * 8, 256);
  const VkDeviceAddress quants = Scratch(quants_bytes + scales_bytes);
  const VkDeviceAddress scales = quants + quants_bytes;
  const bool is_quantized = quantized_.region == op.x.region && quantized_.offset == op.x.offset &&
                            quantized_at_ + 1 == op_index_;
  if (!is_quantized) {
    const struct {
      VkDeviceAddress x, quants, scales, step;
      uint32_t columns, blocks, live;
    } quantize = {arguments.x,       quants,           scales, at_.step,
                  arguments.columns, arguments.blocks, Live()};
    Emit(kShader_quantize_x, {kElementThreads},
         {Groups(arguments.blocks, kElementThreads), Rows(), 1}, quantize)
        .ranges = {Touch(op.x, false), kWriteScratch};
  }
  quantized_ = op.x;
  quantized_at_ = op_index_;
  arguments.x = quants;
  arguments.x_scales = scales;
  EmitTiles(kShader_matmul_dot, op, arguments).ranges.push_back(kReadScratch);
}

Dispatch& DispatchBuilder::EmitTiles(const Shader& shader, const MatMulOp& op,
                                     const MatMulArguments& arguments) {
  const uint32_t m = tuning_.matmul_m, n = tuning_.matmul_n;
  const uint32_t rows = tuning_.matmul_rows, columns = tuning_.matmul_columns;
  const uint32_t threads = rows / (4 * m) * (columns / (4 * n));
  Dispatch& dispatch =
      Emit(shader, {threads, ShaderType(op.w.dtype), rows, columns, m, n},
           {Groups(arguments.rows_of_w, columns), Groups(Rows(), rows), 1}, arguments);
  dispatch.ranges = TensorRanges(op);
  return dispatch;
}

void DispatchBuilder::Add(const MatMulOp& op) {
  if (tuning_.lanes != 0) return AddMatMulLanes(op);
  if (Rows() <= tuning_.few_rows) return AddMatVec(op);
  if (tuning_.has_dot && Info(op.w.dtype).block > 1) return AddMatMulDot(op);
  EmitTiles(kShader_matmul, op, MatMulOf(op));
}

void DispatchBuilder::Add(const ActOp& op) {
  const struct {
    VkDeviceAddress y, gate, up, step;
    uint32_t columns, live;
  } arguments = {At(op.y), At(op.gate), At(op.up), at_.step, Stride(op.y), Live()};
  Emit(kShader_act, {kElementThreads}, {Groups(Stride(op.y), kElementThreads), Rows(), 1},
       arguments)
      .ranges = TensorRanges(op);
}

void DispatchBuilder::Add(const RopeOp& op) {
  const uint32_t pairs = op.rope.dims / 2;
  const struct {
    VkDeviceAddress x, frequencies, step;
    uint32_t heads, head_dim, pairs;
  } arguments = {At(op.x), Frequencies(op.rope), at_.step, op.x.shape[1], op.x.shape[2], pairs};
  const uint32_t threads = 32;
  Emit(kShader_rope, {threads}, {Groups(pairs, threads), rows_, 1}, arguments).ranges =
      TensorRanges(op);
}

void DispatchBuilder::Add(const GatherRowsOp& op) {
  is_out_ = true;
  const struct {
    VkDeviceAddress y, x, step;
    uint32_t columns;
  } arguments = {At(op.y), At(op.x), at_.step, Stride(op.x)};
  Emit(kShader_gather_rows, {kElementThreads},
       {Groups(Stride(op.x), kElementThreads), out_rows_, 1}, arguments)
      .ranges = TensorRanges(op);
}

void DispatchBuilder::Add(const TopKOp& op) {
  struct Arguments {
    VkDeviceAddress x, indices_of, values, indices, row_of_all, step;
    uint32_t count, slice, k, columns, live;
  };
  const uint32_t columns = op.x.shape[1], k = op.values.shape[1];
  const uint32_t sorted = std::bit_ceil(k);
  // Slices at least four times as long as what they leave, else the second dispatch has no less.
  const uint32_t slice = std::max(tuning_.top_k_slice, 4 * k), slices = Groups(columns, slice);
  const uint64_t part_bytes = RoundUp(uint64_t{Rows()} * slices * k * 4, 256);
  const Constants constants = {tuning_.top_k_threads, sorted, 0};
  if (slices == 1) {
    const Arguments whole = {At(op.x), 0,        At(op.values), At(op.indices),
                             At(op.x), at_.step, columns,       columns,
                             k,        columns,  Live()};
    Emit(kShader_top_k, constants, {1, Rows(), 1}, whole).ranges = TensorRanges(op);
    return;
  }
  const VkDeviceAddress candidates = Scratch(2 * part_bytes);
  const Arguments by_slice = {At(op.x), 0,        candidates, candidates + part_bytes,
                              At(op.x), at_.step, columns,    slice,
                              k,        columns,  Live()};
  Emit(kShader_top_k, constants, {slices, Rows(), 1}, by_slice).ranges = {Touch(op.x, false),
                                                                          kWriteScratch};
  const Arguments of_slices = {candidates,
                               candidates + part_bytes,
                               At(op.values),
                               At(op.indices),
                               At(op.x),
                               at_.step,
                               slices * k,
                               slices * k,
                               k,
                               columns,
                               Live()};
  Dispatch& last =
      Emit(kShader_top_k, {tuning_.top_k_threads, sorted, 1}, {1, Rows(), 1}, of_slices);
  last.ranges = TensorRanges(op);
  last.ranges.push_back(kReadScratch);
}

}  // namespace cormorant::vulkan
