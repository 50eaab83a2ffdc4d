// Validate: every rule has a breach that is refused, with a message that names op and tensor.
//
// Method: one tape that uses every op passes; each case then breaks exactly one thing of it.
#include "runtime/ops/validate.h"

#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace cormorant {
namespace {

using ::testing::HasSubstr;

constexpr uint32_t kRows = 4, kOutRows = 2, kWidth = 64, kVocab = 96, kFfn = 128, kTopCount = 10;
constexpr uint32_t kHeads = 4, kKvHeads = 2, kHeadDim = 32, kLayers = 3;

// Weights of the table, in order.
enum : uint64_t { kTable, kNorm, kQ, kKv, kWide, kBack, kFactors, kOutput, kWeightCount };
// Ops of the tape, in order.
enum : size_t {
  kEmbed,
  kRms,
  kMatMul,
  kMatMulK,
  kStats,
  kRope,
  kWrite,
  kAttend,
  kAdd,
  kAct,
  kGather,
  kLogits,
  kTop,
  kAges,
  kCompact,
  kRebase,
  kSpread,
  kScore
};

struct Subject {
  Tape tape;
  TapeLimits limits;

  template <class OpType>
  OpType& op(size_t index) {
    return std::get<OpType>(tape.ops[index]);
  }
  EmbedOp& embed() { return op<EmbedOp>(kEmbed); }
  RmsNormOp& rms() { return op<RmsNormOp>(kRms); }
  MatMulOp& matmul() { return op<MatMulOp>(kMatMul); }
  RopeOp& rope() { return op<RopeOp>(kRope); }
  KvWriteOp& write() { return op<KvWriteOp>(kWrite); }
  AttendOp& attend() { return op<AttendOp>(kAttend); }
  ActOp& act() { return op<ActOp>(kAct); }
  GatherRowsOp& gather() { return op<GatherRowsOp>(kGather); }
  TopKOp& top() { return op<TopKOp>(kTop); }
  KvAgesOp& ages() { return op<KvAgesOp>(kAges); }
  KvRebaseOp& rebase() { return op<KvRebaseOp>(kRebase); }
  KvScoreOp& score() { return op<KvScoreOp>(kScore); }
  QueryStatsOp& stats() { return op<QueryStatsOp>(kStats); }
  KvGeometry& cache() { return limits.geometry; }
};

/// Hands out places in the arena one after the other.
struct Arena {
  uint64_t at = 0;
  Tensor Take(std::array<uint32_t, 3> shape) {
    const Tensor tensor{Region::kArena, DType::kF32, shape, at};
    at += (tensor.bytes() + 63) / 64 * 64;
    return tensor;
  }
};

Subject MakeSubject() {
  Subject s;
  s.cache() = {kLayers, kKvHeads, kHeadDim, DType::kF16, DType::kQ8_0, 8, kHeads};
  s.limits.weights.resize(kWeightCount);
  const auto weight = [&](uint64_t index, DType dtype, std::array<uint32_t, 3> shape) {
    s.limits.weights[index] = {dtype, shape};
    return Tensor{Region::kWeights, dtype, shape, index};
  };
  Arena arena;
  const Tensor x = arena.Take({kRows, kWidth, 1}), h = arena.Take({kRows, kWidth, 1});
  const Tensor q = arena.Take({kRows, kHeads, kHeadDim}), o = arena.Take(q.shape);
  const Tensor k = arena.Take({kRows, kKvHeads, kHeadDim}), v = arena.Take(k.shape);
  const Tensor gate = arena.Take({kRows, kFfn, 1}), up = arena.Take({kRows, kFfn, 1});
  const Tensor last = arena.Take({kOutRows, kWidth, 1});
  const auto flat = [](Tensor t) {
    t.shape = {t.shape[0], t.shape[1] * t.shape[2], 1};
    return t;
  };
  RopeSpec rope{kHeadDim, 10000.0f, 1.0f, weight(kFactors, DType::kF32, {kHeadDim / 2, 1, 1})};
  const Tensor logits{Region::kOut, DType::kF32, {kOutRows, kVocab, 1}, 0};
  const Tensor ages{Region::kOut, DType::kU32, {kLayers * kKvHeads, kAgeBins + 1, 1}, 768};
  const uint64_t ages_end = 768 + (ages.bytes() + 63) / 64 * 64;
  const Tensor values{Region::kOut, DType::kF32, {kOutRows, kTopCount, 1}, ages_end};
  const Tensor indices{Region::kOut, DType::kU32, {kOutRows, kTopCount, 1}, ages_end + 128};
  s.tape.rows = kRows;
  s.tape.out_rows = kOutRows;
  s.tape.arena_bytes = arena.at;
  s.tape.out_bytes = indices.offset + indices.bytes();
  s.tape.ops = {
      EmbedOp{x, weight(kTable, DType::kQ8_0, {kVocab, kWidth, 1})},
      RmsNormOp{h, x, weight(kNorm, DType::kF32, {kWidth, 1, 1})},
      MatMulOp{flat(q), h, weight(kQ, DType::kF16, {kHeads * kHeadDim, kWidth, 1})},
      MatMulOp{flat(k), h, weight(kKv, DType::kQ4_0, {kKvHeads * kHeadDim, kWidth, 1})},
      QueryStatsOp{kLayers - 1, q},
      RopeOp{q, rope},
      KvWriteOp{kLayers - 1, k, v},
      AttendOp{kLayers - 1, o, q, 0.2f},
      MatMulOp{x, flat(o), weight(kBack, DType::kBF16, {kWidth, kHeads * kHeadDim, 1}), true},
      ActOp{gate, gate, up},
      GatherRowsOp{last, x},
      MatMulOp{logits, last, weight(kOutput, DType::kQ4_1, {kVocab, kWidth, 1})},
      TopKOp{values, indices, logits},
      KvAgesOp{ages},
      KvCompactOp{},
      KvRebaseOp{rope},
      KvSpreadOp{},
      KvScoreOp{rope, 0.2f}};
  s.limits.weights[kWide] = {DType::kF32, {kFfn, kWidth, 1}};
  return s;
}

struct Breach {
  std::string name;
  std::function<void(Subject&)> make;
  std::string where;  // "op 1 (rms_norm)"
  std::string what;   // What the message says of the tensor or figure.
};

void ExpectRefused(const std::vector<Breach>& breaches) {
  for (const Breach& breach : breaches) {
    Subject s = MakeSubject();
    breach.make(s);
    const absl::Status status = Validate(s.tape, s.limits);
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << breach.name << ": " << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(breach.where)) << breach.name;
    EXPECT_THAT(std::string(status.message()), HasSubstr(breach.what)) << breach.name;
  }
}

