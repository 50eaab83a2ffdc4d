// A tape as dispatches: which shader runs over which grid with which arguments, what it reads and
// what it writes. Pure: the same list sizes a plan and records it.
#pragma once
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>
#include <vector>

#include "backends/backend.h"
#include "backends/vulkan/pipelines.h"
#include "backends/vulkan/weights.h"
#include "runtime/ops/kv_page.h"
#include "runtime/ops/ops.h"

namespace cormorant::vulkan {

/// How kernels are shaped for a device. Chosen by its facts alone.
struct Tuning {
  /// Lanes of a subgroup for matmul_lanes, the kernel of drivers that run on a CPU; 0: the kernels
  /// of GPUs, which are shaped by what follows.
  uint32_t lanes = 0;
  uint32_t matvec_threads = 512;        // At most: 32 lanes by slices of columns.
  uint32_t matmul_rows = 64;            // Of x, a workgroup.
  uint32_t matmul_columns = 64;         // Rows of w, a workgroup.
  uint32_t matmul_m = 1, matmul_n = 1;  // Fours of outputs an invocation.
  bool has_dot = false;                 // Prefill of block types in dot products of bytes.
  uint32_t few_rows = 8;                // Up to which matvec and split attention are used.
  uint32_t row_threads = 128;           // A workgroup of a row or a head.
  uint32_t attend_threads = 64;         // Of split attention.
  uint32_t top_k_threads = 128;
  uint32_t top_k_slice = 4096;  // Numbers a workgroup looks at.
  uint32_t splits = 32;         // Of the pages of a head in decode.

  std::string ToString() const;
};
Tuning TuningOf(const DeviceFacts& facts);

/// Memory that dispatches depend on each other through.
enum class Resource : uint8_t { kArena, kOut, kScratch, kRows, kStamps, kStatistics };

struct Range {
  Resource resource;
  uint64_t begin, end;
  bool is_write;
};

struct Dispatch {
  const Shader* shader = nullptr;
  Constants constants;
  std::vector<std::byte> arguments;  // Push constants.
  std::array<uint32_t, 3> grid = {1, 1, 1};
  std::vector<Range> ranges;
};

constexpr Range kWriteScratch = {Resource::kScratch, 0, 1, true};
constexpr Range kReadScratch = {Resource::kScratch, 0, 1, false};

/// The bytes of a tensor of arena or out.
Range Touch(const Tensor& tensor, bool is_write);

/// Whether `next` must wait for `earlier`.
bool Conflict(const Dispatch& earlier, const Dispatch& next);

/// Where a plan's memory is; all zero while only sizes are asked.
struct Addresses {
  const DeviceWeights* weights = nullptr;
  VkDeviceAddress arena = 0, out = 0, tables = 0, statistics = 0;
  VkDeviceAddress step = 0, slabs = 0, scratch = 0;
};

/// Push constants of the matmul kernels (shaders/vulkan/matmul.glsl).
struct MatMulArguments {
  VkDeviceAddress y, x, quads, scales, step;
  uint32_t rows_of_w, columns, blocks, tiles, live, accumulate;
  VkDeviceAddress x_scales;  // Where x is quantized.
};

/// Builds the dispatches of a tape. Scratch is one piece: attention's part is shared by all layers,
/// and so is that of the ops on whole heads.
class DispatchBuilder {
 public:
  DispatchBuilder(const Tuning& tuning, const KvGeometry& geometry, uint32_t pages_per_slab,
                  const Addresses& addresses)
      : tuning_(tuning), geometry_(geometry), pages_per_slab_(pages_per_slab), at_(addresses) {}

  void Build(const Tape& tape);

  std::vector<Dispatch> dispatches;
  uint64_t scratch_bytes = 0;
  /// Words that scratch must hold at `table_at` before the plan runs: turns a position, of RoPE.
  std::vector<uint32_t> tables;

