// KvAgesOp on every backend: histograms, exactly.
//
// Method: the counts are computed a second time from decoded rows, with bins found by their starts.
// Ages at both ends of bins and up to 2^20; pinned and recent rows; heads without rows; all ranks;
// values of every size and type.
#include <algorithm>

#include "tests/conformance/kv_scene.h"

namespace cormorant::conformance {
namespace {

CORM_CONFORMANCE(KvAgesTest);

uint32_t BinOf(RankBy rank_by, uint32_t age) {
  if (rank_by == RankBy::kHash) return age / (1u << 23);
  if (rank_by > RankBy::kHash) return std::min(age / (1u << 19), kAgeBins - 1);
  uint32_t bin = 0;
  while (bin + 1 < kAgeBins && AgeBinStart(bin + 1) <= age) ++bin;
  return bin;
}

std::vector<uint32_t> Expected(const Scene& scene, std::span<const uint32_t> counts,
                               const StepSequence& sequence) {
  const uint32_t heads = scene.cache.geometry().heads();
  std::vector<uint32_t> ages(size_t{heads} * (kAgeBins + 1), 0);
  for (uint32_t head = 0; head < heads; ++head) {
    uint32_t* row = &ages[size_t{head} * (kAgeBins + 1)];
    for (uint32_t slot = 0; slot < counts[head]; ++slot) {
      const Place place{sequence.table, head, slot};
      const uint32_t important = scene.cache.last_important(place);
      const uint32_t position = scene.cache.position(place);
      if (important == kPinned || position >= sequence.recent_from) continue;
      const uint32_t age = ModelAge(scene.cache, sequence, place);
      ++row[BinOf(sequence.rank_by, age)];
      if (age >= sequence.natural_age) ++row[kAgeBins];
    }
  }
  return ages;
}

struct Case {
  uint32_t clock;
  DType v_type;
  uint32_t value_reach;
};

TEST_P(KvAgesTest, CountsAreExact) {
  for (RankBy rank_by : kRanks) {
    for (const auto& [clock, v_type, value_reach] :
         {Case{300, DType::kQ4_0, 64}, Case{5000, DType::kF16, 0}, Case{5000, DType::kF16, 7},
          Case{1u << 20, DType::kQ8_0, kStepsMost}, Case{3u << 20, DType::kF16, 0}}) {
      Scene scene(clock, 1);
      scene.cache = HostCache(Geometry(2, 32, DType::kF16, v_type, 700), TableCount(1), 3);
      scene.Add(
          KvAgesOp{scene.Out(DType::kU32, {scene.cache.geometry().heads(), kAgeBins + 1, 1})});
      scene.Finish();
      SetSequences(scene, {{0, 650, 70}});
      StepSequence& sequence = scene.step->sequences()[0];
      sequence.clock = clock;
      sequence.position_clock = clock + 40;
      sequence.rank_by = rank_by;
      sequence.natural_age = 200;
      sequence.value_reach = value_reach;
      sequence.reach = rank_by == RankBy::kLastImportant ? clock % 7 : 0;
      sequence.recent_from = sequence.position_clock - 30;
      const std::span<uint32_t> counts = scene.step->counts(0);
      counts[2] = 0;
      for (uint32_t head = 0; head < 4; ++head) {
        for (uint32_t slot = 0; slot < counts[head]; ++slot) {
          const Place place{sequence.table, head, slot};
          const uint32_t start = AgeBinStart(scene.Below(kAgeBins));
          const uint32_t edge = start - std::min(start, scene.Below(2));  // A start, or one below.
          if (scene.Below(10) != 0) {
            scene.cache.last_important(place) = clock - std::min(clock, edge);
            if (rank_by == RankBy::kAttention || rank_by == RankBy::kMeanAttention) {
              scene.cache.last_important(place) = scene.Below(~0u) >> scene.Below(32);
            }
          }
          if (scene.Below(2) == 0) ScaleValues(scene, place);
          scene.cache.position(place) = sequence.position_clock - std::min(clock, edge + 1);
        }
      }
      const std::string what =
          absl::StrCat("kv_ages clock ", clock, " rank ", static_cast<uint32_t>(rank_by),
                       " value reach ", value_reach);
      const std::vector<uint32_t> expected = Expected(scene, counts, sequence);
      Outcome got, want;
      if (!RunBoth(what, scene, &got, &want)) continue;
      const Tensor& ages = scene.op<KvAgesOp>().ages;
      CompareExactly<uint32_t>(what, got.At<uint32_t>(ages), expected);
      CompareExactly<uint32_t>(what + " (reference)", want.At<uint32_t>(ages), expected);
      CompareCaches(what, got.cache, scene.cache);
    }
  }
}

}  // namespace
}  // namespace cormorant::conformance
