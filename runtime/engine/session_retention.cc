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

absl::Status Session::CanStay(size_t from, size_t to, RowUse use) const {
  if (!cache_->evicts()) return absl::OkStatus();
  const uint32_t context = engine_->plan().context;
  TokenRanges kept = pins_, on_host = on_host_;
  (use == RowUse::kRetainOnHost ? on_host : kept).Add(from, to);
  (use == RowUse::kRetainOnHost ? kept : on_host).Remove(from, to);
  kept.Add(0, options_.sinks);
  if (use == RowUse::kRetainOnHost && !cache_->judges()) {
    return absl::FailedPreconditionError(
        "attention has no say in what this session's policy drops, so rows on the host could not "
        "come back; retain them resident, or use corm");
  }
  if (on_host.count() > context / 4) {
    return absl::ResourceExhaustedError(
        absl::StrCat("with tokens from ", from, " up to ", to, ", ", on_host.count(),
                     " would be retained on the host; there are positions for ", context / 4,
                     ", a quarter of the context: retain less"));
  }
  const auto positions = context - static_cast<uint32_t>(RoundUp(on_host.count(), kPageRows));
  const uint32_t rows = plan_.capped ? std::min(plan_.rows_per_head, positions) : positions;
  const uint64_t needed =
      RoundUp(uint64_t{kept.count()} + cache_->recent() + plan_.prefill_chunk, kPageRows);
  if (needed <= rows) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrCat("with tokens from ", from, " up to ", to, ", ", kept.count(),
                   " would be pinned; they, the ", cache_->recent(), " newest rows and a step of ",
                   plan_.prefill_chunk, " need ", needed, " rows a head, and there is room for ",
                   rows, ": pin less, raise the cap or lower --corm-recent"));
}

absl::Status Session::MayGo(size_t from, size_t to) {
  for (const auto& [ranges, where] :
       {std::pair(&retained_, ""), std::pair(&on_host_, " on the host")}) {
    for (const auto& [first, last] : ranges->list()) {
      if (std::max(first, from) >= std::min(last, to)) continue;
      Note(DropCause::kRefused, from, to);
      return absl::FailedPreconditionError(
          absl::StrCat("tokens from ", first, " up to ", last, " are retained", where,
                       "; corm_session_release() them first (/release in a chat)"));
    }
  }
  return absl::OkStatus();
}

RowUse Session::UseOf(size_t from, size_t to) const {
  return retained_.Touches(from, to)  ? RowUse::kRetain
         : on_host_.Touches(from, to) ? RowUse::kRetainOnHost
         : pins_.Touches(from, to)    ? RowUse::kPin
                                      : RowUse::kKeep;
}

void Session::Set(size_t from, size_t to, RowUse use) {
  for (TokenRanges* ranges : {&pins_, &retained_, &on_host_}) ranges->Remove(from, to);
  if (use == RowUse::kPin || use == RowUse::kRetain) pins_.Add(from, to);
  if (use == RowUse::kRetain) retained_.Add(from, to);
  if (use == RowUse::kRetainOnHost) on_host_.Add(from, to);
}

absl::Status Session::Pin(size_t from, size_t to, Progress progress) {
  CORM_RETURN_IF_ERROR(CheckRange(from, to));
  if (pins_.Covers(from, to)) return absl::OkStatus();
  if (on_host_.Touches(from, to)) {
    return absl::FailedPreconditionError(
        absl::StrCat("some of tokens from ", from, " up to ", to,
                     " are retained on the host; retain them resident instead, or release them"));
  }
  CORM_RETURN_IF_ERROR(CanStay(from, to, RowUse::kPin));
  if (shadow_ != nullptr) shadow_->Also(from, to, &Session::Pin);
  pins_.Add(from, to);
  return TellCache([&] { return SetPinned({{{from, to}}}, true); }, progress);
}

absl::Status Session::Unpin(size_t from, size_t to, Progress progress) {
  CORM_RETURN_IF_ERROR(CheckRange(from, to));
  CORM_RETURN_IF_ERROR(MayGo(from, to));
  const std::vector<TokenRanges::Range> pinned = pins_.Within(from, to);  // The rest has its rank.
  if (pinned.empty()) return absl::OkStatus();
  if (shadow_ != nullptr) shadow_->Also(from, to, &Session::Unpin);
  pins_.Remove(from, to);
  return TellCache([&] { return SetPinned(pinned, false); }, progress);
}

