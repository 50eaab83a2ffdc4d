// The step buffer: all that changes from one replay of a plan to the next.
//
// One flat block of bytes that the engine writes and kernels read: a header with the byte offset of
// each array, then the arrays. Offsets are fixed when the buffer is made for its bounds, so a
// device copies one block and no kernel argument ever changes.
//
//   ids        [rows] u32        token of each row
//   positions  [rows] u32        RoPE position of each row
//   out_index  [out_rows] u32    row of each wanted output
//   sequences  [sequences]       StepSequence; its rows are neighbours in the step
//   counts     [sequences][L*G] u32   resident rows of each head before this step
//   evict      [L*G] u32         rows each head of sequence 0 loses in KvCompact
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace cormorant {

enum class ThresholdBasis : uint32_t {
  kStep = 0,      // t = the row's step: tokens its sequence has seen, itself included.
  kResident = 1,  // t = rows of the head visible to it.
  kOne = 2,       // t = 1: c itself is the least share.
};

/// t of a threshold c/t, for a query in its `step` that sees `visible` rows.
constexpr uint32_t BasisOf(ThresholdBasis basis, uint32_t step, uint32_t visible) {
  if (basis == ThresholdBasis::kOne) return 1;
  return basis == ThresholdBasis::kStep ? step : visible;
}

/// What attention leaves at the rows it sees, in their last_important (AttendOp).
enum class MarkBy : uint32_t {
  kStep = 0,       // The last step in which a query found the row important.
  kAttention = 1,  // The attention it was given, summed, in units of 1 / kAttentionUnits.
};

/// Doublings of a share that count at most, and steps that each may count for (StepSequence::reach)
/// or that a position of distance may cost (fade).
constexpr uint32_t kDoublingsMost = 16;
constexpr uint32_t kStepsMost = 4095;

/// Size of a value, in sums of its magnitudes, of which doublings are counted: 1 / kValueUnits.
constexpr float kValueUnits = 256.0f;

/// Units that a query's attention to a row is rounded to, in sums.
constexpr uint32_t kAttentionUnits = 1u << 16;
constexpr uint32_t kAttentionMost = 1u << 31;  // Sums that have come so far stay as they are.

/// Units of a row's share of what a head is expected to give, and positions that are looked ahead.
constexpr uint32_t kExpectedUnits = 1u << 30;
constexpr uint32_t kExpectedPositions = 512;

/// What makes a row old, so that it leaves first (KvAgesOp).
enum class RankBy : uint32_t {
  kLastImportant = 0,
  kPosition = 1,
  kHash = 2,           // Age by lot: of the row's head and position.
  kAttention = 3,      // Little attention (MarkBy::kAttention).
  kMeanAttention = 4,  // Little attention for the tokens since.
};

/// What marks become before rows are ranked by them (KvScoreOp).
enum class ScoreBy : uint32_t {
  kNone = 0,               // They stay as they are.
  kPooledAttention = 1,    // The mean over neighbouring positions (MarkBy::kAttention).
  kKeyDifference = 2,      // How far the row's key points away from the head's others.
  kExpectedAttention = 3,  // What queries to come are expected to take from the row.
};

/// One sequence's share of a step. Row i of the sequence is row first_row + i of the step; its step
/// number is clock + i + 1.
struct StepSequence {
  uint32_t first_row = 0;
  uint32_t rows = 0;
  uint32_t table = 0;             // Index of its page tables in the tables buffer.
  uint32_t clock = 0;             // Tokens the sequence had seen before this step.
  uint32_t pinned_rows = 0;       // The first rows of this step that enter pinned.
  uint32_t judged_from = 0;       // First row whose attention stamps keys; `rows` when none does.
  float importance_scale = 1.0f;  // c
  ThresholdBasis basis = ThresholdBasis::kStep;
  // For KvAges, KvCompact and KvRebase:
  RankBy rank_by = RankBy::kLastImportant;
  uint32_t position_clock = 0;  // Position the next token will have.
  uint32_t recent_from = 0;     // Rows at or past this position are protected.
  uint32_t natural_age = 0xffffffffu;
  uint32_t window_at = 0;  // KvRebase: the position that the window will begin at.
  MarkBy mark_by = MarkBy::kStep;
  uint32_t forgets = 0;  // Not 0: KvWrite clears the attention summed so far.
  uint32_t reach = 0;    // Steps that each doubling of a share past c/t counts for.
  uint32_t fade = 0;     // KvSpread: steps that each position of distance costs; 0: no spreading.
  ScoreBy score_by = ScoreBy::kNone;
  uint32_t value_reach = 0;  // Steps that each doubling of the size of a row's value counts for.
  uint32_t window_from = 0xffffffffu;  // KvRebase: where it begins before; default: no window.
  uint32_t observes = 0;               // Not 0: QueryStats counts queries of rows not pinned.
};

struct StepHeader {
  uint32_t rows = 0;
  uint32_t out_rows = 0;
  uint32_t sequences = 0;
  uint32_t heads = 0;  // L*G
  uint32_t ids_at = 0, positions_at = 0, out_index_at = 0, sequences_at = 0, counts_at = 0,
           evict_at = 0;
};

/// What kernels read. Cheap to copy; valid while the bytes are.
class StepView {
 public:
  explicit StepView(const std::byte* bytes) : bytes_(bytes) {}

  const StepHeader& header() const { return *reinterpret_cast<const StepHeader*>(bytes_); }
  const uint32_t* ids() const { return At<uint32_t>(header().ids_at); }
  const uint32_t* positions() const { return At<uint32_t>(header().positions_at); }
  const uint32_t* out_index() const { return At<uint32_t>(header().out_index_at); }
  const StepSequence& sequence(uint32_t s) const {
    return At<StepSequence>(header().sequences_at)[s];
  }
  /// Resident rows of each head of sequence s before the step. [L*G]
  const uint32_t* counts(uint32_t s) const {
    return At<uint32_t>(header().counts_at) + size_t{s} * header().heads;
  }
  const uint32_t* evict() const { return At<uint32_t>(header().evict_at); }

 private:
  template <class T>
  const T* At(uint32_t offset) const {
    return reinterpret_cast<const T*>(bytes_ + offset);
  }
  const std::byte* bytes_;
};

/// The writer's side: storage for the largest step of a plan set. Nothing allocates after Make.
class StepBuffer {
 public:
  struct Bounds {
    uint32_t rows = 1, out_rows = 1, sequences = 1, heads = 1;
  };
  explicit StepBuffer(const Bounds& bounds);

  StepHeader& header() { return *reinterpret_cast<StepHeader*>(words_.data()); }
  std::span<uint32_t> ids() { return Array<uint32_t>(header().ids_at, bounds_.rows); }
  std::span<uint32_t> positions() { return Array<uint32_t>(header().positions_at, bounds_.rows); }
  std::span<uint32_t> out_index() {
    return Array<uint32_t>(header().out_index_at, bounds_.out_rows);
  }
  std::span<StepSequence> sequences() {
    return Array<StepSequence>(header().sequences_at, bounds_.sequences);
  }
  std::span<uint32_t> counts(uint32_t s) {
    return Array<uint32_t>(header().counts_at, size_t{bounds_.sequences} * bounds_.heads)
        .subspan(size_t{s} * bounds_.heads, bounds_.heads);
  }
  std::span<uint32_t> evict() { return Array<uint32_t>(header().evict_at, bounds_.heads); }
  const Bounds& bounds() const { return bounds_; }

  std::span<const std::byte> bytes() const {
    return std::as_bytes(std::span<const uint64_t>(words_));
  }

 private:
  template <class T>
  std::span<T> Array(uint32_t offset, size_t count) {
    return {reinterpret_cast<T*>(reinterpret_cast<std::byte*>(words_.data()) + offset), count};
  }
  Bounds bounds_;
  std::vector<uint64_t> words_;
};

}  // namespace cormorant
