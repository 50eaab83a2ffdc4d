// Copies of dropped rows in the host's memory, so that they can come back as they were.
//
// Each head of a stage has a queue of pages in the layout of the device's (kv_page.h), filled row
// by row in the order in which rows are dropped. Pages whose time is over, and the oldest when
// there are too many bytes, are discarded; the copies are then not complete any more. Copies of
// rows that are retained have a queue of their own, in which neither bytes nor time count. Memory
// is overwritten before it is given back. Pure: knows no device and no clock.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <vector>

#include "runtime/cache/token_ranges.h"
#include "runtime/ops/kv_page.h"

namespace cormorant {

/// The word of a row in a part of a page that has one of each: positions, or last_important.
uint32_t WordOf(std::span<const std::byte> page, uint32_t part, uint32_t row);

/// Row b of page `to` becomes row a of page `from`, byte for byte.
void CopyRow(const KvPageLayout& layout, std::span<const std::byte> from, uint32_t a,
             std::span<std::byte> to, uint32_t b);

/// Zeroes the rows of a page from `first` on.
void ZeroRows(const KvPageLayout& layout, uint32_t first, std::span<std::byte> page);

class HostRows {
 public:
  struct Limits {
    uint64_t bytes_most = 0;
    double seconds_most = 0.0;  // A row stays no longer than that; 0: no limit.
  };
  HostRows(const KvGeometry& geometry, const Limits& limits);

  /// Copies row `row` of a page of `head`, which is as old as `since`, in seconds of any clock.
  void Add(uint32_t head, std::span<const std::byte> page, uint32_t row, double since);
  /// Discards what is too old.
  void Expire(double now);
  /// Overwrites and forgets everything, what is retained as well; complete again.
  void Clear();
  /// Overwrites and forgets copies that are missed: all that are not retained.
  void Discard();

  /// Rows at positions [from, to) of every head are retained from now on, or as any others: their
  /// copies when they are made, and those that are there once Sort() was called.
  void Retain(uint32_t from, uint32_t to);
  void Release(uint32_t from, uint32_t to);
  void Sort();
  /// Rows of a head have moved: those of these positions are retained, and no others.
  void MoveRetained(uint32_t head, TokenRanges positions);
  const TokenRanges& retained(uint32_t head) const { return retained_[head]; }
  /// Rows that each head retains, at most.
  uint32_t retained_most() const;

  /// Positions of a head's copies, ascending.
  std::vector<uint32_t> Positions(uint32_t head) const;
  /// Rows of a head.
  uint32_t count(uint32_t head) const;
  uint64_t rows() const { return passing_.rows + kept_.rows; }
  uint64_t bytes() const { return (passing_.pages + kept_.pages) * layout_.page_bytes; }
  /// Of these, what is retained.
  uint64_t kept_rows() const { return kept_.rows; }
  uint64_t kept_bytes() const { return kept_.pages * layout_.page_bytes; }
  /// Whether nothing was discarded since the last Clear().
  bool is_complete() const { return is_complete_; }
  const KvPageLayout& layout() const { return layout_; }

  /// Takes all rows out, to look through them in order of their positions.
  class Drained;
  Drained Drain();

 private:
  struct Page {
    std::vector<std::byte> bytes;
    uint32_t rows = 0;
    double since = 0.0;  // When the oldest of its rows came.

    explicit Page(uint32_t size) : bytes(size) {}
    Page(Page&&) = default;
    Page& operator=(Page&&) = delete;
    ~Page();
  };
  struct Queue {
    std::deque<Page> pages;
    uint32_t count = 0;
  };
  struct Queues {
    std::vector<Queue> heads;
    uint64_t rows = 0, pages = 0;

    explicit Queues(uint32_t count) : heads(count) {}
  };
  void DiscardFront(uint32_t head);
  static void Forget(Queues* queues);

  const KvPageLayout layout_;
  const Limits limits_;
  Queues passing_, kept_;              // What limits are about, and what is retained.
  std::vector<TokenRanges> retained_;  // Positions, by head.
  bool is_complete_ = true;
};

/// What was drained: rows leave in ascending order of position, head by head.
class HostRows::Drained {
 public:
  /// Rows of a head that are left.
  uint32_t left(uint32_t head) const { return heads_[head].end - heads_[head].next; }
  uint32_t left_most() const;
  /// Of those that are left only the ones at these positions leave.
  void Only(const TokenRanges& positions);
  /// Copies the next row of a head to row `row` of `page`. Returns since when there was a copy.
  double Take(uint32_t head, std::span<std::byte> page, uint32_t row);
  /// Gives what is left back.
  void Return(HostRows* to);

 private:
  friend class HostRows;
  struct Head {
    std::deque<Page> pages;
    std::vector<uint32_t> order;  // Slots, by position.
    uint32_t next = 0, end = 0;   // Those of `order` that are left.
  };
  explicit Drained(const KvPageLayout& layout) : layout_(layout) {}

  KvPageLayout layout_;
  std::vector<Head> heads_;
};

}  // namespace cormorant