absl::Status Session::Retain(size_t from, size_t to, RowUse how, Progress progress) {
  CORM_RETURN_IF_ERROR(CheckRange(from, to));
  const bool is_on_host = how == RowUse::kRetainOnHost;
  if ((is_on_host ? on_host_ : retained_).Covers(from, to)) return absl::OkStatus();
  CORM_RETURN_IF_ERROR(CanStay(from, to, how));
  if (shadow_ != nullptr) {
    shadow_->Also(from, to, [how](Session& shadow, size_t first, size_t last, Progress go) {
      return shadow.Retain(first, last, how, go);
    });
  }
  Note(DropCause::kRetain, from, to);
  const std::vector<TokenRanges::Range> pinned = pins_.Within(from, to);
  Set(from, to, how);
  return TellCache(
      [&]() -> absl::StatusOr<bool> {
        // First what can fail, so that no row is without either.
        const auto first = static_cast<uint32_t>(from), last = static_cast<uint32_t>(to);
        if (!is_on_host) {
          CORM_ASSIGN_OR_RETURN(const bool is_done, SetPinned({{{from, to}}}, true));
          return is_done ? cache_->SetRetained(first, last, false) : false;
        }
        CORM_ASSIGN_OR_RETURN(const bool is_done, cache_->SetRetained(first, last, true));
        return is_done ? SetPinned(pinned, false) : false;
      },
      progress);
}

absl::Status Session::Release(size_t from, size_t to, Progress progress) {
  CORM_RETURN_IF_ERROR(CheckRange(from, to));
  const std::vector<TokenRanges::Range> resident = retained_.Within(from, to);
  const std::vector<TokenRanges::Range> on_host = on_host_.Within(from, to);
  if (resident.empty() && on_host.empty()) return absl::OkStatus();
  if (shadow_ != nullptr) shadow_->Also(from, to, &Session::Release);
  for (const std::vector<TokenRanges::Range>& ranges : {resident, on_host}) {
    for (const auto& [first, last] : ranges) {
      Note(DropCause::kRelease, first, last);
      Set(first, last, RowUse::kKeep);
    }
  }
  return TellCache(
      [&]() -> absl::StatusOr<bool> {
        for (const auto& [first, last] : on_host) {
          CORM_ASSIGN_OR_RETURN(const bool is_done,
                                cache_->SetRetained(static_cast<uint32_t>(first),
                                                    static_cast<uint32_t>(last), false));
          if (!is_done) return false;
        }
        return SetPinned(resident, false);
      },
      progress);
}

absl::StatusOr<bool> Session::SetPinned(std::span<const TokenRanges::Range> ranges,
                                        bool is_pinned) {
  for (const auto& [from, to] : ranges) {
    CORM_ASSIGN_OR_RETURN(
        const bool is_done,
        cache_->SetPinned(static_cast<uint32_t>(from), static_cast<uint32_t>(to), is_pinned));
    if (!is_done) return false;
  }
  return true;
}

absl::Status Session::TellCache(absl::FunctionRef<absl::StatusOr<bool>()> in_place,
                                Progress progress) {
  bool is_done = false;
  engine_->Exclusively([&] { is_done = in_place().value_or(false); });
  if (is_done) return absl::OkStatus();
  ForgetCache(DropCause::kPin);
  return ReadRest(progress);
}

void Session::Note(DropCause cause, size_t from, size_t to) {
  engine_->Exclusively([&] {
    const auto first = static_cast<uint32_t>(from), last = static_cast<uint32_t>(to - 1);
    if (audit_ == nullptr || from >= to) return;
    audit_->Add({.step = static_cast<uint32_t>(tokens_.size()),
                 .rebased = cache_->stats().rebased,
                 .cause = cause,
                 .positions = {{first, last}}});
  });
}

absl::Status Session::Purge(size_t from, size_t to, Progress progress) {
  CORM_RETURN_IF_ERROR(CheckRange(from, to));
  if (shadow_ != nullptr) shadow_->Also(from, to, &Session::Purge);
  Note(DropCause::kPurge, from, to);
  WipeRange(&tokens_, from, to);
  WipeAll(&pending_);
  WipeAll(&logits_);
  WipeAll(&top_);
  for (TokenRanges* ranges : {&pins_, &retained_, &on_host_}) ranges->Cut(from, to);
  const absl::Status erased = engine_->Erase(*cache_);
  GoOnFromLastToken();
  if (!erased.ok()) return At("what was purged may not be overwritten on the device", erased);
  return ReadRest(progress);
}

absl::Status Session::Hold(uint32_t tokens) {
  absl::Status status;
  const auto rows = static_cast<uint32_t>(pending_.size() + tokens);
  engine_->Exclusively([&] { status = cache_->Hold(rows); });
  // Outside of a step nobody else notices that rows are on their way, or half moved.
  if (absl::IsUnavailable(status)) ForgetCache(DropCause::kLost);
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
  Set(to, std::numeric_limits<size_t>::max(), RowUse::kKeep);
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
  CORM_RETURN_IF_ERROR(
      ReadLog({.log = log.first(log.size() - 1), .pins = pins_, .on_host = on_host_}, progress));
  return ReadPending(WantLogits::kLast);
}

void Session::ReadAudit(absl::FunctionRef<void(const Audit& audit)> read) const {
  static const Audit kNone(0);
  engine_->Exclusively([&] { read(audit_ != nullptr ? *audit_ : kNone); });
}

}  // namespace cormorant
