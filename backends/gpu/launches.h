// A tape as kernel launches: which kernel runs over which grid with which argument. Pure: the same
// list sizes a plan and records it.
#pragma once
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

#include "backends/backend.h"
#include "backends/gpu/device.h"
#include "backends/gpu/kernels.h"
#include "backends/gpu/weights.h"
#include "runtime/base/units.h"
#include "runtime/ops/kv_page.h"
#include "runtime/ops/ops.h"

namespace cormorant::GPU_NAMESPACE {

/// Up to how many rows kernels for few rows are used: matvec and split attention.
constexpr uint32_t kFewRows = 8;

/// Where a plan's memory is on the device, as numbers; all 0 while only sizes are asked.
struct Addresses {
  const DeviceWeights* weights = nullptr;
  uintptr_t arena = 0, out = 0, tables = 0, statistics = 0, step = 0, slabs = 0, scratch = 0;
};

inline uint32_t Groups(uint64_t items, uint32_t each) {
  return static_cast<uint32_t>(CeilDiv(items, each));
}
WeightType TypeOf(DType dtype);

/// Empty, or why the op cannot run.
absl::string_view WhyUnsupported(const Op& op);

/// Builds the launches of a tape. They run one after another, so scratch is one piece that ops have
/// in turn; tables of RoPE stand before it.
class LaunchBuilder {
 public:
  /// Scratch and tables are the same for any number of processors.
  LaunchBuilder(const KvGeometry& geometry, uint32_t pages_per_slab, uint32_t processors,
                const Addresses& addresses)
      : geometry_(geometry),
        pages_per_slab_(pages_per_slab),
        processors_(processors),
        at_(addresses) {}

  void Build(const Tape& tape);

  std::vector<Launch> launches;
  uint64_t scratch_bytes = 0;
  /// Words that scratch must begin with: turns a position, of RoPE.
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
  /// Where scratch holds x in 15 bits, for products with block types.
  struct QuantizedX {
    uint32_t* quants = nullptr;
    float* scales = nullptr;
  };
  /// Whether the next op reads y in 15 bits: the kernel that makes it can leave it so.
  bool IsForDots(const Tensor& y) const;
  /// The place for x, which the op at hand fills.
  QuantizedX KeepQuantized(const Tensor& x);
  QuantizedX Quantize(const Tensor& x);
  MatMulArguments ArgumentsOf(const MatMulOp& op);
  /// How many ops from this one on are products of the same few rows that one launch can make.
  uint32_t MatVecsTogether() const;
  /// Adds them and goes on behind them, if there are any.
  bool AddMatVecs();
  /// Adds rotations of q and k with the write of k to the cache, if they stand here, as one launch.
  bool AddRotatedWrite();
  void AddSplitAttend(const AttendOp& op);
  void AddTiledAttend(const AttendOp& op);

  template <class Argument>
  void Emit(const Kernel& kernel, std::array<uint32_t, 3> grid, uint32_t threads,
            const Argument& argument) {
    static_assert(std::is_trivially_copyable_v<Argument>);
    Launch& launch = launches.emplace_back();
    launch.kernel = &kernel;
    launch.grid = grid;
    launch.threads = threads;
    launch.argument.resize(sizeof(argument));
    std::memcpy(launch.argument.data(), &argument, sizeof(argument));
  }

  template <class T = float>
  T* At(const Tensor& tensor) const {
    const uintptr_t region = tensor.region == Region::kArena ? at_.arena : at_.out;
    return reinterpret_cast<T*>(region + tensor.offset);
  }
  template <class T = uint32_t>
  const T* Data(const Tensor& weight) const {
    return at_.weights == nullptr ? nullptr
                                  : reinterpret_cast<const T*>(at_.weights->data(weight.offset));
  }
  const uint32_t* Scales(const Tensor& weight) const {
    return at_.weights == nullptr
               ? nullptr
               : reinterpret_cast<const uint32_t*>(at_.weights->scales(weight.offset));
  }
  const uint32_t* Step() const { return reinterpret_cast<const uint32_t*>(at_.step); }
  /// `bytes` of scratch, which ops have one after another.
  uintptr_t Scratch(uint64_t bytes) {
    scratch_bytes = std::max(scratch_bytes, tables_bytes_ + bytes);
    return at_.scratch + tables_bytes_;
  }
  /// Three words a page of every head.
  uint32_t* PageScratch() {
    return reinterpret_cast<uint32_t*>(
        Scratch(uint64_t{geometry_.heads()} * geometry_.pages_per_head * 12));
  }
  /// The word of the step header that counts the rows of the ops at hand.
  uint32_t Live() const { return is_out_ ? 1 : 0; }
  uint32_t Rows() const { return is_out_ ? out_rows_ : rows_; }
  CacheArguments Cache(uint32_t layer) const;
  StatisticsArguments Statistics() const;
  /// The table of a RopeSpec's frequencies.
  const uint32_t* Frequencies(const RopeSpec& rope);
  /// The table of its mean rotations.
  const uint32_t* MeanTurns(const RopeSpec& rope);
  const uint32_t* Table(const RopeSpec& rope, bool is_mean);

  const KvGeometry geometry_;
  const uint32_t pages_per_slab_, processors_;
  const Addresses at_;
  uint32_t rows_ = 1, out_rows_ = 1;
  const Tape* tape_ = nullptr;
  uint32_t op_index_ = 0;  // Of the tape.
  /// What scratch holds in 15 bits: the x of op `quantized_at_`, which its neighbours may share.
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

}  // namespace cormorant::GPU_NAMESPACE
