// Choosing the type of rows. See row_type.h.
#include "runtime/engine/row_type.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>
#include <vector>

namespace cormorant {
namespace {

// From the most bits a number to the fewest.
constexpr std::array<const char*, 4> kTypes = {"f16", "q8_0", "q8_0:q4_0", "q4_0"};

/// Whether no cap stands in the way of any session's whole context.
bool HoldsAllRows(const EnginePlan& plan, const EngineOptions& options) {
  return plan.rows_per_head >= uint64_t{plan.context} * options.max_sessions;
}

/// Bytes of the KV store, of what all rows of all sessions take as f16.
double FractionOf(const EnginePlan& plan, const EngineOptions& options) {
  uint64_t bytes = 0;
  for (const StagePlan& stage : plan.stages) bytes += stage.memory.kv();
  const KvGeometry& rows = plan.geometry;
  return static_cast<double>(bytes) / static_cast<double>(F16RowBytes(rows.head_dim)) /
         rows.heads() / plan.context / options.max_sessions;
}

/// The plan whose rows lose least by measure; nothing where one of their types was not measured
/// with so little room.
const EnginePlan* LeastLoss(const std::vector<EnginePlan>& plans, const EngineOptions& options,
                            const Tuning& tuning) {
  // Fewer bits may fill less of the cap: all are compared at what the cap allows.
  double fraction = 0;
  for (const EnginePlan& plan : plans) fraction = std::max(fraction, FractionOf(plan, options));
  const EnginePlan* best = nullptr;
  double least = 0;
  for (const EnginePlan& plan : plans) {
    const std::optional<double> loss = tuning.LossOf(plan.kv_type, fraction);
    if (!loss.has_value()) return nullptr;
    if (best != nullptr && *loss >= least) continue;
    best = &plan;
    least = *loss;
  }
  return best;
}

}  // namespace

absl::StatusOr<EnginePlan> PlanRows(const EngineOptions& options, const ModelFile& model,
                                    const Tuning* tuning, std::span<const Backend* const> devices,
                                    const Backend* host) {
  if (options.kv_type != "auto") return PlanEngine(options, model, devices, host);
  const size_t types = model.config().head_dim % 32 == 0 ? kTypes.size() : 1;
  std::vector<EnginePlan> plans;
  absl::Status status;
  for (const char* type : std::span(kTypes).first(types)) {
    EngineOptions with = options;
    with.kv_type = type;
    absl::StatusOr<EnginePlan> plan = PlanEngine(with, model, devices, host);
    if (plan.ok()) {
      plans.push_back(*std::move(plan));
    } else {
      status = plan.status();  // Of the last, which is the smallest: nothing smaller helps.
    }
  }
  if (plans.empty()) return status;
  if (tuning != nullptr) {
    if (const EnginePlan* best = LeastLoss(plans, options, *tuning)) return *best;
  }
  const bool is_second = plans.front().kv_type == kTypes.front() && plans.size() > 1 &&
                         !HoldsAllRows(plans.front(), options);
  return plans[is_second ? 1 : 0];
}

}  // namespace cormorant
