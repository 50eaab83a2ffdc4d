// SplitTape: parts in order, layers renumbered, and every tensor that crosses is handed over once.
//
// Method: the tape of a tiny model is split in every way, and a walk over the parts that keeps a
// set of tensors for each stage must find every tensor that an op reads on its own stage.
#include "runtime/ops/split.h"

#include <algorithm>

#include "gtest/gtest.h"
#include "runtime/engine/model_file.h"
#include "tests/golden/tiny_model.h"

namespace cormorant {
namespace {

constexpr uint32_t kLayers = 5;

class Split : public ::testing::Test {
 protected:
  void SetUp() override {
    auto file = ModelFile::Open(model_.path());
    ASSERT_TRUE(file.ok()) << file.status();
    tape_ = (*file)->WriteTape(8, 2, true);
  }
  const testing::TinyModel model_{testing::TinyModelOptions{.layers = kLayers}};
  Tape tape_;
};

/// All activations that ops name, by how; f(tensor, access).
template <class F>
void ForEachActivation(const Op& op, F&& f) {
  std::visit(
      [&](const auto& o) {
        ForEachTensor(o, [&](const Tensor& tensor, Access access) {
          if (tensor.region == Region::kArena) f(tensor, access);
        });
      },
      op);
}

TEST_F(Split, OneStageIsTheTapeItself) {
  const uint32_t layers[] = {kLayers};
  const std::vector<TapePart> parts = SplitTape(tape_, layers);
  ASSERT_EQ(parts.size(), 1u);
  EXPECT_EQ(ToString(parts[0].tape), ToString(tape_));
  EXPECT_TRUE(parts[0].inputs.empty());
  EXPECT_EQ(ToString(StageTape(parts, 0)), ToString(tape_));
}

TEST_F(Split, TheLastStageHasTheEmbeddingAndTheOutput) {
  const uint32_t layers[] = {2, 3};
  const std::vector<TapePart> parts = SplitTape(tape_, layers);
  ASSERT_EQ(parts.size(), 3u);
  EXPECT_EQ(parts[0].stage, 1u);
  EXPECT_EQ(parts[1].stage, 0u);
  EXPECT_EQ(parts[2].stage, 1u);
  ASSERT_EQ(parts[0].tape.ops.size(), 1u);
  EXPECT_EQ(OpName(parts[0].tape.ops[0]), "embed");
  EXPECT_EQ(OpName(parts[2].tape.ops.back()), "top_k");
  EXPECT_EQ(parts[1].tape.out_bytes, 0u);
  for (size_t i = 1; i < 3; ++i) {  // The residual stream, and nothing else.
    ASSERT_EQ(parts[i].inputs.size(), 1u);
    EXPECT_EQ(parts[i].inputs[0].from, parts[i - 1].stage);
    EXPECT_EQ(parts[i].inputs[0].tensor.shape[0], tape_.rows);
  }
}

TEST_F(Split, QueriesAreCountedRightBeforeTheyAreRotated) {
  uint32_t layer = 0;
  for (size_t i = 0; i < tape_.ops.size(); ++i) {
    const auto* stats = std::get_if<QueryStatsOp>(&tape_.ops[i]);
    if (stats == nullptr) continue;
    EXPECT_EQ(stats->layer, layer++);
    EXPECT_TRUE(IsSame(stats->q, std::get<RopeOp>(tape_.ops[i + 1]).x));
    EXPECT_TRUE(IsSame(stats->q, std::get<AttendOp>(tape_.ops[i + 4]).q));
  }
  EXPECT_EQ(layer, kLayers);
}

TEST_F(Split, EveryReadFindsItsTensorOnItsStage) {
  for (const std::vector<uint32_t>& layers :
       {std::vector<uint32_t>{1, 4}, {4, 1}, {2, 3}, {1, 1, 3}, {2, 2, 1}, {1, 1, 1, 1, 1}}) {
    const std::vector<TapePart> parts = SplitTape(tape_, layers);
    std::vector<std::vector<Tensor>> held(layers.size());
    std::vector<uint32_t> layers_seen(layers.size(), 0);
    size_t op_total = 0;
    for (const TapePart& part : parts) {
      std::vector<Tensor>& own = held[part.stage];
      for (const Handover& input : part.inputs) {
        EXPECT_NE(input.from, part.stage);
        EXPECT_LE(input.tensor.offset + input.tensor.bytes(), part.tape.arena_bytes);
        const auto& from = held[input.from];
        EXPECT_TRUE(std::any_of(from.begin(), from.end(),
                                [&](const Tensor& t) { return Overlap(t, input.tensor); }));
        own.push_back(input.tensor);
      }
      for (const Op& op : part.tape.ops) {
        ++op_total;
        if (const auto* stats = std::get_if<QueryStatsOp>(&op)) {
          EXPECT_EQ(stats->layer, layers_seen[part.stage]);
        }
        if (const auto* attend = std::get_if<AttendOp>(&op)) {
          EXPECT_EQ(attend->layer, layers_seen[part.stage]++);
        }
        ForEachActivation(op, [&](const Tensor& tensor, Access access) {
          const bool is_here = std::any_of(own.begin(), own.end(),
                                           [&](const Tensor& t) { return Overlap(t, tensor); });
          EXPECT_TRUE(access == Access::kWrite || is_here) << ToString(op);
        });
        ForEachActivation(op, [&](const Tensor& tensor, Access access) {
          if (access == Access::kRead) return;
          for (std::vector<Tensor>& stage : held) {  // What was there is out of date everywhere.
            std::erase_if(stage, [&](const Tensor& t) { return Overlap(t, tensor); });
          }
          own.push_back(tensor);
        });
      }
    }
    EXPECT_EQ(op_total, tape_.ops.size());
    EXPECT_EQ(layers_seen, layers);
  }
}

}  // namespace
}  // namespace cormorant
