// Recording and submitting plans. See plan.h.
#include "backends/gpu/plan.h"

#include <cstring>

#include "backends/gpu/launches.h"
#include "runtime/base/check.h"
#include "runtime/base/status.h"
#include "runtime/base/units.h"

namespace cormorant::GPU_NAMESPACE {
namespace {

/// Counted for the addresses of slabs: 512 of them, 8 GiB of pages.
constexpr uint64_t kSlabListBytes = 4096;

}  // namespace

uint64_t DevicePlan::Bytes(const Tape& tape, const KvGeometry& geometry, uint64_t step_bytes) {
  LaunchBuilder builder(geometry, 1, 1, {});
  builder.Build(tape);
  return kSlabListBytes + RoundUp(step_bytes, kPartAlignment) +
         RoundUp(builder.scratch_bytes, kPartAlignment);
}

absl::StatusOr<std::unique_ptr<DevicePlan>> DevicePlan::Compile(const Tape& tape,
                                                                const Bindings& bindings,
                                                                GpuDevice* device) {
  std::unique_ptr<DevicePlan> plan(new DevicePlan(bindings, device));
  const KvBinding none;
  const KvBinding& kv = bindings.kv == nullptr ? none : *bindings.kv;
  plan->slab_count_ = kv.slabs.size();
  plan->step_at_ = RoundUp(kv.slabs.size() * sizeof(std::byte*), kPartAlignment);
  const uint64_t scratch_at = plan->step_at_ + RoundUp(bindings.step_bytes, kPartAlignment);
  LaunchBuilder sizes(kv.geometry, kv.pages_per_slab, device->processors(), {});
  sizes.Build(tape);
  CORM_ASSIGN_OR_RETURN(
      plan->memory_, device->Allocate(scratch_at + RoundUp(sizes.scratch_bytes, kPartAlignment)));
  CORM_ASSIGN_OR_RETURN(plan->staged_, device->AllocatePinned(scratch_at));
  std::memset(plan->staged_->data(), 0, scratch_at);
  const auto address = [](const Buffer* buffer) {
    if (buffer == nullptr) return uintptr_t{0};
    return reinterpret_cast<uintptr_t>(static_cast<const DeviceBuffer*>(buffer)->data());
  };
  Addresses addresses;
  addresses.weights = static_cast<const DeviceWeights*>(bindings.weights);
  addresses.arena = address(bindings.arena);
  addresses.out = address(bindings.out);
  addresses.tables = address(kv.tables);
  addresses.statistics = address(kv.statistics);
  addresses.slabs = address(plan->memory_.get());
  addresses.step = addresses.slabs + plan->step_at_;
  addresses.scratch = addresses.slabs + scratch_at;
  LaunchBuilder builder(kv.geometry, kv.pages_per_slab, device->processors(), addresses);
  builder.Build(tape);
  CORM_RETURN_IF_ERROR(device->Write(*plan->memory_, scratch_at,
                                     std::as_bytes(std::span<const uint32_t>(builder.tables))));
  CORM_ASSIGN_OR_RETURN(
      plan->graph_, device->Record(*plan->staged_, *plan->memory_, scratch_at, builder.launches));
  return plan;
}

DevicePlan::~DevicePlan() {
  // A lost device reports it here too; there is nothing left to wait for then.
  device_->Wait(last_).IgnoreError();
}

absl::StatusOr<Tick> DevicePlan::Submit(std::span<const std::byte> step) {
  CORM_RETURN_IF_ERROR(device_->Wait(last_));  // It reads what is staged.
  if (bindings_.kv != nullptr) {
    const std::vector<Buffer*>& slabs = bindings_.kv->slabs;
    CORM_CHECK(slabs.size() <= slab_count_);
    for (size_t i = 0; i < slabs.size(); ++i) {
      const std::byte* const data =
          slabs[i] == nullptr ? nullptr : static_cast<const DeviceBuffer*>(slabs[i])->data();
      std::memcpy(staged_->data() + i * sizeof(data), &data, sizeof(data));
    }
  }
  std::memcpy(staged_->data() + step_at_, step.data(), step.size());
  CORM_ASSIGN_OR_RETURN(last_, device_->Submit(*graph_));
  return last_;
}

}  // namespace cormorant::GPU_NAMESPACE
