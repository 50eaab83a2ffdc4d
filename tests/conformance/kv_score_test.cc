// KvScoreOp on every backend: pooled marks exactly, differences of keys within their bound.
//
// Method: every row's mark is computed a second time from decoded rows, in f64. Rows stand in
// shuffled slots, with gaps, on both sides of the edges of windows of positions that kernels work
// by. Some are pinned, some marks are so large that five of them do not fit a word, some keys are
// zeros, and some keys are all but one direction.
#include <algorithm>
#include <cmath>
#include <map>

#include "tests/conformance/kv_scene.h"

namespace cormorant::conformance {
namespace {

CORM_CONFORMANCE(KvScoreTest);

/// Rows of sequence 0 at about three of four positions from `from` on, in shuffled slots.
void MakeScene(const KvGeometry& geometry, uint32_t rows, uint32_t from, Scene& scene) {
  scene.cache = HostCache(geometry, TableCount(1), rows);
  scene.Add(KvScoreOp{});
  scene.Finish();
  SetSequences(scene, {{0, rows, rows / 3}});
  StepSequence& sequence = scene.step->sequences()[0];
  sequence.position_clock = from + 2 * rows;
  scene.step->counts(0)[2] = 0;
  for (uint32_t head = 0; head < geometry.heads(); ++head) {
    std::vector<uint32_t> places;
    for (uint32_t p = from; places.size() < scene.step->counts(0)[head]; ++p) {
      if (p + rows > sequence.position_clock || scene.Below(4) != 0) places.push_back(p);
    }
    std::shuffle(places.begin(), places.end(), scene.random);
    for (uint32_t slot = 0; slot < places.size(); ++slot) {
      const Place place{sequence.table, head, slot};
      scene.cache.position(place) = places[slot];
      if (scene.cache.last_important(place) != kPinned) {
        scene.cache.last_important(place) = scene.Below(0xfffffff0u) >> scene.Below(32);
      }
    }
  }
}

/// Calls f(head, table, rows of the head) for all heads.
template <class F>
void ForEachHead(const Scene& scene, F&& f) {
  for (uint32_t head = 0; head < scene.cache.geometry().heads(); ++head) {
    f(head, scene.step->sequences()[0].table, scene.step->counts(0)[head]);
  }
}

TEST_P(KvScoreTest, PooledMarksAreExact) {
  for (const auto& [rows, from] :
       {std::pair{1u, 0u}, {2u, 2047u}, {40u, 2030u}, {700u, 0u}, {1500u, 1000u}}) {
    Scene scene(rows, 1);
    MakeScene(Geometry(2, 32, DType::kQ8_0, DType::kF16, rows), rows, from, scene);
    scene.step->sequences()[0].score_by = ScoreBy::kPooledAttention;
    HostCache expected = scene.cache;
    ForEachHead(scene, [&](uint32_t head, uint32_t table, uint32_t count) {
      std::map<uint32_t, uint64_t> marks;  // By position.
      for (uint32_t slot = 0; slot < count; ++slot) {
        const uint32_t mark = scene.cache.last_important({table, head, slot});
        if (mark != kPinned) marks[scene.cache.position({table, head, slot})] = mark;
      }
      for (uint32_t slot = 0; slot < count; ++slot) {
        const Place place{table, head, slot};
        if (scene.cache.last_important(place) == kPinned) continue;
        uint64_t sum = 0;
        for (uint32_t d = 0; d < 5; ++d) {
          const auto near = marks.find(scene.cache.position(place) + d - 2);
          if (near != marks.end()) sum += near->second;
        }
        expected.last_important(place) = static_cast<uint32_t>(sum / 5);
      }
    });
    ExpectCache(absl::StrCat("kv_score pooled, rows ", rows, " from ", from), scene, expected);
  }
}

TEST_P(KvScoreTest, NothingIsWrittenWhereNoneIsAsked) {
  Scene scene(7, 1);
  MakeScene(Geometry(2, 32, DType::kF16, DType::kF16, 100), 100, 0, scene);
  ExpectCache("kv_score none", scene, scene.cache);
}

std::vector<double> Unit(const std::vector<float>& key) {
  double square = 0;
  for (float x : key) square += double{x} * double{x};
  std::vector<double> unit(key.begin(), key.end());
  for (double& x : unit) x = square == 0 ? 0 : x / std::sqrt(square);
  return unit;
}

/// What the marks of a head become, and how far from it they may be.
struct Differences {
  std::vector<double> marks;
  double allowed;
};
Differences DifferencesOf(const HostCache& cache, uint32_t table, uint32_t head, uint32_t count) {
  std::vector<std::vector<double>> units;
  std::vector<double> mean(cache.geometry().head_dim);
  for (uint32_t slot = 0; slot < count; ++slot) {
    units.push_back(Unit(cache.K({table, head, slot})));
    for (size_t d = 0; d < mean.size(); ++d) mean[d] += units[slot][d] / count;
  }
  double square = 0;
  for (double x : mean) square += x * x;
  const double length = std::sqrt(square);
  Differences differences{{}, 1 + 65536e-5 / length};
  for (const std::vector<double>& unit : units) {
    double product = 0;
    for (size_t d = 0; d < mean.size(); ++d) product += unit[d] * mean[d];
    differences.marks.push_back(65536 * (1 - (length == 0 ? 0 : product / length)));
  }
  return differences;
}

/// Keys that have a direction in common, more of it in some heads than in others; zeros.
void SetKeys(Scene& scene) {
  const uint32_t head_dim = scene.cache.geometry().head_dim;
  ForEachHead(scene, [&](uint32_t head, uint32_t table, uint32_t count) {
    std::vector<float> common(head_dim), key(head_dim);
    for (float& x : common) x = scene.Normal(static_cast<float>(head * head) / 2);
    for (uint32_t slot = 0; slot < count; ++slot) {
      const float scale =
          scene.Below(20) == 0 ? 0.0f : 0.01f * static_cast<float>(1 + scene.Below(999));
      for (uint32_t d = 0; d < head_dim; ++d) key[d] = scale * (common[d] + scene.Normal());
      scene.cache.SetK({table, head, slot}, key);
    }
  });
}

TEST_P(KvScoreTest, DifferencesOfKeysAreWithinTheirBound) {
  for (const auto& [k_type, head_dim, rows] : {std::tuple{DType::kF16, 20u, 33u},
                                               {DType::kF16, 64u, 1500u},
                                               {DType::kQ8_0, 64u, 700u},
                                               {DType::kQ8_0, 96u, 1u},
                                               {DType::kQ4_0, 32u, 300u},
                                               {DType::kQ4_0, 256u, 130u}}) {
    Scene scene(head_dim + rows, 1);
    MakeScene(Geometry(2, head_dim, k_type, DType::kF16, rows), rows, 0, scene);
    SetKeys(scene);
    scene.step->sequences()[0].score_by = ScoreBy::kKeyDifference;
    const std::string what =
        absl::StrCat("kv_score keys ", Describe(scene.cache.geometry()), " rows ", rows);
    Outcome got, want;
    if (!RunBoth(what, scene, &got, &want)) continue;
    HostCache rest = scene.cache;  // All but the marks stays.
    ForEachHead(scene, [&](uint32_t head, uint32_t table, uint32_t count) {
      const Differences expected = DifferencesOf(scene.cache, table, head, count);
      std::vector<float> marks, reference, wanted;
      for (uint32_t slot = 0; slot < count; ++slot) {
        const Place place{table, head, slot};
        if (scene.cache.last_important(place) == kPinned) continue;
        marks.push_back(static_cast<float>(got.cache.last_important(place)));
        reference.push_back(static_cast<float>(want.cache.last_important(place)));
        wanted.push_back(static_cast<float>(expected.marks[slot]));
        rest.last_important(place) = got.cache.last_important(place);
      }
      const std::vector<double> allowed(marks.size(), expected.allowed);
      Compare(what, marks, wanted, allowed);
      Compare(what + " (reference)", reference, wanted, allowed);
    });
    CompareCaches(what, got.cache, rest);
  }
}

}  // namespace
}  // namespace cormorant::conformance
