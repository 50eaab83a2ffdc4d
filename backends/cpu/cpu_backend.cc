// The CPU as a device: host memory, packed weights, plans that a pool of threads walks.
//
// Submit runs the whole step before it returns, so every tick has passed when it is known. Kernels
// are chosen once, by what the CPU can execute (platform/cpu.h).
#include <algorithm>
#include <atomic>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "backends/backend.h"
#include "backends/cpu/phases.h"
#include "platform/cpu.h"
#include "platform/memory.h"
#include "platform/threads.h"
#include "runtime/base/status.h"

namespace cormorant {
namespace cpu {
namespace {

class HostBuffer final : public Buffer {
 public:
  explicit HostBuffer(AlignedMemory memory) : memory_(std::move(memory)) {}
  uint64_t bytes() const override { return memory_.bytes(); }
  std::byte* data() const { return memory_.data(); }

 private:
  const AlignedMemory memory_;
};

std::byte* HostBytes(const Buffer* buffer) {
  return buffer == nullptr ? nullptr : static_cast<const HostBuffer*>(buffer)->data();
}

/// How far one phase of a step is: items taken, and items done. Each on a cache line of its own.
struct Progress {
  alignas(64) std::atomic<uint32_t> taken{0};
  alignas(64) std::atomic<uint32_t> done{0};
};

struct CpuPlan final : public Plan {
  std::vector<std::unique_ptr<Phase>> phases;
  std::vector<Progress> progress;  // By phase.
  AlignedMemory scratch;
  Bindings bindings;
};

const Kernels& KernelsOf(CpuIsa isa) {
  switch (isa) {
#if defined(__x86_64__)
    case CpuIsa::kAvx2: return avx2::kKernels;
    case CpuIsa::kAvx512: return avx512::kKernels;
#elif defined(__aarch64__)
    case CpuIsa::kNeon: return neon::kKernels;
#endif
    default: return portable::kKernels;
  }
}

class CpuBackend final : public Backend {
 public:
  CpuBackend(DeviceInfo info, const Kernels& kernels, std::unique_ptr<ThreadPool> pool)
      : info_(std::move(info)), kernels_(kernels), pool_(std::move(pool)) {}

  absl::string_view Name() const override { return "cpu"; }
  const DeviceInfo& Device() const override { return info_; }
  SupportAnswer Supports(const Op&) const override { return {}; }

  absl::StatusOr<std::unique_ptr<Buffer>> Allocate(uint64_t bytes) override {
    CORM_ASSIGN_OR_RETURN(AlignedMemory memory, AlignedMemory::Allocate(bytes));
    return std::make_unique<HostBuffer>(std::move(memory));
  }
  absl::Status Upload(Buffer& to, uint64_t offset_bytes, std::span<const std::byte> from) override {
    CORM_RETURN_IF_ERROR(to.CheckRange(offset_bytes, from.size()));
    if (!from.empty()) std::memcpy(HostBytes(&to) + offset_bytes, from.data(), from.size());
    return absl::OkStatus();
  }
  absl::Status Download(std::span<std::byte> to, const Buffer& from,
                        uint64_t offset_bytes) override {
    CORM_RETURN_IF_ERROR(from.CheckRange(offset_bytes, to.size()));
    if (!to.empty()) std::memcpy(to.data(), HostBytes(&from) + offset_bytes, to.size());
    return absl::OkStatus();
  }

  uint64_t WeightBytes(std::span<const HostTensor> tensors, const Tape& tape) const override {
    return CpuWeights::Bytes(tensors, tape);
  }
  absl::StatusOr<std::unique_ptr<Weights>> LoadWeights(std::span<const HostTensor> tensors,
                                                       const Tape& tape,
                                                       LoadObserver* observer) override {
    return CpuWeights::Load(tensors, tape, observer);
  }

  uint64_t PlanBytes(const Tape& tape, const KvGeometry& geometry, uint64_t) const override {
    PhaseBuilder builder(&kernels_, pool_->threads(), geometry);
    BuildPhases(tape, builder);
    return builder.scratch_bytes;
  }
  absl::StatusOr<std::unique_ptr<Plan>> Compile(const Tape& tape,
                                                const Bindings& bindings) override {
    const KvGeometry geometry = bindings.kv == nullptr ? KvGeometry{} : bindings.kv->geometry;
    PhaseBuilder builder(&kernels_, pool_->threads(), geometry);
    BuildPhases(tape, builder);
    auto plan = std::make_unique<CpuPlan>();
    CORM_ASSIGN_OR_RETURN(plan->scratch, AlignedMemory::Allocate(builder.scratch_bytes));
    plan->progress = std::vector<Progress>(builder.phases.size());
    plan->phases = std::move(builder.phases);
    plan->bindings = bindings;
    return plan;
  }
  absl::StatusOr<Tick> Submit(Plan& plan, std::span<const std::byte> step) override;
  absl::Status Wait(Tick) override { return absl::OkStatus(); }

