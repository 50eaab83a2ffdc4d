// Every op on a backend, in the shapes of one decode step and one prefill chunk of an 8B
// model.
//
//   [CORMORANT_BENCH_BACKEND=vulkan] build/bin/ops_bench [--benchmark_filter=Attend]
//
// A line is a tape of one op, submitted and waited for. bytes_per_second counts what the op
// must read and write of tensors and cache at least, to be held against the ReadMemory line of
// kernels_bench. CORMORANT_CPU chooses the instruction set.
#include <benchmark/benchmark.h>

#include <cstring>
#include <functional>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "backends/backend.h"
#include "runtime/ops/kv_page.h"
#include "runtime/ops/step.h"
#include "runtime/ops/tape.h"

namespace cormorant {
namespace {

constexpr uint32_t kWidth = 4096, kFfn = 14336, kVocab = 32768, kTop = 128;
constexpr uint32_t kHeads = 32, kKvHeads = 8, kHeadDim = 128, kDepth = 4096;
const RopeSpec kRope{kHeadDim, 10000.0f, 1.0f, {}};

/// One op with everything it reads, on the device.
class Bench {
 public:
  explicit Bench(uint32_t rows) : rows_(rows), builder_(rows, rows) {}

  Tensor Temp(std::array<uint32_t, 3> shape) { return Count(builder_.Temp(shape)); }
  Tensor Out(DType dtype, std::array<uint32_t, 3> shape) {
    return Count(builder_.Out(dtype, shape));
  }
  Tensor Weight(DType dtype, std::array<uint32_t, 3> shape) {
    Tensor tensor{Region::kWeights, dtype, shape, weights_.size()};
    bytes_.emplace_back(tensor.bytes());
    std::mt19937 random(7);
    for (size_t i = 0; i + 1 < bytes_.back().size(); i += 2) {
      const uint16_t half = static_cast<uint16_t>(0x2c00 | (random() & 0x83ff));
      std::memcpy(&bytes_.back()[i], &half, 2);
    }
    weights_.push_back({"w", dtype, shape, bytes_.back().data()});
    return Count(tensor);
  }
  uint32_t rows() const { return rows_; }
  /// The op reads the caches of so many heads, kDepth rows each.
  void UseCache(uint64_t heads) {
    moved_ += heads * kDepth * KvPageLayout(Geometry()).page_bytes / kPageRows;
  }
  void Add(Op op) { builder_.Add(std::move(op)); }
  /// The op's time depends on what it reads: the arena holds random numbers, not zeros.
  void UseRandomNumbers() { is_random_ = true; }
  void ScoreRowsBy(ScoreBy score_by) { score_by_ = score_by; }
  void Run(benchmark::State& state);

 private:
  static KvGeometry Geometry() {
    const uint32_t pages = (kDepth + 512) / kPageRows;
    return {1, kKvHeads, kHeadDim, DType::kF16, DType::kF16, pages, kHeads};
  }
  Tensor Count(const Tensor& tensor) {
    moved_ += tensor.bytes();
    return tensor;
  }
  void MakeCache(Backend& backend);
  StepBuffer MakeStep() const;

