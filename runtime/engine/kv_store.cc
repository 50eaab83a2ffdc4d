// Slabs, tables and maintenance plans. See kv_store.h.
#include "runtime/engine/kv_store.h"

#include <algorithm>
#include <array>

#include "absl/strings/str_cat.h"
#include "runtime/base/check.h"
#include "runtime/base/status.h"
#include "runtime/cache/host_rows.h"

namespace cormorant {

KvStore::KvStore(const StagePlan& plan, Backend* backend, MemoryLedger* ledger)
    : backend_(backend),
      ledger_(ledger),
      place_(plan.place),
      page_bytes_(KvPageLayout(plan.geometry).page_bytes),
      pool_(plan.page_limit, plan.pages_per_slab, this),
      slabs_(CeilDiv(plan.page_limit, plan.pages_per_slab)),
      step_({1, 1, 1, plan.geometry.heads()}) {
  binding_.geometry = plan.geometry;
  binding_.pages_per_slab = plan.pages_per_slab;
  binding_.slabs.resize(slabs_.size(), nullptr);
  step_.header().sequences = 1;
}

absl::StatusOr<std::unique_ptr<KvStore>> KvStore::Create(const StagePlan& plan,
                                                         uint32_t max_sessions,
                                                         const RopeSpec& rope, Backend* backend,
                                                         const Weights* weights,
                                                         MemoryLedger* ledger) {
  std::unique_ptr<KvStore> store(new KvStore(plan, backend, ledger));
  const KvGeometry& geometry = plan.geometry;
  CORM_ASSIGN_OR_RETURN(store->metadata_reserved_,
                        Reservation::Take(ledger, plan.place, MemoryCategory::kKvMetadata,
                                          max_sessions * geometry.metadata_bytes()));
  CORM_ASSIGN_OR_RETURN(store->tables_, backend->Allocate(max_sessions * geometry.table_bytes()));
  store->binding_.tables = store->tables_.get();
  if (geometry.query_heads != 0) {
    CORM_ASSIGN_OR_RETURN(store->statistics_,
                          backend->Allocate(max_sessions * geometry.statistics_bytes()));
    store->binding_.statistics = store->statistics_.get();
  }
  store->table_is_used_.resize(max_sessions, false);

  const Tape ages = AgesTape(geometry, rope);
  CORM_ASSIGN_OR_RETURN(store->out_, backend->Allocate(ages.out_bytes));
  store->ages_.resize(uint64_t{geometry.heads()} * (kAgeBins + 1));
  Bindings bindings;
  bindings.weights = weights;
  bindings.out = store->out_.get();
  bindings.kv = &store->binding_;
  bindings.step_bytes = store->step_.bytes().size();
  CORM_ASSIGN_OR_RETURN(store->ages_plan_, backend->Compile(ages, bindings));
  CORM_ASSIGN_OR_RETURN(store->compact_plan_, backend->Compile(CompactTape(), bindings));
  CORM_ASSIGN_OR_RETURN(store->rebase_plan_, backend->Compile(RebaseTape(rope), bindings));
  return store;
}

KvStore::~KvStore() {
  pool_.Trim();
}

absl::StatusOr<uint32_t> KvStore::TakeTable() {
  const auto it = std::find(table_is_used_.begin(), table_is_used_.end(), false);
  if (it == table_is_used_.end()) {
    return absl::ResourceExhaustedError(
        absl::StrCat("all ", table_is_used_.size(),
                     " sessions of the engine are in use; destroy one or raise max_sessions"));
  }
  *it = true;
  return static_cast<uint32_t>(it - table_is_used_.begin());
}

void KvStore::GiveTable(uint32_t table) {
  CORM_CHECK(table < table_is_used_.size() && table_is_used_[table]);
  table_is_used_[table] = false;
}

absl::Status KvStore::WriteTable(uint32_t table, uint32_t head, uint32_t first,
                                 std::span<const PageId> pages) {
  static_assert(sizeof(PageId) == sizeof(uint32_t));
  const uint64_t entry = uint64_t{head} * binding_.geometry.pages_per_head + first;
  return backend_->Upload(*tables_,
                          table * binding_.geometry.table_bytes() + entry * sizeof(uint32_t),
                          std::as_bytes(pages));
}

KvStore::Place KvStore::PlaceOf(PageId page) const {
  return {*slabs_[page.value / binding_.pages_per_slab],
          uint64_t{page.value % binding_.pages_per_slab} * page_bytes_};
}

absl::Status KvStore::ReadPage(PageId page, std::span<std::byte> bytes) {
  CORM_CHECK(bytes.size() == page_bytes_);
  const Place place = PlaceOf(page);
  return backend_->Download(bytes, place.slab, place.at);
}

absl::Status KvStore::WritePage(PageId page, std::span<const std::byte> bytes) {
  CORM_CHECK(bytes.size() == page_bytes_);
  const Place place = PlaceOf(page);
  return backend_->Upload(place.slab, place.at, bytes);
}

absl::Status KvStore::ReadPositions(std::span<const PageId> pages, uint32_t rows,
                                    std::vector<uint32_t>* positions) {
  positions->resize(pages.size() * kPageRows);
  const uint64_t positions_at = KvPageLayout(binding_.geometry).positions;
  for (size_t i = 0; i < pages.size(); ++i) {
    const Place place = PlaceOf(pages[i]);
    const std::span<uint32_t> to = std::span(*positions).subspan(i * kPageRows, kPageRows);
    CORM_RETURN_IF_ERROR(
        backend_->Download(std::as_writable_bytes(to), place.slab, place.at + positions_at));
  }
  positions->resize(rows);
  return absl::OkStatus();
}

absl::Status KvStore::SetMarks(std::span<const PageId> pages, std::span<const uint32_t> slots,
                               uint32_t mark) {
  const uint64_t marks_at = KvPageLayout(binding_.geometry).last_important;
  std::array<uint32_t, kPageRows> marks;
  for (size_t i = 0; i < slots.size();) {
    const uint32_t index = slots[i] / kPageRows;
    const Place place = PlaceOf(pages[index]);
    CORM_RETURN_IF_ERROR(backend_->Download(std::as_writable_bytes(std::span(marks)), place.slab,
                                            place.at + marks_at));
    for (; i < slots.size() && slots[i] / kPageRows == index; ++i) {
      marks[slots[i] % kPageRows] = mark;
    }
    CORM_RETURN_IF_ERROR(
        backend_->Upload(place.slab, place.at + marks_at, std::as_bytes(std::span(marks))));
  }
  return absl::OkStatus();
}

absl::Status KvStore::ZeroSlots(std::span<const PageId> pages, uint32_t first) {
  std::vector<std::byte> bytes(page_bytes_);
  for (size_t i = first / kPageRows; i < pages.size(); ++i) {
    const uint32_t kept = i == first / kPageRows ? first % kPageRows : 0;
    if (kept != 0) CORM_RETURN_IF_ERROR(ReadPage(pages[i], bytes));
    ZeroRows(KvPageLayout(binding_.geometry), kept, bytes);
    CORM_RETURN_IF_ERROR(WritePage(pages[i], bytes));
  }
  return absl::OkStatus();
}

absl::Status KvStore::ZeroStatistics(uint32_t table) {
  if (statistics_ == nullptr) return absl::OkStatus();
  const std::vector<std::byte> zeros(binding_.geometry.statistics_bytes());
  return backend_->Upload(*statistics_, table * zeros.size(), zeros);
}

absl::Status KvStore::ZeroFree() {
  for (uint32_t table = 0; table < table_is_used_.size(); ++table) {
    if (!table_is_used_[table]) CORM_RETURN_IF_ERROR(ZeroStatistics(table));
  }
  return ZeroSlots(pool_.FreePages(), 0);
}

absl::Status KvStore::AddSlab(uint32_t slab, uint32_t pages) {
  const uint64_t bytes = uint64_t{pages} * page_bytes_;
  CORM_RETURN_IF_ERROR(ledger_->Reserve(place_, MemoryCategory::kKvPages, bytes));
  absl::StatusOr<std::unique_ptr<Buffer>> buffer = backend_->Allocate(bytes);
  if (!buffer.ok()) {
    ledger_->Release(place_, MemoryCategory::kKvPages, bytes);
    return buffer.status();
  }
  slabs_[slab] = *std::move(buffer);
  binding_.slabs[slab] = slabs_[slab].get();
  return absl::OkStatus();
}

void KvStore::RemoveSlab(uint32_t slab, uint32_t pages) {
  binding_.slabs[slab] = nullptr;
  slabs_[slab].reset();
  ledger_->Release(place_, MemoryCategory::kKvPages, uint64_t{pages} * page_bytes_);
}

absl::Status KvStore::Run(Plan& plan, const StepSequence& sequence,
                          std::span<const uint32_t> counts) {
  step_.sequences()[0] = sequence;
  std::copy(counts.begin(), counts.end(), step_.counts(0).begin());
  CORM_ASSIGN_OR_RETURN(const Tick tick, backend_->Submit(plan, step_.bytes()));
  return backend_->Wait(tick);
}

absl::StatusOr<std::span<const uint32_t>> KvStore::Ages(const StepSequence& sequence,
                                                        std::span<const uint32_t> counts) {
  CORM_RETURN_IF_ERROR(Run(*ages_plan_, sequence, counts));
  CORM_RETURN_IF_ERROR(
      backend_->Download(std::as_writable_bytes(std::span<uint32_t>(ages_)), *out_, 0));
  return std::span<const uint32_t>(ages_);
}

absl::Status KvStore::Compact(const StepSequence& sequence, std::span<const uint32_t> counts,
                              std::span<const uint32_t> evict) {
  std::copy(evict.begin(), evict.end(), step_.evict().begin());
  return Run(*compact_plan_, sequence, counts);
}

absl::Status KvStore::Rebase(const StepSequence& sequence, std::span<const uint32_t> counts) {
  return Run(*rebase_plan_, sequence, counts);
}

}  // namespace cormorant
