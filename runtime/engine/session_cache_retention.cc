// What stays in a session's cache whatever happens, what is erased, and what the audit is told. See
// session_cache.h.
#include <algorithm>

#include "runtime/base/status.h"
#include "runtime/engine/session_cache.h"
#include "runtime/ops/kv_page.h"

namespace cormorant {

absl::StatusOr<bool> SessionCache::SetPinned(uint32_t from, uint32_t to, bool is_pinned) {
  to = std::min(to, clock_);
  if (!is_pinned) from = std::max(from, rules_.sinks);
  if (from >= to) return true;
  if (rebased_ > 0) return false;
  std::vector<std::vector<uint32_t>> slots;  // By head, of all parts.
  std::vector<uint32_t> positions;
  for (const std::unique_ptr<Part>& part : parts_) {
    for (uint32_t h = 0; h < part->kv.heads(); ++h) {
      CORM_RETURN_IF_ERROR(
          part->store->ReadPositions(part->kv.pages(h), part->kv.counts()[h], &positions));
      std::vector<uint32_t>& found = slots.emplace_back();
      for (uint32_t slot = 0; slot < positions.size(); ++slot) {
        if (from <= positions[slot] && positions[slot] < to) found.push_back(slot);
      }
      if (found.size() != to - from) return false;
    }
  }
  // A row that is unpinned is as one that has just been written (KvWriteOp).
  const uint32_t unpinned = rules_.mark_by == MarkBy::kStep ? clock_ : 0;
  size_t head = 0;
  for (const std::unique_ptr<Part>& part : parts_) {
    for (uint32_t h = 0; h < part->kv.heads(); ++h) {
      CORM_RETURN_IF_ERROR(
          part->store->SetMarks(part->kv.pages(h), slots[head++], is_pinned ? kPinned : unpinned));
    }
  }
  return true;
}

absl::StatusOr<bool> SessionCache::SetRetained(uint32_t from, uint32_t to, bool is_retained) {
  to = std::min(to, clock_);
  if (from >= to) return true;
  if (rebased_ > 0) return false;
  const auto are_in = [&](std::span<const uint32_t> positions) {
    return std::count_if(positions.begin(), positions.end(),
                         [&](uint32_t p) { return from <= p && p < to; });
  };
  std::vector<uint32_t> positions;
  for (const std::unique_ptr<Part>& part : parts_) {
    for (uint32_t h = 0; is_retained && h < part->kv.heads(); ++h) {
      CORM_RETURN_IF_ERROR(
          part->store->ReadPositions(part->kv.pages(h), part->kv.counts()[h], &positions));
      if (are_in(positions) + are_in(part->host.Positions(h)) != to - from) return false;
    }
  }
  for (const std::unique_ptr<Part>& part : parts_) {
    is_retained ? part->host.Retain(from, to) : part->host.Release(from, to);
    part->host.Sort();
  }
  return true;
}

absl::StatusOr<bool> SessionCache::TakeBack(uint32_t rows) {
  if (rows > in_order_) return false;
  for (const std::unique_ptr<Part>& part : parts_) {
    for (uint32_t h = 0; settings_.zeroes && h < part->kv.heads(); ++h) {
      CORM_RETURN_IF_ERROR(part->store->ZeroSlots(part->kv.pages(h), part->kv.counts()[h] - rows));
    }
    part->kv.Dropped(std::vector<uint32_t>(part->kv.heads(), rows));
    part->host.Release(next_position_ - rows, next_position_);
  }
  clock_ -= rows;
  next_position_ -= rows;
  in_order_ -= rows;
  last_natural_ = std::min(last_natural_, clock_);
  return true;
}

absl::Status SessionCache::Zero(Erase what) {
  for (const std::unique_ptr<Part>& part : parts_) {
    if (what == Erase::kAll) CORM_RETURN_IF_ERROR(part->store->ZeroStatistics(part->table));
    for (uint32_t h = 0; h < part->kv.heads(); ++h) {
      const uint32_t first = what == Erase::kAll ? 0 : part->kv.counts()[h];
      CORM_RETURN_IF_ERROR(part->store->ZeroSlots(part->kv.pages(h), first));
    }
  }
  return absl::OkStatus();
}

absl::Status SessionCache::Leave(const Part& part, std::span<const uint32_t> evict,
                                 std::span<const uint32_t> ages, DropCause cause) {
  uint32_t head = FirstHead(part);
  for (uint32_t h = 0; h < part.kv.heads(); ++h, ++head) {
    if (evict[h] == 0) continue;
    const std::span<const PageId> pages = part.kv.pages(h);
    const uint32_t before = part.kv.counts()[h], after = before - evict[h];
    if (settings_.audit != nullptr) {
      const uint32_t page = after / kPageRows;  // KvCompact leaves what left behind what stays.
      std::vector<uint32_t> positions;
      CORM_RETURN_IF_ERROR(
          part.store->ReadPositions(pages.subspan(page), before - page * kPageRows, &positions));
      positions.erase(positions.begin(), positions.begin() + after % kPageRows);
      const uint32_t natural = ages[h * (kAgeBins + 1) + kAgeBins];
      const bool is_natural = cause == DropCause::kForced && evict[h] <= natural;
      settings_.audit->Add({.step = clock_,
                            .rebased = rebased_,
                            .head = head,
                            .cause = is_natural ? DropCause::kNatural : cause},
                           std::move(positions));
    }
    if (settings_.zeroes) CORM_RETURN_IF_ERROR(part.store->ZeroSlots(pages, after));
  }
  return absl::OkStatus();
}

void SessionCache::NoteForgotten(DropCause cause) {
  if (settings_.audit == nullptr || clock_ == 0) return;
  settings_.audit->Add(
      {.step = clock_, .rebased = rebased_, .cause = cause, .positions = {{0, clock_ - 1}}});
}

}  // namespace cormorant