 private:
  /// One Submit, as the threads of the pool see it.
  struct Walk {
    CpuPlan& plan;
    const Replay replay;
  };
  static void WalkPhases(void* walk, uint32_t thread);

  const DeviceInfo info_;
  const Kernels& kernels_;
  const std::unique_ptr<ThreadPool> pool_;
  Tick tick_ = 0;
};

absl::StatusOr<Tick> CpuBackend::Submit(Plan& plan, std::span<const std::byte> step) {
  CpuPlan& cpu_plan = static_cast<CpuPlan&>(plan);
  const Bindings& bindings = cpu_plan.bindings;
  for (Progress& progress : cpu_plan.progress) {
    progress.taken.store(0, std::memory_order_relaxed);
    progress.done.store(0, std::memory_order_relaxed);
  }
  Walk walk{cpu_plan,
            Replay{StepView(step.data()), static_cast<const CpuWeights*>(bindings.weights),
                   HostBytes(bindings.arena), HostBytes(bindings.out), bindings.kv,
                   cpu_plan.scratch.data()}};
  pool_->Run(WalkPhases, &walk);
  return ++tick_;
}

void CpuBackend::WalkPhases(void* context, uint32_t thread) {
  Walk& walk = *static_cast<Walk*>(context);
  for (size_t p = 0; p < walk.plan.phases.size(); ++p) {
    const Phase& phase = *walk.plan.phases[p];
    Progress& progress = walk.plan.progress[p];
    const uint32_t items = phase.Items(walk.replay);
    uint32_t done = 0;
    for (uint32_t item = progress.taken.fetch_add(1, std::memory_order_relaxed); item < items;
         item = progress.taken.fetch_add(1, std::memory_order_relaxed)) {
      phase.Run(walk.replay, item, thread);
      ++done;
    }
    if (done != 0) progress.done.fetch_add(done, std::memory_order_acq_rel);
    SpinWait wait;
    while (progress.done.load(std::memory_order_acquire) < items) wait.Once();
  }
}

uint32_t ThreadsOf(const DeviceOptions& options) {
  return options.threads != 0 ? options.threads : PhysicalCores();
}

DeviceInfo Describe(const DeviceOptions& options) {
  DeviceInfo info;
  info.name = CpuName();
  const SystemMemory memory = ReadSystemMemory();
  info.memory_total = memory.total_bytes;
  info.memory_free = memory.free_bytes;
  const absl::StatusOr<CpuIsa> isa = ChooseCpuIsa();
  info.usable = isa.ok();
  info.is_host = true;
  if (isa.ok()) {
    info.details = absl::StrCat(CpuIsaName(*isa), ", ", ThreadsOf(options), " threads");
  } else {
    info.reason = std::string(isa.status().message());
  }
  return info;
}

std::vector<DeviceInfo> Devices() {
  return {Describe({})};
}

absl::StatusOr<std::unique_ptr<Backend>> Open(const DeviceOptions& options) {
  if (options.index != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("device ", options.index, " was asked for; the CPU is device 0 only"));
  }
  CORM_ASSIGN_OR_RETURN(const CpuIsa isa, ChooseCpuIsa());
  CORM_ASSIGN_OR_RETURN(auto pool, ThreadPool::Create(ThreadsOf(options)));
  return std::make_unique<CpuBackend>(Describe(options), KernelsOf(isa), std::move(pool));
}

}  // namespace

uint8_t* PageAt(const KvBinding& kv, uint32_t page) {
  const uint64_t in_slab =
      uint64_t{page % kv.pages_per_slab} * KvPageLayout(kv.geometry).page_bytes;
  return reinterpret_cast<uint8_t*>(HostBytes(kv.slabs[page / kv.pages_per_slab]) + in_slab);
}

const uint32_t* PageTable(const KvBinding& kv, uint32_t table, uint32_t head) {
  const uint64_t row = uint64_t{table} * kv.geometry.heads() + head;
  return reinterpret_cast<const uint32_t*>(HostBytes(kv.tables)) + row * kv.geometry.pages_per_head;
}

float* StatisticsOf(const KvBinding& kv, uint32_t table, uint32_t head) {
  const KvGeometry& g = kv.geometry;
  const uint64_t index = uint64_t{table} * g.layers * g.query_heads + head;
  return reinterpret_cast<float*>(HostBytes(kv.statistics)) + index * g.query_sums();
}

}  // namespace cpu

extern const BackendDef kBackend_cpu;
const BackendDef kBackend_cpu = {"cpu", 0, cpu::Devices, cpu::Open};

}  // namespace cormorant
