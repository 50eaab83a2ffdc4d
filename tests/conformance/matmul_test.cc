// MatMulOp on every backend against the reference, within the docstring's bound.
//
// Method: every weight type over widths with one block, few blocks and many; outer sizes that fill
// no tile, or one and a little, as numbers of rows do; 1 to 256 rows with fewer live. Rows that
// break naive code: one outlier that swallows its block's quantization steps, all zeros, one single
// element. Block weights are random bits, so all quants appear (-128 too), and so do zero and
// negative scales. The bound is computed per element.
#include <algorithm>
#include <cmath>

#include "tests/conformance/harness.h"

namespace cormorant::conformance {
namespace {

CORM_CONFORMANCE(MatMulTest);

struct Shape {
  uint32_t rows, live, inner, outer;
};

std::string Describe(DType dtype, const Shape& s, bool accumulate) {
  return absl::StrCat("matmul ", Info(dtype).name, " R ", s.live, " of ", s.rows, " K ", s.inner,
                      " N ", s.outer, accumulate ? " accumulate" : "");
}

/// The docstring's bound for the element of row x and weight row w.
double Allowed(DType dtype, std::span<const float> x, std::span<const float> w, float y) {
  double products = 0.0, steps = 0.0;
  for (size_t k = 0; k < x.size(); ++k) products += std::fabs(double{x[k]} * double{w[k]});
  for (size_t block = 0; Info(dtype).block > 1 && block < x.size(); block += 32) {
    double greatest = 0.0, sum = 0.0;
    for (size_t k = block; k < block + 32; ++k) {
      greatest = std::max(greatest, std::fabs(double{x[k]}));
      sum += std::fabs(double{w[k]});
    }
    steps += greatest / 254.0 * sum;
  }
  return 1e-5 * products + 1.01 * steps + 0x1p-23 * std::fabs(y) + 1e-30;
}

/// Bounds of all live elements.
std::vector<double> AllowedAll(DType dtype, const Shape& s, std::span<const float> x,
                               std::span<const float> w, std::span<const float> y) {
  std::vector<double> allowed;
  for (uint32_t r = 0; r < s.live; ++r) {
    for (uint32_t n = 0; n < s.outer; ++n) {
      allowed.push_back(Allowed(dtype, x.subspan(size_t{r} * s.inner, s.inner),
                                w.subspan(size_t{n} * s.inner, s.inner),
                                y[size_t{r} * s.outer + n]));
    }
  }
  return allowed;
}

/// Normal rows; the second has an outlier, the third is zero, the fourth has one element.
void FillRows(const Shape& s, const Tensor& x, Scene& scene) {
  scene.FillNormal(x, s.live);
  const std::span<float> rows = scene.At(x);
  if (s.live > 1) rows[s.inner + 3] = 5000.0f;
  if (s.live > 2) std::fill_n(&rows[2 * s.inner], s.inner, 0.0f);
  if (s.live > 3) {
    std::fill_n(&rows[3 * s.inner], s.inner, 0.0f);
    rows[4 * s.inner - 1] = -2.5f;
  }
}

class MatMulCase {
 public:
  MatMulCase(DType dtype, const Shape& s, bool accumulate)
      : what(Describe(dtype, s, accumulate)), scene(s.rows * 31 + s.inner + s.outer, s.rows) {
    const Tensor x = scene.Temp({s.rows, s.inner, 1});
    const Tensor y = scene.Temp({s.rows, s.outer, 1});
    const Tensor w = scene.RandomWeight(dtype, {s.outer, s.inner, 1});
    scene.Add(MatMulOp{y, x, w, accumulate});
    scene.Finish();
    scene.step->header().rows = s.live;
    FillRows(s, op().x, scene);
    if (accumulate) scene.FillNormal(op().y, s.live, 10.0f);
  }
  const MatMulOp& op() const { return scene.op<MatMulOp>(); }