  const uint32_t rows_;
  TapeBuilder builder_;
  std::vector<HostTensor> weights_;
  std::vector<std::vector<std::byte>> bytes_;
  uint64_t moved_ = 0;
  bool is_random_ = false;
  KvBinding kv_;
  std::unique_ptr<Backend> backend_;  // Before what it hands out.
  ScoreBy score_by_ = ScoreBy::kKeyDifference;
  std::unique_ptr<Buffer> slab_, tables_, statistics_;
};

void Bench::MakeCache(Backend& backend) {
  kv_.geometry = Geometry();
  const uint32_t pages = kv_.geometry.heads() * kv_.geometry.pages_per_head;
  kv_.pages_per_slab = pages;
  slab_ = *backend.Allocate(uint64_t{pages} * KvPageLayout(kv_.geometry).page_bytes);
  tables_ = *backend.Allocate(uint64_t{pages} * 4);
  kv_.slabs = {slab_.get()};
  kv_.tables = tables_.get();
  // Every sum is 1: one query was counted, of ones, which do not vary.
  const std::vector<float> sums(kv_.geometry.statistics_bytes() / 4, 1.0f);
  statistics_ = *backend.Allocate(kv_.geometry.statistics_bytes());
  backend.Upload(*statistics_, 0, std::as_bytes(std::span(sums))).IgnoreError();
  kv_.statistics = statistics_.get();
  std::vector<uint32_t> ids(pages);
  for (uint32_t i = 0; i < pages; ++i) ids[i] = i;
  backend.Upload(*tables_, 0, std::as_bytes(std::span<const uint32_t>(ids))).IgnoreError();
  // Each row has a position of its own: re-basing and compaction order rows by it.
  const KvPageLayout layout(kv_.geometry);
  for (uint32_t page = 0; page < pages; ++page) {
    uint32_t words[2][kPageRows];
    for (uint32_t r = 0; r < kPageRows; ++r) {
      words[0][r] = page % kv_.geometry.pages_per_head * kPageRows + r;
      words[1][r] = words[0][r] * 7 % kDepth;
    }
    const uint64_t at = uint64_t{page} * layout.page_bytes;
    backend.Upload(*slab_, at + layout.positions, std::as_bytes(std::span(words[0]))).IgnoreError();
    backend.Upload(*slab_, at + layout.last_important, std::as_bytes(std::span(words[1])))
        .IgnoreError();
  }
}

StepBuffer Bench::MakeStep() const {
  StepBuffer step({rows_, rows_, 1, kKvHeads});
  step.header().rows = step.header().out_rows = rows_;
  step.header().sequences = 1;
  for (uint32_t r = 0; r < rows_; ++r) {
    step.ids()[r] = r * 977 % kVocab;
    step.positions()[r] = kDepth + r;
    step.out_index()[r] = r;
  }
  StepSequence& sequence = step.sequences()[0];
  sequence.rows = rows_;
  sequence.clock = sequence.position_clock = kDepth;
  sequence.recent_from = kDepth;
  sequence.natural_age = 256;
  sequence.window_at = kDepth + 64;
  sequence.fade = 64;
  sequence.score_by = score_by_;
  sequence.observes = 1;
  for (uint32_t& count : step.counts(0)) count = kDepth;
  for (uint32_t& evict : step.evict()) evict = 32;
  return step;
}

void Bench::Run(benchmark::State& state) {
  const char* const asked = std::getenv("CORMORANT_BENCH_BACKEND");
  const std::string name = asked != nullptr ? asked : "cpu";
  const BackendDef* def = nullptr;
  for (const BackendDef* known : AllBackendDefs()) {
    if (known->name == name) def = known;
  }
  if (def == nullptr) return state.SkipWithError(("no backend " + name).c_str());
  auto opened = def->open({});
  if (!opened.ok()) return state.SkipWithError(std::string(opened.status().message()).c_str());
  backend_ = *std::move(opened);
  Backend& backend = *backend_;
  const Tape tape = std::move(builder_).Finish();
  MakeCache(backend);
  const auto weights = *backend.LoadWeights(weights_, tape, nullptr);
  const auto arena = *backend.Allocate(tape.arena_bytes + 64);
  const auto out = *backend.Allocate(tape.out_bytes + 64);
  if (is_random_) {
    std::mt19937 random(7);
    std::normal_distribution<float> normal;
    std::vector<float> numbers(tape.arena_bytes / sizeof(float));
    for (float& number : numbers) number = normal(random);
    backend.Upload(*arena, 0, std::as_bytes(std::span<const float>(numbers))).IgnoreError();
  }
  const StepBuffer step = MakeStep();
  const auto plan =
      *backend.Compile(tape, {weights.get(), arena.get(), out.get(), &kv_, step.bytes().size()});
  for (auto _ : state) {
    const auto tick = backend.Submit(*plan, step.bytes());
    if (!tick.ok() || !backend.Wait(*tick).ok()) return state.SkipWithError("a step failed");
  }
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations() * moved_));
}

using MakeOp = std::function<void(Bench&)>;

void Register(const std::string& name, const MakeOp& make, std::vector<uint32_t> buckets) {
  for (uint32_t rows : buckets) {
    benchmark::RegisterBenchmark((name + "/rows:" + std::to_string(rows)).c_str(),
                                 [=](benchmark::State& state) {
                                   Bench bench(rows);
                                   make(bench);
                                   bench.Run(state);
                                 })
        ->UseRealTime()
        ->Unit(benchmark::kMicrosecond);
  }
}

