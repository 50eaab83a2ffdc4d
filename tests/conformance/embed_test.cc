// EmbedOp on every backend: rows of a table, exactly.
//
// Method: all weight types; the first and the last row of the table, one id twice, fewer live rows
// than the bucket holds; the oracle is Dequantize itself and not only the reference.
#include <algorithm>

#include "tests/conformance/harness.h"

namespace cormorant::conformance {
namespace {

CORM_CONFORMANCE(EmbedTest);

TEST_P(EmbedTest, RowsAreExact) {
  for (DType dtype : WeightTypes()) {
    if (!Takes(dtype)) continue;
    for (uint32_t blocks : {1u, 3u, 18u}) {
      const uint32_t width = blocks * std::max(Info(dtype).block, 32u);
      constexpr uint32_t kRows = 9, kLive = 7, kVocab = 37;
      Scene scene(width, kRows);
      const Tensor table = scene.RandomWeight(dtype, {kVocab, width, 1});
      scene.Add(EmbedOp{scene.Temp({kRows, width, 1}), table});
      scene.Finish();
      scene.step->header().rows = kLive;
      const uint32_t ids[kLive] = {0, kVocab - 1, 5, 5, 1, 31, 17};
      std::copy_n(ids, kLive, scene.step->ids().begin());

      const std::string what = absl::StrCat("embed ", Info(dtype).name, " width ", width);
      Outcome got, want;
      if (!RunBoth(what, scene, &got, &want)) continue;
      const Tensor& y = scene.op<EmbedOp>().y;
      const std::vector<float> values = scene.Values(table);
      std::vector<float> rows;
      for (uint32_t id : ids) {
        rows.insert(rows.end(), values.begin() + id * width, values.begin() + (id + 1) * width);
      }
      CompareExactly<float>(what, got.At(y).first(rows.size()), rows);
      CompareExactly<float>(what + " (reference)", want.At(y).first(rows.size()), rows);
    }
  }
}

TEST_P(EmbedTest, RowsOfATableThatIsAlsoTheOutputMatrixAreExact) {
  // A backend may keep one copy of a tied table, laid out for the matmul.
  for (DType dtype : WeightTypes()) {
    if (!Takes(dtype)) continue;
    constexpr uint32_t kRows = 4, kVocab = 37;
    const uint32_t width = 3 * std::max(Info(dtype).block, 32u);
    Scene scene(5, kRows);
    const Tensor table = scene.RandomWeight(dtype, {kVocab, width, 1});
    const Tensor x = scene.Temp({kRows, width, 1});
    scene.Add(EmbedOp{scene.Temp({kRows, width, 1}), table});
    scene.Add(MatMulOp{scene.Temp({kRows, kVocab, 1}), x, table});
    scene.Finish();
    scene.FillNormal(scene.op<MatMulOp>(1).x, kRows);
    const uint32_t ids[kRows] = {0, kVocab - 1, 16, 15};
    std::copy_n(ids, kRows, scene.step->ids().begin());

    const std::string what = absl::StrCat("tied embed ", Info(dtype).name);
    Outcome got;
    if (!RunOn(backend(), what, scene, &got)) continue;
    const std::vector<float> values = scene.Values(table);
    std::vector<float> rows;
    for (uint32_t id : ids) {
      rows.insert(rows.end(), values.begin() + id * width, values.begin() + (id + 1) * width);
    }
    CompareExactly<float>(what, got.At(scene.op<EmbedOp>().y), rows);
  }
}

}  // namespace
}  // namespace cormorant::conformance
