// Tokens that stay, tokens that are erased, and the record of what was dropped. See session.h.
#include <algorithm>
#include <limits>

#include "absl/strings/str_cat.h"
#include "runtime/base/status.h"
#include "runtime/base/units.h"
#include "runtime/base/wipe.h"
#include "runtime/engine/session.h"
#include "runtime/engine/shadow.h"

namespace cormorant {
absl::Status Session::CheckRange(size_t from, size_t to) const {
  if (from < to && to <= tokens_.size()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("tokens from ", from, " up to ", to,
                                                 " are none of the session's ", tokens_.size()));
}

absl::Status Session::CanPin(size_t from, size_t to) const {
  if (!cache_->evicts()) return absl::OkStatus();
  TokenRanges kept = pins_;
  kept.Add(0, options_.sinks);
  kept.Add(from, to);
  const uint32_t context = engine_->plan().context;
  const uint32_t rows = plan_.capped ? std::min(plan_.rows_per_head, context) : context;
  const uint64_t needed =
      RoundUp(uint64_t{kept.count()} + cache_->recent() + plan_.prefill_chunk, kPageRows);
  if (needed <= rows) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrCat("with tokens from ", from, " up to ", to, ", ", kept.count(),
                   " would be pinned; they, the ", cache_->recent(), " newest rows and a step of ",
                   plan_.prefill_chunk, " need ", needed, " rows a head, and there is room for ",
                   rows, ": pin less, raise the cap or lower --corm-recent"));
}

absl::Status Session::Pin(size_t from, size_t to, Progress progress) {
  CORM_RETURN_IF_ERROR(CheckRange(from, to));
  if (pins_.Covers(from, to)) return absl::OkStatus();
  CORM_RETURN_IF_ERROR(CanPin(from, to));
  if (shadow_ != nullptr) shadow_->Also(&Session::Pin, from, to);
  pins_.Add(from, to);
  return PinsChanged({{from, to}}, true, progress);
}

absl::Status Session::Unpin(size_t from, size_t to, Progress progress) {
  CORM_RETURN_IF_ERROR(CheckRange(from, to));
  if (!pins_.Touches(from, to)) return absl::OkStatus();
  if (shadow_ != nullptr) shadow_->Also(&Session::Unpin, from, to);
  std::vector<TokenRanges::Range> pinned;  // What was not keeps its rank.
  for (const auto& [first, last] : pins_.list()) {
    pinned.emplace_back(std::max(first, from), std::min(last, to));
  }
  std::erase_if(pinned, [](const auto& range) { return range.first >= range.second; });
  pins_.Remove(from, to);
  return PinsChanged(pinned, false, progress);
}

absl::Status Session::PinsChanged(const std::vector<TokenRanges::Range>& ranges, bool is_pinned,
                                  Progress progress) {
  bool is_done = true;
  engine_->Exclusively([&] {
    for (const auto& [from, to] : ranges) {
      is_done = is_done &&
                cache_->SetPinned(static_cast<uint32_t>(from), static_cast<uint32_t>(to), is_pinned)
                    .value_or(false);
    }
  });
  if (is_done) return absl::OkStatus();
  ForgetCache(DropCause::kPin);
  return ReadRest(progress);
}

absl::Status Session::Purge(size_t from, size_t to, Progress progress) {
  CORM_RETURN_IF_ERROR(CheckRange(from, to));
  if (shadow_ != nullptr) shadow_->Also(&Session::Purge, from, to);
  engine_->Exclusively([&] {
    const auto first = static_cast<uint32_t>(from), last = static_cast<uint32_t>(to - 1);
    if (audit_ == nullptr) return;
    audit_->Add({.step = static_cast<uint32_t>(tokens_.size()),
                 .rebased = cache_->stats().rebased,
                 .cause = DropCause::kPurge,
                 .positions = {{first, last}}});
  });
  WipeRange(&tokens_, from, to);
  WipeAll(&pending_);
  WipeAll(&logits_);
  WipeAll(&top_);
  pins_.Cut(from, to);
  const absl::Status erased = engine_->Erase(*cache_);
  GoOnFromLastToken();
  if (!erased.ok()) return At("what was purged may not be overwritten on the device", erased);
  return ReadRest(progress);
}

absl::Status Session::Hold(uint32_t tokens) {
  absl::Status status;
  const auto rows = static_cast<uint32_t>(pending_.size() + tokens);
  engine_->Exclusively([&] { status = cache_->Hold(rows); });
  return status;
}

absl::Status Session::Rewind(size_t to) {
  if (to > tokens_.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("a session of ", tokens_.size(), " tokens cannot be rewound to ", to));
  }
  engine_->Exclusively([&] { cache_->Release(); });
  if (to == tokens_.size()) return absl::OkStatus();
  // The last token will be read again, for the logits after it.
  if (shadow_ != nullptr) shadow_->Rewind(to - std::min<size_t>(to, 1));
  WipeRange(&tokens_, to, tokens_.size());
  pins_.Remove(to, std::numeric_limits<size_t>::max());
  ForgetLogits();
  GoOnFromLastToken();
  bool is_done = false;
  engine_->Exclusively([&] {
    const size_t read = cache_->clock();
    const auto take_back = [&](size_t kept) {
      return read <= kept || cache_->TakeBack(static_cast<uint32_t>(read - kept)).value_or(false);
    };
    is_done = take_back(to - pending_.size());
    if (is_done || !take_back(to)) return;
    pending_.clear();  // The last token's row is not among those that can go.
    is_done = true;
  });
  if (!is_done) ForgetCache(DropCause::kRewind);
  return absl::OkStatus();
}

void Session::ForgetCache(DropCause cause) {
  ForgetLogits();
  engine_->Exclusively([&] {
    cache_->NoteForgotten(cause);
    cache_->Clear();
  });
  GoOnFromLastToken();
}

void Session::GoOnFromLastToken() {
  pending_.assign(tokens_.end() - (tokens_.empty() ? 0 : 1), tokens_.end());
}

absl::Status Session::ReadRest(Progress progress) {
  if (tokens_.empty()) return absl::OkStatus();
  if (pending_.empty() && logits_.empty() && top_.empty()) ForgetCache(DropCause::kRewind);
  const std::span<const uint32_t> log = tokens_;
  CORM_RETURN_IF_ERROR(ReadLog({.log = log.first(log.size() - 1), .pins = pins_.list()}, progress));
  return ReadPending(WantLogits::kLast);
}

void Session::ReadAudit(absl::FunctionRef<void(const Audit& audit)> read) const {
  static const Audit kNone(0);
  engine_->Exclusively([&] { read(audit_ != nullptr ? *audit_ : kNone); });
}

}  // namespace cormorant
