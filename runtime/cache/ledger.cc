// Reservations against the cap. See ledger.h.
#include "runtime/cache/ledger.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "runtime/base/check.h"

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

absl::Status MemoryLedger::Reserve(MemoryCategory category, uint64_t bytes) {
  const std::lock_guard<std::mutex> lock(mutex_);
  // Written as subtractions: sums of untrusted sizes could wrap.
  if (cap_bytes_ != 0 && bytes > cap_bytes_ - now_.used) {
    return Exceeded("memory cap", cap_bytes_, now_.used, bytes, category);
  }
  if (IsKv(category) && kv_cap_bytes_ != 0 && bytes > kv_cap_bytes_ - now_.kv_used) {
    return Exceeded("KV cap", kv_cap_bytes_, now_.kv_used, bytes, category);
  }
  now_.by_category[static_cast<size_t>(category)] += bytes;
  now_.used += bytes;
  now_.peak = std::max(now_.peak, now_.used);
  if (IsKv(category)) {
    now_.kv_used += bytes;
    now_.kv_peak = std::max(now_.kv_peak, now_.kv_used);
  }
  return absl::OkStatus();
}

void MemoryLedger::Release(MemoryCategory category, uint64_t bytes) {
  const std::lock_guard<std::mutex> lock(mutex_);
  uint64_t& held = now_.by_category[static_cast<size_t>(category)];
  CORM_CHECK(bytes <= held);
  held -= bytes;
  now_.used -= bytes;
  if (IsKv(category)) now_.kv_used -= bytes;
}

MemoryLedger::Snapshot MemoryLedger::Read() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  Snapshot snapshot = now_;
  snapshot.cap = cap_bytes_;
  snapshot.kv_cap = kv_cap_bytes_;
  return snapshot;
}

}  // namespace cormorant