TEST(Validate, ATapeWithEveryOpPasses) {
  Subject s = MakeSubject();
  EXPECT_EQ(s.tape.ops.size(), size_t{kScore} + 1);
  std::vector<bool> seen(std::variant_size_v<Op>, false);
  for (const Op& op : s.tape.ops) seen[op.index()] = true;
  EXPECT_THAT(seen, ::testing::Each(true));
  const absl::Status status = Validate(s.tape, s.limits);
  EXPECT_TRUE(status.ok()) << status;
}

TEST(Validate, TheAliasesOfTheDocstringsPass) {
  for (const auto& make : std::vector<std::function<void(Subject&)>>{
           [](Subject& s) { s.rms().y = s.rms().x; }, [](Subject& s) { s.act().y = s.act().up; },
           [](Subject& s) { s.rope().rope.factors = Tensor{}; },
           [](Subject& s) { s.rope().rope.dims = 0, s.rope().rope.factors = Tensor{}; },
           [](Subject& s) { s.rms().eps = 1e-8f; }, [](Subject& s) { s.rms().eps = 1e-3f; },
           [](Subject& s) { s.tape.ops = {s.tape.ops[kRms]}, s.cache() = {}; }}) {
    Subject s = MakeSubject();
    make(s);
    const absl::Status status = Validate(s.tape, s.limits);
    EXPECT_TRUE(status.ok()) << status;
  }
}

TEST(Validate, RowsOfTheTape) {
  ExpectRefused({
      {"rows", [](Subject& s) { s.tape.rows = 0; }, "", "a tape of 0 rows and 2 output rows"},
      {"out", [](Subject& s) { s.tape.out_rows = 0; }, "", "a tape of 4 rows and 0 output rows"},
      {"bucket", [](Subject& s) { s.tape.rows = 5; }, "op 0 (embed)", "y is f32 [4,64,1]"},
      {"gathered", [](Subject& s) { s.tape.out_rows = 3; }, "op 10 (gather)", "y is f32 [2,64,1]"},
  });
}

