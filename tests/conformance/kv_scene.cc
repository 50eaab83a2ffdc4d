// Sequences over a host cache. See kv_scene.h.
#include "tests/conformance/kv_scene.h"

#include <cmath>

#include "runtime/base/units.h"

namespace cormorant::conformance {

KvGeometry Geometry(uint32_t kv_heads, uint32_t head_dim, DType k_type, DType v_type,
                    uint32_t rows) {
  return {kLayers, kv_heads, head_dim,
          k_type,  v_type,   static_cast<uint32_t>(CeilDiv(std::max(rows, 1u), kPageRows))};
}

std::vector<std::pair<DType, DType>> RowTypes() {
  std::vector<std::pair<DType, DType>> pairs;
  for (DType k_type : {DType::kF16, DType::kQ8_0, DType::kQ4_0}) {
    for (DType v_type : {DType::kF16, DType::kQ8_0, DType::kQ4_0})
      pairs.push_back({k_type, v_type});
  }
  return pairs;
}

std::string Describe(const KvGeometry& geometry) {
  return absl::StrCat("E ", geometry.head_dim, " G ", geometry.kv_heads, " ",
                      Info(geometry.k_type).name, ":", Info(geometry.v_type).name);
}

void FillRow(Scene& scene, Place place, uint32_t position, uint32_t last_important) {
  std::vector<float> k(scene.cache.geometry().head_dim), v(k.size());
  for (float& x : k) x = scene.Normal();
  for (float& x : v) x = scene.Normal();
  scene.cache.SetK(place, k);
  scene.cache.SetV(place, v);
  scene.cache.position(place) = position;
  scene.cache.last_important(place) = last_important;
}

void ScaleValues(Scene& scene, Place place) {
  const float scale =
      scene.Below(9) == 0 ? 0.0f : std::exp2(static_cast<float>(scene.Below(26)) - 16);
  std::vector<float> v(scene.cache.geometry().head_dim);
  for (float& x : v) x = scene.Normal(scale);
  scene.cache.SetV(place, v);
}

/// Steps that a row is younger for the size of its value.
uint32_t ModelValueReach(const HostCache& cache, const StepSequence& sequence, Place place) {
  float sums[4] = {};
  const std::vector<float> v = cache.HeldV(place);
  for (size_t d = 0; d < v.size(); ++d) sums[d % 4] += std::fabs(v[d]);
  const float x = 256 * ((sums[0] + sums[1]) + (sums[2] + sums[3]));
  return x < 1 ? 0 : Reach(x, sequence.value_reach);
}

uint32_t ModelAge(const HostCache& cache, const StepSequence& sequence, Place place) {
  const uint32_t position = cache.position(place), last_important = cache.last_important(place);
  switch (sequence.rank_by) {
    case RankBy::kLastImportant:
      return sequence.clock + kDoublingsMost * (sequence.reach + sequence.value_reach) -
             last_important - ModelValueReach(cache, sequence, place);
    case RankBy::kPosition: return sequence.position_clock - position;
    case RankBy::kHash: return HashAge(place.head, position);
    case RankBy::kAttention: return AttentionAge(last_important, 1);
    case RankBy::kMeanAttention:
      return AttentionAge(last_important, sequence.position_clock - position);
  }
  return 0;
}

void SetSequences(Scene& scene, const std::vector<SequenceShape>& shapes) {
  uint32_t row = 0;
  for (size_t s = 0; s < shapes.size(); ++s) {
    const SequenceShape& shape = shapes[s];
    StepSequence& sequence = scene.step->sequences()[s];
    sequence.first_row = row;
    sequence.rows = shape.rows;
    sequence.table = Table(s);
    sequence.clock = shape.resident * 2 + 7;  // Half of what was seen is gone.
    sequence.judged_from = shape.rows;
    sequence.position_clock = sequence.clock;
    for (uint32_t i = 0; i < shape.rows; ++i, ++row) {
      scene.step->positions()[row] = sequence.position_clock + i;
    }
    for (uint32_t head = 0; head < scene.cache.geometry().heads(); ++head) {
      const uint32_t missing = shape.ragged == 0 ? 0 : scene.Below(shape.ragged + 1);
      const uint32_t count = shape.resident - std::min(shape.resident, missing);
      scene.step->counts(static_cast<uint32_t>(s))[head] = count;
      scene.cache.Grow(sequence.table, head, count + shape.rows);
      for (uint32_t slot = 0; slot < count; ++slot) {
        const uint32_t important = scene.Below(8) == 0 ? kPinned : scene.Below(sequence.clock + 1);
        FillRow(scene, {sequence.table, head, slot}, slot * 2 + scene.Below(2), important);
      }
    }
  }
  scene.step->header().rows = row;
}

}  // namespace cormorant::conformance