 private:
  void Add(const EmbedOp& op);
  void Add(const RmsNormOp& op);
  void Add(const MatMulOp& op);
  void Add(const ActOp& op);
  void Add(const RopeOp& op);
  void Add(const GatherRowsOp& op);
  void Add(const TopKOp& op);
  void Add(const KvWriteOp& op);
  void Add(const AttendOp& op);
  void Add(const KvAgesOp& op);
  void Add(const KvCompactOp& op);
  void Add(const KvSpreadOp& op);
  void Add(const KvScoreOp& op);
  void Add(const QueryStatsOp& op);
  void Add(const KvRebaseOp& op);
  MatMulArguments MatMulOf(const MatMulOp& op) const;
  void AddMatVec(const MatMulOp& op);
  void AddMatMulLanes(const MatMulOp& op);
  void AddMatMulDot(const MatMulOp& op);
  /// matmul or matmul_dot: a workgroup makes a tile of outputs.
  Dispatch& EmitTiles(const Shader& shader, const MatMulOp& op, const MatMulArguments& arguments);
  void AddSplitAttend(const AttendOp& op);
  void AddTiledAttend(const AttendOp& op);

  /// Appends a dispatch whose push constants are the bytes of `arguments`.
  template <class Arguments>
  Dispatch& Emit(const Shader& shader, Constants constants, std::array<uint32_t, 3> grid,
                 const Arguments& arguments) {
    static_assert(std::is_trivially_copyable_v<Arguments> && sizeof(Arguments) <= kPushBytes);
    Dispatch& dispatch = dispatches.emplace_back();
    dispatch.shader = &shader;
    dispatch.constants = std::move(constants);
    dispatch.grid = grid;
    dispatch.arguments.resize(sizeof(arguments));
    std::memcpy(dispatch.arguments.data(), &arguments, sizeof(arguments));
    return dispatch;
  }

  /// Address of `bytes` of scratch, which ops have one after another.
  VkDeviceAddress Scratch(uint64_t bytes) {
    scratch_bytes = std::max(scratch_bytes, tables_bytes_ + bytes);
    return at_.scratch + tables_bytes_;
  }
  /// Three words a page of every head: scratch of the ops that change the whole cache.
  VkDeviceAddress PageScratch() {
    return Scratch(uint64_t{geometry_.heads()} * geometry_.pages_per_head * 12);
  }
  /// What those ops change.
  std::vector<Range> WholeCache() const;
  VkDeviceAddress At(const Tensor& tensor) const;
  VkDeviceAddress Data(const Tensor& weight) const;
  VkDeviceAddress Scales(const Tensor& weight) const;
  /// The word of the step header that counts the rows of the ops at hand.
  uint32_t Live() const { return is_out_ ? 1 : 0; }
  uint32_t Rows() const { return is_out_ ? out_rows_ : rows_; }
  /// Constants 0..4 of kernels on the cache.
  Constants CacheConstants(uint32_t threads) const;
  /// Address of the table of a RopeSpec's frequencies.
  VkDeviceAddress Frequencies(const RopeSpec& rope);
  /// Of that of its mean rotations.
  VkDeviceAddress MeanTurns(const RopeSpec& rope);
  VkDeviceAddress Table(const RopeSpec& rope, bool is_mean);

  const Tuning tuning_;
  const KvGeometry geometry_;
  const uint32_t pages_per_slab_;
  const Addresses at_;
  uint32_t rows_ = 1, out_rows_ = 1;
  uint32_t op_index_ = 0;  // Of the tape.
  /// What matmul_dot's scratch holds: the x of op `quantized_at_`, which its neighbours may share.
  Tensor quantized_;
  uint32_t quantized_at_ = 0;
  bool is_out_ = false;        // Past the tape's GatherRows.
  uint64_t tables_bytes_ = 0;  // Reserved at the start of scratch.
  struct TurnTable {
    RopeSpec rope;
    bool is_mean;
    uint32_t at;  // Word of `tables`.
  };
  std::vector<TurnTable> turn_tables_;
};

/// Empty, or why the op cannot run.
absl::string_view WhyUnsupported(const Op& op);

}  // namespace cormorant::vulkan
