// KvSpreadOp on every backend: marks, exactly.
//
// Method: every row's mark is computed a second time, from every pair of rows of its head. Rows
// stand in shuffled slots and on both sides of the edges of windows of positions that kernels work
// by; some are pinned, marks are small enough for fading to take them to nothing.
#include <algorithm>
#include <random>

#include "tests/conformance/kv_scene.h"

namespace cormorant::conformance {
namespace {

CORM_CONFORMANCE(KvSpreadTest);

struct Case {
  uint32_t fade;
  uint32_t positions;  // Rows stand at about every second of them.
  uint32_t from;       // The first.
};

/// The cache after the op, by its docstring.
HostCache Expected(const Scene& scene, uint32_t head_total, std::span<const uint32_t> counts,
                   const StepSequence& sequence) {
  HostCache cache = scene.cache;
  for (uint32_t head = 0; head < head_total; ++head) {
    for (uint32_t slot = 0; slot < counts[head]; ++slot) {
      const Place place{sequence.table, head, slot};
      int64_t best = scene.cache.last_important(place);
      if (best == int64_t{kPinned} || sequence.fade == 0) continue;
      for (uint32_t near = 0; near < counts[head]; ++near) {
        const Place other{sequence.table, head, near};
        const int64_t mark = scene.cache.last_important(other);
        const int64_t away =
            std::abs(int64_t{scene.cache.position(other)} - scene.cache.position(place));
        if (mark == int64_t{kPinned} || away > int64_t{kSpreadMost}) continue;
        best = std::max(best, mark - away * sequence.fade);
      }
      cache.last_important(place) = static_cast<uint32_t>(best);
    }
  }
  return cache;
}

/// Makes the scene; gives what the cache holds after it.
HostCache MakeScene(const Case& c, Scene& scene) {
  scene.cache = HostCache(Geometry(2, 32, DType::kQ8_0, DType::kF16, 1300), TableCount(1), 3);
  scene.Add(KvSpreadOp{});
  scene.Finish();
  SetSequences(scene, {{0, c.positions / 2, 70}});
  StepSequence& sequence = scene.step->sequences()[0];
  sequence.fade = c.fade;
  sequence.clock = 9000;
  sequence.position_clock = c.from + c.positions;
  const std::span<uint32_t> counts = scene.step->counts(0);
  counts[2] = 0;
  std::mt19937 random(c.positions);
  for (uint32_t head = 0; head < 4; ++head) {
    std::vector<uint32_t> places(counts[head]);
    for (uint32_t i = 0; i < places.size(); ++i) places[i] = c.from + i * 2 + scene.Below(2);
    std::shuffle(places.begin(), places.end(), random);
    for (uint32_t slot = 0; slot < counts[head]; ++slot) {
      const Place place{sequence.table, head, slot};
      scene.cache.position(place) = places[slot];
      const uint32_t mark = scene.Below(9000) >> scene.Below(10);
      scene.cache.last_important(place) = scene.Below(8) == 0 ? kPinned : mark;
    }
  }
  return Expected(scene, scene.cache.geometry().heads(), counts, sequence);
}

TEST_P(KvSpreadTest, MarksAreExact) {
  uint32_t seed = 1;
  for (const Case& c : {Case{0, 600, 0}, Case{1, 2, 0}, Case{1, 600, 0}, Case{16, 2500, 0},
                        Case{300, 2000, 3000}, Case{7, 40, 2040}, Case{4095, 300, 8000}}) {
    Scene scene(seed++, 1);
    const HostCache expected = MakeScene(c, scene);
    const std::string what = absl::StrCat("kv_spread fade ", c.fade, " positions ", c.from, " and ",
                                          c.positions, " more");
    ExpectCache(what, scene, expected);
  }
}

}  // namespace
}  // namespace cormorant::conformance