TEST(Validate, PlacesOfActivations) {
  const char* where = "op 9 (act)";
  ExpectRefused({
      {"absent", [](Subject& s) { s.act().up = Tensor{}; }, where, "up is not in the arena or out"},
      {"weight", [](Subject& s) { s.act().gate.region = Region::kWeights; }, where,
       "gate is not in the arena or out"},
      {"type", [](Subject& s) { s.act().up.dtype = DType::kF16; }, where, "up is f16"},
      {"shape", [](Subject& s) { s.act().up.shape[1] = 64; }, where, "up is f32 [4,64,1]"},
      {"third", [](Subject& s) { s.act().y.shape[2] = 2; }, where, "y is f32 [4,128,2]"},
      {"empty",
       [](Subject& s) {
         for (Tensor* t : {&s.act().y, &s.act().gate, &s.act().up}) t->shape[1] = 0;
       },
       where, "y is empty"},
      {"aligned", [](Subject& s) { s.act().up.offset += 32; }, where, "up starts at byte"},
      {"arena end", [](Subject& s) { s.act().up.offset = s.tape.arena_bytes - 64; }, where,
       "arena"},
      {"arena past", [](Subject& s) { s.act().up.offset = s.tape.arena_bytes + 64; }, where, "up"},
      {"far", [](Subject& s) { s.act().up.offset = ~uint64_t{63}; }, where, "does not fit"},
      {"out end",
       [](Subject& s) { s.act().up.region = Region::kOut, s.act().up.offset = 1u << 20; }, where,
       "bytes of out"},
      {"huge",  // 4 * 2^32-1 * 4 bytes: larger than any arena, must not wrap.
       [](Subject& s) {
         for (Tensor* t : {&s.act().y, &s.act().gate, &s.act().up}) t->shape[1] = 0xffffffffu;
       },
       where, "y, f32 [4,4294967295,1] at byte"},
      {"wraps",  // 4 * 2^31 * 2^31 elements are 2^64 of them: 0 when it wraps.
       [](Subject& s) {
         s.rope().x.shape = {4, 1u << 31, 1u << 31};
       },
       "op 5 (rope)", "does not fit"},
      {"logits", [](Subject& s) { s.tape.out_bytes = 64; }, "op 11 (matmul)", "y, f32 [2,96,1]"},
  });
}

TEST(Validate, Weights) {
  const char* where = "op 2 (matmul)";
  ExpectRefused({
      {"region", [](Subject& s) { s.matmul().w.region = Region::kArena; }, where,
       "w is not a weight"},
      {"index", [](Subject& s) { s.matmul().w.offset = kWeightCount; }, where,
       "w is weight 8, there are 8"},
      {"type", [](Subject& s) { s.matmul().w.dtype = DType::kF32; }, where,
       "w is f32 [128,64,1], but weight 2 is f16"},
      {"shape", [](Subject& s) { s.limits.weights[kQ].shape[0] = 64; }, where,
       "w is f16 [128,64,1], but weight 2 is f16 [64,64,1]"},
      {"u32", [](Subject& s) { s.matmul().w.dtype = s.limits.weights[kQ].dtype = DType::kU32; },
       where, "w is u32, expected a weight type"},
      {"f32 alone",
       [](Subject& s) { s.rms().w.dtype = s.limits.weights[kNorm].dtype = DType::kF16; },
       "op 1 (rms_norm)", "w is f16, expected f32"},
      {"vector", [](Subject& s) { s.rms().w.shape[1] = s.limits.weights[kNorm].shape[1] = 2; },
       "op 1 (rms_norm)", "w is f32 [64,2,1], expected shape 64,1,1"},
      {"matrix", [](Subject& s) { s.matmul().w.shape[2] = s.limits.weights[kQ].shape[2] = 2; },
       where, "w is f16 [128,64,2], expected shape 128,64,1"},
      {"empty", [](Subject& s) { s.matmul().w.shape[0] = s.limits.weights[kQ].shape[0] = 0; },
       where, "w is f16 [0,64,1]"},
      {"block",
       [](Subject& s) { s.embed().table.shape[1] = s.limits.weights[kTable].shape[1] = 48; },
       "op 0 (embed)", "table has rows of 48 q8_0 elements, expected a multiple of 32"},
      {"table",
       [](Subject& s) { s.embed().table.shape[2] = s.limits.weights[kTable].shape[2] = 2; },
       "op 0 (embed)", "table is q8_0 [96,64,2]"},
  });
}

