// The reference device: host memory, weights where the model file has them, ops one by one.
//
// Submit runs the whole step before it returns, so every tick has passed when it is known.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "backends/backend.h"
#include "backends/reference/reference.h"
#include "runtime/base/status.h"
#include "runtime/base/units.h"

namespace cormorant {
namespace reference {
namespace {

constexpr uint64_t kAlignment = 64;

class HostBuffer final : public Buffer {
 public:
  static absl::StatusOr<std::unique_ptr<Buffer>> Allocate(uint64_t bytes) {
    void* memory = bytes <= SIZE_MAX - kAlignment ? std::calloc(1, bytes + kAlignment) : nullptr;
    if (memory == nullptr) {
      return absl::ResourceExhaustedError(absl::StrCat(
          "the system has no ", bytes, " bytes of memory; close programs or set a smaller cap"));
    }
    return std::unique_ptr<Buffer>(new HostBuffer(memory, bytes));
  }
  ~HostBuffer() override { std::free(memory_); }

  uint64_t bytes() const override { return bytes_; }
  std::byte* data() const { return data_; }

 private:
  HostBuffer(void* memory, uint64_t bytes)
      : memory_(memory),
        data_(
            reinterpret_cast<std::byte*>(RoundUp(reinterpret_cast<uintptr_t>(memory), kAlignment))),
        bytes_(bytes) {}

  void* memory_;
  std::byte* data_;
  uint64_t bytes_;
};

struct HostWeights final : public Weights {
  std::vector<HostTensor> tensors;
};

struct HostPlan final : public Plan {
  Tape tape;
  Bindings bindings;
  Scratch scratch;
};

/// What the ops of a tape need of Scratch, in elements.
struct ScratchSizes {
  uint64_t weights = 0, rows = 0, head_dim = 0, slots = 0, order = 0, pairs = 0;
  uint64_t bytes() const {
    return weights * sizeof(float) + rows * head_dim * 2 * sizeof(float) +
           head_dim * sizeof(double) + slots * (2 * sizeof(double) + sizeof(uint8_t)) +
           order * sizeof(uint32_t) + pairs * sizeof(ExpectedPair);
  }
};

ScratchSizes SizeScratch(const Tape& tape, const KvGeometry& geometry) {
  ScratchSizes sizes;
  for (const Op& op : tape.ops) {
    std::visit(
        [&](const auto& o) {
          ForEachTensor(o, [&](const Tensor& tensor, Access) {
            if (tensor.region != Region::kWeights) return;
            const uint32_t row = tensor.shape[1] == 1 ? tensor.shape[0] : tensor.shape[1];
            sizes.weights = std::max<uint64_t>(sizes.weights, row);
          });
        },
        op);
    if (const auto* top = std::get_if<TopKOp>(&op)) {
      sizes.order = std::max<uint64_t>(sizes.order, top->x.shape[1]);
    }
    const bool is_attend = std::holds_alternative<AttendOp>(op);
    if (is_attend || std::holds_alternative<KvCompactOp>(op) ||
        std::holds_alternative<KvRebaseOp>(op) || std::holds_alternative<KvSpreadOp>(op) ||
        std::holds_alternative<KvScoreOp>(op)) {
      sizes.slots = uint64_t{geometry.pages_per_head} * kPageRows;
      sizes.head_dim = geometry.head_dim;
      sizes.rows = std::max(sizes.rows, is_attend ? sizes.slots : 1);
      sizes.order = std::max(sizes.order, sizes.slots);
      if (geometry.query_heads != 0) sizes.pairs = geometry.head_dim / 2;
    }
  }
  return sizes;
}

class ReferenceBackend final : public Backend {
 public:
  explicit ReferenceBackend(DeviceInfo info) : info_(std::move(info)) {}

  absl::string_view Name() const override { return "reference"; }
  const DeviceInfo& Device() const override { return info_; }
  SupportAnswer Supports(const Op&) const override { return {}; }

