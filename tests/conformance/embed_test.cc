// EmbedOp on every backend: rows of a table, exactly.
//
// Method: all weight types; the first and the last row of the table, one id twice, fewer live rows
// than the bucket holds; the oracle is Dequantize itself and not only the reference.
#include "tests/conformance/harness.h"

namespace cormorant::conformance {
namespace {

CORM_CONFORMANCE(EmbedTest);

TEST_P(EmbedTest, RowsAreExact) {
  for (DType dtype :
       {DType::kF32, DType::kF16, DType::kBF16, DType::kQ8_0, DType::kQ4_0, DType::kQ4_1}) {
    for (uint32_t width : {32u, 96u, 576u}) {
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

}  // namespace
}  // namespace cormorant::conformance
