// Loading and replaying a device's share. See stage.h.
#include "runtime/engine/stage.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/base/check.h"
#include "runtime/base/status.h"
#include "runtime/base/wipe.h"
#include "runtime/ops/validate.h"

namespace cormorant {

absl::Status CheckSupport(const Backend& backend, const Tape& tape) {
  for (const Op& op : tape.ops) {
    const SupportAnswer answer = backend.Supports(op);
    if (answer.support != Support::kNone) continue;
    return absl::UnimplementedError(absl::StrCat(
        "backend ", backend.Name(), " cannot compute ", ToString(op), ": no ", answer.why,
        backend.Device().is_host ? "" : "; --backend cpu computes everything"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Stage>> Stage::Create(std::unique_ptr<Backend> backend,
                                                     uint32_t index, const Inputs& inputs,
                                                     MemoryLedger* ledger, LoadObserver* observer) {
  std::unique_ptr<Stage> stage(new Stage(std::move(backend), index));
  CORM_RETURN_IF_ERROR(stage->Load(inputs, ledger, observer));
  const StagePlan& plan = inputs.plan.stages[index];
  CORM_ASSIGN_OR_RETURN(stage->store_,
                        KvStore::Create(plan, inputs.options.max_sessions, inputs.model.rope(),
                                        stage->backend_.get(), stage->weights_.get(), ledger));
  CORM_RETURN_IF_ERROR(stage->Compile(inputs));
  return stage;
}

absl::Status Stage::Load(const Inputs& inputs, MemoryLedger* ledger, LoadObserver* observer) {
  const Tape tape = StageTape(inputs.buckets.back().parts, index_);
  CORM_RETURN_IF_ERROR(CheckSupport(*backend_, tape));
  const StagePlan& plan = inputs.plan.stages[index_];
  for (const auto& [category, bytes] :
       {std::pair(MemoryCategory::kActivations, plan.memory.activations),
        std::pair(MemoryCategory::kStaging, plan.memory.staging),
        std::pair(MemoryCategory::kProgram, plan.memory.program),
        std::pair(MemoryCategory::kWeights, plan.memory.weights)}) {
    CORM_ASSIGN_OR_RETURN(Reservation taken,
                          Reservation::Take(ledger, plan.place, category, bytes));
    reserved_.push_back(std::move(taken));
  }
  // All that follows but pages.
  CORM_RETURN_IF_ERROR(backend_->Reserve(plan.memory.fixed() + plan.memory.kv_metadata));
  CORM_ASSIGN_OR_RETURN(weights_,
                        backend_->LoadWeights(inputs.model.HostTensors(), tape, observer));
  return absl::OkStatus();
}

absl::Status Stage::Compile(const Inputs& inputs) {
  TapeLimits limits;
  limits.geometry = inputs.plan.stages[index_].geometry;
  for (const HostTensor& tensor : inputs.model.HostTensors()) {
    limits.weights.push_back({tensor.dtype, tensor.shape});
  }
  uint64_t arena_bytes = 1, out_bytes = 1, handover_bytes = 0;
  for (const Bucket& bucket : inputs.buckets) {
    const Tape own = StageTape(bucket.parts, index_);
    arena_bytes = std::max(arena_bytes, own.arena_bytes);
    out_bytes = std::max(out_bytes, own.out_bytes);
    for (const TapePart& part : bucket.parts) {
      for (const Handover& input : part.inputs) {
        handover_bytes = std::max(handover_bytes, input.tensor.bytes());
      }
    }
  }
  handover_.resize(handover_bytes);
  CORM_ASSIGN_OR_RETURN(arena_, backend_->Allocate(arena_bytes));
  CORM_ASSIGN_OR_RETURN(out_, backend_->Allocate(out_bytes));
  const Bucket& largest = inputs.buckets.back();
  step_ = std::make_unique<StepBuffer>(StepBuffer::Bounds{
      largest.rows, largest.out_rows, inputs.options.max_sessions, limits.geometry.heads()});
  const Bindings bindings{weights_.get(), arena_.get(), out_.get(), &store_->binding(),
                          step_->bytes().size()};
  for (const Bucket& bucket : inputs.buckets) {
    plans_.emplace_back(bucket.parts.size());
    for (size_t i = 0; i < bucket.parts.size(); ++i) {
      const TapePart& part = bucket.parts[i];
      if (part.stage != index_) continue;
      CORM_RETURN_IF_ERROR(Validate(part.tape, limits));
      CORM_ASSIGN_OR_RETURN(plans_.back()[i], backend_->Compile(part.tape, bindings));
    }
  }
  return absl::OkStatus();
}

absl::Status Stage::Take(const Handover& handover, Stage& from, uint32_t rows) {
  const Tensor& tensor = handover.tensor;
  const uint64_t bytes = tensor.bytes() / tensor.shape[0] * rows;
  const std::optional<absl::Status> copied = backend_->CopyFrom(
      *arena_, tensor.offset, *from.backend_, *from.arena_, tensor.offset, bytes);
  if (copied.has_value()) return *copied;
  const std::span<std::byte> copy = std::span(handover_).first(bytes);
  CORM_RETURN_IF_ERROR(from.backend_->Download(copy, *from.arena_, tensor.offset));
  return backend_->Upload(*arena_, tensor.offset, copy);
}

absl::Status Stage::Run(size_t bucket, size_t part) {
  Plan* const plan = plans_[bucket][part].get();
  CORM_CHECK(plan != nullptr);
  CORM_ASSIGN_OR_RETURN(const Tick tick, backend_->Submit(*plan, step_->bytes()));
  return backend_->Wait(tick);
}

absl::Status Stage::Erase() {
  Wipe(handover_);
  const std::span<uint32_t> ids = step_->ids();
  Wipe(ids);
  const std::vector<std::byte> zeros(uint64_t{1} << 16);
  for (Buffer* buffer : {arena_.get(), out_.get()}) {
    for (uint64_t at = 0; at < buffer->bytes(); at += zeros.size()) {
      const uint64_t bytes = std::min<uint64_t>(zeros.size(), buffer->bytes() - at);
      CORM_RETURN_IF_ERROR(backend_->Upload(*buffer, at, std::span(zeros).first(bytes)));
    }
  }
  return store_->ZeroFree();
}

}  // namespace cormorant
