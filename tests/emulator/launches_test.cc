// How many kernels a step takes: neighbours that one kernel can do are one launch.
#define GPU_NAMESPACE emulator32
#include "backends/gpu/launches.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace cormorant::emulator32 {
namespace {

using ::testing::ElementsAre;

/// A layer of a small llama, decoding, as a tape of `rows` rows.
Tape LayerTape(uint32_t rows, DType type, bool counts_queries = false) {
  TapeBuilder builder(rows, rows);
  uint64_t weights = 0;
  const auto weight = [&](DType dtype, std::array<uint32_t, 3> shape) {
    Tensor tensor;
    tensor.region = Region::kWeights;
    tensor.dtype = dtype;
    tensor.shape = shape;
    tensor.offset = weights++;
    return tensor;
  };
  const auto temp = [&](uint32_t width) { return builder.Temp({rows, width, 1}); };
  const auto by_head = [&](Tensor t, uint32_t heads) {
    t.shape = {rows, heads, 64};
    return t;
  };
  const RopeSpec rope{64, 10000.0f, 1.0f, {}};
  const Tensor x = temp(256), h = temp(256), q = temp(256), k = temp(128), v = temp(128);
  const Tensor o = temp(256), n = temp(256), gate = temp(512), up = temp(512);
  builder.Add(RmsNormOp{h, x, weight(DType::kF32, {256, 1, 1}), 1e-5f});
  builder.Add(MatMulOp{q, h, weight(type, {256, 256, 1})});
  builder.Add(MatMulOp{k, h, weight(type, {128, 256, 1})});
  builder.Add(MatMulOp{v, h, weight(type, {128, 256, 1})});
  if (counts_queries) builder.Add(QueryStatsOp{0, by_head(q, 4)});
  builder.Add(RopeOp{by_head(q, 4), rope});
  builder.Add(RopeOp{by_head(k, 2), rope});
  builder.Add(KvWriteOp{0, by_head(k, 2), by_head(v, 2)});
  builder.Add(AttendOp{0, by_head(o, 4), by_head(q, 4), 0.125f});
  builder.Add(MatMulOp{x, o, weight(type, {256, 256, 1}), true});
  builder.Add(RmsNormOp{n, x, weight(DType::kF32, {256, 1, 1}), 1e-5f});
  builder.Add(MatMulOp{gate, n, weight(type, {512, 256, 1})});
  builder.Add(MatMulOp{up, n, weight(type, {512, 256, 1})});
  builder.Add(ActOp{gate, gate, up});
  builder.Add(MatMulOp{x, gate, weight(type, {256, 512, 1}), true});
  return std::move(builder).Finish();
}

std::vector<std::string> NamesOf(const Tape& tape) {
  LaunchBuilder builder({1, 2, 64, DType::kF16, DType::kF16, 8, 4}, 4, 16, {});
  builder.Build(tape);
  std::vector<std::string> names;
  for (const Launch& launch : builder.launches) names.push_back(launch.kernel->name);
  return names;
}

TEST(Launches, OfALayerThatDecodes) {
  EXPECT_THAT(NamesOf(LayerTape(1, DType::kQ4_0)),
              ElementsAre("rms_norm", "matvec, 1 row", "kv_write", "attend_split, 2 heads",
                          "attend_finish", "quantize_x", "matvec, 1 row", "rms_norm",
                          "matvec, 1 row", "act_quantize", "matvec, 1 row"));
  EXPECT_THAT(
      NamesOf(LayerTape(1, DType::kF16)),
      ElementsAre("rms_norm", "matvec, 1 row", "kv_write", "attend_split, 2 heads", "attend_finish",
                  "matvec, 1 row", "rms_norm", "matvec, 1 row", "act", "matvec, 1 row"));
}

TEST(Launches, CountingQueriesIsOneMore) {
  EXPECT_THAT(NamesOf(LayerTape(1, DType::kQ4_0, true)),
              ElementsAre("rms_norm", "matvec, 1 row", "query_stats", "kv_write",
                          "attend_split, 2 heads", "attend_finish", "quantize_x", "matvec, 1 row",
                          "rms_norm", "matvec, 1 row", "act_quantize", "matvec, 1 row"));
}

TEST(Launches, OfALayerThatReads) {
  const std::vector<std::string> names = NamesOf(LayerTape(64, DType::kQ4_0));
  EXPECT_EQ(names.size(), 13u);  // A launch a product, one for attention, one that quantizes.
}

}  // namespace
}  // namespace cormorant::emulator32
