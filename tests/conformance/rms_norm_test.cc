// RmsNormOp on every backend against the reference.
//
// Method: random rows, among them the ones that break naive code: a huge outlier (its square
// overflows f16), all zeros (only eps keeps it finite), tiny values (their squares drown in eps).
// In place and not; widths that fill no vector; a hand-computed row for the reference itself.
#include <algorithm>
#include <cmath>

#include "tests/conformance/harness.h"

namespace cormorant::conformance {
namespace {

CORM_CONFORMANCE(RmsNormTest);

constexpr double kUlps = 8 * 0x1p-23;  // Of |y|, from the docstring.

TEST_P(RmsNormTest, AgreesWithTheReference) {
  struct Shape {
    uint32_t rows, live, width;
  };
  for (const Shape& s : {Shape{1, 1, 1}, Shape{1, 1, 576}, Shape{4, 3, 2048}, Shape{8, 8, 8191},
                         Shape{64, 61, 576}, Shape{5, 4, 33}}) {
    for (bool in_place : {false, true}) {
      Scene scene(s.rows * 131 + s.width, s.rows);
      const Tensor x = scene.Temp({s.rows, s.width, 1});
      const Tensor y = in_place ? x : scene.Temp({s.rows, s.width, 1});
      scene.Add(RmsNormOp{y, x, scene.RandomWeight(DType::kF32, {s.width, 1, 1}), 1e-5f});
      scene.Finish();
      scene.step->header().rows = s.live;
      const RmsNormOp& op = scene.op<RmsNormOp>();
      scene.FillNormal(op.x, s.live);
      const std::span<float> rows = scene.At(op.x);
      if (s.live > 1) rows[s.width] = 3.0e4f;
      if (s.live > 2) std::fill_n(&rows[2 * s.width], s.width, 0.0f);
      if (s.live > 3) std::fill_n(&rows[3 * s.width], s.width, 1e-20f);

      const std::string what = absl::StrCat("rms_norm rows ", s.live, " of ", s.rows, " width ",
                                            s.width, in_place ? " in place" : "");
      Outcome got, want;
      if (!RunBoth(what, scene, &got, &want)) continue;
      std::vector<double> allowed;
      for (float v : want.At(op.y).first(s.live * s.width)) {
        allowed.push_back(kUlps * std::fabs(v) + 1e-37);
      }
      Compare(what, got.At(op.y), want.At(op.y), allowed);
    }
  }
}

TEST_P(RmsNormTest, HandComputedRow) {
  Scene scene(1, 1);
  const float w[] = {1.0f, 2.0f, -1.0f, 0.5f};
  const Tensor x = scene.Temp({1, 4, 1}), y = scene.Temp({1, 4, 1});
  scene.Add(RmsNormOp{y, x, scene.F32Weight({4, 1, 1}, w), 1e-8f});
  scene.Finish();
  const RmsNormOp& op = scene.op<RmsNormOp>();
  const float row[] = {1.0f, -1.0f, 7.0f, 7.0f};  // Mean square 25.
  std::copy_n(row, 4, scene.At(op.x).begin());
  Outcome got;
  if (!RunOn(backend(), "hand-computed", scene, &got)) return;
  Compare("hand-computed", got.At(op.y), std::vector<float>{0.2f, -0.4f, -1.4f, 0.7f},
          std::vector<double>(4, 2e-6));
}

}  // namespace
}  // namespace cormorant::conformance
