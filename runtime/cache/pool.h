// The one pool of KV pages. A page belongs to any session, layer or head; what one drops, any other
// can use.
//
// Pages live in slabs, one device allocation each, which the pool asks its host for when it runs
// out and gives back when all their pages are free. Ids are handed out lowest slab first, so that
// use gathers in few slabs and the others can return. Pure: it holds ids, not bytes.
//
// Invariant, checked where pages are taken and where they return: a page is either free or owned by
// exactly one place of one page table.
//
// Not thread-safe: owned by whoever runs the engine's step.
#pragma once
#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "runtime/base/units.h"

namespace cormorant {

/// Where slabs come from.
class SlabHost {
 public:
  virtual ~SlabHost() = default;
  virtual absl::Status AddSlab(uint32_t slab, uint32_t pages) = 0;
  virtual void RemoveSlab(uint32_t slab, uint32_t pages) = 0;
};

class PagePool {
 public:
  /// At most `page_limit` pages, in slabs of `pages_per_slab` (the last one may be smaller).
  PagePool(uint32_t page_limit, uint32_t pages_per_slab, SlabHost* host);

  /// A free page, or the host's error when no slab can be added. Callers ask for no more than
  /// free_pages().
  absl::StatusOr<PageId> Take();
  void Give(PageId page);
  /// Returns slabs without used pages to the host.
  void Trim();

  uint32_t page_limit() const { return page_limit_; }
  uint32_t pages_per_slab() const { return pages_per_slab_; }
  uint32_t used_pages() const { return used_pages_; }
  uint32_t free_pages() const { return page_limit_ - used_pages_; }
  /// Of the slabs that are held, those that no one uses.
  std::vector<PageId> FreePages() const;
  /// Pages of the slabs that are held, used or not.
  uint32_t held_pages() const;

 private:
  struct Slab {
    bool held = false;
    uint32_t pages = 0;
    std::vector<uint32_t> free;  // Free page numbers inside the slab, popped from the back.
    std::vector<bool> is_used;   // By page of the slab.
  };
  const uint32_t page_limit_;
  const uint32_t pages_per_slab_;
  SlabHost* const host_;
  uint32_t used_pages_ = 0;
  uint32_t first_free_slab_ = 0;  // No slab below it has a free page.
  std::vector<Slab> slabs_;
};

}  // namespace cormorant
