// Vulkan as a backend: devices, buffers, plans; and the module's one exported function.
#include "absl/strings/str_cat.h"
#include "backends/module.h"
#include "backends/vulkan/plan.h"
#include "platform/gpu.h"
#include "runtime/base/status.h"

namespace cormorant {
namespace vulkan {
namespace {

DeviceInfo Describe(const DeviceFacts& facts, uint32_t index) {
  DeviceInfo info;
  info.index = index;
  info.name = facts.name;
  info.usable = facts.usable;
  info.reason = facts.reason;
  if (!facts.usable) return info;
  info.by_name_only = facts.is_cpu;
  info.memory_total = facts.heap_bytes;
  info.memory_free = FreeBytes(ReadBudget(facts), facts.heap_bytes);
  std::string details = absl::StrCat(facts.driver, "; subgroups of ", facts.subgroup_size);
  if (facts.is_uma) absl::StrAppend(&details, ", shared memory");
  if (facts.window_type != kNoMemoryType) absl::StrAppend(&details, ", host window");
  if (facts.has_timeline) absl::StrAppend(&details, ", timeline");
  if (facts.has_budget) absl::StrAppend(&details, ", memory budget");
  if (facts.has_integer_dot) absl::StrAppend(&details, ", integer dot");
  info.details = absl::StrCat(details, "; ", TuningOf(facts).ToString());
  return info;
}

class VulkanBackend final : public Backend {
 public:
  VulkanBackend(DeviceInfo info, std::unique_ptr<LogicalDevice> device,
                std::unique_ptr<Pipelines> pipelines)
      : info_(std::move(info)),
        tuning_(TuningOf(device->facts())),
        device_(std::move(device)),
        pipelines_(std::move(pipelines)) {}

  absl::string_view Name() const override { return "vulkan"; }
  const DeviceInfo& Device() const override { return info_; }
  SupportAnswer Supports(const Op& op) const override {
    const absl::string_view why = WhyUnsupported(op);
    return {why.empty() ? Support::kNative : Support::kNone, why};
  }

  absl::StatusOr<std::unique_ptr<Buffer>> Allocate(uint64_t bytes) override {
    return device_->Allocate(bytes, MemoryUse::kDevice);
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

  uint64_t WeightBytes(std::span<const HostTensor> tensors, const Tape& tape) const override {
    return DeviceWeights::Bytes(tensors, tape, device_->facts());
  }
  absl::StatusOr<std::unique_ptr<Weights>> LoadWeights(std::span<const HostTensor> tensors,
                                                       const Tape& tape,
                                                       LoadObserver* observer) override {
    return DeviceWeights::Load(tensors, tape, device_.get(), observer);
  }

  uint64_t PlanBytes(const Tape& tape, const KvGeometry& geometry,
                     uint64_t step_bytes) const override {
    return DevicePlan::Bytes(tape, geometry, tuning_, step_bytes);
  }
  absl::StatusOr<std::unique_ptr<Plan>> Compile(const Tape& tape,
                                                const Bindings& bindings) override {
    return DevicePlan::Compile(tape, bindings, tuning_, device_.get(), pipelines_.get());
  }
  absl::StatusOr<Tick> Submit(Plan& plan, std::span<const std::byte> step) override {
    return static_cast<DevicePlan&>(plan).Submit(step);
  }
  absl::Status Wait(Tick tick) override {
    CORM_RETURN_IF_ERROR(device_->Wait(tick));
    const std::string messages = TakeValidationMessages();
    if (messages.empty()) return absl::OkStatus();
    return absl::InternalError(absl::StrCat("Vulkan validation: ", messages));
  }
  std::optional<MemoryBudget> Budget() const override { return ReadBudget(device_->facts()); }

 private:
  const DeviceInfo info_;
  const Tuning tuning_;
  const std::unique_ptr<LogicalDevice> device_;
  const std::unique_ptr<Pipelines> pipelines_;
};

std::vector<DeviceInfo> Devices() {
  const absl::StatusOr<std::vector<DeviceFacts>> devices = ReadDevices();
  std::vector<DeviceInfo> infos;
  if (!devices.ok()) {
    DeviceInfo info;
    info.name = "Vulkan";
    info.reason = std::string(devices.status().message());
    return {info};
  }
  for (const DeviceFacts& facts : *devices) {
    infos.push_back(Describe(facts, static_cast<uint32_t>(infos.size())));
  }
  return infos;
}

absl::StatusOr<std::unique_ptr<Backend>> Open(const DeviceOptions& options) {
  CORM_ASSIGN_OR_RETURN(const std::vector<DeviceFacts> devices, ReadDevices());
  if (options.index >= devices.size()) {
    return absl::InvalidArgumentError(absl::StrCat("device ", options.index,
                                                   " was asked for; there are ", devices.size(),
                                                   " Vulkan devices, see `cormorant devices`"));
  }
  const DeviceFacts& facts = devices[options.index];
  if (!facts.usable)
    return absl::FailedPreconditionError(absl::StrCat(facts.name, ": ", facts.reason));
  CORM_ASSIGN_OR_RETURN(std::unique_ptr<LogicalDevice> device, LogicalDevice::Open(facts));
  CORM_ASSIGN_OR_RETURN(std::unique_ptr<Pipelines> pipelines, Pipelines::Create(device.get()));
  return std::make_unique<VulkanBackend>(Describe(facts, options.index), std::move(device),
                                         std::move(pipelines));
}

const BackendDef kDef = {"vulkan", 10, Devices, Open, [] { return MayHaveGpu(); }};

}  // namespace
}  // namespace vulkan
}  // namespace cormorant

extern "C" __attribute__((visibility("default"))) const cormorant::BackendModule*
cormorant_backend_module() {
  static const auto* const build = new std::string(cormorant::ModuleBuild(CORMORANT_VERSION));
  static const cormorant::BackendModule module = {build->c_str(), &cormorant::vulkan::kDef,
                                                  cormorant::SetLogSink};
  return &module;
}