TEST(Validate, RowOps) {
  ExpectRefused({
      {"embed y", [](Subject& s) { s.embed().y.shape[1] = 32; }, "op 0 (embed)", "y is f32"},
      {"rms x", [](Subject& s) { s.rms().x.shape[1] = 32; }, "op 1 (rms_norm)", "x is f32"},
      {"rms y", [](Subject& s) { s.rms().y.shape[1] = 32; }, "op 1 (rms_norm)", "y is f32"},
      {"eps 0", [](Subject& s) { s.rms().eps = 0.0f; }, "op 1 (rms_norm)", "eps is 0"},
      {"eps 1", [](Subject& s) { s.rms().eps = 1.0f; }, "op 1 (rms_norm)", "eps is 1"},
      {"eps nan", [](Subject& s) { s.rms().eps = NAN; }, "op 1 (rms_norm)", "eps is nan"},
      {"rms overlap", [](Subject& s) { s.rms().y.offset = s.rms().x.offset + 64; },
       "op 1 (rms_norm)", "y and x overlap"},
      {"matmul x", [](Subject& s) { s.matmul().x.shape[1] = 32; }, "op 2 (matmul)", "x is f32"},
      {"matmul y", [](Subject& s) { s.matmul().y.shape[1] = 32; }, "op 2 (matmul)", "y is f32"},
      {"matmul in place",
       [](Subject& s) { s.op<MatMulOp>(kMatMulK).y = s.op<MatMulOp>(kMatMulK).x; }, "op 3 (matmul)",
       "y and x overlap"},
      {"act gate overlap", [](Subject& s) { s.act().y.offset += 64; }, "op 9 (act)",
       "y and gate overlap"},
      {"act up overlap", [](Subject& s) { s.act().up.offset = s.act().y.offset - 64; },
       "op 9 (act)", "y and up overlap"},
      {"gather x", [](Subject& s) { s.gather().x.shape[0] = 2; }, "op 10 (gather)", "x is f32"},
      {"gather y", [](Subject& s) { s.gather().y.shape[1] = 32; }, "op 10 (gather)", "y is f32"},
      {"gather overlap", [](Subject& s) { s.gather().y.offset = s.gather().x.offset; },
       "op 10 (gather)", "y and x overlap"},
      {"second gather", [](Subject& s) { s.tape.ops.push_back(s.gather()); }, "op 18 (gather)",
       "second gather"},
  });
}

/// TopK of k among rows of `width`, in places of its own.
void Take(Subject& s, uint32_t width, uint32_t k) {
  const auto place = [](Tensor& tensor, uint32_t columns, uint64_t* region_bytes) {
    tensor.shape[1] = columns;
    tensor.offset = (*region_bytes + 63) / 64 * 64;
    *region_bytes = tensor.offset + tensor.bytes();
  };
  s.top().x.region = Region::kArena;
  place(s.top().x, width, &s.tape.arena_bytes);
  place(s.top().values, k, &s.tape.out_bytes);
  place(s.top().indices, k, &s.tape.out_bytes);
}

TEST(Validate, TopKOfOneToAll) {
  for (const auto& [width, k] : std::vector<std::pair<uint32_t, uint32_t>>{
           {1, 1}, {96, 96}, {kTopKMax, kTopKMax}, {5000, kTopKMax}}) {
    Subject s = MakeSubject();
    Take(s, width, k);
    const absl::Status status = Validate(s.tape, s.limits);
    EXPECT_TRUE(status.ok()) << status;
  }
  const char* where = "op 12 (top_k)";
  ExpectRefused({
      {"none", [](Subject& s) { Take(s, 96, 0); }, where,
       "values has rows of 0 numbers, expected 1 to 96"},
      {"more than a row", [](Subject& s) { Take(s, 96, 97); }, where,
       "values has rows of 97 numbers, expected 1 to 96"},
      {"more than most", [](Subject& s) { Take(s, 5000, kTopKMax + 1); }, where,
       "values has rows of 1025 numbers, expected 1 to 1024"},
      {"empty", [](Subject& s) { Take(s, 0, 1); }, where, "x is empty"},
  });
}

