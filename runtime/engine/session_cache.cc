// Room, positions and eviction of one session. See session_cache.h.
#include "runtime/engine/session_cache.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/base/status.h"
#include "runtime/cache/cut.h"

namespace cormorant {

absl::StatusOr<std::unique_ptr<SessionCache>> SessionCache::Create(const Settings& settings,
                                                                   KvStore* store) {
  CORM_ASSIGN_OR_RETURN(const uint32_t table, store->TakeTable());
  return std::unique_ptr<SessionCache>(new SessionCache(settings, table, store));
}

SessionCache::SessionCache(const Settings& settings, uint32_t table, KvStore* store)
    : settings_(settings),
      table_(table),
      store_(store),
      kv_(store->binding().geometry.heads(), store->binding().geometry.pages_per_head,
          &store->pool(), this) {}

SessionCache::~SessionCache() {
  Clear();
  store_->GiveTable(table_);
}

absl::Status SessionCache::WriteTable(uint32_t head, uint32_t first,
                                      std::span<const PageId> pages) {
  return store_->WriteTable(table_, head, first, pages);
}

absl::Status SessionCache::CanRead(uint64_t tokens) const {
  if (settings_.rules.evicts) return absl::OkStatus();
  if (next_position_ + tokens > settings_.context) {
    return absl::OutOfRangeError(
        absl::StrCat(tokens, " more tokens after ", clock_, " would pass the model's context of ",
                     settings_.context, "; use an eviction policy (--evict corm) to go on"));
  }
  const uint64_t missing = kv_.PagesMissing(static_cast<uint32_t>(tokens));
  const uint32_t free = store_->pool().free_pages();
  if (missing > free) {
    const uint64_t page_bytes = store_->page_bytes();
    return absl::ResourceExhaustedError(absl::StrCat(
        tokens, " more tokens after ", clock_, " need ", missing * page_bytes,
        " more bytes of KV pages, the cap leaves ", free * page_bytes,
        "; nothing was lost: raise the cap, or use an eviction policy (--evict corm)"));
  }
  return absl::OkStatus();
}

absl::Status SessionCache::MakeRoom(uint32_t rows) {
  CORM_RETURN_IF_ERROR(CanRead(rows));
  if (uint64_t{next_position_} + rows > settings_.context) CORM_RETURN_IF_ERROR(Rebase(rows));
  const PagePool& pool = store_->pool();
  if (kv_.PagesMissing(rows) > pool.free_pages()) {
    const uint32_t page_limit = pool.free_pages() + kv_.page_total();
    absl::Status status =
        DropRows({.room = std::max(rows, settings_.interval), .page_limit = page_limit});
    if (absl::IsResourceExhausted(status)) {  // Room for a whole interval is a wish, not a must.
      status = DropRows({.room = rows, .page_limit = page_limit});
    }
    CORM_RETURN_IF_ERROR(status);
  }
  return kv_.Prepare(rows);
}

absl::Status SessionCache::ShrinkTo(uint32_t pages) {
  if (!settings_.rules.evicts || kv_.page_total() <= pages) return absl::OkStatus();
  return DropRows({.room = 0, .page_limit = pages});
}

StepSequence SessionCache::Describe(uint32_t first_row, uint32_t rows, bool pin) const {
  const EvictionRules& rules = settings_.rules;
  StepSequence s;
  s.first_row = first_row;
  s.rows = rows;
  s.table = table_;
  s.clock = clock_;
  const uint32_t sinks_left = rules.sinks > clock_ ? rules.sinks - clock_ : 0;
  s.pinned_rows = pin ? rows : std::min(rows, sinks_left);
  s.judged_from = rules.judges ? rows - std::min(rows, rules.judged_rows) : rows;
  s.importance_scale = rules.importance_scale;
  s.basis = rules.basis;
  s.rank_by = rules.rank_by;
  s.position_clock = next_position_;
  s.recent_from = next_position_ - std::min(next_position_, rules.recent);
  s.natural_age = rules.natural_age;
  s.next_position = next_position_;
  return s;
}

absl::Status SessionCache::Commit(uint32_t rows) {
  kv_.Appended(rows);
  clock_ += rows;
  next_position_ += rows;
  if (settings_.rules.natural_age == kNever) return absl::OkStatus();
  if (clock_ - last_natural_ < settings_.interval) return absl::OkStatus();
  last_natural_ = clock_;
  return DropRows({.room = 0, .natural = true});
}

absl::Status SessionCache::DropRows(const Drop& drop) {
  const StepSequence sequence = Describe(0, 0, false);
  CORM_ASSIGN_OR_RETURN(const std::span<const uint32_t> ages, store_->Ages(sequence, kv_.counts()));
  CutProblem problem;
  problem.counts = kv_.counts();
  problem.ages = ages;
  problem.room = drop.room;
  problem.page_limit = drop.page_limit;
  problem.row_limit = drop.row_limit;
  problem.floor = settings_.floor;
  problem.natural = drop.natural;
  CORM_ASSIGN_OR_RETURN(const Cut cut, SolveCut(problem));
  for (size_t h = 0; h < cut.evict.size(); ++h) {
    const uint64_t rows = uint64_t{kv_.counts()[h]} - cut.evict[h] + drop.room;
    if (rows <= drop.row_most) continue;
    return absl::ResourceExhaustedError(absl::StrCat(
        "rows that may not leave and ", drop.room, " new ones are ", rows,
        "; the model's context is ", settings_.context, ": pin less or lower --corm-recent"));
  }
  if (cut.total == 0) return absl::OkStatus();
  CORM_RETURN_IF_ERROR(store_->Compact(sequence, kv_.counts(), cut.evict));
  kv_.Dropped(cut.evict);
  evicted_total_ += cut.total;
  evicted_forced_ += cut.total - cut.natural;
  return absl::OkStatus();
}

absl::Status SessionCache::Rebase(uint32_t rows) {
  CORM_RETURN_IF_ERROR(DropRows(
      {.room = rows, .row_limit = settings_.context / 2 + rows, .row_most = settings_.context}));
  const uint32_t next_position = kv_.row_max();
  StepSequence sequence = Describe(0, 0, false);
  sequence.next_position = next_position;
  CORM_RETURN_IF_ERROR(store_->Rebase(sequence, kv_.counts()));
  next_position_ = next_position;
  ++rebased_;
  return absl::OkStatus();
}

void SessionCache::Clear() {
  kv_.Clear();
  store_->pool().Trim();
  clock_ = next_position_ = last_natural_ = 0;
  evicted_total_ = evicted_forced_ = rebased_ = 0;
}

SessionCache::Stats SessionCache::stats() const {
  Stats stats;
  stats.rows = kv_.row_total();
  stats.bytes = uint64_t{kv_.page_total()} * store_->page_bytes() + store_->table_bytes();
  stats.evicted_total = evicted_total_;
  stats.evicted_forced = evicted_forced_;
  stats.rebased = rebased_;
  return stats;
}

}  // namespace cormorant
