// Pages and their slabs. See pool.h.
#include "runtime/cache/pool.h"

#include <algorithm>

#include "runtime/base/check.h"
#include "runtime/base/status.h"

namespace cormorant {

PagePool::PagePool(uint32_t page_limit, uint32_t pages_per_slab, SlabHost* host)
    : page_limit_(page_limit),
      pages_per_slab_(pages_per_slab),
      host_(host),
      slabs_(CeilDiv(page_limit, pages_per_slab)) {
  for (size_t i = 0; i < slabs_.size(); ++i) {
    slabs_[i].pages =
        std::min<uint32_t>(pages_per_slab, page_limit - static_cast<uint32_t>(i) * pages_per_slab);
  }
}

absl::StatusOr<PageId> PagePool::Take() {
  CORM_CHECK(used_pages_ < page_limit_);
  for (uint32_t s = first_free_slab_;; ++s) {
    CORM_CHECK(s < slabs_.size());
    Slab& slab = slabs_[s];
    if (!slab.held) {
      CORM_RETURN_IF_ERROR(host_->AddSlab(s, slab.pages));
      slab.held = true;
      slab.is_used.assign(slab.pages, false);
      slab.free.resize(slab.pages);
      for (uint32_t i = 0; i < slab.pages; ++i) slab.free[i] = slab.pages - 1 - i;
    }
    if (slab.free.empty()) continue;
    first_free_slab_ = s;
    const uint32_t page = slab.free.back();
    slab.free.pop_back();
    CORM_CHECK(!slab.is_used[page]);
    slab.is_used[page] = true;
    ++used_pages_;
    return PageId(s * pages_per_slab_ + page);
  }
}

void PagePool::Give(PageId page) {
  const uint32_t s = page.value / pages_per_slab_;
  CORM_CHECK(s < slabs_.size());
  Slab& slab = slabs_[s];
  const uint32_t index = page.value % pages_per_slab_;
  CORM_CHECK(slab.held && index < slab.pages && slab.is_used[index]);
  slab.is_used[index] = false;
  slab.free.push_back(index);
  first_free_slab_ = std::min(first_free_slab_, s);
  --used_pages_;
}

void PagePool::Trim() {
  for (uint32_t s = 0; s < slabs_.size(); ++s) {
    Slab& slab = slabs_[s];
    if (!slab.held || slab.free.size() != slab.pages) continue;
    host_->RemoveSlab(s, slab.pages);
    slab.held = false;
    slab.free.clear();
    slab.is_used.clear();
    first_free_slab_ = std::min(first_free_slab_, s);
  }
}

std::vector<PageId> PagePool::FreePages() const {
  std::vector<PageId> pages;
  for (uint32_t s = 0; s < slabs_.size(); ++s) {
    for (uint32_t index : slabs_[s].free) pages.push_back(PageId(s * pages_per_slab_ + index));
  }
  return pages;
}

uint32_t PagePool::held_pages() const {
  uint32_t pages = 0;
  for (const Slab& slab : slabs_) pages += slab.held ? slab.pages : 0;
  return pages;
}

}  // namespace cormorant