TEST(Validate, TopK) {
  const char* where = "op 12 (top_k)";
  ExpectRefused({
      {"x rows", [](Subject& s) { s.top().x.shape[0] = kRows; }, where, "x is f32 [4,96,1]"},
      {"x type", [](Subject& s) { s.top().x.dtype = DType::kU32; }, where, "x is u32"},
      {"x place", [](Subject& s) { s.top().x.region = Region::kWeights; }, where,
       "x is not in the arena or out"},
      {"values place", [](Subject& s) { s.top().values.region = Region::kArena; }, where,
       "values is not in out"},
      {"values type", [](Subject& s) { s.top().values.dtype = DType::kU32; }, where,
       "values is u32"},
      {"values rows", [](Subject& s) { s.top().values.shape[0] = 1; }, where,
       "values is f32 [1,10,1]"},
      {"indices place", [](Subject& s) { s.top().indices.region = Region::kArena; }, where,
       "indices is not in out"},
      {"indices type", [](Subject& s) { s.top().indices.dtype = DType::kF32; }, where,
       "indices is f32"},
      {"indices shape", [](Subject& s) { s.top().indices.shape[1] = 9; }, where,
       "indices is u32 [2,9,1], expected u32 [2,10,1]"},
      {"values on x", [](Subject& s) { s.top().values.offset = 64; }, where,
       "values and x overlap"},
      {"indices on x", [](Subject& s) { s.top().indices.offset = 64; }, where,
       "indices and x overlap"},
      {"indices on values", [](Subject& s) { s.top().indices.offset = s.top().values.offset; },
       where, "values and indices overlap"},
  });
}

TEST(Validate, Rope) {
  const char* where = "op 5 (rope)";
  ExpectRefused({
      {"x", [](Subject& s) { s.rope().x.shape[0] = 1; }, where, "x is f32 [1,4,32]"},
      {"no heads", [](Subject& s) { s.rope().x.shape[1] = 0; }, where, "x is empty"},
      {"odd", [](Subject& s) { s.rope().rope.dims = 7; }, where, "rope turns 7 dimensions"},
      {"wide", [](Subject& s) { s.rope().rope.dims = 34; }, where, "rope turns 34 dimensions"},
      {"base", [](Subject& s) { s.rope().rope.base = 0.0f; }, where, "rope has base 0"},
      {"base inf", [](Subject& s) { s.rope().rope.base = INFINITY; }, where, "rope has base inf"},
      {"scale", [](Subject& s) { s.rope().rope.frequency_scale = -1.0f; }, where, "scale -1"},
      {"scale nan", [](Subject& s) { s.rope().rope.frequency_scale = NAN; }, where, "scale nan"},
      {"factors", [](Subject& s) { s.rope().rope.dims = 16; }, where, "factors is f32 [16,1,1]"},
      {"factors type",
       [](Subject& s) {
         s.rope().rope.factors.dtype = s.limits.weights[kFactors].dtype = DType::kBF16;
       },
       where, "factors is bf16, expected f32"},
      {"factors place", [](Subject& s) { s.rope().rope.factors.region = Region::kArena; }, where,
       "factors is not a weight"},
  });
}

TEST(Validate, CacheOps) {
  ExpectRefused({
      {"write layer", [](Subject& s) { s.write().layer = kLayers; }, "op 6 (kv_write)",
       "layer is 3, the cache has 3"},
      {"write k", [](Subject& s) { s.write().k.shape[1] = 1; }, "op 6 (kv_write)", "k is f32"},
      {"write v", [](Subject& s) { s.write().v.shape[2] = 16; }, "op 6 (kv_write)", "v is f32"},
      {"attend layer", [](Subject& s) { s.attend().layer = 99; }, "op 7 (attend)", "layer is 99"},
      {"attend q", [](Subject& s) { s.attend().q.shape[2] = 16; }, "op 7 (attend)", "q is f32"},
      {"attend o", [](Subject& s) { s.attend().o.shape[1] = 2; }, "op 7 (attend)", "o is f32"},
      {"attend no heads", [](Subject& s) { s.attend().q.shape[1] = 0; }, "op 7 (attend)",
       "q is empty"},
      {"attend groups", [](Subject& s) { s.attend().q.shape[1] = s.attend().o.shape[1] = 3; },
       "op 7 (attend)", "3 query heads cannot share 2 KV heads"},
      {"scale 0", [](Subject& s) { s.attend().scale = 0.0f; }, "op 7 (attend)", "scale is 0"},
      {"scale inf", [](Subject& s) { s.attend().scale = INFINITY; }, "op 7 (attend)", "scale is"},
      {"scale nan", [](Subject& s) { s.attend().scale = NAN; }, "op 7 (attend)", "scale is nan"},
      {"attend in place", [](Subject& s) { s.attend().o = s.attend().q; }, "op 7 (attend)",
       "o and q overlap"},
      {"ages place", [](Subject& s) { s.ages().ages.region = Region::kArena; }, "op 13 (kv_ages)",
       "ages is not in out"},
      {"ages type", [](Subject& s) { s.ages().ages.dtype = DType::kF32; }, "op 13 (kv_ages)",
       "ages is f32"},
      {"ages bins", [](Subject& s) { s.ages().ages.shape[1] = kAgeBins; }, "op 13 (kv_ages)",
       "ages is u32"},
      {"rebase rope", [](Subject& s) { s.rebase().rope.dims = 33; }, "op 15 (kv_rebase)",
       "rope turns 33"},
      {"score rope", [](Subject& s) { s.score().rope.dims = 33; }, "op 17 (kv_score)",
       "rope turns 33"},
      {"score scale", [](Subject& s) { s.score().scale = 0; }, "op 17 (kv_score)", "scale is 0"},
      {"stats layer", [](Subject& s) { s.stats().layer = kLayers; }, "op 4 (query_stats)",
       "layer is 3"},
      {"stats kept", [](Subject& s) { s.cache().query_heads = 0; }, "op 4 (query_stats)",
       "keeps no statistics"},
      {"stats heads", [](Subject& s) { s.cache().query_heads = 8; }, "op 4 (query_stats)",
       "q is f32 [4,4,32], expected f32 [4,8,32]"},
      {"stats group", [](Subject& s) { s.cache().query_heads = 3; }, "op 4 (query_stats)",
       "3 query heads cannot share 2 KV heads"},
  });
}

