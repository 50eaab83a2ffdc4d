// One session's pages: ragged, a list for each (layer, KV head).
//
// The host keeps the counts and the page lists; the device reads page tables, which a TableWriter
// keeps equal to them. Rows of a head are dense: slots 0 to count-1 are all live. Pure but for the
// writer: no bytes of K or V pass through here.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "runtime/base/units.h"
#include "runtime/cache/pool.h"

namespace cormorant {

/// Where page tables go. `first` is the index of the first changed entry in the head's table.
class TableWriter {
 public:
  virtual ~TableWriter() = default;
  virtual absl::Status WriteTable(uint32_t head, uint32_t first, std::span<const PageId> pages) = 0;
};

class KvSequence {
 public:
  KvSequence(uint32_t heads, uint32_t pages_per_head, PagePool* pool, TableWriter* writer);
  ~KvSequence();
  KvSequence(const KvSequence&) = delete;
  KvSequence& operator=(const KvSequence&) = delete;

  uint32_t heads() const { return static_cast<uint32_t>(counts_.size()); }
  /// Resident rows of each head.
  std::span<const uint32_t> counts() const { return counts_; }
  std::span<const PageId> pages(uint32_t head) const { return pages_[head]; }
  uint64_t row_total() const;
  uint32_t row_max() const;
  uint32_t page_total() const { return page_total_; }
  /// Pages that must be taken from the pool before each head can take `rows` more.
  uint32_t PagesMissing(uint32_t rows) const;

  /// Takes the pages for `rows` more rows of each head. Needs PagesMissing(rows) free pages in the
  /// pool. On an error nothing is taken.
  absl::Status Prepare(uint32_t rows);
  /// The same for rows[h] more rows of head h.
  absl::Status Prepare(std::span<const uint32_t> rows);
  /// Gives back pages that hold no row: what was prepared for is not appended.
  void Unprepare();
  /// The device has appended `rows` rows to each head.
  void Appended(uint32_t rows);
  /// rows[h] rows were appended to head h.
  void Appended(std::span<const uint32_t> rows);
  /// The device has dropped dropped[h] rows of each head; whole free pages return to the pool.
  void Dropped(std::span<const uint32_t> dropped);
  /// Forgets all rows and returns all pages.
  void Clear();

 private:
  absl::Status GrowTo(uint32_t head, uint32_t pages);
  void ShrinkTo(uint32_t head, uint32_t pages);

  const uint32_t pages_per_head_;
  PagePool* const pool_;
  TableWriter* const writer_;
  std::vector<uint32_t> counts_;
  std::vector<std::vector<PageId>> pages_;
  uint32_t page_total_ = 0;
};

}  // namespace cormorant
