// Pages of one session. See sequence.h.
#include "runtime/cache/sequence.h"

#include <algorithm>
#include <numeric>

#include "runtime/base/check.h"
#include "runtime/base/status.h"
#include "runtime/ops/kv_page.h"

namespace cormorant {
namespace {

uint32_t PagesFor(uint32_t rows) {
  return static_cast<uint32_t>(CeilDiv(rows, kPageRows));
}

}  // namespace

KvSequence::KvSequence(uint32_t heads, uint32_t pages_per_head, PagePool* pool, TableWriter* writer)
    : pages_per_head_(pages_per_head),
      pool_(pool),
      writer_(writer),
      counts_(heads, 0),
      pages_(heads) {
  for (std::vector<PageId>& pages : pages_) pages.reserve(pages_per_head);
}

KvSequence::~KvSequence() {
  Clear();
}

uint64_t KvSequence::row_total() const {
  return std::accumulate(counts_.begin(), counts_.end(), uint64_t{0});
}

uint32_t KvSequence::row_max() const {
  return *std::max_element(counts_.begin(), counts_.end());
}

uint32_t KvSequence::PagesMissing(uint32_t rows) const {
  uint32_t missing = 0;
  for (size_t h = 0; h < counts_.size(); ++h) {
    const uint32_t need = PagesFor(counts_[h] + rows);
    const uint32_t have = static_cast<uint32_t>(pages_[h].size());
    if (need > have) missing += need - have;
  }
  return missing;
}

absl::Status KvSequence::GrowTo(uint32_t head, uint32_t need) {
  std::vector<PageId>& pages = pages_[head];
  const uint32_t have = static_cast<uint32_t>(pages.size());
  if (need <= have) return absl::OkStatus();
  CORM_CHECK(need <= pages_per_head_);
  while (pages.size() < need) {
    CORM_ASSIGN_OR_RETURN(const PageId page, pool_->Take());
    pages.push_back(page);
    ++page_total_;
  }
  return writer_->WriteTable(head, have, std::span<const PageId>(pages).subspan(have));
}

absl::Status KvSequence::Prepare(uint32_t rows) {
  absl::Status status;
  for (uint32_t h = 0; h < heads() && status.ok(); ++h) {
    status = GrowTo(h, PagesFor(counts_[h] + rows));
  }
  if (!status.ok()) Unprepare();
  return status;
}

absl::Status KvSequence::Prepare(std::span<const uint32_t> rows) {
  CORM_CHECK(rows.size() == counts_.size());
  absl::Status status;
  for (uint32_t h = 0; h < heads() && status.ok(); ++h) {
    status = GrowTo(h, PagesFor(counts_[h] + rows[h]));
  }
  if (!status.ok()) Unprepare();
  return status;
}

void KvSequence::Unprepare() {
  for (uint32_t h = 0; h < heads(); ++h) ShrinkTo(h, PagesFor(counts_[h]));
}

void KvSequence::Appended(uint32_t rows) {
  for (size_t h = 0; h < counts_.size(); ++h) {
    counts_[h] += rows;
    CORM_CHECK(PagesFor(counts_[h]) <= pages_[h].size());
  }
}

void KvSequence::Appended(std::span<const uint32_t> rows) {
  CORM_CHECK(rows.size() == counts_.size());
  for (size_t h = 0; h < counts_.size(); ++h) {
    counts_[h] += rows[h];
    CORM_CHECK(PagesFor(counts_[h]) <= pages_[h].size());
  }
}

void KvSequence::Dropped(std::span<const uint32_t> dropped) {
  CORM_CHECK(dropped.size() == counts_.size());
  for (uint32_t h = 0; h < heads(); ++h) {
    CORM_CHECK(dropped[h] <= counts_[h]);
    counts_[h] -= dropped[h];
    ShrinkTo(h, PagesFor(counts_[h]));
  }
}

void KvSequence::Clear() {
  for (uint32_t h = 0; h < heads(); ++h) {
    counts_[h] = 0;
    ShrinkTo(h, 0);
  }
}

void KvSequence::ShrinkTo(uint32_t head, uint32_t pages) {
  std::vector<PageId>& owned = pages_[head];
  while (owned.size() > pages) {
    pool_->Give(owned.back());
    owned.pop_back();
    --page_total_;
  }
}

}  // namespace cormorant
