// KvCompactOp on every backend: which rows stay, and in which slots, exactly.
//
// Method: a model in plain vectors of rows (byte strings) decides the same; every byte of every
// page must be as the model leaves it, those of slots past the new count included. Nothing to drop,
// all that may go, ties in age that positions break, pinned and recent rows, all ranks, all row
// types, sizes of values.
#include <algorithm>

#include "tests/conformance/kv_scene.h"

namespace cormorant::conformance {
namespace {

CORM_CONFORMANCE(KvCompactTest);

struct ModelRow {
  uint32_t slot, age, position;
};

std::vector<ModelRow> Evictable(const HostCache& cache, const StepSequence& sequence, uint32_t head,
                                uint32_t count) {
  std::vector<ModelRow> rows;
  for (uint32_t slot = 0; slot < count; ++slot) {
    const Place place{sequence.table, head, slot};
    const uint32_t important = cache.last_important(place), position = cache.position(place);
    if (important == kPinned || position >= sequence.recent_from) continue;
    rows.push_back({slot, ModelAge(cache, sequence, place), position});
  }
  return rows;
}

/// Drops rows of one head of the model.
void Drop(const StepSequence& sequence, uint32_t head, uint32_t count, uint32_t evict,
          HostCache* cache) {
  std::vector<ModelRow> rows = Evictable(*cache, sequence, head, count);
  std::stable_sort(rows.begin(), rows.end(), [](const ModelRow& a, const ModelRow& b) {
    return std::pair(~a.age, a.position) < std::pair(~b.age, b.position);
  });
  std::vector<bool> stays(count, true);
  for (uint32_t i = 0; i < evict; ++i) stays[rows[i].slot] = false;
  const uint32_t left = count - evict;
  std::vector<uint32_t> holes, movers;
  for (uint32_t slot = 0; slot < count; ++slot) {
    if (slot < left && !stays[slot]) holes.push_back(slot);
    if (slot >= left && stays[slot]) movers.push_back(slot);
  }
  for (size_t i = 0; i < holes.size(); ++i) {
    const Place hole{sequence.table, head, holes[i]}, mover{sequence.table, head, movers[i]};
    const std::vector<std::byte> dropped = cache->Row(hole);
    cache->SetRow(hole, cache->Row(mover));
    cache->SetRow(mover, dropped);
  }
}

enum class Amount { kNone, kOne, kHalf, kAll };

struct Shape {
  DType k_type, v_type;
  uint32_t head_dim, resident, ages;  // Distinct values of last_important: few make ties.
  RankBy rank_by;
  Amount amount;
};

std::string CaseName(const Shape& s, const KvGeometry& geometry) {
  return absl::StrCat("kv_compact ", Describe(geometry), " rows ", s.resident, " ages ", s.ages,
                      " rank ", static_cast<uint32_t>(s.rank_by), " amount ",
                      static_cast<uint32_t>(s.amount));
}

/// Positions in a random order of slots, as a cache that was compacted before has them.
void ShuffleRows(const Shape& s, const StepSequence& sequence, Scene& scene) {
  for (uint32_t head = 0; head < scene.cache.geometry().heads(); ++head) {
    const uint32_t count = scene.step->counts(0)[head];
    std::vector<uint32_t> positions(count);
    for (uint32_t i = 0; i < count; ++i) positions[i] = i * 2;
    std::shuffle(positions.begin(), positions.end(), scene.random);
    for (uint32_t slot = 0; slot < count; ++slot) {
      const Place place{sequence.table, head, slot};
      scene.cache.position(place) = positions[slot];
      if (scene.Below(2) == 0) ScaleValues(scene, place);
      if (scene.Below(9) == 0) continue;  // Pinned ones among these stay so.
      scene.cache.last_important(place) =
          sequence.clock - std::min(sequence.clock, scene.Below(s.ages) * 3);
    }
  }
}

TEST_P(KvCompactTest, RowsAndSlotsAreExact) {
  std::vector<Shape> shapes;
  for (Amount amount : {Amount::kNone, Amount::kOne, Amount::kHalf, Amount::kAll}) {
    for (RankBy rank : kRanks) {
      shapes.push_back({DType::kF16, DType::kF16, 64, 300, 1000, rank, amount});
      shapes.push_back({DType::kQ8_0, DType::kQ8_0, 64, 300, 5, rank, amount});
      shapes.push_back({DType::kQ8_0, DType::kF16, 96, 33, 1, rank, amount});
      shapes.push_back({DType::kF16, DType::kQ8_0, 32, 1500, 40, rank, amount});
      shapes.push_back({DType::kQ4_0, DType::kQ4_0, 64, 300, 5, rank, amount});
      shapes.push_back({DType::kQ4_0, DType::kQ8_0, 96, 70, 9, rank, amount});
      shapes.push_back({DType::kF16, DType::kQ4_0, 32, 33, 1, rank, amount});
      shapes.push_back({DType::kF16, DType::kF16, 20, 32, 3, rank, amount});
    }
  }
  for (const Shape& s : shapes) {
    Scene scene(s.resident, 1);
    scene.cache = HostCache(Geometry(2, s.head_dim, s.k_type, s.v_type, s.resident), TableCount(1),
                            s.resident);
    scene.Add(KvCompactOp{});
    scene.Finish();
    SetSequences(scene, {{0, s.resident, s.resident / 2}});
    StepSequence& sequence = scene.step->sequences()[0];
    sequence.rank_by = s.rank_by;
    sequence.value_reach = s.amount == Amount::kHalf ? 20 : 0;
    sequence.position_clock = s.resident * 2;
    sequence.recent_from = s.resident * 2 - s.resident / 5;
    ShuffleRows(s, sequence, scene);

    HostCache expected = scene.cache;
    scene.step->counts(0)[1] = 0;
    for (uint32_t head = 0; head < scene.cache.geometry().heads(); ++head) {
      const uint32_t count = scene.step->counts(0)[head];
      const auto all = static_cast<uint32_t>(Evictable(scene.cache, sequence, head, count).size());
      const uint32_t evict = s.amount == Amount::kNone   ? 0
                             : s.amount == Amount::kOne  ? std::min(all, 1u)
                             : s.amount == Amount::kHalf ? all / (head + 2)
                                                         : all;
      scene.step->evict()[head] = evict;
      Drop(sequence, head, count, evict, &expected);
    }
    const std::string what = CaseName(s, scene.cache.geometry());
    ExpectCache(what, scene, expected);
  }
}

}  // namespace
}  // namespace cormorant::conformance
