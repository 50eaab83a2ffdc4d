// QueryStatsOp on every backend: sums of queries within their bound, and nothing else changed.
//
// Method: three sequences of one step, of which the second does not observe: one goes on from sums
// that were left before, with rows that enter pinned; one begins anew over what another session has
// left, NaN. Queries have means that differ by dimension and a few are huge. Sums are computed a
// second time in f64.
#include <cmath>

#include "tests/conformance/kv_scene.h"

namespace cormorant::conformance {
namespace {

CORM_CONFORMANCE(QueryStatsTest);

struct Shape {
  uint32_t kv_heads, heads, head_dim;
  std::vector<uint32_t> rows;  // Of three sequences.
};

void MakeScene(const Shape& s, Scene& scene) {
  uint32_t rows = 0;
  for (uint32_t each : s.rows) rows += each;
  KvGeometry geometry = Geometry(s.kv_heads, s.head_dim, DType::kF16, DType::kF16, rows);
  geometry.query_heads = s.heads;
  scene.cache = HostCache(geometry, TableCount(3) + 1, rows);
  scene.Add(QueryStatsOp{kLayers - 1, scene.Temp({rows, s.heads, s.head_dim})});
  scene.Finish(3);
  std::vector<SequenceShape> shapes;
  for (uint32_t each : s.rows) shapes.push_back({each, 0, 0});
  SetSequences(scene, shapes);
  std::span<StepSequence> sequences = scene.step->sequences();
  sequences[0].observes = sequences[2].observes = 1;
  sequences[0].pinned_rows = s.rows[0] / 3;
  sequences[2].clock = 0;
  for (uint32_t h = 0; h < s.heads; ++h) {
    for (float& sum : scene.cache.statistics(sequences[0].table, kLayers - 1, h)) {
      sum = scene.Normal(300.0f);
    }
    scene.cache.statistics(sequences[0].table, kLayers - 1, h)[0] = 100;
  }
  const Tensor& q = scene.op<QueryStatsOp>().q;
  scene.FillNormal(q, rows);
  for (size_t i = 0; i < scene.At(q).size(); ++i) {
    scene.At(q)[i] += static_cast<float>(i % s.head_dim) / 8;
    if (scene.Below(100) == 0) scene.At(q)[i] *= 1000;
  }
}

/// Sums of a query head after the step, in f64, and of the magnitudes of what is in them.
void ModelSums(Scene& scene, const Shape& s, const StepSequence& sequence, uint32_t head,
               std::vector<double>* sums, std::vector<double>* magnitudes) {
  const std::span<const float> old = scene.cache.statistics(sequence.table, kLayers - 1, head);
  sums->assign(old.begin(), old.end());
  if (sequence.clock == 0) sums->assign(old.size(), 0.0);
  *magnitudes = *sums;
  for (double& magnitude : *magnitudes) magnitude = std::fabs(magnitude);
  const std::span<const float> q = scene.At(scene.op<QueryStatsOp>().q);
  for (uint32_t i = sequence.pinned_rows; i < sequence.rows; ++i) {
    const size_t at = (size_t{sequence.first_row + i} * s.heads + head) * s.head_dim;
    const auto add = [&](size_t place, double x) {
      (*sums)[place] += x;
      (*magnitudes)[place] += std::fabs(x);
    };
    add(0, 1);
    for (uint32_t pair = 0; pair < s.head_dim / 2; ++pair) {
      const double a = q[at + 2 * pair], b = q[at + 2 * pair + 1];
      const size_t to = 1 + pair * 5;
      add(to, a), add(to + 1, b), add(to + 2, a * a), add(to + 3, b * b), add(to + 4, a * b);
    }
  }
}

TEST_P(QueryStatsTest, SumsAreWithinTheirBound) {
  for (const Shape& s : {Shape{1, 1, 4, {1, 1, 1}}, Shape{3, 9, 64, {30, 7, 50}},
                         Shape{2, 8, 256, {3, 1, 40}}, Shape{2, 4, 20, {9, 300, 1}}}) {
    uint32_t rows = 0;
    for (uint32_t each : s.rows) rows += each;
    Scene scene(s.head_dim + rows, rows);
    MakeScene(s, scene);
    const std::string what = absl::StrCat("query_stats H ", s.heads, " E ", s.head_dim);
    Outcome got, want;
    if (!RunBoth(what, scene, &got, &want)) continue;
    HostCache rest = scene.cache;  // All but what observed sequences counted stays.
    for (uint32_t index : {0u, 2u}) {
      const StepSequence& sequence = scene.step->sequences()[index];
      for (uint32_t h = 0; h < s.heads; ++h) {
        std::vector<double> sums, magnitudes;
        ModelSums(scene, s, sequence, h, &sums, &magnitudes);
        std::vector<float> wanted(sums.begin(), sums.end());
        std::vector<double> allowed;
        for (double magnitude : magnitudes) {
          allowed.push_back((sequence.rows + 1) * 0x1p-23 * magnitude + 1e-37);
        }
        allowed[0] = 0.5;
        const auto of = [&](HostCache& cache) {
          return cache.statistics(sequence.table, kLayers - 1, h);
        };
        Compare(what, of(got.cache), wanted, allowed);
        Compare(what + " (reference)", of(want.cache), wanted, allowed);
        std::copy_n(of(got.cache).begin(), sums.size(), of(rest).begin());
      }
    }
    CompareCaches(what, got.cache, rest);
  }
}

TEST_P(QueryStatsTest, PiecesOfATextAddUpToTheSameBits) {
  const Shape whole{2, 6, 32, {1, 1, 40}};
  std::vector<float> parts, at_once;
  for (const uint32_t first : {0u, 17u}) {
    Scene scene(5, 42);
    MakeScene(whole, scene);
    StepSequence& sequence = scene.step->sequences()[2];
    if (first != 0) {  // The first rows alone.
      sequence.rows = first;
      scene.step->header().rows = sequence.first_row + first;
    }
    Outcome got;
    if (!RunOn(backend(), "query_stats in pieces", scene, &got)) return;
    (first == 0 ? at_once : parts) = got.cache.all_statistics();
    if (first == 0) continue;
    scene.cache.all_statistics() = parts;  // Then those after them.
    sequence.first_row += first;
    sequence.rows = 40 - first;
    sequence.clock = first;
    scene.step->sequences()[0].observes = 0;
    scene.step->sequences()[1].rows += first;
    scene.step->header().rows = 42;
    if (!RunOn(backend(), "query_stats in pieces", scene, &got)) return;
    parts = got.cache.all_statistics();
  }
  CompareExactly<float>("query_stats in pieces", parts, at_once);
}

}  // namespace
}  // namespace cormorant::conformance
