// Reservations against the cap. See ledger.h.
#include "runtime/cache/ledger.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "runtime/base/check.h"
#include "runtime/base/status.h"

namespace cormorant {
namespace {

bool IsKv(MemoryCategory category) {
  return category == MemoryCategory::kKvPages || category == MemoryCategory::kKvMetadata;
}

absl::Status Exceeded(absl::string_view what, uint64_t cap, uint64_t used, uint64_t asked,
                      MemoryCategory category) {
  return absl::ResourceExhaustedError(absl::StrCat(what, " of ", cap, " bytes: ", used, " in use, ",
                                                   asked, " more asked for ",
                                                   CategoryName(category)));
}

}  // namespace

absl::string_view CategoryName(MemoryCategory category) {
  static constexpr absl::string_view kNames[] = {"weights",     "kv_pages", "kv_metadata",
                                                 "activations", "staging",  "program"};
  static_assert(std::size(kNames) == kMemoryCategories);
  return kNames[static_cast<size_t>(category)];
}

absl::Status MemoryLedger::Reserve(MemoryPlace place, MemoryCategory category, uint64_t bytes) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const bool is_host = place == MemoryPlace::kHost;
  // Written as subtractions: sums of untrusted sizes could wrap.
  if (!is_host && cap_bytes_ != 0 && bytes > cap_bytes_ - now_.used) {
    return Exceeded("memory cap", cap_bytes_, now_.used, bytes, category);
  }
  if (IsKv(category) && kv_cap_bytes_ != 0 && bytes > kv_cap_bytes_ - now_.kv_used) {
    return Exceeded("KV cap", kv_cap_bytes_, now_.kv_used, bytes, category);
  }
  uint64_t& used = is_host ? now_.host_used : now_.used;
  uint64_t& peak = is_host ? now_.host_peak : now_.peak;
  used += bytes;
  peak = std::max(peak, used);
  if (!is_host) now_.by_category[static_cast<size_t>(category)] += bytes;
  if (IsKv(category)) {
    now_.kv_used += bytes;
    now_.kv_peak = std::max(now_.kv_peak, now_.kv_used);
  }
  return absl::OkStatus();
}

void MemoryLedger::Release(MemoryPlace place, MemoryCategory category, uint64_t bytes) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const bool is_host = place == MemoryPlace::kHost;
  uint64_t& used = is_host ? now_.host_used : now_.used;
  CORM_CHECK(bytes <= used);
  used -= bytes;
  if (!is_host) {
    uint64_t& held = now_.by_category[static_cast<size_t>(category)];
    CORM_CHECK(bytes <= held);
    held -= bytes;
  }
  if (IsKv(category)) now_.kv_used -= bytes;
}

MemoryLedger::Snapshot MemoryLedger::Read() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  Snapshot snapshot = now_;
  snapshot.cap = cap_bytes_;
  snapshot.kv_cap = kv_cap_bytes_;
  return snapshot;
}

absl::StatusOr<Reservation> Reservation::Take(MemoryLedger* ledger, MemoryPlace place,
                                              MemoryCategory category, uint64_t bytes) {
  CORM_RETURN_IF_ERROR(ledger->Reserve(place, category, bytes));
  Reservation taken;
  taken.ledger_ = ledger;
  taken.place_ = place;
  taken.category_ = category;
  taken.bytes_ = bytes;
  return taken;
}

Reservation& Reservation::operator=(Reservation&& other) noexcept {
  if (this == &other) return *this;
  Give();
  ledger_ = std::exchange(other.ledger_, nullptr);
  place_ = other.place_;
  category_ = other.category_;
  bytes_ = other.bytes_;
  return *this;
}

void Reservation::Give() {
  if (ledger_ != nullptr) ledger_->Release(place_, category_, bytes_);
  ledger_ = nullptr;
}

}  // namespace cormorant