void MatMul(Bench& bench, DType dtype) {
  const Tensor x = bench.Temp({bench.rows(), kWidth, 1}), y = bench.Temp({bench.rows(), kFfn, 1});
  bench.Add(MatMulOp{y, x, bench.Weight(dtype, {kFfn, kWidth, 1})});
}

void RegisterActivationOps() {
  const std::vector<uint32_t> both = {1, 256};
  Register(
      "EmbedOp",
      [](Bench& b) {
        b.Add(EmbedOp{b.Temp({b.rows(), kWidth, 1}), b.Weight(DType::kQ4_0, {kVocab, kWidth, 1})});
      },
      both);
  Register(
      "RmsNormOp",
      [](Bench& b) {
        const Tensor x = b.Temp({b.rows(), kWidth, 1});
        b.Add(RmsNormOp{x, x, b.Weight(DType::kF32, {kWidth, 1, 1})});
      },
      both);
  for (DType dtype : {DType::kQ4_0, DType::kQ4_1, DType::kQ8_0, DType::kF16, DType::kF32}) {
    Register("MatMulOp/" + std::string(Info(dtype).name), [dtype](Bench& b) { MatMul(b, dtype); },
             {1, 8, 256});
  }
  Register(
      "ActOp",
      [](Bench& b) {
        const Tensor gate = b.Temp({b.rows(), kFfn, 1});
        b.Add(ActOp{gate, gate, b.Temp({b.rows(), kFfn, 1})});
      },
      both);
  Register(
      "RopeOp",
      [](Bench& b) {
        b.Add(RopeOp{b.Temp({b.rows(), kHeads, kHeadDim}), kRope});
      },
      both);
}

void RegisterOutputOps() {
  const std::vector<uint32_t> both = {1, 256};
  Register(
      "GatherRowsOp",
      [](Bench& b) {
        b.Add(GatherRowsOp{b.Temp({b.rows(), kWidth, 1}), b.Temp({b.rows(), kWidth, 1})});
      },
      both);
  Register(
      "TopKOp",
      [](Bench& b) {
        b.UseRandomNumbers();
        const Tensor values = b.Out(DType::kF32, {b.rows(), kTop, 1});
        const Tensor indices = b.Out(DType::kU32, {b.rows(), kTop, 1});
        b.Add(TopKOp{values, indices, b.Temp({b.rows(), kVocab, 1})});
      },
      both);
}

void RegisterCacheOps() {
  const std::vector<uint32_t> both = {1, 256};
  Register(
      "KvWriteOp",
      [](Bench& b) {
        const Tensor k = b.Temp({b.rows(), kKvHeads, kHeadDim});
        b.Add(KvWriteOp{0, k, b.Temp({b.rows(), kKvHeads, kHeadDim})});
      },
      both);
  Register(
      "AttendOp",
      [](Bench& b) {
        const Tensor q = b.Temp({b.rows(), kHeads, kHeadDim});
        b.UseCache(kKvHeads);
        b.Add(AttendOp{0, b.Temp({b.rows(), kHeads, kHeadDim}), q, 0.088f});
      },
      both);
  Register("KvAgesOp",
           [](Bench& b) {
             b.Add(KvAgesOp{b.Out(DType::kU32, {kKvHeads, kAgeBins + 1, 1})});
           },
           {1});
  Register("KvCompactOp", [](Bench& b) { b.Add(KvCompactOp{}); }, {1});
  Register("KvSpreadOp", [](Bench& b) { b.Add(KvSpreadOp{}); }, {1});
  Register("KvScoreOp/keys", [](Bench& b) { b.Add(KvScoreOp{}); }, {1});
  Register("KvScoreOp/expected",
           [](Bench& b) {
             b.ScoreRowsBy(ScoreBy::kExpectedAttention);
             b.Add(KvScoreOp{kRope, AttentionScale(kHeadDim)});
           },
           {1});
  Register(
      "QueryStatsOp",
      [](Bench& b) {
        b.Add(QueryStatsOp{0, b.Temp({b.rows(), kHeads, kHeadDim})});
      },
      both);
  Register("KvRebaseOp", [](Bench& b) { b.Add(KvRebaseOp{kRope}); }, {1});
}

}  // namespace
}  // namespace cormorant

int main(int argc, char** argv) {
  cormorant::RegisterActivationOps();
  cormorant::RegisterOutputOps();
  cormorant::RegisterCacheOps();
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
