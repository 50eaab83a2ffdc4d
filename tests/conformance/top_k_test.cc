// TopKOp on every backend: the greatest numbers of a row and where they are, exactly.
//
// Method: the order is computed a second time by a plain sort of (number, index) pairs. Rows are
// those on which a selection goes wrong: many equal numbers across the cut, all equal, zeros of
// both signs, subnormal numbers, infinities, NaN with and without a sign, and rows in ascending
// order, where each number displaces another. k is 1, odd, all of a row, and the most there may be.
#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "tests/conformance/harness.h"

namespace cormorant::conformance {
namespace {

CORM_CONFORMANCE(TopKTest);

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

enum class Kind { kNormal, kTies, kEqual, kAscending, kSpecial, kFewNumbers, kNoNumbers };
constexpr Kind kKinds[] = {Kind::kNormal,  Kind::kTies,       Kind::kEqual,    Kind::kAscending,
                           Kind::kSpecial, Kind::kFewNumbers, Kind::kNoNumbers};

float Draw(Kind kind, uint32_t i, Scene& scene) {
  const float special[] = {kInfinity, -kInfinity, kNan,     -kNan, 0.0f, -0.0f,
                           1e-42f,    -1e-42f,    -3.4e38f, 1.0f,  -1.0f};
  switch (kind) {
    case Kind::kNormal: return scene.Normal(4.0f);
    case Kind::kTies: return static_cast<float>(scene.Below(5)) - 2.0f;
    case Kind::kEqual: return -7.5f;
    case Kind::kAscending: return static_cast<float>(i) - 100.0f;
    case Kind::kSpecial: return special[scene.Below(std::size(special))];
    case Kind::kFewNumbers: return scene.Below(50) == 0 ? scene.Normal() : kNan;
    case Kind::kNoNumbers: return scene.Below(2) == 0 ? -kInfinity : kNan;
  }
  return 0.0f;
}

struct Expected {
  std::vector<float> values;
  std::vector<uint32_t> indices;
};

Expected Sorted(std::span<const float> x, uint32_t rows, uint32_t width, uint32_t k) {
  Expected expected;
  for (uint32_t o = 0; o < rows; ++o) {
    std::vector<std::pair<float, uint32_t>> row;
    for (uint32_t i = 0; i < width; ++i) {
      const float number = x[size_t{o} * width + i];
      row.emplace_back(std::isnan(number) ? -kInfinity : number, i);
    }
    std::stable_sort(row.begin(), row.end(),
                     [](const auto& a, const auto& b) { return a.first > b.first; });
    for (uint32_t i = 0; i < k; ++i) {
      expected.values.push_back(row[i].first);
      expected.indices.push_back(row[i].second);
    }
  }
  return expected;
}

struct Case {
  uint32_t width, k;
  uint32_t rows = 3, live = 2;
  bool is_in_out = false;  // x lies in out, as logits do.
};

constexpr Case kCases[] = {{1, 1},
                           {17, 1},
                           {20, 20},
                           {33, 7, 9, 6},
                           {1000, 1, 4, 4, true},
                           {1000, 999},
                           {kTopKMax, kTopKMax},
                           {5000, kTopKMax, 2, 1},
                           {4099, 128, 20, 13, true},
                           {50000, 128, 2, 2, true},
                           {50000, 40, 3, 0}};

/// A scene of one TopK, its live rows of one kind.
void Prepare(Scene& scene, const Case& c, Kind kind) {
  const Tensor x =
      c.is_in_out ? scene.Out(DType::kF32, {c.rows, c.width, 1}) : scene.Temp({c.rows, c.width, 1});
  const Tensor values = scene.Out(DType::kF32, {c.rows, c.k, 1});
  scene.Add(TopKOp{values, scene.Out(DType::kU32, {c.rows, c.k, 1}), x});
  scene.Finish();
  scene.step->header().rows = c.live;
  const std::span<float> at = scene.At(scene.op<TopKOp>().x);
  for (uint32_t i = 0; i < c.live * c.width; ++i) at[i] = Draw(kind, i, scene);
}

TEST_P(TopKTest, OrderAndPlacesAreExact) {
  for (const Case& c : kCases) {
    for (const Kind kind : kKinds) {
      Scene scene(c.width + c.k, c.rows, 1);
      Prepare(scene, c, kind);
      const TopKOp& op = scene.op<TopKOp>();
      const std::string what = absl::StrCat("top_k ", c.k, " of ", c.width, ", ", c.live,
                                            " rows, kind ", static_cast<int>(kind));
      const Expected expected = Sorted(scene.At(op.x), c.live, c.width, c.k);
      Outcome got, want;
      if (!RunBoth(what, scene, &got, &want)) continue;
      const size_t count = size_t{c.live} * c.k;
      CompareExactly<uint32_t>(what + " indices", got.At<uint32_t>(op.indices).first(count),
                               expected.indices);
      CompareExactly<float>(what + " values", got.At(op.values).first(count), expected.values);
      CompareExactly<uint32_t>(what + " indices (reference)",
                               want.At<uint32_t>(op.indices).first(count), expected.indices);
      CompareExactly<float>(what + " values (reference)", want.At(op.values).first(count),
                            expected.values);
    }
  }
}

TEST_P(TopKTest, BehindAGatherTheOutputRowsAreLive) {
  constexpr uint32_t kRows = 6, kWidth = 64, kVocab = 300, kTop = 40;
  for (uint32_t wanted : {0u, 1u, 4u}) {
    Scene scene(wanted, kRows, kRows);
    const Tensor x = scene.Temp({kRows, kWidth, 1}), y = scene.Temp({kRows, kWidth, 1});
    const Tensor logits = scene.Out(DType::kF32, {kRows, kVocab, 1});
    const Tensor values = scene.Out(DType::kF32, {kRows, kTop, 1});
    const Tensor indices = scene.Out(DType::kU32, {kRows, kTop, 1});
    scene.Add(GatherRowsOp{y, x});
    scene.Add(MatMulOp{logits, y, scene.RandomWeight(DType::kF32, {kVocab, kWidth, 1})});
    scene.Add(TopKOp{values, indices, logits});
    scene.Finish();
    scene.step->header().rows = kRows - 1;
    scene.step->header().out_rows = wanted;
    for (uint32_t j = 0; j < wanted; ++j) scene.step->out_index()[j] = kRows - 2 - j;
    scene.FillNormal(scene.op<GatherRowsOp>().x, kRows - 1);
    const std::string what = absl::StrCat("top_k of ", wanted, " gathered rows");
    Outcome got;
    if (!RunOn(backend(), what, scene, &got)) continue;
    // Of the backend's own logits: matmuls differ by rounding.
    const TopKOp& op = scene.op<TopKOp>(2);
    const Expected expected = Sorted(got.At(op.x), wanted, kVocab, kTop);
    CompareExactly<uint32_t>(what, got.At<uint32_t>(op.indices).first(wanted * kTop),
                             expected.indices);
    CompareExactly<float>(what, got.At(op.values).first(wanted * kTop), expected.values);
  }
}

}  // namespace
}  // namespace cormorant::conformance
