// Which type rows of the cache have, where that is left to the runtime (kv_type "auto").
//
// More bits a number cost rows under a cap, and rows cost more than bits down to some point. Where
// a tuning has measured all types that fit, the one with the least loss at the cap's fraction of
// all bytes is taken. Else the rule is f16 where all rows of the context fit as f16, else q8_0:
// at half the bytes it costs 0.0006 nats with nothing dropped, and every type of 4 bits cost more
// than the rows it saved were worth at 13 % of the bytes (docs/decisions/0013-four-bit-rows.md).
// Types of 4 bits are then taken only where nothing else fits. Pure.
#pragma once
#include <span>

#include "absl/status/statusor.h"
#include "runtime/engine/planner.h"
#include "runtime/engine/tuning.h"

namespace cormorant {

/// As PlanEngine(), for a kv_type that may be "auto". `tuning` may be null. Heads that are no
/// multiple of 32 dimensions have f16 rows.
absl::StatusOr<EnginePlan> PlanRows(const EngineOptions& options, const ModelFile& model,
                                    const Tuning* tuning, std::span<const Backend* const> devices,
                                    const Backend* host);

}  // namespace cormorant
