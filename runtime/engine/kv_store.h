// The device side of one stage's KV store: slabs, page tables and the plans that keep it in order.
//
// Everything is charged to the ledger before it is allocated. Which rows leave is decided elsewhere
// (cut.h); this class asks the device for ages and carries the decision out.
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "backends/backend.h"
#include "runtime/cache/ledger.h"
#include "runtime/cache/pool.h"
#include "runtime/cache/sequence.h"
#include "runtime/engine/planner.h"
#include "runtime/ops/step.h"

namespace cormorant {

class KvStore : private SlabHost {
 public:
  static absl::StatusOr<std::unique_ptr<KvStore>> Create(const StagePlan& plan,
                                                         uint32_t max_sessions,
                                                         const RopeSpec& rope, Backend* backend,
                                                         const Weights* weights,
                                                         MemoryLedger* ledger);
  ~KvStore() override;

  const KvBinding& binding() const { return binding_; }
  PagePool& pool() { return pool_; }
  uint32_t page_bytes() const { return page_bytes_; }
  /// What a session takes beside pages.
  uint64_t metadata_bytes() const { return binding_.geometry.metadata_bytes(); }

  /// A free set of page tables, RESOURCE_EXHAUSTED when max_sessions are in use.
  absl::StatusOr<uint32_t> TakeTable();
  void GiveTable(uint32_t table);
  absl::Status WriteTable(uint32_t table, uint32_t head, uint32_t first,
                          std::span<const PageId> pages);

  /// A whole page, as kv_page.h has it.
  absl::Status ReadPage(PageId page, std::span<std::byte> bytes);
  absl::Status WritePage(PageId page, std::span<const std::byte> bytes);
  /// Positions of the first `rows` rows of a head that has these pages.
  absl::Status ReadPositions(std::span<const PageId> pages, uint32_t rows,
                             std::vector<uint32_t>* positions);
  /// Gives the rows in these slots of a head, ascending, another last_important.
  absl::Status SetMarks(std::span<const PageId> pages, std::span<const uint32_t> slots,
                        uint32_t mark);
  /// Overwrites the slots of a head from `first` on with zeros.
  absl::Status ZeroSlots(std::span<const PageId> pages, uint32_t first);
  /// Overwrites what is known of a session's queries, if anything is.
  absl::Status ZeroStatistics(uint32_t table);
  /// Overwrites all pages and statistics that no one uses.
  absl::Status ZeroFree();
  /// Age histograms of the sequence, [heads, kAgeBins + 1]; valid until the next call.
  absl::StatusOr<std::span<const uint32_t>> Ages(const StepSequence& sequence,
                                                 std::span<const uint32_t> counts);
  /// Drops evict[h] rows of each head on the device.
  absl::Status Compact(const StepSequence& sequence, std::span<const uint32_t> counts,
                       std::span<const uint32_t> evict);
  absl::Status Rebase(const StepSequence& sequence, std::span<const uint32_t> counts);

 private:
  KvStore(const StagePlan& plan, Backend* backend, MemoryLedger* ledger);
  absl::Status AddSlab(uint32_t slab, uint32_t pages) override;
  void RemoveSlab(uint32_t slab, uint32_t pages) override;
  /// Where a page is.
  struct Place {
    Buffer& slab;
    uint64_t at;
  };
  Place PlaceOf(PageId page) const;
  absl::Status Run(Plan& plan, const StepSequence& sequence, std::span<const uint32_t> counts);

  Backend* const backend_;
  MemoryLedger* const ledger_;
  const MemoryPlace place_;
  const uint32_t page_bytes_;
  KvBinding binding_;
  PagePool pool_;
  std::vector<std::unique_ptr<Buffer>> slabs_;
  Reservation metadata_reserved_;
  std::unique_ptr<Buffer> tables_, statistics_;
  std::unique_ptr<Buffer> out_;  // Age histograms.
  std::vector<bool> table_is_used_;
  StepBuffer step_;
  std::vector<uint32_t> ages_;
  std::unique_ptr<Plan> ages_plan_, compact_plan_, rebase_plan_;
};

}  // namespace cormorant