  std::string what;
  Scene scene;
};

/// `inner`, or the next multiple of the type's block.
uint32_t InnerOf(DType dtype, uint32_t inner) {
  const uint32_t block = Info(dtype).block;
  return block <= 32 ? inner : (inner + block - 1) / block * block;
}

TEST_P(MatMulTest, ShapesAndTypes) {
  for (DType dtype : WeightTypes()) {
    if (!Takes(dtype)) continue;
    for (Shape s :
         {Shape{1, 1, 32, 16}, Shape{1, 1, 576, 37}, Shape{1, 1, 1536, 576}, Shape{2, 2, 64, 1},
          Shape{3, 3, 576, 17}, Shape{8, 8, 1536, 33}, Shape{8, 5, 64, 48}, Shape{17, 17, 32, 7},
          Shape{64, 64, 576, 49}, Shape{64, 9, 576, 64}, Shape{256, 250, 64, 31},
          Shape{256, 1, 32, 16}, Shape{16, 16, 96, 65}, Shape{33, 33, 32, 63},
          Shape{64, 63, 160, 130}, Shape{65, 65, 96, 129}, Shape{129, 129, 64, 127}}) {
      s.inner = InnerOf(dtype, s.inner);
      for (bool accumulate : {false, true}) {
        MatMulCase c(dtype, s, accumulate);
        Outcome got, want;
        if (!RunBoth(c.what, c.scene, &got, &want)) continue;
        const std::span<const float> y = want.At(c.op().y);
        Compare(c.what, got.At(c.op().y), y,
                AllowedAll(dtype, s, c.scene.At(c.op().x), c.scene.Values(c.op().w), y));
      }
    }
  }
}

/// Work is cut for a number of threads; what is left over must be somebody's.
TEST_P(MatMulTest, OneThreadAndThree) {
  for (uint32_t threads : {1u, 3u}) {
    absl::StatusOr<std::unique_ptr<Backend>> own = OpenTarget(GetParam(), threads);
    if (!own.ok()) return Fail(own.status().ToString());
    for (DType dtype : WeightTypes()) {
      if (!Takes(dtype)) continue;
      for (Shape s : {Shape{1, 1, 64, 50}, Shape{20, 19, 96, 50}, Shape{1, 1, 32, 3}}) {
        s.inner = InnerOf(dtype, s.inner);
        MatMulCase c(dtype, s, false);
        Outcome got, want;
        if (!RunOn(**own, c.what, c.scene, &got)) continue;
        if (!RunOn(reference(), c.what, c.scene, &want)) continue;
        const std::span<const float> y = want.At(c.op().y);
        Compare(absl::StrCat(c.what, " on ", threads, " threads"), got.At(c.op().y), y,
                AllowedAll(dtype, s, c.scene.At(c.op().x), c.scene.Values(c.op().w), y));
      }
    }
  }
}

/// Three products of one x, as q, k and v are: a backend may run them as one.
TEST_P(MatMulTest, NeighboursThatShareX) {
  for (DType dtype : {DType::kQ4_1, DType::kF32}) {
    for (uint32_t rows : {1u, 5u}) {
      Scene scene(rows, rows);
      const Tensor x = scene.Temp({rows, 64, 1});
      const Tensor k_and_v = scene.Temp({rows, 24, 1});
      const uint32_t outer[] = {72, 24, 24};
      for (uint32_t i = 0; i < 3; ++i) {
        const Tensor y = i == 0 ? scene.Temp({rows, outer[i], 1}) : k_and_v;  // The third adds.
        scene.Add(MatMulOp{y, x, scene.RandomWeight(dtype, {outer[i], 64, 1}), i == 2});
      }
      scene.Finish();
      scene.FillNormal(scene.op<MatMulOp>(0).x, rows);
      const std::string what = absl::StrCat("three matmuls ", Info(dtype).name, " R ", rows);
      Outcome got, want;
      if (!RunBoth(what, scene, &got, &want)) continue;
      const std::span<const float> xs = scene.At(scene.op<MatMulOp>(0).x);
      std::vector<double> sum(rows * 24);
      for (uint32_t i = 0; i < 3; ++i) {
        const MatMulOp& op = scene.op<MatMulOp>(i);
        std::vector<double> allowed =
            AllowedAll(dtype, {rows, rows, 64, outer[i]}, xs, scene.Values(op.w), want.At(op.y));
        if (i > 0) {
          for (size_t j = 0; j < sum.size(); ++j) sum[j] += allowed[j];
          allowed = sum;
        }
        if (i != 1) Compare(what, got.At(op.y), want.At(op.y), allowed);
      }
    }
  }
}

TEST_P(MatMulTest, HandComputedProduct) {
  Scene scene(1, 1);
  const float w[] = {1, 2, 3, 4, -1, 0, 0, 0.5f};
  const Tensor x = scene.Temp({1, 4, 1}), y = scene.Temp({1, 2, 1});
  scene.Add(MatMulOp{y, x, scene.F32Weight({2, 4, 1}, w), true});
  scene.Finish();
  const MatMulOp& op = scene.op<MatMulOp>();
  const float row[] = {10, 20, 30, 40};
  std::copy_n(row, 4, scene.At(op.x).begin());
  scene.At(op.y)[0] = 1000.0f;
  scene.At(op.y)[1] = -3.0f;
  Outcome got;
  if (!RunOn(backend(), "hand-computed", scene, &got)) return;
  Compare("hand-computed", got.At(op.y), std::vector<float>{1300.0f, 7.0f},
          std::vector<double>(2, 1e-3));
}

}  // namespace
}  // namespace cormorant::conformance
