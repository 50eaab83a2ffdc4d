// Sequences over a host cache: what the tests of the cache ops set up.
#pragma once
#include <cstdint>
#include <utility>
#include <vector>

#include "tests/conformance/harness.h"

namespace cormorant::conformance {

constexpr uint32_t kLayers = 2;  // The ops under test run on the last: a forgotten layer shows.

/// A geometry that holds `rows` rows a head.
KvGeometry Geometry(uint32_t kv_heads, uint32_t head_dim, DType k_type, DType v_type,
                    uint32_t rows);

/// Every pair of types that rows of keys and of values may have.
std::vector<std::pair<DType, DType>> RowTypes();

/// "E 64 G 3 f16:q8_0".
std::string Describe(const KvGeometry& geometry);

/// A normal row of the cache at `place`, which has a page.
void FillRow(Scene& scene, Place place, uint32_t position, uint32_t last_important);

constexpr RankBy kRanks[] = {RankBy::kLastImportant, RankBy::kPosition, RankBy::kHash,
                             RankBy::kAttention, RankBy::kMeanAttention};
/// The age of a row by the text of KvAgesOp.
uint32_t ModelAge(const HostCache& cache, const StepSequence& sequence, Place place);
/// Values from zero past all that value_reach counts.
void ScaleValues(Scene& scene, Place place);

/// A sequence's rows in a step, without the data in the cache.
struct SequenceShape {
  uint32_t rows = 1;
  uint32_t resident = 0;  // Before the step; heads hold up to `ragged` fewer.
  uint32_t ragged = 0;
};

/// Describes the sequences to the step buffer, in order; sequence s has page table Table(s). Gives
/// every head its pages, and fills its resident rows: positions ascend with gaps, one row in eight
/// is pinned.
void SetSequences(Scene& scene, const std::vector<SequenceShape>& shapes);
/// Tables are not in the order of sequences, and the first is nobody's.
constexpr uint32_t Table(size_t sequence) {
  return static_cast<uint32_t>(sequence * 2 + 1);
}
constexpr uint32_t TableCount(size_t sequences) {
  return Table(sequences);
}

}  // namespace cormorant::conformance
