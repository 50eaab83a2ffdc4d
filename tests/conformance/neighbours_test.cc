// Ops that stand together in every transformer, as one tape: a backend may run them as one kernel,
// and what each of them leaves must be what it leaves alone.
//
// Method: against the reference, with every tensor on the way compared; single rows and many.
#include <cmath>

#include "tests/conformance/kv_scene.h"

namespace cormorant::conformance {
namespace {

CORM_CONFORMANCE(NeighboursTest);

/// For sums of products of normal values, x in 15 bits: a wrong or missing factor is far outside.
std::vector<double> Near(std::span<const float> want, double least) {
  std::vector<double> allowed;
  for (const float value : want) allowed.push_back(least + 1e-3 * std::fabs(value));
  return allowed;
}

TEST_P(NeighboursTest, NormAndProducts) {
  constexpr uint32_t kWidth = 96;
  for (const DType type : {DType::kQ8_0, DType::kQ4_0, DType::kQ4_1, DType::kF16}) {
    for (const uint32_t rows : {1u, 3u, 20u}) {
      Scene scene(rows, rows);
      const Tensor x = scene.Temp({rows, kWidth, 1}), h = scene.Temp({rows, kWidth, 1});
      scene.Add(RmsNormOp{h, x, scene.RandomWeight(DType::kF32, {kWidth, 1, 1}), 1e-5f});
      const uint32_t outer[] = {70, 33, 64};
      for (const uint32_t n : outer) {
        const Tensor y = scene.Out(DType::kF32, {rows, n, 1});
        scene.Add(MatMulOp{y, h, scene.RandomWeight(type, {n, kWidth, 1})});
      }
      scene.Finish();
      scene.step->header().rows = rows - rows / 4;
      const uint32_t live = scene.step->header().rows;
      scene.FillNormal(scene.op<RmsNormOp>().x, live);
      const std::string what = absl::StrCat("norm, products ", Info(type).name, " R ", live);
      Outcome got, want;
      if (!RunBoth(what, scene, &got, &want)) continue;
      for (size_t i = 1; i <= 3; ++i) {
        const Tensor& y = scene.op<MatMulOp>(i).y;
        const std::span<const float> w = want.At(y).first(size_t{live} * outer[i - 1]);
        Compare(absl::StrCat(what, " ", i), got.At(y), w, Near(w, 5e-3));
      }
    }
  }
}

TEST_P(NeighboursTest, GateUpAndDown) {
  constexpr uint32_t kWidth = 64, kInner = 160;
  for (const DType type : {DType::kQ8_0, DType::kQ4_1, DType::kBF16}) {
    for (const uint32_t rows : {1u, 8u, 17u}) {
      Scene scene(rows + 1, rows);
      const Tensor x = scene.Temp({rows, kWidth, 1});
      const Tensor gate = scene.Temp({rows, kInner, 1}), up = scene.Temp({rows, kInner, 1});
      const Tensor y = scene.Out(DType::kF32, {rows, kWidth, 1});
      scene.Add(MatMulOp{gate, x, scene.RandomWeight(type, {kInner, kWidth, 1})});
      scene.Add(MatMulOp{up, x, scene.RandomWeight(type, {kInner, kWidth, 1})});
      scene.Add(ActOp{gate, gate, up});
      scene.Add(MatMulOp{y, gate, scene.RandomWeight(type, {kWidth, kInner, 1}), true});
      scene.Finish();
      scene.FillNormal(scene.op<MatMulOp>(0).x, rows, 0.2f);
      scene.FillNormal(scene.op<MatMulOp>(3).y, rows);
      const std::string what = absl::StrCat("gated products ", Info(type).name, " R ", rows);
      Outcome got, want;
      if (!RunBoth(what, scene, &got, &want)) continue;
      const Tensor& out = scene.op<MatMulOp>(3).y;
      double greatest = 0.0;
      for (const float value : want.At(out))
        greatest = std::max(greatest, std::fabs(double{value}));
      Compare(what, got.At(out), want.At(out), Near(want.At(out), 1e-3 * greatest));
    }
  }
}

TEST_P(NeighboursTest, RotationAndWrite) {
  struct Shape {
    uint32_t heads, kv_heads, head_dim, dims, bucket;
    std::vector<SequenceShape> sequences;
  };
  for (const Shape& s :
       {Shape{4, 2, 64, 64, 1, {{1, 40, 0}}}, Shape{9, 3, 64, 48, 20, {{17, 30, 9}}},
        Shape{8, 1, 128, 128, 12, {{1, 31, 0}, {7, 63, 20}}},
        Shape{5, 2, 32, 32, 3, {{3, 0, 0}}}}) {  // No group of queries a head.
    Scene scene(s.heads + s.bucket, s.bucket);
    const uint32_t sequences = static_cast<uint32_t>(s.sequences.size());
    scene.cache = HostCache(Geometry(s.kv_heads, s.head_dim, DType::kF16, DType::kF16, 200),
                            TableCount(sequences), s.bucket);
    const RopeSpec rope{s.dims, 10000.0f, 1.0f, {}};
    const Tensor q = scene.Out(DType::kF32, {s.bucket, s.heads, s.head_dim});
    const Tensor k = scene.Temp({s.bucket, s.kv_heads, s.head_dim});
    scene.Add(RopeOp{q, rope});
    scene.Add(RopeOp{k, rope});
    scene.Add(KvWriteOp{kLayers - 1, k, scene.Temp({s.bucket, s.kv_heads, s.head_dim})});
    scene.Finish(sequences);
    SetSequences(scene, s.sequences);
    const uint32_t live = scene.step->header().rows;
    const KvWriteOp& write = scene.op<KvWriteOp>(2);
    const Tensor& queries = scene.op<RopeOp>(0).x;
    scene.FillNormal(queries, live);
    scene.FillNormal(write.k, live);
    scene.FillNormal(write.v, live);
    const std::string what = absl::StrCat("rotation and write H ", s.heads, " ",
                                          Describe(scene.cache.geometry()), " R ", live);
    Outcome got, want;
    if (!RunBoth(what, scene, &got, &want)) continue;
    const std::span<const float> rotated =
        want.At(queries).first(size_t{live} * s.heads * s.head_dim);
    Compare(what, got.At(queries), rotated, Near(rotated, 1e-4));
    // Keys are rounded to f16 after it; all else is exact.
    for (uint32_t n = 0; n < sequences; ++n) {
      const StepSequence& sequence = scene.step->sequences()[n];
      for (uint32_t g = 0; g < s.kv_heads; ++g) {
        const uint32_t head = (kLayers - 1) * s.kv_heads + g;
        for (uint32_t i = 0; i < sequence.rows; ++i) {
          const Place place{sequence.table, head, scene.step->counts(n)[head] + i};
          const std::vector<float> key = want.cache.K(place);
          Compare(absl::StrCat(what, " key ", head, ",", i), got.cache.K(place), key,
                  Near(key, 1e-3));
          got.cache.SetK(place, key);
        }
      }
    }
    CompareCaches(what + ", beside keys", got.cache, want.cache);
  }
}

TEST_P(NeighboursTest, QueriesAreCountedAsTheyAreBeforeRotation) {
  constexpr uint32_t kHeads = 6, kKvHeads = 2, kHeadDim = 64;
  const RopeSpec rope{kHeadDim, 10000.0f, 1.0f, {}};
  for (const uint32_t rows : {1u, 21u}) {
    Scene scene(rows, rows);
    KvGeometry geometry = Geometry(kKvHeads, kHeadDim, DType::kF16, DType::kF16, 100);
    geometry.query_heads = kHeads;
    scene.cache = HostCache(geometry, TableCount(1), rows);
    const Tensor x = scene.Temp({rows, 64, 1});
    const Tensor q = scene.Temp({rows, kHeads * kHeadDim, 1});
    Tensor queries = q;
    queries.shape = {rows, kHeads, kHeadDim};
    const Tensor k = scene.Temp({rows, kKvHeads, kHeadDim});
    scene.Add(MatMulOp{q, x, scene.RandomWeight(DType::kF32, {kHeads * kHeadDim, 64, 1})});
    scene.Add(QueryStatsOp{kLayers - 1, queries});
    scene.Add(RopeOp{queries, rope});
    scene.Add(RopeOp{k, rope});
    scene.Add(KvWriteOp{kLayers - 1, k, scene.Temp({rows, kKvHeads, kHeadDim})});
    scene.Finish();
    SetSequences(scene, {{rows, 30, 0}});
    StepSequence& sequence = scene.step->sequences()[0];
    sequence.observes = 1;
    sequence.clock = 0;
    scene.FillNormal(scene.op<MatMulOp>(0).x, rows);
    scene.FillNormal(scene.op<KvWriteOp>(4).k, rows);
    scene.FillNormal(scene.op<KvWriteOp>(4).v, rows);
    const std::string what = absl::StrCat("product, statistics, rotation R ", rows);
    Outcome got, want;
    if (!RunBoth(what, scene, &got, &want)) continue;
    for (uint32_t h = 0; h < kHeads; ++h) {
      const auto of = [&](HostCache& cache) {
        return cache.statistics(sequence.table, kLayers - 1, h);
      };
      Compare(what, of(got.cache), of(want.cache), Near(of(want.cache), 1e-2));
    }
    const Tensor& rotated = scene.op<RopeOp>(2).x;
    Compare(what + ", queries", got.At(rotated), want.At(rotated), Near(want.At(rotated), 1e-2));
  }
}

}  // namespace
}  // namespace cormorant::conformance
