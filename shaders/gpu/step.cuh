// The step buffer as kernels read it: words, at the offsets of runtime/ops/step.h.
#pragma once
#include "shaders/gpu/gpu.h"

namespace cormorant::GPU_NAMESPACE::kernels {

// StepHeader, in words.
constexpr uint32_t kStepRows = 0, kStepOutRows = 1, kStepSequences = 2, kStepHeads = 3,
                   kStepIdsAt = 4, kStepPositionsAt = 5, kStepOutIndexAt = 6, kStepSequencesAt = 7,
                   kStepCountsAt = 8, kStepEvictAt = 9;
// StepSequence, in words.
constexpr uint32_t kSequenceWords = 21;
constexpr uint32_t kFirstRow = 0, kRows = 1, kTable = 2, kClock = 3, kPinnedRows = 4,
                   kJudgedFrom = 5, kImportanceScale = 6, kBasis = 7, kRankBy = 8,
                   kPositionClock = 9, kRecentFrom = 10, kNaturalAge = 11, kWindowAt = 12,
                   kMarkBy = 13, kForgets = 14, kReach = 15, kFade = 16, kScoreBy = 17,
                   kValueReach = 18, kWindowFrom = 19, kObserves = 20;
// RankBy and MarkBy.
constexpr uint32_t kByLastImportant = 0, kByPosition = 1, kByHash = 2, kByAttention = 3,
                   kByMeanAttention = 4, kMarkAttention = 1;
// ScoreBy.
constexpr uint32_t kByPooledAttention = 1, kByKeyDifference = 2, kByExpectedAttention = 3;
constexpr uint32_t kPinnedRow = 0xffffffffu;  // kPinned of kv_page.h.
constexpr float kAttentionUnits = 65536.0f;
constexpr uint32_t kDoublingsMost = 16;
constexpr uint32_t kAttentionMost = 0x80000000u;
constexpr float kValueUnits = 256.0f;

/// Reach(max(1, x), reach) of runtime/ops/ops.h.
GPU_FN uint32_t Reach(float x, uint32_t reach) {
  const uint32_t one = gpu::AsWord(1.0f), bits = gpu::Max(gpu::AsWord(x), one);
  return (gpu::Min(bits - one, kDoublingsMost << 23) >> 7) * reach >> 16;
}

/// Word `word` of the array that begins at the byte the header's word `at` holds.
GPU_FN uint32_t StepWord(const uint32_t* step, uint32_t at, uint32_t word) {
  return step[step[at] / 4 + word];
}
/// Field of sequence s.
GPU_FN uint32_t Sequence(const uint32_t* step, uint32_t s, uint32_t field) {
  return StepWord(step, kStepSequencesAt, s * kSequenceWords + field);
}
/// Resident rows of a head of sequence s before the step.
GPU_FN uint32_t Count(const uint32_t* step, uint32_t s, uint32_t head) {
  return StepWord(step, kStepCountsAt, s * step[kStepHeads] + head);
}

/// A row of the step in its sequence.
struct RowPlace {
  uint32_t sequence;
  uint32_t i;        // Among the sequence's rows.
  uint32_t visible;  // Slots it sees in the head.
};

GPU_FN RowPlace PlaceOf(const uint32_t* step, uint32_t row, uint32_t head) {
  uint32_t s = 0;
  while (row >= Sequence(step, s, kFirstRow) + Sequence(step, s, kRows)) ++s;
  const uint32_t i = row - Sequence(step, s, kFirstRow);
  return {s, i, Count(step, s, head) + i + 1};
}

}  // namespace cormorant::GPU_NAMESPACE::kernels
