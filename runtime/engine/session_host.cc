// Copies of dropped rows, and looking back at them. See session_cache.h.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "platform/clock.h"
#include "runtime/base/status.h"
#include "runtime/engine/session_cache.h"

namespace cormorant {
namespace {

// Of what a look finds, docs/decisions/0029-around-what-was-found.md: places that count as one,
// places on each side that come along, ...
constexpr uint32_t kNear = 4, kAround = 12;
// ... at how many at most, in what share of a head's rows, ...
constexpr uint32_t kPlacesMost = 4, kShareOfRows = 6;
// ... and how important they are: doublings of a share past the threshold.
constexpr uint32_t kDoublings = 3;

}  // namespace

std::unique_ptr<SessionCache::Part> SessionCache::MakePart(KvStore* store, uint32_t table,
                                                           size_t stages) const {
  HostRows::Limits limits = settings_.host;
  limits.bytes_most /= stages;
  return std::make_unique<Part>(store, table, limits);
}

absl::Status SessionCache::CopyDropped(Part& part, std::span<const uint32_t> evict) {
  if (settings_.host.bytes_most == 0 && part.host.retained_most() == 0) return absl::OkStatus();
  const double now = Now();
  part.host.Expire(now);
  std::vector<std::byte> page(part.store->page_bytes());
  for (uint32_t h = 0; h < evict.size(); ++h) {
    const uint32_t end = part.kv.counts()[h], first = end - evict[h];
    for (uint32_t slot = first; slot < end; ++slot) {
      if (slot == first || slot % kPageRows == 0) {
        CORM_RETURN_IF_ERROR(part.store->ReadPage(part.kv.pages(h)[slot / kPageRows], page));
      }
      part.host.Add(h, page, slot % kPageRows, now);
    }
  }
  return absl::OkStatus();
}

bool SessionCache::CanLookBack(uint32_t rows) {
  if (parts_.empty() || uint64_t{next_position_} + rows > settings_.context) return false;
  const double now = Now();
  return settings_.host.bytes_most > 0 &&
         std::all_of(parts_.begin(), parts_.end(), [&](const std::unique_ptr<Part>& part) {
           part->host.Expire(now);
           return part->host.is_complete();
         });
}

absl::StatusOr<bool> SessionCache::CanLookBackAtSome(uint32_t rows) {
  const double now = Now();
  for (const std::unique_ptr<Part>& part : parts_) part->host.Expire(now);
  if (stats().host_rows == 0) return false;
  if (HasPassed(rows)) CORM_RETURN_IF_ERROR(ReturnToContext(rows));
  return stats().host_rows > 0;
}

void SessionCache::BeginLook() {
  found_.clear();
  for (const std::unique_ptr<Part>& part : parts_) part->look = part->host.Drain();
}

TokenRanges SessionCache::AroundFound() const {
  const auto from = [](uint32_t position, uint32_t places) {
    return position < places ? 0 : position - places;
  };
  std::vector<std::pair<double, uint32_t>> places;
  for (const auto& [position, share] : found_) {
    double sum = 0.0;
    for (auto near = found_.lower_bound(from(position, kNear));
         near != found_.end() && near->first <= position + kNear; ++near) {
      sum += near->second;
    }
    places.emplace_back(sum, position);
  }
  std::sort(places.rbegin(), places.rend());
  const std::vector<uint32_t> counts = this->counts();
  const uint64_t rows = std::accumulate(counts.begin(), counts.end(), uint64_t{0});
  const uint64_t most = rows / counts.size() / kShareOfRows / (2 * kAround + 1);
  TokenRanges around;
  uint64_t taken = 0;
  for (const auto& [share, position] : places) {
    if (taken == std::min<uint64_t>(most, kPlacesMost)) break;
    if (around.Contains(position)) continue;
    around.Add(from(position, kAround), position + kAround + 1);
    ++taken;
  }
  return around;
}

absl::Status SessionCache::BringBackAround(uint32_t probe) {
  if (rebased_ > 0 || parts_.empty()) return absl::OkStatus();
  const TokenRanges around = AroundFound();
  EndLook();
  BeginLook();
  for (const std::unique_ptr<Part>& part : parts_) part->look->Only(around);
  for (;;) {
    const absl::StatusOr<std::optional<uint32_t>> left =
        BringBack(kPageRows, probe, kDoublings * rules_.reach);
    if (absl::IsResourceExhausted(left.status())) return absl::OkStatus();
    CORM_RETURN_IF_ERROR(left.status());
    if (!left->has_value()) return absl::OkStatus();
  }
}

absl::StatusOr<std::optional<uint32_t>> SessionCache::BringBack(uint32_t rows, uint32_t probe,
                                                                uint32_t lead) {
  std::optional<uint32_t> left;
  for (const std::unique_ptr<Part>& part : parts_) {
    part->brought.clear();
    if (!part->look || part->look->left_most() == 0) continue;
    absl::Status status = BringBack(*part, rows, probe, lead);
    for (uint32_t fewer = rows / 2; absl::IsResourceExhausted(status) && fewer > 0; fewer /= 2) {
      status = BringBack(*part, fewer, probe, lead);
    }
    CORM_RETURN_IF_ERROR(status);
    left = std::max(left.value_or(0), part->look->left_most());
  }
  return left;
}

absl::Status SessionCache::BringBack(Part& part, uint32_t rows, uint32_t probe, uint32_t lead) {
  KvSequence& kv = part.kv;
  const uint32_t marks_at = KvPageLayout(part.store->binding().geometry).last_important;
  std::vector<uint32_t> more(kv.heads());
  for (uint32_t h = 0; h < kv.heads(); ++h) more[h] = std::min(rows, part.look->left(h));
  const uint32_t page_limit = PageLimit(part);
  CORM_RETURN_IF_ERROR(DropRows(part, {.room = probe, .more = more, .page_limit = page_limit}));
  CORM_RETURN_IF_ERROR(kv.Prepare(more));
  std::vector<std::byte> page(part.store->page_bytes());
  for (uint32_t h = 0; h < kv.heads(); ++h) {
    const uint32_t first = kv.counts()[h], end = first + more[h];
    for (uint32_t slot = first; slot < end; ++slot) {
      const PageId id = kv.pages(h)[slot / kPageRows];
      if (slot == first) CORM_RETURN_IF_ERROR(part.store->ReadPage(id, page));
      part.look->Take(h, page, slot % kPageRows);
      if (lead > 0) {
        const uint32_t row = slot % kPageRows;  // kPinned is the greatest of marks.
        const uint32_t mark = std::max(WordOf(page, marks_at, row), clock_ + lead);
        std::memcpy(&page[marks_at + row * sizeof(mark)], &mark, sizeof(mark));
      }
      if (slot + 1 == end || (slot + 1) % kPageRows == 0) {
        CORM_RETURN_IF_ERROR(part.store->WritePage(id, page));
      }
    }
  }
  kv.Appended(more);
  in_order_ = 0;
  for (const uint32_t rows_of_head : more) returned_total_ += rows_of_head;
  part.brought = std::move(more);
  return absl::OkStatus();
}

absl::StatusOr<SessionCache::Found> SessionCache::FoundByProbe() {
  Found found;
  for (const std::unique_ptr<Part>& part : parts_) {
    const KvPageLayout layout(part->store->binding().geometry);
    std::vector<std::byte> page(part->store->page_bytes());
    for (uint32_t h = 0; h < part->brought.size(); ++h) {
      const uint32_t end = part->kv.counts()[h], first = end - part->brought[h];
      const double t = rules_.basis == ThresholdBasis::kStep ? clock_ : end;
      double share = 0.0;
      for (uint32_t slot = first; slot < end; ++slot) {
        if (slot == first || slot % kPageRows == 0) {
          CORM_RETURN_IF_ERROR(part->store->ReadPage(part->kv.pages(h)[slot / kPageRows], page));
        }
        const uint32_t mark = WordOf(page, layout.last_important, slot % kPageRows);
        if (mark < clock_ || mark == kPinned) continue;
        ++found.rows;
        const double lead = mark - clock_;
        const double of_row =
            rules_.importance_scale / t * std::exp2(rules_.reach == 0 ? 0 : lead / rules_.reach);
        found_[WordOf(page, layout.positions, slot % kPageRows)] += of_row;
        share += of_row;
      }
      found.share_sum += share;
      found.share_most = std::max(found.share_most, share);
    }
  }
  return found;
}

void SessionCache::EndLook() {
  for (const std::unique_ptr<Part>& part : parts_) {
    if (part->look) part->look->Return(&part->host);
    part->look.reset();
    part->brought.clear();
  }
}

}  // namespace cormorant
