// Room, positions and eviction of one session. See session_cache.h.
#include "runtime/engine/session_cache.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/base/check.h"
#include "runtime/base/status.h"
#include "runtime/cache/cut.h"

namespace cormorant {

SessionCache::Part::Part(KvStore* in, uint32_t table_of_it, const HostRows::Limits& limits)
    : store(in),
      table(table_of_it),
      kv(in->binding().geometry.heads(), in->binding().geometry.pages_per_head, &in->pool(), this),
      host(in->binding().geometry, limits) {}

SessionCache::Part::~Part() {
  kv.Clear();
  store->pool().Trim();
  store->GiveTable(table);
}

absl::Status SessionCache::Part::WriteTable(uint32_t head, uint32_t first,
                                            std::span<const PageId> pages) {
  return store->WriteTable(table, head, first, pages);
}

absl::StatusOr<std::unique_ptr<SessionCache>> SessionCache::Create(
    const Settings& settings, std::span<KvStore* const> stores) {
  std::unique_ptr<SessionCache> cache(new SessionCache(settings));
  for (KvStore* store : stores) {
    CORM_ASSIGN_OR_RETURN(const uint32_t table, store->TakeTable());
    cache->parts_.push_back(cache->MakePart(store, table, stores.size()));
  }
  return cache;
}

SessionCache::~SessionCache() {
  Clear();
}

void SessionCache::Detach() {
  NoteForgotten(DropCause::kLost);
  parts_.clear();
  Clear();
}

void SessionCache::Attach(std::span<KvStore* const> stores) {
  CORM_CHECK(parts_.empty());
  for (KvStore* store : stores) {
    const absl::StatusOr<uint32_t> table = store->TakeTable();
    CORM_CHECK(table.ok());  // As many sessions as there were before.
    parts_.push_back(MakePart(store, *table, stores.size()));
  }
}

uint32_t SessionCache::PageBudget(const Part& part) const {
  if (settings_.budget_bytes == 0) return kNever;
  uint64_t heads = 0, metadata = 0;
  for (const std::unique_ptr<Part>& each : parts_) {
    heads += each->kv.heads();
    metadata += each->store->metadata_bytes();
  }
  const uint64_t pages = (settings_.budget_bytes - std::min(settings_.budget_bytes, metadata)) /
                         part.store->page_bytes() * part.kv.heads() / heads;
  return static_cast<uint32_t>(std::min<uint64_t>(pages, kNever));
}

uint32_t SessionCache::PageLimit(const Part& part) const {
  return std::min(part.store->pool().free_pages() + part.kv.page_total(), PageBudget(part));
}

uint32_t SessionCache::PagesMissing(uint32_t stage, uint32_t rows) const {
  const Part& part = *parts_[stage];
  const uint32_t budget = PageBudget(part), held = part.kv.page_total();
  return std::min(part.kv.PagesMissing(rows), budget - std::min(budget, held));
}

absl::Status SessionCache::CanRead(uint64_t tokens) const {
  if (settings_.positions == PositionRule::kOriginal && next_position_ + tokens > kPositionsMost) {
    return absl::OutOfRangeError(
        absl::StrCat(tokens, " more tokens after ", clock_, " would pass position ", kPositionsMost,
                     ", where original positions end; use --positions windowed to go on"));
  }
  if (rules_.evicts) return absl::OkStatus();
  if (next_position_ + tokens > settings_.context) {
    return absl::OutOfRangeError(
        absl::StrCat(tokens, " more tokens after ", clock_, " would pass the model's context of ",
                     settings_.context, "; use an eviction policy (--evict corm) to go on"));
  }
  for (const std::unique_ptr<Part>& part : parts_) {
    const uint64_t missing = part->kv.PagesMissing(static_cast<uint32_t>(tokens));
    const uint32_t limit = PageLimit(*part), held = part->kv.page_total();
    if (missing + held <= limit) continue;
    const uint64_t page_bytes = part->store->page_bytes();
    const char* const which = limit == PageBudget(*part) ? "session's budget" : "cap";
    return absl::ResourceExhaustedError(
        absl::StrCat(tokens, " more tokens after ", clock_, " need ", missing * page_bytes,
                     " more bytes of KV pages, the ", which, " leaves ",
                     (limit - std::min(limit, held)) * page_bytes, "; nothing was lost: raise the ",
                     which, ", or use an eviction policy (--evict corm)"));
  }
  return absl::OkStatus();
}

absl::Status SessionCache::MakeRoom(uint32_t rows) {
  CORM_RETURN_IF_ERROR(CanRead(rows));
  if (HasPassed(rows)) CORM_RETURN_IF_ERROR(ReturnToContext(rows));
  for (const std::unique_ptr<Part>& part : parts_) {
    const uint32_t page_limit = PageLimit(*part);
    if (part->kv.page_total() + part->kv.PagesMissing(rows) <= page_limit) continue;
    absl::Status status =
        DropRows(*part, {.room = std::max(rows, settings_.interval), .page_limit = page_limit});
    if (absl::IsResourceExhausted(status)) {  // Room for a whole interval is a wish, not a must.
      status = DropRows(*part, {.room = rows, .page_limit = page_limit});
    }
    CORM_RETURN_IF_ERROR(status);
  }
  for (const std::unique_ptr<Part>& part : parts_) CORM_RETURN_IF_ERROR(part->kv.Prepare(rows));
  return absl::OkStatus();
}

absl::Status SessionCache::ShrinkTo(uint32_t stage, uint32_t pages) {
  Part& part = *parts_[stage];
  if (!rules_.evicts || part.kv.page_total() <= pages) return absl::OkStatus();
  return DropRows(part, {.room = 0, .page_limit = pages});
}

StepSequence SessionCache::Describe(uint32_t stage, uint32_t first_row, uint32_t rows,
                                    RowUse use) const {
  return Describe(*parts_[stage], first_row, rows, use);
}

StepSequence SessionCache::Describe(const Part& part, uint32_t first_row, uint32_t rows,
                                    RowUse use) const {
  StepSequence s;
  s.first_row = first_row;
  s.rows = rows;
  s.table = part.table;
  s.clock = clock_;
  const uint32_t sinks_left = rules_.sinks > clock_ ? rules_.sinks - clock_ : 0;
  const bool is_pinned = use == RowUse::kPin || use == RowUse::kRetain;
  s.pinned_rows = is_pinned ? rows : std::min(rows, sinks_left);
  s.judged_from = rows - Judged(rows);
  if (use == RowUse::kProbe) {
    s.pinned_rows = 0;
    s.judged_from = rules_.judges ? 0 : rows;
  }
  s.importance_scale = rules_.importance_scale;
  s.basis = rules_.basis;
  s.mark_by = rules_.mark_by;
  s.forgets = use != RowUse::kProbe && BeginsAnew(rows) ? 1 : 0;
  s.rank_by = rules_.rank_by;
  s.position_clock = next_position_;
  s.recent_from = next_position_ - std::min(next_position_, rules_.recent);
  s.reach = rules_.reach;
  s.fade = rules_.fade;
  s.score_by = rules_.score_by;
  s.value_reach = rules_.value_reach;
  s.observes = rules_.observes_queries && use != RowUse::kProbe ? 1 : 0;
  // What stamps may be ahead of the clock, and the age of a row whose value has size 1.
  const uint32_t lead = kDoublingsMost * rules_.reach + kDoublingsMost / 2 * rules_.value_reach;
  s.natural_age = rules_.natural_age == kNever ? kNever : NaturalAge() + lead;
  return s;
}

uint32_t SessionCache::NaturalAge() const {
  constexpr uint64_t kMost = 1u << 30;  // Above all clocks, and far below kNever with any lead.
  return static_cast<uint32_t>(std::min(uint64_t{rules_.natural_age} << relaxed_, kMost));
}

uint32_t SessionCache::Judged(uint32_t rows) const {
  return rules_.judges ? std::min(rows, rules_.judged_rows) : 0;
}

bool SessionCache::BeginsAnew(uint32_t rows) const {
  return std::max(observed_, Judged(rows)) >= rules_.observed;
}

absl::Status SessionCache::Commit(uint32_t rows, RowUse use) {
  observed_ = (BeginsAnew(rows) ? 0 : observed_) + Judged(rows);
  for (const std::unique_ptr<Part>& part : parts_) {
    part->kv.Appended(rows);
    if (use == RowUse::kRetainOnHost) part->host.Retain(next_position_, next_position_ + rows);
  }
  clock_ += rows;
  next_position_ += rows;
  in_order_ += rows;
  if (rules_.natural_age == kNever || holds_ || clock_ < frozen_until_) {
    return absl::OkStatus();
  }
  if (clock_ - last_natural_ < settings_.interval) return absl::OkStatus();
  last_natural_ = clock_;
  for (const std::unique_ptr<Part>& part : parts_) {
    CORM_RETURN_IF_ERROR(DropRows(*part, {.room = 0, .natural = true}));
  }
  return absl::OkStatus();
}

absl::Status SessionCache::EndProbe() {
  const absl::Status status = settings_.zeroes ? Zero(Erase::kUnused) : absl::OkStatus();
  for (const std::unique_ptr<Part>& part : parts_) part->kv.Unprepare();
  return status;
}

absl::Status SessionCache::Hold(uint32_t rows) {
  CORM_RETURN_IF_ERROR(MakeRoom(rows));
  holds_ = true;
  return absl::OkStatus();
}

Easing SessionCache::Ease() {
  if (rules_.natural_age == kNever) return Easing::kNone;
  const bool is_frozen = clock_ < frozen_until_;
  frozen_until_ = clock_ + kFreezeTokens;
  if (!is_frozen || relaxed_ == kRelaxMost) return Easing::kFrozen;
  ++relaxed_;
  return Easing::kRelaxed;
}

uint32_t SessionCache::FirstHead(const Part& part) const {
  uint32_t first = 0;
  for (size_t i = 0; parts_[i].get() != &part; ++i) first += parts_[i]->kv.heads();
  return first;
}

absl::Status SessionCache::DropRows(Part& part, const Drop& drop) {
  FollowRoom(part, drop.page_limit);
  KvSequence& kv = part.kv;
  const StepSequence sequence = Describe(part, 0, 0, RowUse::kKeep);
  CORM_ASSIGN_OR_RETURN(const std::span<const uint32_t> ages,
                        part.store->Ages(sequence, kv.counts()));
  CutProblem problem;
  problem.counts = kv.counts();
  problem.ages = ages;
  problem.room = drop.room;
  problem.more = drop.more;
  problem.page_limit = drop.page_limit;
  problem.row_limit = drop.row_limit;
  problem.floor = settings_.floor;
  problem.natural = drop.natural;
  const HeadBudget budget = rules_.budget;
  problem.shared_by = budget == HeadBudget::kSession ? 0
                      : budget == HeadBudget::kLayer ? part.store->binding().geometry.kv_heads
                                                     : 1;
  if (!settings_.weights.empty()) {
    problem.weights = std::span(settings_.weights).subspan(FirstHead(part), kv.heads());
  }
  CORM_ASSIGN_OR_RETURN(const Cut cut, SolveCut(problem));
  for (size_t h = 0; h < cut.evict.size(); ++h) {
    const uint64_t rows = uint64_t{kv.counts()[h]} - cut.evict[h] + drop.room;
    if (rows <= drop.row_most) continue;
    return absl::ResourceExhaustedError(
        absl::StrCat("rows that may not leave and ", drop.room, " new ones are ", rows,
                     "; the model's context leaves them ", drop.row_most,
                     ": pin or retain less or lower --corm-recent"));
  }
  if (cut.total == 0) return absl::OkStatus();
  CORM_RETURN_IF_ERROR(part.store->Compact(sequence, kv.counts(), cut.evict));
  absl::Status left = CopyDropped(part, cut.evict);
  left.Update(Leave(part, cut.evict, ages, drop.cause));
  part.brought.clear();  // Rows have moved.
  in_order_ = 0;
  // Pooled marks are no sums that more can be added to.
  if (rules_.score_by == ScoreBy::kPooledAttention) observed_ = rules_.observed;
  kv.Dropped(cut.evict);
  evicted_total_ += cut.total;
  evicted_forced_ += cut.total - cut.natural;
  return left;
}

void SessionCache::FollowRoom(const Part& part, uint32_t page_limit) {
  if (settings_.rules_for == nullptr || page_limit == kNever || part.look) return;
  const uint64_t rows = uint64_t{page_limit} * kPageRows / part.kv.heads();
  const auto most = static_cast<uint32_t>(std::min<uint64_t>(rows, settings_.context / 2));
  if (!controller_.Observe(clock_, most)) return;
  rules_ = settings_.rules_for(controller_.rows());
  ++adjusted_;
}

void SessionCache::Clear() {
  // A device on which this fails is lost, and its memory with it.
  if (settings_.zeroes) Zero(Erase::kAll).IgnoreError();
  for (const std::unique_ptr<Part>& part : parts_) {
    part->kv.Clear();
    part->store->pool().Trim();
    part->host.Clear();
    part->look.reset();
    part->brought.clear();
  }
  clock_ = next_position_ = last_natural_ = observed_ = in_order_ = 0;
  frozen_until_ = 0;
  holds_ = false;
  controller_.Restart();
  evicted_total_ = evicted_forced_ = rebased_ = returned_total_ = 0;
}

std::vector<uint32_t> SessionCache::counts() const {
  std::vector<uint32_t> counts;
  for (const std::unique_ptr<Part>& part : parts_) {
    counts.insert(counts.end(), part->kv.counts().begin(), part->kv.counts().end());
  }
  return counts;
}

absl::StatusOr<std::vector<uint32_t>> SessionCache::Positions(uint32_t head) const {
  std::vector<uint32_t> positions;
  for (const std::unique_ptr<Part>& part : parts_) {
    const KvSequence& kv = part->kv;
    if (head < kv.heads()) {
      CORM_RETURN_IF_ERROR(
          part->store->ReadPositions(kv.pages(head), kv.counts()[head], &positions));
      break;
    }
    head -= kv.heads();
  }
  std::sort(positions.begin(), positions.end());
  return positions;
}

SessionCache::Stats SessionCache::stats() const {
  Stats stats;
  for (const std::unique_ptr<Part>& part : parts_) {
    stats.rows += part->kv.row_total();
    stats.bytes +=
        uint64_t{part->kv.page_total()} * part->store->page_bytes() + part->store->metadata_bytes();
    stats.host_rows += part->host.rows();
    stats.host_bytes += part->host.bytes();
    stats.retained_rows += part->host.kept_rows();
    stats.retained_bytes += part->host.kept_bytes();
  }
  stats.evicted_total = evicted_total_;
  stats.evicted_forced = evicted_forced_;
  stats.rebased = rebased_;
  stats.returned_total = returned_total_;
  stats.is_frozen = clock_ < frozen_until_;
  stats.relaxed = relaxed_;
  stats.adjusted = adjusted_;
  return stats;
}

}  // namespace cormorant
