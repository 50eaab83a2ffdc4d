// Erasing what a session left on devices. See engine.h.
#include "runtime/engine/engine.h"

namespace cormorant {

absl::Status Engine::Erase(SessionCache& cache) {
  absl::Status status;
  Exclusively([&] {
    for (SessionCache* other : caches_) {
      const bool is_own = other == &cache;
      status.Update(other->Zero(is_own ? SessionCache::Erase::kAll : SessionCache::Erase::kUnused));
    }
    for (const std::unique_ptr<Stage>& stage : stages_) status.Update(stage->Erase());
    cache.Clear();
  });
  return status;
}

}  // namespace cormorant
