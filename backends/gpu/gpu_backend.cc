// See gpu_backend.h.
#include "backends/gpu/gpu_backend.h"

#include "absl/strings/str_cat.h"
#include "backends/gpu/launches.h"
#include "backends/gpu/plan.h"
#include "runtime/base/status.h"

namespace cormorant::GPU_NAMESPACE {
namespace {

DeviceInfo Describe(const DeviceFacts& facts, uint32_t index) {
  DeviceInfo info;
  info.index = index;
  info.name = facts.name;
  info.usable = true;
  info.may_join = !facts.is_integrated;
  info.memory_total = facts.memory_total;
  info.memory_free = facts.memory_total;
  info.details = absl::StrCat(facts.architecture, ", ", facts.processors, " processors");
  return info;
}

class GpuBackend final : public Backend {
 public:
  GpuBackend(absl::string_view name, DeviceInfo info, std::unique_ptr<GpuDevice> device)
      : name_(name), info_(std::move(info)), device_(std::move(device)) {}

  absl::string_view Name() const override { return name_; }
  const DeviceInfo& Device() const override { return info_; }
  SupportAnswer Supports(const Op& op) const override {
    const absl::string_view why = WhyUnsupported(op);
    return {why.empty() ? Support::kNative : Support::kNone, why};
  }

  uint64_t Granularity() const override { return AllocationGranularity(); }
  absl::Status Reserve(uint64_t bytes) override { return device_->Reserve(bytes); }
  absl::StatusOr<std::unique_ptr<Buffer>> Allocate(uint64_t bytes) override {
    return device_->Allocate(bytes);
  }
  absl::Status Upload(Buffer& to, uint64_t offset_bytes, std::span<const std::byte> from) override {
    CORM_RETURN_IF_ERROR(to.CheckRange(offset_bytes, from.size()));
    return device_->Write(static_cast<DeviceBuffer&>(to), offset_bytes, from);
  }
  absl::Status Download(std::span<std::byte> to, const Buffer& from,
                        uint64_t offset_bytes) override {
    CORM_RETURN_IF_ERROR(from.CheckRange(offset_bytes, to.size()));
    return device_->Read(to, static_cast<const DeviceBuffer&>(from), offset_bytes);
  }

  std::optional<absl::Status> CopyFrom(Buffer& to, uint64_t to_offset, Backend& from,
                                       const Buffer& from_buffer, uint64_t from_offset,
                                       uint64_t bytes) override {
    if (from.Name() != Name()) return std::nullopt;
    auto* const other = static_cast<GpuBackend*>(&from);  // There is one module of a name.
    CORM_RETURN_IF_ERROR(to.CheckRange(to_offset, bytes));
    CORM_RETURN_IF_ERROR(from_buffer.CheckRange(from_offset, bytes));
    return device_->CopyFrom(static_cast<DeviceBuffer&>(to), to_offset, *other->device_,
                             static_cast<const DeviceBuffer&>(from_buffer), from_offset, bytes);
  }

  uint64_t WeightBytes(std::span<const HostTensor> tensors, const Tape& tape) const override {
    return DeviceWeights::Bytes(tensors, tape);
  }
  absl::StatusOr<std::unique_ptr<Weights>> LoadWeights(std::span<const HostTensor> tensors,
                                                       const Tape& tape,
                                                       LoadObserver* observer) override {
    return DeviceWeights::Load(tensors, tape, device_.get(), observer);
  }

  uint64_t PlanBytes(const Tape& tape, const KvGeometry& geometry,
                     uint64_t step_bytes) const override {
    return DevicePlan::Bytes(tape, geometry, step_bytes);
  }
  absl::StatusOr<std::unique_ptr<Plan>> Compile(const Tape& tape,
                                                const Bindings& bindings) override {
    return DevicePlan::Compile(tape, bindings, device_.get());
  }
  absl::StatusOr<Tick> Submit(Plan& plan, std::span<const std::byte> step) override {
    return static_cast<DevicePlan&>(plan).Submit(step);
  }
  absl::Status Wait(Tick tick) override { return device_->Wait(tick); }

  /// The runtime knows what is free of the device, and this object what it holds.
  std::optional<MemoryBudget> Budget() const override {
    const absl::StatusOr<uint64_t> free = device_->FreeMemory();
    if (!free.ok()) return std::nullopt;
    return MemoryBudget{device_->held_bytes() + *free, device_->held_bytes()};
  }

 private:
  const std::string name_;
  const DeviceInfo info_;
  const std::unique_ptr<GpuDevice> device_;
};

}  // namespace

std::vector<DeviceInfo> ListDevices(absl::string_view name) {
  const absl::StatusOr<std::vector<DeviceFacts>> devices = GpuDevice::List();
  std::vector<DeviceInfo> infos;
  if (!devices.ok()) {
    DeviceInfo info;
    info.name = std::string(name);
    info.reason = std::string(devices.status().message());
    return {info};
  }
  for (const DeviceFacts& facts : *devices) {
    infos.push_back(Describe(facts, static_cast<uint32_t>(infos.size())));
  }
  return infos;
}

absl::StatusOr<std::unique_ptr<Backend>> OpenDevice(absl::string_view name,
                                                    const DeviceOptions& options) {
  CORM_ASSIGN_OR_RETURN(const std::vector<DeviceFacts> devices, GpuDevice::List());
  if (options.index >= devices.size()) {
    return absl::InvalidArgumentError(absl::StrCat("device ", options.index,
                                                   " was asked for; there are ", devices.size(),
                                                   " of ", name, ", see `cormorant devices`"));
  }
  CORM_ASSIGN_OR_RETURN(std::unique_ptr<GpuDevice> device,
                        GpuDevice::Open(options.index, devices[options.index].processors));
  DeviceInfo info = Describe(devices[options.index], options.index);
  CORM_ASSIGN_OR_RETURN(info.memory_free, device->FreeMemory());
  return std::make_unique<GpuBackend>(name, std::move(info), std::move(device));
}

}  // namespace cormorant::GPU_NAMESPACE
