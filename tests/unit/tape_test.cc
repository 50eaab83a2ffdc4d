// TapeBuilder: temporaries share bytes only when they are never alive together, and tapes print.
//
// Method: random straight lines of ops are placed, then walked with a model of the arena in which
// every byte remembers which temporary wrote it last. A read that finds another's mark is a
// placement that would have computed nonsense.
#include "runtime/ops/tape.h"

#include <algorithm>
#include <random>
#include <set>

#include "absl/strings/match.h"
#include "gtest/gtest.h"

namespace cormorant {
namespace {

constexpr uint64_t kAlignment = 64;

Tensor Weight(uint64_t index, std::array<uint32_t, 3> shape, DType dtype = DType::kF32) {
  return Tensor{Region::kWeights, dtype, shape, index};
}

/// A random tape, and which temporaries each of its ops reads and writes.
struct RandomTape {
  struct Use {
    std::vector<uint64_t> reads;
    uint64_t write = 0;
  };
  std::vector<Use> uses;
  std::vector<uint64_t> bytes;  // By temporary.
  Tape tape;
};

RandomTape MakeRandomTape(std::mt19937& random) {
  RandomTape made;
  const uint32_t rows = 1 + random() % 9;
  TapeBuilder builder(rows, 1);
  std::vector<Tensor> temps;
  const size_t op_count = 1 + random() % 60;
  // Sources close to the end make short lives, far ones long lives.
  const size_t reach = 1 + random() % 20;
  for (size_t i = 0; i < op_count; ++i) {
    const Tensor y = builder.Temp({rows, 1 + static_cast<uint32_t>(random() % 70), 1});
    RandomTape::Use use;
    use.write = y.offset;
    const auto source = [&]() -> Tensor {
      const size_t back = 1 + random() % std::min(reach, temps.size());
      const Tensor x = temps[temps.size() - back];
      use.reads.push_back(x.offset);
      return x;
    };
    if (temps.empty() || random() % 8 == 0) {
      builder.Add(EmbedOp{y, Weight(0, {300, y.shape[1], 1})});
    } else if (random() % 3 == 0) {
      const Tensor gate = source();
      builder.Add(ActOp{y, gate, source()});
    } else {
      builder.Add(MatMulOp{y, source(), Weight(1, {1, 1, 1})});
    }
    made.uses.push_back(use);
    made.bytes.push_back(y.bytes());
    temps.push_back(y);
  }
  made.tape = std::move(builder).Finish();
  return made;
}

/// The tensors of an op that lie in the arena, in the order reads, then the write.
std::vector<Tensor> Placed(Op& op) {
  std::vector<Tensor> reads, writes;
  std::visit(
      [&](auto& o) {
        ForEachTensor(o, [&](Tensor& tensor, Access access) {
          if (tensor.region != Region::kArena) return;
          (access == Access::kRead ? reads : writes).push_back(tensor);
        });
      },
      op);
  reads.insert(reads.end(), writes.begin(), writes.end());
  return reads;
}

TEST(Tape, TemporariesNeverLoseTheirBytesWhileTheyAreNeeded) {
  for (uint32_t seed = 0; seed < 300; ++seed) {
    std::mt19937 random(seed);
    RandomTape made = MakeRandomTape(random);
    std::vector<uint64_t> owner(made.tape.arena_bytes, ~uint64_t{0});
    for (size_t i = 0; i < made.uses.size(); ++i) {
      const std::vector<Tensor> tensors = Placed(made.tape.ops[i]);
      const RandomTape::Use& use = made.uses[i];
      ASSERT_EQ(tensors.size(), use.reads.size() + 1);
      for (size_t r = 0; r < use.reads.size(); ++r) {
        for (uint64_t b = 0; b < tensors[r].bytes(); ++b) {
          ASSERT_EQ(owner[tensors[r].offset + b], use.reads[r]) << "seed " << seed << " op " << i;
        }
      }
      const Tensor& y = tensors.back();
      ASSERT_EQ(y.offset % kAlignment, 0u);
      ASSERT_LE(y.offset + y.bytes(), made.tape.arena_bytes);
      for (size_t r = 0; r < use.reads.size(); ++r) {  // Not in place: y is a tensor of its own.
        ASSERT_TRUE(y.offset >= tensors[r].offset + tensors[r].bytes() ||
                    tensors[r].offset >= y.offset + y.bytes());
      }
      std::fill_n(owner.begin() + static_cast<ptrdiff_t>(y.offset), y.bytes(), use.write);
    }
  }
}

TEST(Tape, TheArenaIsNoLargerThanAllTemporariesAndNoSmallerThanWhatIsAliveAtOnce) {
  for (uint32_t seed = 0; seed < 100; ++seed) {
    std::mt19937 random(seed + 1000);
    const RandomTape made = MakeRandomTape(random);
    const auto rounded = [&](uint64_t temp) {
      return (made.bytes[temp] + kAlignment - 1) / kAlignment * kAlignment;
    };
    uint64_t all = 0, most = 0;
    for (uint64_t temp = 0; temp < made.bytes.size(); ++temp) all += rounded(temp);
    for (size_t i = 0; i < made.uses.size(); ++i) {
      uint64_t alive = 0;
      for (uint64_t temp = 0; temp <= i; ++temp) {  // Temporary t is written by op t.
        bool is_needed = temp == i;
        for (size_t later = i; later < made.uses.size(); ++later) {
          const std::vector<uint64_t>& reads = made.uses[later].reads;
          is_needed |= std::find(reads.begin(), reads.end(), temp) != reads.end();
        }
        if (is_needed) alive += rounded(temp);
      }
      most = std::max(most, alive);
    }
    EXPECT_GE(made.tape.arena_bytes, most);
    EXPECT_LE(made.tape.arena_bytes, all);
  }
}

TEST(Tape, AChainNeedsTwoBuffersAndUnusedTemporariesNone) {
  TapeBuilder builder(4, 1);
  builder.Temp({4, 100000, 1});  // Never used.
  Tensor x = builder.Temp({4, 32, 1});
  builder.Add(EmbedOp{x, Weight(0, {300, 32, 1})});
  for (int i = 0; i < 10; ++i) {
    const Tensor y = builder.Temp({4, 32, 1});
    builder.Add(MatMulOp{y, x, Weight(1, {32, 32, 1})});
    x = y;
  }
  const Tape tape = std::move(builder).Finish();
  EXPECT_EQ(tape.arena_bytes, 2u * 4 * 32 * sizeof(float));
}

TEST(Tape, InPlaceAndAccumulatingOpsKeepOneTensor) {
  TapeBuilder builder(2, 1);
  const Tensor x = builder.Temp({2, 16, 1});
  const Tensor h = builder.Temp({2, 16, 1});
  builder.Add(EmbedOp{x, Weight(0, {300, 16, 1})});
  builder.Add(RmsNormOp{h, x, Weight(1, {16, 1, 1})});
  builder.Add(RmsNormOp{h, h, Weight(1, {16, 1, 1})});
  builder.Add(MatMulOp{x, h, Weight(2, {16, 16, 1}), true});
  const Tape tape = std::move(builder).Finish();
  const auto& norm = std::get<RmsNormOp>(tape.ops[2]);
  EXPECT_EQ(norm.y.offset, norm.x.offset);
  const auto& matmul = std::get<MatMulOp>(tape.ops[3]);
  EXPECT_EQ(matmul.y.offset, std::get<EmbedOp>(tape.ops[0]).y.offset);
  EXPECT_NE(matmul.y.offset, matmul.x.offset);
  EXPECT_EQ(tape.arena_bytes, 2u * 128);
}

TEST(Tape, OutIsAlignedInOrderAndNeverShared) {
  TapeBuilder builder(1, 3);
  const Tensor a = builder.Out(DType::kU32, {1, 5, 1});
  const Tensor b = builder.Out(DType::kF32, {3, 100, 1});
  const Tensor c = builder.Out(DType::kF32, {1, 1, 1});
  EXPECT_EQ(a.offset, 0u);
  EXPECT_EQ(b.offset, 64u);
  EXPECT_EQ(c.offset, 64u + 1216u);
  builder.Add(KvAgesOp{a});
  const Tape tape = std::move(builder).Finish();
  EXPECT_EQ(tape.out_bytes, 64u + 1216u + 64u);
  EXPECT_EQ(tape.arena_bytes, 0u);
  EXPECT_EQ(tape.rows, 1u);
  EXPECT_EQ(tape.out_rows, 3u);
}

TEST(Tape, FinishLeavesWeightsAndOrderAlone) {
  TapeBuilder builder(1, 1);
  const Tensor x = builder.Temp({1, 8, 1});
  const Tensor y = builder.Temp({1, 8, 1});
  builder.Add(EmbedOp{x, Weight(41, {300, 8, 1}, DType::kQ8_0)});
  builder.Add(RmsNormOp{y, x, Weight(7, {8, 1, 1}), 1e-6f});
  const Tape tape = std::move(builder).Finish();
  ASSERT_EQ(tape.ops.size(), 2u);
  EXPECT_EQ(std::get<EmbedOp>(tape.ops[0]).table.offset, 41u);
  EXPECT_EQ(std::get<RmsNormOp>(tape.ops[1]).w.offset, 7u);
  EXPECT_EQ(std::get<RmsNormOp>(tape.ops[1]).eps, 1e-6f);
}

TEST(Tape, EveryOpHasAnotherNameAndPrintsItsTensors) {
  const Tensor x{Region::kArena, DType::kF32, {8, 576, 1}, 128};
  const Op ops[] = {EmbedOp{x, Weight(3, {300, 576, 1}, DType::kQ4_1)},
                    RmsNormOp{x, x, x},
                    MatMulOp{x, x, Weight(12, {576, 576, 1}, DType::kQ8_0), true},
                    ActOp{x, x, x},
                    RopeOp{x, {}},
                    KvWriteOp{0, x, x},
                    AttendOp{0, x, x},
                    GatherRowsOp{x, x},
                    TopKOp{x, x, x},
                    KvAgesOp{x},
                    KvCompactOp{},
                    KvRebaseOp{},
                    KvSpreadOp{},
                    KvScoreOp{},
                    QueryStatsOp{0, x}};
  static_assert(std::size(ops) == std::variant_size_v<Op>);
  std::set<std::string> names;
  for (const Op& op : ops) {
    EXPECT_TRUE(names.insert(std::string(OpName(op))).second) << OpName(op);
    EXPECT_TRUE(absl::StartsWith(ToString(op), OpName(op)));
  }
  EXPECT_EQ(ToString(ops[2]),
            "matmul <arena@128[8,576,1] f32 <w@12[576,576,1] q8_0 <>arena@128[8,576,1] f32");
  EXPECT_EQ(ToString(ops[10]), "kv_compact");
  Tape tape;
  tape.ops = {ops[0], ops[10]};
  EXPECT_EQ(ToString(tape),
            "tape rows=1 out_rows=1 arena=0 out=0\n0 " + ToString(ops[0]) + "\n1 kv_compact\n");
}

}  // namespace
}  // namespace cormorant
