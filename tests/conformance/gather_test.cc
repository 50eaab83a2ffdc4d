// GatherRowsOp on every backend, and which rows the ops after it work on.
//
// Method: exact copies of wanted rows in any order; no wanted row at all; then a norm behind the
// gather in a tape whose rows and output rows are the same number, so that only the place on the
// tape tells which rows are live.
#include <algorithm>
#include <cmath>

#include "tests/conformance/harness.h"

namespace cormorant::conformance {
namespace {

CORM_CONFORMANCE(GatherRowsTest);

TEST_P(GatherRowsTest, RowsAreExact) {
  for (uint32_t wanted : {0u, 1u, 3u, 5u}) {
    constexpr uint32_t kRows = 8, kLive = 7, kOut = 5, kWidth = 70;
    Scene scene(wanted, kRows, kOut);
    const Tensor x = scene.Temp({kRows, kWidth, 1});
    scene.Add(GatherRowsOp{scene.Out(DType::kF32, {kOut, kWidth, 1}), x});
    scene.Finish();
    scene.step->header().rows = kLive;
    scene.step->header().out_rows = wanted;
    const uint32_t index[kOut] = {6, 0, 3, 2, 5};
    std::copy_n(index, wanted, scene.step->out_index().begin());
    const GatherRowsOp& op = scene.op<GatherRowsOp>();
    scene.FillNormal(op.x, kLive);
    const std::string what = absl::StrCat("gather ", wanted);
    Outcome got;
    if (!RunOn(backend(), what, scene, &got)) continue;
    std::vector<float> want;
    for (uint32_t j = 0; j < wanted; ++j) {
      const std::span<const float> row = scene.At(op.x).subspan(index[j] * kWidth, kWidth);
      want.insert(want.end(), row.begin(), row.end());
    }
    CompareExactly<float>(what, got.At(op.y).first(want.size()), want);
  }
}

TEST_P(GatherRowsTest, OpsBehindItWorkOnOutputRows) {
  for (uint32_t wanted : {0u, 2u, 6u}) {
    constexpr uint32_t kRows = 6, kWidth = 64, kOuter = 20;
    Scene scene(wanted, kRows, kRows);
    const Tensor x = scene.Temp({kRows, kWidth, 1}), y = scene.Temp({kRows, kWidth, 1});
    const Tensor logits = scene.Out(DType::kF32, {kRows, kOuter, 1});
    scene.Add(RmsNormOp{x, x, scene.RandomWeight(DType::kF32, {kWidth, 1, 1})});
    scene.Add(GatherRowsOp{y, x});
    scene.Add(RmsNormOp{y, y, scene.RandomWeight(DType::kF32, {kWidth, 1, 1})});
    scene.Add(MatMulOp{logits, y, scene.RandomWeight(DType::kF32, {kOuter, kWidth, 1})});
    scene.Finish();
    scene.step->header().rows = kRows - 1;
    scene.step->header().out_rows = std::min(wanted, kRows);
    for (uint32_t j = 0; j < wanted; ++j) scene.step->out_index()[j] = (j * 3 + 1) % (kRows - 1);
    scene.FillNormal(scene.op<RmsNormOp>().x, kRows - 1);
    const std::string what = absl::StrCat("norm, matmul behind gather of ", wanted);
    Outcome got, want;
    if (!RunBoth(what, scene, &got, &want)) continue;
    const std::span<const float> rows = want.At(scene.op<MatMulOp>(3).y);
    // Three roundings of normal values through a sum of 64 products.
    const std::vector<double> allowed(wanted * kOuter, 1e-3);
    Compare(what, got.At(scene.op<MatMulOp>(3).y), rows, allowed);
  }
}

TEST_P(GatherRowsTest, RowsAreReadBeforeTheirBytesAreUsedAgain) {
  // The norm's output lies where the gathered rows came from, which are dead by then. A backend
  // that takes each row through both ops must not write the first before it has read the last.
  constexpr uint32_t kRows = 64, kWidth = 32;
  Scene scene(9, kRows, kRows);
  const Tensor x = scene.Temp({kRows, kWidth, 1}), last = scene.Temp({kRows, kWidth, 1});
  scene.Add(GatherRowsOp{last, x});
  const Tensor w = scene.RandomWeight(DType::kF32, {kWidth, 1, 1});
  scene.Add(RmsNormOp{scene.Temp({kRows, kWidth, 1}), last, w});
  scene.Finish();
  EXPECT_EQ(scene.op<RmsNormOp>(1).y.offset, scene.op<GatherRowsOp>(0).x.offset);
  scene.FillNormal(scene.op<GatherRowsOp>(0).x, kRows);
  for (uint32_t j = 0; j < kRows; ++j) scene.step->out_index()[j] = kRows - 1 - j;
  Outcome got, want;
  if (!RunBoth("gather and norm", scene, &got, &want)) return;
  const Tensor& y = scene.op<RmsNormOp>(1).y;
  std::vector<double> allowed;
  for (float value : want.At(y)) allowed.push_back(8 * 0x1p-23 * std::fabs(value) + 1e-30);
  Compare("gather and norm", got.At(y), want.At(y), allowed);
}

}  // namespace
}  // namespace cormorant::conformance
