// ActOp (SwiGLU) on every backend against the reference.
//
// Method: gates from -120 to 120, where exp overflows f32 and where it drowns in 1; zeros of both
// signs; y apart, in the gate and in up; counts that fill no vector.
#include <cmath>

#include "tests/conformance/harness.h"

namespace cormorant::conformance {
namespace {

CORM_CONFORMANCE(ActTest);

TEST_P(ActTest, AgreesWithTheReference) {
  enum class Where { kApart, kGate, kUp };
  for (uint32_t width : {1u, 15u, 64u, 1536u}) {
    for (Where where : {Where::kApart, Where::kGate, Where::kUp}) {
      constexpr uint32_t kRows = 6, kLive = 5;
      Scene scene(width, kRows);
      const Tensor gate = scene.Temp({kRows, width, 1}), up = scene.Temp({kRows, width, 1});
      const Tensor y = where == Where::kGate ? gate
                       : where == Where::kUp ? up
                                             : scene.Temp({kRows, width, 1});
      scene.Add(ActOp{y, gate, up});
      scene.Finish();
      scene.step->header().rows = kLive;
      const ActOp& op = scene.op<ActOp>();
      scene.FillNormal(op.gate, kLive, 3.0f);
      scene.FillNormal(op.up, kLive);
      const float hard[] = {0.0f, -0.0f, 120.0f, -120.0f, -88.0f, -87.0f, -60.0f, 1e-20f, -17.5f};
      for (size_t i = 0; i < std::size(hard) && i < kLive * width; ++i) {
        scene.At(op.gate)[i] = hard[i];
      }
      const std::string what =
          absl::StrCat("act width ", width, " y ", static_cast<uint32_t>(where));
      Outcome got, want;
      if (!RunBoth(what, scene, &got, &want)) continue;
      std::vector<double> allowed;
      for (float v : want.At(op.y).first(kLive * width)) {
        allowed.push_back(4e-6 * std::fabs(v) + 1e-30);
      }
      Compare(what, got.At(op.y), want.At(op.y), allowed);
    }
  }
}

TEST_P(ActTest, HandComputedValues) {
  Scene scene(1, 1);
  const Tensor gate = scene.Temp({1, 4, 1}), up = scene.Temp({1, 4, 1});
  scene.Add(ActOp{scene.Temp({1, 4, 1}), gate, up});
  scene.Finish();
  const ActOp& op = scene.op<ActOp>();
  const float gates[] = {0.0f, 1.0f, -1.0f, 50.0f}, ups[] = {5.0f, 2.0f, 2.0f, -3.0f};
  std::copy_n(gates, 4, scene.At(op.gate).begin());
  std::copy_n(ups, 4, scene.At(op.up).begin());
  Outcome got;
  if (!RunOn(backend(), "hand-computed", scene, &got)) return;
  // 1 / (1 + 1/e) = 0.7310585786.
  Compare("hand-computed", got.At(op.y),
          std::vector<float>{0.0f, 1.4621171573f, -0.5378828427f, -150.0f},
          std::vector<double>{1e-30, 6e-6, 3e-6, 6e-4});
}

}  // namespace
}  // namespace cormorant::conformance
