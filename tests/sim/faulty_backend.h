// A backend that fails when it is told to, around one that works.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "backends/backend.h"

namespace cormorant::sim {

/// What goes wrong, over all openings of a device.
struct Faults {
  uint32_t fail_in = 0;        // The n-th call from now fails, ...
  bool is_lost = false;        // ... and with this all that come after it; 0: none.
  bool is_gone = false;        // It cannot be opened.
  uint32_t after_opening = 0;  // fail_in of a device that is opened again.
  bool is_host = true;
  bool may_join = false;
  bool lacks_k_types = false;  // It computes no matmul with q4_k weights.
  uint64_t memory_free = 0;
  std::optional<MemoryBudget> budget;

  uint32_t openings = 0;
  uint64_t downloaded_bytes = 0, uploaded_bytes = 0;
  // Of the device that was opened last: what tests read its memory by.
  Backend* device = nullptr;
  std::vector<Bindings> compiled;  // Of its plans.
};

class FaultyBackend final : public Backend {
 public:
  FaultyBackend(std::unique_ptr<Backend> inner, std::shared_ptr<Faults> faults)
      : inner_(std::move(inner)), faults_(std::move(faults)), info_(inner_->Device()) {
    info_.is_host = faults_->is_host;
    info_.may_join = faults_->may_join;
    info_.memory_free = faults_->memory_free;
    faults_->device = inner_.get();
    faults_->compiled.clear();
  }

  absl::string_view Name() const override { return inner_->Name(); }
  const DeviceInfo& Device() const override { return info_; }
  SupportAnswer Supports(const Op& op) const override {
    const auto* matmul = std::get_if<MatMulOp>(&op);
    if (faults_->lacks_k_types && matmul != nullptr && matmul->w.dtype == DType::kQ4_K) {
      return {Support::kNone, "weights of q4_k"};
    }
    return inner_->Supports(op);
  }
  uint64_t WeightBytes(std::span<const HostTensor> tensors, const Tape& tape) const override {
    return inner_->WeightBytes(tensors, tape);
  }
  uint64_t PlanBytes(const Tape& tape, const KvGeometry& geometry,
                     uint64_t step_bytes) const override {
    return inner_->PlanBytes(tape, geometry, step_bytes);
  }
  absl::StatusOr<std::unique_ptr<Buffer>> Allocate(uint64_t bytes) override {
    if (Fails()) return Lost();
    return inner_->Allocate(bytes);
  }
  absl::Status Upload(Buffer& to, uint64_t offset, std::span<const std::byte> from) override {
    faults_->uploaded_bytes += from.size();
    return Fails() ? Lost() : inner_->Upload(to, offset, from);
  }
  absl::Status Download(std::span<std::byte> to, const Buffer& from, uint64_t offset) override {
    faults_->downloaded_bytes += to.size();
    return Fails() ? Lost() : inner_->Download(to, from, offset);
  }
  absl::StatusOr<std::unique_ptr<Weights>> LoadWeights(std::span<const HostTensor> tensors,
                                                       const Tape& tape,
                                                       LoadObserver* observer) override {
    if (Fails()) return Lost();
    return inner_->LoadWeights(tensors, tape, observer);
  }
  absl::StatusOr<std::unique_ptr<Plan>> Compile(const Tape& tape,
                                                const Bindings& bindings) override {
    if (Fails()) return Lost();
    faults_->compiled.push_back(bindings);
    return inner_->Compile(tape, bindings);
  }
  absl::StatusOr<Tick> Submit(Plan& plan, std::span<const std::byte> step) override {
    if (Fails()) return Lost();
    return inner_->Submit(plan, step);
  }
  absl::Status Wait(Tick tick) override { return Fails() ? Lost() : inner_->Wait(tick); }
  std::optional<MemoryBudget> Budget() const override { return faults_->budget; }

 private:
  bool Fails() {
    if (faults_->fail_in == 0 || --faults_->fail_in > 0) return false;
    if (faults_->is_lost) faults_->fail_in = 1;
    return true;
  }
  static absl::Status Lost() { return absl::UnavailableError("the device is lost"); }

  const std::unique_ptr<Backend> inner_;
  const std::shared_ptr<Faults> faults_;
  DeviceInfo info_;
};

}  // namespace cormorant::sim
