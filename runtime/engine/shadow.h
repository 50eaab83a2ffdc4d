// A shadow: what a session would be if it dropped rows, beside the one that drops none (`observe`).
//
// It is a session of its own, with the policy and budget that were asked for, and reads exactly
// what the observed session reads, right after it. Both next-token distributions are compared:
// after every token where the engine has all_logits, else after the last of each read, which is
// every token once an answer is generated. The comparison after the newest token waits for the
// token that follows; a recall, which is the shadow's alone, comes before it.
//
// Nothing that happens to a shadow happens to the observed session: on an error it ends, gives its
// pages back, and its report says from which token on it is missing, and why. After a lost device
// it reads its tokens again as any session does. It takes the compute of a second session, one of
// the engine's sessions, and its budget; a running step of it is not cancelled.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "runtime/engine/divergence.h"
#include "runtime/engine/session.h"

namespace cormorant {

/// What dropping would have done so far.
struct Observed {
  Divergence divergence;      // Of the shadow's distributions from the session's.
  SessionCache::Stats cache;  // What the shadow holds; held, where it has ended.
  uint64_t bytes_peak = 0;    // Greatest size after a read.
  absl::Status status;        // Why it has ended; OK while it goes on.
  uint64_t tokens = 0;        // That it has read.
};

class Shadow {
 public:
  /// INVALID_ARGUMENT where nothing would ever be dropped, RESOURCE_EXHAUSTED when the engine has
  /// no room for a second session.
  static absl::StatusOr<std::unique_ptr<Shadow>> Create(std::shared_ptr<Engine> engine,
                                                        SessionOptions options);

  /// Reads what a request of the observed session has read since the last call, and compares.
  void Follow(const Request& request);
  /// Session::Recall() on the shadow. CANCELLED when `progress` says so; other errors end it.
  absl::StatusOr<Session::Recalled> Recall(std::span<const uint32_t> ids,
                                           Session::Progress progress);
  /// Does to tokens [from, to), as far as the shadow has read them, what is about to be done to
  /// those of the observed session; an error ends it.
  using Change = absl::FunctionRef<absl::Status(Session& session, size_t from, size_t to,
                                                Session::Progress progress)>;
  void Also(size_t from, size_t to, Change change);
  /// As Session::Rewind().
  void Rewind(size_t to);
  /// Ends so that the observed session can have its pages; false when it has ended before.
  bool GiveWay();
  /// Follows the session when it starts again with no tokens; the report goes on.
  void Restart();
  /// Begins anew: an empty session, an empty report.
  void Reset();

  Observed observed() const;

 private:
  explicit Shadow(std::unique_ptr<Session> session) : session_(std::move(session)) {}
  /// The distributions after the newest token; `next` follows it, where there will be one.
  void CompareNewest(std::optional<uint32_t> next);
  void End(const absl::Status& status);

  const std::unique_ptr<Session> session_;
  Observed observed_;
  std::vector<float> newest_;  // The session's logits after the newest token; empty: not known.
};

}  // namespace cormorant