TEST(Validate, TheCacheItself) {
  // Each op that uses the cache finds a broken cache by itself.
  const std::vector<std::pair<size_t, std::string>> users = {
      {kWrite, "op 0 (kv_write)"},     {kAttend, "op 0 (attend)"},    {kAges, "op 0 (kv_ages)"},
      {kCompact, "op 0 (kv_compact)"}, {kRebase, "op 0 (kv_rebase)"}, {kSpread, "op 0 (kv_spread)"},
      {kScore, "op 0 (kv_score)"},     {kStats, "op 0 (query_stats)"}};
  const std::vector<std::pair<std::function<void(KvGeometry&)>, std::string>> faults = {
      {[](KvGeometry& g) { g.layers = 0; }, "the cache has 0 layers"},
      {[](KvGeometry& g) { g.kv_heads = 0; }, "0 KV heads"},
      {[](KvGeometry& g) { g.head_dim = 0; }, "0 dimensions"},
      {[](KvGeometry& g) { g.pages_per_head = 0; }, "0 pages a head"},
      {[](KvGeometry& g) { g.k_type = DType::kQ4_1; }, "the cache holds q4_1 rows"},
      {[](KvGeometry& g) { g.v_type = DType::kF32; }, "the cache holds f32 rows"},
      {[](KvGeometry& g) { g.head_dim = 48; }, "heads have 48 dimensions, q8_0 rows"},
      {[](KvGeometry& g) { g.head_dim = 34; }, "heads have 34 dimensions, f16 rows"},
  };
  for (const auto& [user, where] : users) {
    for (const auto& [fault, what] : faults) {
      Subject s = MakeSubject();
      s.tape.ops = {s.tape.ops[user]};
      fault(s.cache());
      const absl::Status status = Validate(s.tape, s.limits);
      EXPECT_TRUE(absl::IsInvalidArgument(status)) << where << what;
      EXPECT_THAT(std::string(status.message()), HasSubstr(where));
      EXPECT_THAT(std::string(status.message()), HasSubstr(what));
    }
  }
}

TEST(Validate, OpsOnTheRowsOfTheStepStandBeforeTheGather) {
  for (size_t index : {kEmbed, kRope, kWrite, kAttend}) {
    Subject s = MakeSubject();
    s.tape.ops = {s.tape.ops[kGather], s.tape.ops[index]};
    const absl::Status status = Validate(s.tape, s.limits);
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << index;
    EXPECT_THAT(std::string(status.message()), HasSubstr("stands after the tape's gather"));
  }
}

TEST(Validate, TheFirstBreachIsNamed) {
  Subject s = MakeSubject();
  s.attend().scale = NAN;
  s.rms().eps = 0.0f;
  EXPECT_THAT(std::string(Validate(s.tape, s.limits).message()), HasSubstr("op 1 (rms_norm)"));
}

}  // namespace
}  // namespace cormorant
