// A row's result does not depend on its neighbours: row r of a batch of 64 equals the row alone.
//
// Method: the same rows once in one bucket of 64 and once each in a bucket of 1, on one backend.
// Backends choose kernels by the number of rows, so equal bits are not asked for: both results lie
// within the docstring's bound of the same number, and may be apart by twice that.
#include <algorithm>
#include <cmath>

#include "runtime/format/tiles.h"
#include "tests/conformance/kv_scene.h"

namespace cormorant::conformance {
namespace {

CORM_CONFORMANCE(RowInvarianceTest);

constexpr uint32_t kBatch = 64;

/// A tape of one op on [rows, width] tensors, with the same weights for every number of rows.
using MakeOp = Op (*)(Scene& scene, uint32_t rows, uint32_t width);

struct RowOp {
  const char* name;
  MakeOp make;
  double relative;  // Twice the docstring's bound, of |y| ...
  double absolute;  // ... or of the sum of its absolute products, which is below this.
};

Op MakeNorm(Scene& scene, uint32_t rows, uint32_t width) {
  const Tensor x = scene.Temp({rows, width, 1}), y = scene.Temp({rows, width, 1});
  return RmsNormOp{y, x, scene.RandomWeight(DType::kF32, {width, 1, 1})};
}
Op MakeAct(Scene& scene, uint32_t rows, uint32_t width) {
  const Tensor x = scene.Temp({rows, width, 1}), y = scene.Temp({rows, width, 1});
  return ActOp{y, x, x};
}
template <DType kType>
Op MakeMatMul(Scene& scene, uint32_t rows, uint32_t width) {
  const Tensor x = scene.Temp({rows, width, 1}), y = scene.Temp({rows, 40, 1});
  return MatMulOp{y, x, scene.RandomWeight(kType, {40, width, 1})};
}

struct Tensors {
  Tensor x, y;
};
Tensors TensorsOf(const Op& op) {
  Tensors tensors;
  std::visit(
      [&](const auto& o) {
        ForEachTensor(o, [&](const Tensor& tensor, Access access) {
          if (tensor.region != Region::kArena) return;
          (access == Access::kWrite ? tensors.y : tensors.x) = tensor;
        });
      },
      op);
  return tensors;
}

/// Runs `make`'s op on rows [first, first + rows) of `all`.
std::vector<float> RunRows(Scene& scene, MakeOp make, std::span<const float> all, uint32_t first,
                           uint32_t rows, uint32_t width, absl::StatusOr<Outcome>* outcome,
                           Backend& backend) {
  scene.Add(make(scene, rows, width));
  scene.Finish();
  const Tensors tensors = TensorsOf(scene.tape.ops[0]);
  const std::span<const float> from = all.subspan(size_t{first} * width, size_t{rows} * width);
  std::copy(from.begin(), from.end(), scene.At(tensors.x).begin());
  *outcome = RunScene(backend, scene);
  if (!outcome->ok()) return {};
  const std::span<const float> y = (*outcome)->At(tensors.y);
  return {y.begin(), y.end()};
}

TEST_P(RowInvarianceTest, RowWiseOps) {
  constexpr uint32_t kWidth = 192;
  // Weights of random bits are below 0.05 * 127, of floats below 5; x is below 5 and its steps
  // 5/127.
  const RowOp ops[] = {
      {"rms_norm", MakeNorm, 16 * 0x1p-23, 1e-30},
      {"act", MakeAct, 8e-6, 2e-30},
      {"matmul f32", MakeMatMul<DType::kF32>, 2e-6, 2e-5 * kWidth * 2},
      {"matmul f16", MakeMatMul<DType::kF16>, 2e-6, 2e-5 * kWidth * 2},
      {"matmul q8_0", MakeMatMul<DType::kQ8_0>, 2e-6, 2 * kWidth * 0.7 * 3.5 / 254},
      {"matmul q4_0", MakeMatMul<DType::kQ4_0>, 2e-6, 2 * kWidth * 0.05 * 3.5 / 254},
      {"matmul q4_1", MakeMatMul<DType::kQ4_1>, 2e-6, 2 * kWidth * 0.1 * 3.5 / 254}};
  for (const RowOp& op : ops) {
    std::vector<float> all(kBatch * kWidth);
    Scene source(17, 1);
    for (float& x : all) x = source.Normal();
    absl::StatusOr<Outcome> outcome;
    Scene batch(3, kBatch);
    const std::vector<float> together =
        RunRows(batch, op.make, all, 0, kBatch, kWidth, &outcome, backend());
    if (!outcome.ok()) {
      Fail(absl::StrCat(op.name, ": ", outcome.status().ToString()));
      continue;
    }
    const size_t out_width = together.size() / kBatch;
    for (uint32_t row = 0; row < kBatch; ++row) {
      Scene single(3, 1);
      const std::vector<float> alone =
          RunRows(single, op.make, all, row, 1, kWidth, &outcome, backend());
      if (!outcome.ok()) break;
      std::vector<double> allowed;
      for (float y : alone) allowed.push_back(op.relative * std::fabs(y) + op.absolute);
      Compare(absl::StrCat(op.name, " row ", row),
              std::span<const float>(together).subspan(row * out_width, out_width), alone, allowed);
    }
  }
}

/// Types that GPUs refuse: the bits are the same, as the CPU and the reference compute row by row.
TEST_P(RowInvarianceTest, BlockTypesToTheBit) {
  constexpr uint32_t kWidth = 512, kRows = 13, kOuter = 40;
  std::vector<float> all(kRows * kWidth);
  Scene source(17, 1);
  for (float& x : all) x = source.Normal();
  for (DType dtype : WeightTypes()) {
    if (IsTiled(dtype) || !Takes(dtype)) continue;
    const auto run = [&](uint32_t first, uint32_t rows) {
      Scene scene(3, rows);
      const Tensor w = scene.RandomWeight(dtype, {kOuter, kWidth, 1});
      const Tensor x = scene.Temp({rows, kWidth, 1}), y = scene.Temp({rows, kOuter, 1});
      scene.Add(MatMulOp{y, x, w});
      scene.Finish();
      const MatMulOp& op = scene.op<MatMulOp>();
      std::copy_n(&all[first * kWidth], rows * kWidth, scene.At(op.x).begin());
      Outcome outcome;
      if (!RunOn(backend(), std::string(Info(dtype).name), scene, &outcome)) {
        return std::vector<float>(rows * kOuter);
      }
      const std::span<const float> out = outcome.At(op.y);
      return std::vector<float>(out.begin(), out.end());
    };
    const std::vector<float> together = run(0, kRows);
    for (uint32_t row = 0; row < kRows; ++row) {
      CompareExactly<float>(absl::StrCat("matmul ", Info(dtype).name, " row ", row),
                            std::span<const float>(together).subspan(row * kOuter, kOuter),
                            run(row, 1));
    }
  }
}

TEST_P(RowInvarianceTest, Attention) {
  constexpr uint32_t kResident = 100, kHeads = 6, kKvHeads = 2, kDim = 64;
  for (DType type : {DType::kF16, DType::kQ8_0, DType::kQ4_0}) {
    const auto prepare = [&](Scene& scene, uint32_t rows) {
      scene.cache =
          HostCache(Geometry(kKvHeads, kDim, type, type, kResident + kBatch), TableCount(1), 2);
      const Tensor q = scene.Temp({rows, kHeads, kDim}), o = scene.Temp({rows, kHeads, kDim});
      scene.Add(AttendOp{kLayers - 1, o, q, 0.125f});
      scene.Finish();
    };
    Scene batch(4, kBatch);
    prepare(batch, kBatch);
    SetSequences(batch, {{kBatch, kResident, 0}});
    for (uint32_t i = 0; i < kBatch * kKvHeads; ++i) {
      FillRow(batch, {Table(0), kKvHeads + i % kKvHeads, kResident + i / kKvHeads}, 900 + i, 1);
    }
    const AttendOp& op = batch.op<AttendOp>();
    batch.FillNormal(op.q, kBatch);
    const std::string what = absl::StrCat("attend ", Info(type).name);
    Outcome together;
    if (!RunOn(backend(), what, batch, &together)) continue;
    for (uint32_t row = 0; row < kBatch; ++row) {
      Scene single(4, 1);
      prepare(single, 1);
      SetSequences(single, {{1, 0, 0}});
      single.cache = batch.cache;
      for (uint32_t& count : single.step->counts(0)) count = kResident + row;
      const size_t width = kHeads * kDim;
      const std::span<const float> q = batch.At(op.q).subspan(row * width, width);
      std::copy(q.begin(), q.end(), single.At(single.op<AttendOp>().q).begin());
      Outcome alone;
      if (!RunOn(backend(), what, single, &alone)) break;
      // M is below 8 and B below 5 for these rows.
      const double allowed = type == DType::kF16 ? 2 * 2.8e-5 * 5 : 2 * 5.2e-4 * 5;
      Compare(absl::StrCat(what, " row ", row), together.At(op.o).subspan(row * width, width),
              alone.At(single.op<AttendOp>().o), std::vector<double>(width, allowed));
    }
  }
}

}  // namespace
}  // namespace cormorant::conformance