  absl::StatusOr<std::unique_ptr<Buffer>> Allocate(uint64_t bytes) override {
    return HostBuffer::Allocate(bytes);
  }
  absl::Status Upload(Buffer& to, uint64_t offset_bytes, std::span<const std::byte> from) override {
    CORM_RETURN_IF_ERROR(to.CheckRange(offset_bytes, from.size()));
    if (!from.empty()) std::memcpy(HostBytes(&to) + offset_bytes, from.data(), from.size());
    return absl::OkStatus();
  }
  absl::Status Download(std::span<std::byte> to, const Buffer& from,
                        uint64_t offset_bytes) override {
    CORM_RETURN_IF_ERROR(from.CheckRange(offset_bytes, to.size()));
    const std::byte* data = static_cast<const HostBuffer&>(from).data();
    if (!to.empty()) std::memcpy(to.data(), data + offset_bytes, to.size());
    return absl::OkStatus();
  }

  /// The weights stay where they are.
  uint64_t WeightBytes(std::span<const HostTensor>, const Tape&) const override { return 0; }
  absl::StatusOr<std::unique_ptr<Weights>> LoadWeights(std::span<const HostTensor> tensors,
                                                       const Tape&,
                                                       LoadObserver* observer) override {
    auto weights = std::make_unique<HostWeights>();
    weights->tensors.assign(tensors.begin(), tensors.end());
    if (observer != nullptr) observer->Loaded(1.0f);
    return weights;
  }

  uint64_t PlanBytes(const Tape& tape, const KvGeometry& geometry, uint64_t) const override {
    return SizeScratch(tape, geometry).bytes();
  }
  absl::StatusOr<std::unique_ptr<Plan>> Compile(const Tape& tape,
                                                const Bindings& bindings) override {
    auto plan = std::make_unique<HostPlan>();
    plan->tape = tape;
    plan->bindings = bindings;
    const KvGeometry geometry = bindings.kv == nullptr ? KvGeometry{} : bindings.kv->geometry;
    const ScratchSizes sizes = SizeScratch(tape, geometry);
    plan->scratch.weights.resize(sizes.weights);
    plan->scratch.k.resize(sizes.rows * sizes.head_dim);
    plan->scratch.v.resize(sizes.rows * sizes.head_dim);
    plan->scratch.sums.resize(sizes.head_dim);
    plan->scratch.scores.resize(sizes.slots);
    plan->scratch.shares.resize(sizes.slots);
    plan->scratch.pairs.resize(sizes.pairs);
    plan->scratch.order.resize(sizes.order);
    plan->scratch.marks.resize(sizes.slots);
    plan->scratch.leaves.resize(sizes.slots);
    return plan;
  }
  absl::StatusOr<Tick> Submit(Plan& plan, std::span<const std::byte> step) override;
  absl::Status Wait(Tick) override { return absl::OkStatus(); }

 private:
  DeviceInfo info_;
  Tick tick_ = 0;
};

absl::StatusOr<Tick> ReferenceBackend::Submit(Plan& plan, std::span<const std::byte> step) {
  HostPlan& host_plan = static_cast<HostPlan&>(plan);
  const Bindings& bindings = host_plan.bindings;
  Replay replay(StepView(step.data()));
  if (bindings.weights != nullptr) {
    replay.weights = static_cast<const HostWeights*>(bindings.weights)->tensors;
  }
  replay.arena = HostBytes(bindings.arena);
  replay.out = HostBytes(bindings.out);
  replay.kv = bindings.kv;
  replay.scratch = &host_plan.scratch;
  replay.rows = replay.step.header().rows;
  for (const Op& op : host_plan.tape.ops) {
    if (std::holds_alternative<GatherRowsOp>(op)) replay.rows = replay.step.header().out_rows;
    std::visit([&](const auto& o) { Run(o, replay); }, op);
  }
  return ++tick_;
}

std::vector<DeviceInfo> Devices() {
  DeviceInfo info;
  info.name = "scalar reference (double precision)";
  info.usable = true;
  info.is_host = true;
  info.details = "one thread, for tests";
  return {info};
}

absl::StatusOr<std::unique_ptr<Backend>> Open(const DeviceOptions& options) {
  if (options.index != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("device ", options.index, " was asked for; the reference has device 0 only"));
  }
  return std::make_unique<ReferenceBackend>(Devices().front());
}

}  // namespace

std::byte* HostBytes(Buffer* buffer) {
  return buffer == nullptr ? nullptr : static_cast<HostBuffer*>(buffer)->data();
}

}  // namespace reference

extern const BackendDef kBackend_reference;
const BackendDef kBackend_reference = {"reference", -1, reference::Devices, reference::Open};

}  // namespace cormorant
