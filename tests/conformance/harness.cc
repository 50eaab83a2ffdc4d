// Targets, scenes and replays. See harness.h.
#include "tests/conformance/harness.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>

#include "absl/strings/match.h"
#include "platform/log.h"
#include "runtime/base/half.h"
#include "runtime/base/status.h"
#include "runtime/base/units.h"
#include "runtime/format/dequantize.h"
#include "runtime/format/tiles.h"
#include "runtime/ops/validate.h"
#include "tests/conformance/exclusions.h"
#include "tests/golden/random_blocks.h"
#if defined(CORMORANT_EMULATORS)
#include "tests/emulator/backends.h"
#endif

namespace cormorant::conformance {
namespace {

constexpr uint64_t kGuardBytes = 256;  // Before, between and after tensors.
constexpr size_t kFailuresShown = 6;

/// The build's backends, and those of tests.
std::vector<const BackendDef*> AllDefs() {
  std::vector<const BackendDef*> defs(AllBackendDefs().begin(), AllBackendDefs().end());
#if defined(CORMORANT_EMULATORS)
  const std::span<const BackendDef* const> emulators = emulator::BackendDefs();
  defs.insert(defs.end(), emulators.begin(), emulators.end());
#endif
  return defs;
}

const BackendDef* FindBackend(absl::string_view name) {
  for (const BackendDef* def : AllDefs()) {
    if (def->name == name) return def;
  }
  return nullptr;
}

/// Calls f(tensor, access, live rows) for every tensor of arena and out, op by op.
template <class TapeType, class F>
void ForEachPlaced(TapeType& tape, const StepHeader& header, F&& f) {
  uint32_t live = header.rows;
  for (auto& op : tape.ops) {
    const bool is_gather = std::holds_alternative<GatherRowsOp>(op);
    const bool is_whole = std::holds_alternative<KvAgesOp>(op);  // Ages have no rows of a step.
    std::visit(
        [&](auto& o) {
          ForEachTensor(o, [&](auto& tensor, Access access) {
            if (tensor.region != Region::kArena && tensor.region != Region::kOut) return;
            const bool is_out = is_gather && access == Access::kWrite;
            f(tensor, access, is_whole ? tensor.shape[0] : is_out ? header.out_rows : live);
          });
        },
        op);
    if (is_gather) live = header.out_rows;
  }
}

/// Moves tensors apart, in order, so that canaries stand around each.
void AddGuards(Tape& tape) {
  for (Region region : {Region::kArena, Region::kOut}) {
    std::vector<uint64_t> starts;
    ForEachPlaced(tape, {}, [&](const Tensor& tensor, Access, uint32_t) {
      if (tensor.region == region) starts.push_back(tensor.offset);
    });
    std::sort(starts.begin(), starts.end());
    starts.erase(std::unique(starts.begin(), starts.end()), starts.end());
    ForEachPlaced(tape, {}, [&](Tensor& tensor, Access, uint32_t) {
      if (tensor.region != region) return;
      const auto rank = std::lower_bound(starts.begin(), starts.end(), tensor.offset);
      tensor.offset += static_cast<uint64_t>(rank - starts.begin() + 1) * kGuardBytes;
    });
    uint64_t& bytes = region == Region::kArena ? tape.arena_bytes : tape.out_bytes;
    bytes += (starts.size() + 1) * kGuardBytes;
  }
}

/// The device memory of a scene.
struct Memory {
  std::unique_ptr<Weights> weights;
  std::unique_ptr<Buffer> arena, out, tables, statistics;
  std::vector<std::unique_ptr<Buffer>> slabs;
  KvBinding kv;
};

absl::Status Allocate(Backend& backend, const Scene& scene, Memory* memory) {
  CORM_ASSIGN_OR_RETURN(memory->weights, backend.LoadWeights(scene.weights, scene.tape, nullptr));
  CORM_ASSIGN_OR_RETURN(memory->arena, backend.Allocate(scene.arena.size()));
  CORM_ASSIGN_OR_RETURN(memory->out, backend.Allocate(scene.out.size()));
  CORM_ASSIGN_OR_RETURN(memory->tables, backend.Allocate(scene.cache.tables().size() * 4 + 4));
  memory->kv.geometry = scene.cache.geometry();
  memory->kv.pages_per_slab = scene.cache.pages_per_slab();
  memory->kv.tables = memory->tables.get();
  if (const std::vector<float>& statistics = scene.cache.all_statistics(); !statistics.empty()) {
    CORM_ASSIGN_OR_RETURN(memory->statistics, backend.Allocate(statistics.size() * 4));
    memory->kv.statistics = memory->statistics.get();
  }
  for (const std::vector<std::byte>& slab : scene.cache.slabs()) {
    memory->slabs.emplace_back();
    if (!slab.empty()) {
      CORM_ASSIGN_OR_RETURN(memory->slabs.back(), backend.Allocate(slab.size()));
    }
    memory->kv.slabs.push_back(memory->slabs.back().get());
  }
  return absl::OkStatus();
}

absl::Status Upload(Backend& backend, const Scene& scene, Memory& memory) {
  CORM_RETURN_IF_ERROR(backend.Upload(*memory.arena, 0, scene.arena));
  CORM_RETURN_IF_ERROR(backend.Upload(*memory.out, 0, scene.out));
  const std::span<const uint32_t> tables = scene.cache.tables();
  CORM_RETURN_IF_ERROR(backend.Upload(*memory.tables, 0, std::as_bytes(tables)));
  if (memory.statistics != nullptr) {
    const std::span<const float> statistics = scene.cache.all_statistics();
    CORM_RETURN_IF_ERROR(backend.Upload(*memory.statistics, 0, std::as_bytes(statistics)));
  }
  for (size_t i = 0; i < memory.slabs.size(); ++i) {
    if (memory.slabs[i] == nullptr) continue;
    CORM_RETURN_IF_ERROR(backend.Upload(*memory.slabs[i], 0, scene.cache.slabs()[i]));
  }
  return absl::OkStatus();
}

absl::Status Download(Backend& backend, const Scene& scene, const Memory& memory, Outcome* to) {
  to->arena.resize(scene.arena.size());
  to->out.resize(scene.out.size());
  to->cache = scene.cache;
  CORM_RETURN_IF_ERROR(backend.Download(to->arena, *memory.arena, 0));
  CORM_RETURN_IF_ERROR(backend.Download(to->out, *memory.out, 0));
  if (memory.statistics != nullptr) {
    const std::span<float> statistics = to->cache.all_statistics();
    CORM_RETURN_IF_ERROR(
        backend.Download(std::as_writable_bytes(statistics), *memory.statistics, 0));
  }
  for (size_t i = 0; i < memory.slabs.size(); ++i) {
    if (memory.slabs[i] == nullptr) continue;
    CORM_RETURN_IF_ERROR(backend.Download(to->cache.slabs()[i], *memory.slabs[i], 0));
  }
  return absl::OkStatus();
}

absl::Status SameBytes(absl::string_view what, std::span<const std::byte> a,
                       std::span<const std::byte> b) {
  const auto [at, other] = std::mismatch(a.begin(), a.end(), b.begin());
  if (at == a.end()) return absl::OkStatus();
  return absl::InternalError(absl::StrCat(what, " at byte ", at - a.begin()));
}

absl::Status SameOutcome(const Outcome& first, const Outcome& second) {
  CORM_RETURN_IF_ERROR(
      SameBytes("the second replay differs in the arena", second.arena, first.arena));
  CORM_RETURN_IF_ERROR(SameBytes("the second replay differs in out", second.out, first.out));
  CORM_RETURN_IF_ERROR(SameBytes("the second replay differs in statistics of queries",
                                 std::as_bytes(std::span(second.cache.all_statistics())),
                                 std::as_bytes(std::span(first.cache.all_statistics()))));
  for (size_t i = 0; i < first.cache.slabs().size(); ++i) {
    CORM_RETURN_IF_ERROR(SameBytes(absl::StrCat("the second replay differs in slab ", i),
                                   second.cache.slabs()[i], first.cache.slabs()[i]));
  }
  return absl::OkStatus();
}

/// Arena and out are as before but for the live rows of what the tape writes.
absl::Status Untouched(const Scene& scene, const Outcome& outcome) {
  Outcome masked{outcome.arena, outcome.out, {}};
  ForEachPlaced(
      scene.tape, scene.step->header(), [&](const Tensor& tensor, Access access, uint32_t live) {
        if (access == Access::kRead) return;
        const bool is_arena = tensor.region == Region::kArena;
        const uint64_t bytes = tensor.bytes() / tensor.shape[0] * live;
        const auto from =
            (is_arena ? scene.arena : scene.out).begin() + static_cast<ptrdiff_t>(tensor.offset);
        std::copy(
            from, from + static_cast<ptrdiff_t>(bytes),
            (is_arena ? masked.arena : masked.out).begin() + static_cast<ptrdiff_t>(tensor.offset));
      });
  CORM_RETURN_IF_ERROR(
      SameBytes("bytes outside live rows changed in the arena", masked.arena, scene.arena));
  return SameBytes("bytes outside live rows changed in out", masked.out, scene.out);
}

/// One block of random bits; its scale is of the order of 1/128, or 0.
void RandomBlock(DType dtype, std::mt19937& random, std::byte* to) {
  for (uint32_t i = 0; i < Info(dtype).block_bytes; ++i) to[i] = static_cast<std::byte>(random());
  const auto scale = [&] {
    const float magnitude = 0.002f + 0.02f * static_cast<float>(random() % 1000) / 1000.0f;
    return random() % 2 == 0 ? magnitude : -magnitude;
  };
  const float d = random() % 16 == 0 ? 0.0f : scale(), m = scale();
  testing::SetBlockScale(dtype, d, m, to);
}

}  // namespace

std::vector<Target> Targets() {
  std::vector<Target> targets;
  for (const BackendDef* def : AllDefs()) {
    const std::string name(def->name);
    if (name == "cpu") {
#if defined(__aarch64__)
      const char* const isas[] = {"portable", "neon"};
#else
      const char* const isas[] = {"portable", "avx2", "avx512"};
#endif
      for (const char* isa : isas) targets.push_back({absl::StrCat("cpu_", isa), name, isa});
      continue;
    }
    for (const DeviceInfo& device : def->devices()) {
      targets.push_back({absl::StrCat(name, device.index == 0 ? "" : absl::StrCat(device.index)),
                         name, "", device.index});
    }
  }
  return targets;
}

absl::StatusOr<std::unique_ptr<Backend>> OpenTarget(const Target& target, uint32_t threads) {
  const BackendDef* def = FindBackend(target.backend);
  if (def == nullptr) return absl::NotFoundError(target.backend);
  if (target.isa.empty()) {
    unsetenv("CORMORANT_CPU");
  } else {
    setenv("CORMORANT_CPU", target.isa.c_str(), 1);
  }
  return def->open({target.device, threads});
}

std::vector<DType> WeightTypes() {
  std::vector<DType> types = testing::BlockTypes();
  types.insert(types.begin(), {DType::kF32, DType::kF16, DType::kBF16});
  return types;
}

std::string TargetName(const ::testing::TestParamInfo<Target>& info) {
  return info.param.name;
}

Scene::Scene(uint32_t seed, uint32_t rows, uint32_t out_rows)
    : random(seed), builder_(rows, out_rows) {}

Tensor Scene::Weight(DType dtype, std::array<uint32_t, 3> shape, std::vector<std::byte> bytes) {
  // A model file aligns tensors to 32 bytes and no more.
  std::vector<std::byte>& held = weight_bytes_.emplace_back(bytes.size() + 128);
  const uint64_t address = reinterpret_cast<uintptr_t>(held.data());
  std::byte* data = held.data() + (RoundUp(address, 64) + 32 - address);
  std::copy(bytes.begin(), bytes.end(), data);
  weights.push_back({absl::StrCat("w", weights.size()), dtype, shape, data});
  return Tensor{Region::kWeights, dtype, shape, weights.size() - 1};
}

Tensor Scene::F32Weight(std::array<uint32_t, 3> shape, std::span<const float> values) {
  const std::span<const std::byte> bytes = std::as_bytes(values);
  return Weight(DType::kF32, shape, {bytes.begin(), bytes.end()});
}

Tensor Scene::RandomWeight(DType dtype, std::array<uint32_t, 3> shape) {
  const Tensor tensor{Region::kWeights, dtype, shape, 0};
  std::vector<std::byte> bytes(tensor.bytes());
  const DTypeInfo info = Info(dtype);
  for (uint64_t i = 0; i < tensor.elements() / info.block; ++i) {
    std::byte* to = bytes.data() + i * info.block_bytes;
    const float value = Normal();
    if (dtype == DType::kF32) {
      std::memcpy(to, &value, sizeof(value));
    } else if (dtype == DType::kF16 || dtype == DType::kBF16) {
      const uint16_t half = dtype == DType::kF16 ? F32ToF16(value) : F32ToBF16(value);
      std::memcpy(to, &half, sizeof(half));
    } else {
      RandomBlock(dtype, random, to);
    }
  }
  return Weight(dtype, shape, std::move(bytes));
}

void Scene::Finish(uint32_t sequences) {
  tape = std::move(builder_).Finish();
  AddGuards(tape);
  arena.assign(tape.arena_bytes, kCanary);
  out.assign(tape.out_bytes, kCanary);
  const uint32_t heads = std::max(1u, cache.geometry().heads());
  step = std::make_unique<StepBuffer>(
      StepBuffer::Bounds{tape.rows + 3, tape.out_rows + 2, sequences + 1, heads});
  step->header().rows = tape.rows;
  step->header().out_rows = tape.out_rows;
  step->header().sequences = sequences;
  std::fill(step->ids().begin(), step->ids().end(), 0xffffffffu);
  std::fill(step->positions().begin(), step->positions().end(), 0xffffffffu);
  std::fill(step->out_index().begin(), step->out_index().end(), 0xffffffffu);
}

void Scene::FillNormal(const Tensor& tensor, uint32_t rows, float deviation) {
  const uint64_t elements = tensor.elements() / tensor.shape[0] * rows;
  for (float& value : At(tensor).first(elements)) value = Normal(deviation);
}

std::vector<float> Scene::Values(const Tensor& weight) const {
  std::vector<float> values(weight.elements());
  Dequantize(weight.dtype, weights[weight.offset].data, values.size(), values.data());
  return values;
}

absl::StatusOr<Outcome> RunScene(Backend& backend, const Scene& scene) {
  TapeLimits limits{scene.cache.geometry(), {}};
  for (const HostTensor& weight : scene.weights) {
    limits.weights.push_back({weight.dtype, weight.shape});
  }
  CORM_RETURN_IF_ERROR(Validate(scene.tape, limits));
  for (const Op& op : scene.tape.ops) {
    const SupportAnswer answer = backend.Supports(op);
    if (answer.support == Support::kNone) return absl::UnimplementedError(answer.why);
  }
  Memory memory;
  CORM_RETURN_IF_ERROR(Allocate(backend, scene, &memory));
  const Bindings bindings{memory.weights.get(), memory.arena.get(), memory.out.get(), &memory.kv,
                          scene.step->bytes().size()};
  CORM_ASSIGN_OR_RETURN(const std::unique_ptr<Plan> plan, backend.Compile(scene.tape, bindings));
  Outcome outcomes[2];
  for (Outcome& outcome : outcomes) {
    CORM_RETURN_IF_ERROR(Upload(backend, scene, memory));
    CORM_ASSIGN_OR_RETURN(const Tick tick, backend.Submit(*plan, scene.step->bytes()));
    CORM_RETURN_IF_ERROR(backend.Wait(tick));
    CORM_RETURN_IF_ERROR(Download(backend, scene, memory, &outcome));
  }
  CORM_RETURN_IF_ERROR(SameOutcome(outcomes[0], outcomes[1]));
  CORM_RETURN_IF_ERROR(Untouched(scene, outcomes[0]));
  return std::move(outcomes[0]);
}

void OpTest::SetUp() {
  SetLogSink(
      [](void* errors, int, const char* text) { *static_cast<std::string*>(errors) += text; },
      &logged_errors_, LogLevel::kError);
  absl::StatusOr<std::unique_ptr<Backend>> reference = OpenTarget({"reference", "reference", ""});
  ASSERT_TRUE(reference.ok()) << reference.status();
  reference_ = *std::move(reference);
  absl::StatusOr<std::unique_ptr<Backend>> backend = OpenTarget(GetParam());
  if (!backend.ok()) GTEST_SKIP() << GetParam().name << ": " << backend.status();
  backend_ = *std::move(backend);
}

void OpTest::TearDown() {
  const bool was_open = backend_ != nullptr;
  backend_.reset();  // Validation layers have a last word when a device closes.
  SetLogSink(nullptr, nullptr, LogLevel::kError);
  if (!logged_errors_.empty()) Fail(logged_errors_);
  const ::testing::TestInfo* info = ::testing::UnitTest::GetInstance()->current_test_info();
  // "On/AttendTest" and "Prefill/cpu_avx2".
  std::string suite = info->test_suite_name(), name = info->name();
  suite = suite.substr(suite.find('/') + 1);
  const std::string test = absl::StrCat(suite, ".", name.substr(0, name.find('/')));
  for (const Exclusion& exclusion : Exclusions()) {
    if (!was_open || exclusion.test != test) continue;
    if (!absl::StartsWith(GetParam().name, exclusion.target)) continue;
    if (failure_count_ == 0) {
      ADD_FAILURE() << "passes: take it out of exclusions.cc (" << exclusion.reason << ")";
    }
    return;
  }
  for (const std::string& failure : failures_) ADD_FAILURE() << failure;
  if (failure_count_ > failures_.size()) {
    ADD_FAILURE() << failure_count_ - failures_.size() << " more failures";
  }
}

void OpTest::Fail(const std::string& what) {
  if (failure_count_++ < kFailuresShown) failures_.push_back(what);
}

bool OpTest::Takes(DType dtype) {
  MatMulOp matmul;
  EmbedOp embed;
  matmul.w.dtype = embed.table.dtype = dtype;
  bool takes = true;
  for (const Op& op : {Op(matmul), Op(embed)}) {
    const SupportAnswer answer = backend_->Supports(op);
    if (answer.support != Support::kNone) continue;
    takes = false;
    if (IsTiled(dtype)) Fail(absl::StrCat("does not take ", Info(dtype).name, ": ", answer.why));
    if (answer.why.empty()) Fail(absl::StrCat("refuses ", Info(dtype).name, " without a reason"));
  }
  return takes;
}

bool OpTest::RunOn(Backend& backend, const std::string& what, const Scene& scene, Outcome* to) {
  absl::StatusOr<Outcome> outcome = RunScene(backend, scene);
  if (!outcome.ok()) {
    Fail(absl::StrCat(what, " on ", backend.Name(), ": ", outcome.status().ToString()));
    return false;
  }
  *to = *std::move(outcome);
  return true;
}

bool OpTest::RunBoth(const std::string& what, const Scene& scene, Outcome* got, Outcome* want) {
  return RunOn(*reference_, what, scene, want) && RunOn(*backend_, what, scene, got);
}

void OpTest::ExpectCache(const std::string& what, const Scene& scene, const HostCache& want) {
  Outcome got, by_reference;
  if (!RunBoth(what, scene, &got, &by_reference)) return;
  CompareCaches(what, got.cache, want);
  CompareCaches(what + " (reference)", by_reference.cache, want);
}

void OpTest::Compare(const std::string& what, std::span<const float> got,
                     std::span<const float> want, std::span<const double> allowed) {
  double worst = 0.0;
  size_t at = 0, broken = 0;
  for (size_t i = 0; i < allowed.size(); ++i) {
    const double difference = std::fabs(double{got[i]} - double{want[i]});
    const double ratio = std::isfinite(got[i]) ? difference / allowed[i] : HUGE_VAL;
    if (!(ratio <= 1.0)) ++broken;
    if (ratio > worst) worst = ratio, at = i;
  }
  if (broken == 0) return;
  Fail(absl::StrCat(what, ": ", broken, " of ", allowed.size(), " elements, the worst at ", at,
                    ": got ", got[at], ", want ", want[at], ", off by ", worst,
                    " times the bound"));
}

void OpTest::CompareCaches(const std::string& what, const HostCache& got, const HostCache& want) {
  CompareExactly<float>(what + " statistics", got.all_statistics(), want.all_statistics());
  for (size_t i = 0; i < want.slabs().size(); ++i) {
    const std::vector<std::byte>& a = got.slabs()[i];
    const std::vector<std::byte>& b = want.slabs()[i];
    const auto at = std::mismatch(a.begin(), a.end(), b.begin()).first;
    if (at == a.end()) continue;
    const auto byte = at - a.begin();
    Fail(absl::StrCat(what, ": page ", i * want.pages_per_slab() + byte / want.page_bytes(),
                      " differs at byte ", byte % want.page_bytes()));
    return;
  }
}

}  // namespace cormorant::conformance
