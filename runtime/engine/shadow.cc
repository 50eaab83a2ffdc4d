// Following and comparing. See shadow.h.
#include "runtime/engine/shadow.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/base/check.h"
#include "runtime/base/status.h"
#include "runtime/base/wipe.h"

namespace cormorant {

absl::StatusOr<std::unique_ptr<Shadow>> Shadow::Create(std::shared_ptr<Engine> engine,
                                                       SessionOptions options) {
  options.mode = Mode::kOn;
  absl::StatusOr<std::unique_ptr<Session>> session = Session::Create(std::move(engine), options);
  if (absl::IsResourceExhausted(session.status())) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "mode observe takes two of the engine's sessions: ", session.status().message()));
  }
  CORM_RETURN_IF_ERROR(session.status());
  if (!(*session)->drops_by_itself()) {
    return absl::InvalidArgumentError(
        "mode observe has nothing to observe, since this session would drop nothing; set a budget "
        "(kv_budget_bytes, --kv-budget) and a policy other than none");
  }
  return std::unique_ptr<Shadow>(new Shadow(*std::move(session)));
}

void Shadow::CompareNewest(std::optional<uint32_t> next) {
  const std::span<const float> kept = session_->logits();
  if (!newest_.empty() && !kept.empty()) {
    observed_.divergence.Add(newest_.data(), kept.data(), kept.size(), next);
  }
  WipeAll(&newest_);
}

void Shadow::Follow(const Request& request) {
  const size_t before = session_->tokens().size();
  CORM_CHECK(!observed_.status.ok() || before >= request.before);
  if (!observed_.status.ok() || before == request.before + request.done) return;
  const std::span<const uint32_t> ids =
      request.ids.first(request.done).subspan(before - request.before);
  CompareNewest(ids.front());
  const size_t rows = request.logits_rows, first = ids.size() - rows;
  const WantLogits want = rows == 0   ? WantLogits::kNone
                          : rows == 1 ? WantLogits::kLast
                                      : WantLogits::kAll;
  const absl::Status status =
      session_->Read(ids, request.use, want, [&](size_t index, std::span<const float> kept) {
        if (index < first) return true;
        const size_t vocab = kept.size();
        const float* const full = &request.logits[(index - first) * vocab];
        if (index + 1 == ids.size()) {
          newest_.assign(full, full + vocab);
        } else {
          observed_.divergence.Add(full, kept.data(), vocab, ids[index + 1]);
        }
        return true;
      });
  if (!status.ok()) return End(status);
  observed_.cache = session_->stats();
  observed_.bytes_peak = std::max(observed_.bytes_peak, observed_.cache.bytes);
}

absl::StatusOr<Session::Recalled> Shadow::Recall(std::span<const uint32_t> ids,
                                                 Session::Progress progress) {
  if (!observed_.status.ok()) return Session::Recalled();
  absl::StatusOr<Session::Recalled> recalled = session_->Recall(ids, progress);
  if (recalled.ok() || absl::IsCancelled(recalled.status())) return recalled;
  End(recalled.status());
  return Session::Recalled();
}

void Shadow::Also(size_t from, size_t to, Change change) {
  if (!observed_.status.ok()) return;
  CompareNewest(std::nullopt);
  to = std::min(to, session_->tokens().size());
  if (from >= to) return;
  const absl::Status status = change(*session_, from, to, [](uint64_t, uint64_t) { return true; });
  if (!status.ok()) End(status);
}

void Shadow::Rewind(size_t to) {
  if (!observed_.status.ok()) return;
  CompareNewest(std::nullopt);
  const absl::Status status = session_->Rewind(std::min(to, session_->tokens().size()));
  if (!status.ok()) End(status);
}

bool Shadow::GiveWay() {
  if (!observed_.status.ok()) return false;
  End(absl::ResourceExhaustedError("the session itself needed the pages that observing it took"));
  return true;
}

void Shadow::End(const absl::Status& status) {
  observed_.status = status;
  observed_.tokens = session_->tokens().size();
  Restart();
}

void Shadow::Restart() {
  CompareNewest(std::nullopt);
  session_->Reset();
}

void Shadow::Reset() {
  Restart();
  observed_ = Observed{};
}

Observed Shadow::observed() const {
  Observed now = observed_;
  if (now.status.ok()) now.tokens = session_->tokens().size();
  const std::span<const float> kept = session_->logits();
  if (!newest_.empty() && !kept.empty()) {
    now.divergence.Add(newest_.data(), kept.data(), kept.size(), std::nullopt);
  }
  return now;
}

}  // namespace cormorant
