// Positions that are moved back into the context, and what is retained on the host with them. See
// session_cache.h.
#include <algorithm>
#include <limits>

#include "runtime/base/status.h"
#include "runtime/base/units.h"
#include "runtime/engine/session_cache.h"

namespace cormorant {

bool SessionCache::HasPassed(uint32_t rows) const {
  uint64_t taken = next_position_;
  if (settings_.positions == PositionRule::kOriginal) {
    taken = 0;  // Positions go on; tables are as long as the context.
    for (const std::unique_ptr<Part>& part : parts_) {
      taken = std::max<uint64_t>(taken, part->kv.row_max());
    }
  }
  return taken + rows > settings_.context;
}

absl::Status SessionCache::ReturnToContext(uint32_t rows) {
  uint64_t places = 0;  // That copies of retained rows may take in front of all others.
  for (const std::unique_ptr<Part>& part : parts_) {
    places = std::max(places, RoundUp(part->host.retained_most(), kPageRows));
  }
  const auto free = static_cast<uint32_t>(places);
  for (const std::unique_ptr<Part>& part : parts_) {
    CORM_RETURN_IF_ERROR(DropRows(*part, {.room = rows,
                                          .row_limit = settings_.context / 2 + rows,
                                          .row_most = settings_.context - free,
                                          .cause = DropCause::kRebase}));
  }
  if (settings_.positions == PositionRule::kOriginal) return absl::OkStatus();
  std::vector<std::vector<uint32_t>> before(counts().size());
  for (uint32_t head = 0; head < before.size(); ++head) {
    CORM_ASSIGN_OR_RETURN(before[head], Positions(head));
  }
  PositionLimits limits{.next_position = next_position_, .free = free};
  if (settings_.positions == PositionRule::kWindowed) {
    limits.most = settings_.context - std::max(settings_.context / 4, rows);
  }
  const PositionMove move = MoveWindow(before, limits);
  for (const std::unique_ptr<Part>& part : parts_) {
    part->host.Discard();  // Their keys are turned to positions that are no more.
    CORM_RETURN_IF_ERROR(LendPages(*part));
  }
  for (const std::unique_ptr<Part>& part : parts_) {
    StepSequence sequence = Describe(*part, 0, 0, RowUse::kKeep);
    sequence.window_from = move.window_from;
    sequence.window_at = move.window_at;
    CORM_RETURN_IF_ERROR(part->store->Rebase(sequence, part->kv.counts()));
    CORM_RETURN_IF_ERROR(
        MoveRetained(*part, move, std::span(before).subspan(FirstHead(*part), part->kv.heads())));
  }
  next_position_ = move.next_position;
  ++rebased_;
  return absl::OkStatus();
}

absl::Status SessionCache::LendPages(Part& part) {
  std::vector<uint32_t> rows(part.kv.heads());
  for (uint32_t h = 0; h < rows.size(); ++h) {
    rows[h] = part.kv.counts()[h] == 0 && part.host.count(h) > 0 ? 1 : 0;
  }
  return part.kv.Prepare(rows);
}

absl::Status SessionCache::MoveRetained(Part& part, const PositionMove& move,
                                        std::span<const std::vector<uint32_t>> rows) {
  if (part.host.retained_most() == 0) return absl::OkStatus();
  for (uint32_t h = 0; h < rows.size(); ++h) {
    TokenRanges moved;
    const uint32_t copies = part.host.count(h), rest = copies % kPageRows;
    const auto places = static_cast<uint32_t>(RoundUp(copies, kPageRows));
    moved.Add(0, copies - rest);
    moved.Add(places - rest, places);
    const auto window = std::lower_bound(rows[h].begin(), rows[h].end(), move.window_from);
    const auto before = static_cast<uint32_t>(window - rows[h].begin());
    for (uint32_t i = 0; i < rows[h].size(); ++i) {
      if (!part.host.retained(h).Contains(rows[h][i])) continue;
      const uint32_t to = i < before ? move.window_at - before + i
                                     : move.window_at + (rows[h][i] - move.window_from);
      moved.Add(to, to + 1);
    }
    part.host.MoveRetained(h, std::move(moved));
  }
  return TurnCopies(part);
}

absl::Status SessionCache::TurnCopies(Part& part) {
  HostRows::Drained copies = part.host.Drain();
  const uint32_t heads = part.kv.heads();
  std::vector<std::byte> page(part.store->page_bytes());
  std::vector<std::vector<std::byte>> lent(heads);
  for (uint32_t h = 0; h < heads; ++h) {
    if (copies.left(h) == 0) continue;
    lent[h].resize(page.size());
    CORM_RETURN_IF_ERROR(part.store->ReadPage(part.kv.pages(h)[0], lent[h]));
  }
  StepSequence sequence = Describe(part, 0, 0, RowUse::kKeep);
  for (sequence.window_at = kPageRows; copies.left_most() > 0; sequence.window_at += kPageRows) {
    std::vector<uint32_t> counts(heads);
    std::vector<double> since(heads, std::numeric_limits<double>::infinity());
    for (uint32_t h = 0; h < heads; ++h) {
      if (copies.left(h) == 0) continue;
      while (counts[h] < kPageRows && copies.left(h) > 0) {
        since[h] = std::min(since[h], copies.Take(h, page, counts[h]++));
      }
      CORM_RETURN_IF_ERROR(part.store->WritePage(part.kv.pages(h)[0], page));
    }
    CORM_RETURN_IF_ERROR(part.store->Rebase(sequence, counts));
    for (uint32_t h = 0; h < heads; ++h) {
      if (counts[h] == 0) continue;
      CORM_RETURN_IF_ERROR(part.store->ReadPage(part.kv.pages(h)[0], page));
      for (uint32_t row = 0; row < counts[h]; ++row) part.host.Add(h, page, row, since[h]);
    }
  }
  for (uint32_t h = 0; h < heads; ++h) {
    if (lent[h].empty()) continue;
    CORM_RETURN_IF_ERROR(part.store->WritePage(part.kv.pages(h)[0], lent[h]));
  }
  return absl::OkStatus();
}

}  // namespace cormorant
