// RopeOp on every backend against the reference.
//
// Method: positions up to 2^20, where an angle computed in f32 is off by whole turns; turned
// dimensions from 2 to all of the head; per-pair factors; linear scaling; two rows at one position.
// A quarter turn by hand fixes pairing and sign.
#include <cmath>

#include "tests/conformance/harness.h"

namespace cormorant::conformance {
namespace {

CORM_CONFORMANCE(RopeTest);

struct Shape {
  uint32_t heads, head_dim, dims;
  float base, scale;
  bool has_factors;
};

/// 2e-6 of the pair's norm, for each element; nothing for those that are not turned.
std::vector<double> AllowedRows(std::span<const float> x, const Shape& s) {
  std::vector<double> allowed(x.size());
  for (size_t i = 0; i < x.size(); i += 2) {
    const bool is_turned = i % s.head_dim < s.dims;
    allowed[i] = is_turned ? 2e-6 * std::hypot(x[i], x[i + 1]) + 1e-37 : 1e-37;
    allowed[i + 1] = allowed[i];
  }
  return allowed;
}

TEST_P(RopeTest, AgreesWithTheReference) {
  constexpr uint32_t kRows = 10, kLive = 9;
  const uint32_t positions[kLive] = {0, 1, 2, 2, 31, 2047, 8191, 131072, (1u << 20) - 1};
  for (const Shape& s :
       {Shape{9, 64, 64, 100000.0f, 1.0f, false}, Shape{3, 64, 64, 10000.0f, 1.0f, true},
        Shape{1, 128, 128, 500000.0f, 0.25f, true}, Shape{2, 80, 20, 10000.0f, 1.0f, false},
        Shape{5, 4, 2, 10.0f, 1.0f, false}, Shape{2, 100, 100, 1e6f, 1.0f, false}}) {
    Scene scene(s.head_dim, kRows);
    RopeOp op{scene.Temp({kRows, s.heads, s.head_dim}), {s.dims, s.base, s.scale, {}}};
    if (s.has_factors) {
      std::vector<float> factors(s.dims / 2);
      for (float& factor : factors) factor = 1.0f + static_cast<float>(scene.Below(800)) / 100.0f;
      op.rope.factors = scene.F32Weight({s.dims / 2, 1, 1}, factors);
    }
    scene.Add(op);
    scene.Finish();
    scene.step->header().rows = kLive;
    std::copy_n(positions, kLive, scene.step->positions().begin());
    const Tensor& x = scene.op<RopeOp>().x;
    scene.FillNormal(x, kLive, 4.0f);
    const std::string what = absl::StrCat("rope H ", s.heads, " E ", s.head_dim, " dims ", s.dims,
                                          s.has_factors ? " factors" : "");
    Outcome got, want;
    if (!RunBoth(what, scene, &got, &want)) continue;
    const std::span<const float> rows = want.At(x).first(kLive * s.heads * s.head_dim);
    Compare(what, got.At(x), rows, AllowedRows(rows, s));
  }
}

TEST_P(RopeTest, QuarterTurnByHand) {
  // base^(-2/4) = 1/4 with base 16; pi/2 and pi/8 do not come from integer positions, so the turn
  // is put into the scale: one position turns pair 0 by pi/2 and pair 1 by pi/8.
  Scene scene(1, 1);
  scene.Add(RopeOp{scene.Temp({1, 1, 6}), {4, 16.0f, 1.57079632679f, {}}});
  scene.Finish();
  scene.step->positions()[0] = 1;
  const Tensor& x = scene.op<RopeOp>().x;
  const float row[] = {3.0f, 5.0f, 1.0f, 0.0f, 7.0f, 8.0f};
  std::copy_n(row, 6, scene.At(x).begin());
  Outcome got;
  if (!RunOn(backend(), "by hand", scene, &got)) return;
  Compare("by hand", got.At(x),
          std::vector<float>{-5.0f, 3.0f, 0.9238795325f, 0.3826834324f, 7.0f, 8.0f},
          std::vector<double>{2e-5, 2e-5, 3e-6, 3e-6, 1e-30, 1e-30});
}

}  // namespace
}  // namespace cormorant::conformance
