// The one scheduler: whose tokens run in the next step.
//
// A request is a number of tokens a session wants to read. Requests of one remaining token (decode)
// share a step; longer ones (prefill) go one at a time, in chunks, and take turns with decode so
// that neither starves. After a step a request is parked until its owner has used the outcome and
// resumes it. Pure: no thread, clock or file inside, so it is tested by simulation.
#pragma once
#include <cstdint>
#include <deque>
#include <vector>

namespace cormorant {

using RequestId = uint64_t;

struct BatchEntry {
  RequestId request = 0;
  uint32_t tokens = 0;  // Next tokens of the request to run.
};
using Batch = std::vector<BatchEntry>;

class Scheduler {
 public:
  struct Limits {
    uint32_t prefill_chunk = 1;    // Most tokens of one request in a step.
    uint32_t decode_requests = 1;  // Most requests that share a decode step.
  };
  explicit Scheduler(const Limits& limits) : limits_(limits) {}

  /// From the next step on.
  void SetLimits(const Limits& limits) { limits_ = limits; }
  /// A request for `tokens` > 0 tokens, at most `chunk` > 0 of them in a step; ready at once. Ids
  /// are the caller's and unique.
  void Add(RequestId request, uint32_t tokens, uint32_t chunk = UINT32_MAX);
  /// A parked request with tokens left is ready again.
  void Resume(RequestId request);
  /// Forgets a request in any state.
  void Remove(RequestId request);

  /// The next step; empty when nothing is ready. Its requests are parked, and gone from the
  /// scheduler once their tokens are used up.
  Batch Next();
  bool idle() const { return ready_.empty(); }

 private:
  struct Entry {
    RequestId request;
    uint32_t remaining;
    uint32_t chunk;
  };
  Batch TakeDecodes();
  Batch TakePrefill();

  Limits limits_;
  bool last_was_decode_ = false;
  std::deque<Entry> ready_;  // In order of arrival.
  std::vector<Entry> parked_;
};

}  // namespace cormorant
