// Turns and chunks. See scheduler.h.
#include "runtime/sched/scheduler.h"

#include <algorithm>

#include "runtime/base/check.h"

namespace cormorant {

void Scheduler::Add(RequestId request, uint32_t tokens, uint32_t chunk) {
  CORM_CHECK(tokens > 0 && chunk > 0);
  ready_.push_back({request, tokens, chunk});
}

void Scheduler::Resume(RequestId request) {
  const auto it = std::find_if(parked_.begin(), parked_.end(),
                               [&](const Entry& entry) { return entry.request == request; });
  CORM_CHECK(it != parked_.end());
  ready_.push_back(*it);
  parked_.erase(it);
}

void Scheduler::Remove(RequestId request) {
  const auto is_it = [&](const Entry& entry) { return entry.request == request; };
  std::erase_if(ready_, is_it);
  std::erase_if(parked_, is_it);
}

Batch Scheduler::Next() {
  const auto is_decode = [](const Entry& entry) { return entry.remaining == 1; };
  const bool any_decode = std::any_of(ready_.begin(), ready_.end(), is_decode);
  const bool any_prefill = !std::all_of(ready_.begin(), ready_.end(), is_decode);
  if (any_decode && !(any_prefill && last_was_decode_)) {
    last_was_decode_ = true;
    return TakeDecodes();
  }
  last_was_decode_ = false;
  return any_prefill ? TakePrefill() : Batch{};
}

Batch Scheduler::TakeDecodes() {
  Batch batch;
  for (auto it = ready_.begin(); it != ready_.end() && batch.size() < limits_.decode_requests;) {
    if (it->remaining != 1) {
      ++it;
      continue;
    }
    batch.push_back({it->request, 1});
    it = ready_.erase(it);
  }
  return batch;
}

Batch Scheduler::TakePrefill() {
  const auto it = std::find_if(ready_.begin(), ready_.end(),
                               [](const Entry& entry) { return entry.remaining > 1; });
  Entry entry = *it;
  ready_.erase(it);
  const uint32_t tokens = std::min({entry.remaining, entry.chunk, limits_.prefill_chunk});
  entry.remaining -= tokens;
  if (entry.remaining > 0) parked_.push_back(entry);
  return {{entry.request, tokens}};
}

}  // namespace cormorant
