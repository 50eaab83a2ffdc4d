// Queues of copied rows. See host_rows.h.
#include "runtime/cache/host_rows.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <numeric>
#include <utility>

#include "runtime/base/check.h"
#include "runtime/base/wipe.h"

namespace cormorant {
namespace {

/// A part of a page in which each row has `count` pieces of `bytes`, all rows' between two of them.
struct Part {
  uint32_t at, bytes, count;
};

std::array<Part, 6> PartsOf(const KvPageLayout& layout) {
  const uint32_t dims = layout.head_dim, blocks = dims / 32;
  const auto scales = [&](DType type) { return type == DType::kF16 ? 0 : blocks; };
  const uint32_t k_bytes = dims * KvPageLayout::HalfBytes(layout.k_type) / 2;
  const uint32_t k_piece = layout.k_type == DType::kF16 ? 2 : 4;
  return {Part{layout.k, k_piece, k_bytes / k_piece},
          Part{layout.k_scale, 2, scales(layout.k_type)},
          Part{layout.v, dims * KvPageLayout::HalfBytes(layout.v_type) / 2, 1},
          Part{layout.v_scale, 2 * scales(layout.v_type), 1},
          Part{layout.positions, 4, 1},
          Part{layout.last_important, 4, 1}};
}

}  // namespace

uint32_t WordOf(std::span<const std::byte> page, uint32_t part, uint32_t row) {
  uint32_t word;
  std::memcpy(&word, &page[part + row * sizeof(word)], sizeof(word));
  return word;
}

void CopyRow(const KvPageLayout& layout, std::span<const std::byte> from, uint32_t a,
             std::span<std::byte> to, uint32_t b) {
  CORM_CHECK(from.size() >= layout.page_bytes && to.size() >= layout.page_bytes);
  CORM_CHECK(a < kPageRows && b < kPageRows);
  for (const Part& part : PartsOf(layout)) {
    const uint32_t stride = kPageRows * part.bytes;
    const std::byte* source = from.data() + part.at + a * part.bytes;
    std::byte* target = to.data() + part.at + b * part.bytes;
    for (uint32_t i = 0; i < part.count; ++i) {
      std::memcpy(target + i * stride, source + i * stride, part.bytes);
    }
  }
}

void ZeroRows(const KvPageLayout& layout, uint32_t first, std::span<std::byte> page) {
  CORM_CHECK(page.size() >= layout.page_bytes && first <= kPageRows);
  for (const Part& part : PartsOf(layout)) {
    for (uint32_t i = 0; i < part.count; ++i) {
      std::byte* const at = page.data() + part.at + (i * kPageRows + first) * part.bytes;
      std::fill_n(at, (kPageRows - first) * part.bytes, std::byte{0});
    }
  }
}

HostRows::Page::~Page() {
  Wipe(bytes);
}

HostRows::HostRows(const KvGeometry& geometry, const Limits& limits)
    : layout_(geometry),
      limits_(limits),
      passing_(geometry.heads()),
      kept_(geometry.heads()),
      retained_(geometry.heads()) {}

void HostRows::Add(uint32_t head, std::span<const std::byte> page, uint32_t row, double since) {
  const bool is_kept = retained_[head].Contains(WordOf(page, layout_.positions, row));
  Queues& queues = is_kept ? kept_ : passing_;
  Queue& queue = queues.heads[head];
  if (queue.pages.empty() || queue.pages.back().rows == kPageRows) {
    if (!is_kept && (passing_.pages + 1) * layout_.page_bytes > limits_.bytes_most) {
      // The head's own oldest; one that has none to give goes without.
      if (queue.pages.empty()) {
        is_complete_ = false;
        return;
      }
      DiscardFront(head);
    }
    queue.pages.emplace_back(layout_.page_bytes);
    queue.pages.back().since = since;
    ++queues.pages;
  }
  Page& to = queue.pages.back();
  to.since = std::min(to.since, since);
  CopyRow(layout_, page, row, to.bytes, to.rows++);
  ++queue.count;
  ++queues.rows;
}

void HostRows::Expire(double now) {
  if (limits_.seconds_most <= 0.0) return;
  for (uint32_t head = 0; head < passing_.heads.size(); ++head) {
    const std::deque<Page>& pages = passing_.heads[head].pages;
    while (!pages.empty() && now - pages.front().since >= limits_.seconds_most) DiscardFront(head);
  }
}

void HostRows::DiscardFront(uint32_t head) {
  Queue& queue = passing_.heads[head];
  queue.count -= queue.pages.front().rows;
  passing_.rows -= queue.pages.front().rows;
  queue.pages.pop_front();
  --passing_.pages;
  is_complete_ = false;
}

void HostRows::Forget(Queues* queues) {
  for (Queue& queue : queues->heads) queue = Queue();
  queues->rows = queues->pages = 0;
}

void HostRows::Clear() {
  Forget(&passing_);
  Forget(&kept_);
  for (TokenRanges& positions : retained_) positions.Clear();
  is_complete_ = true;
}

void HostRows::Discard() {
  if (passing_.rows > 0) is_complete_ = false;
  Forget(&passing_);
}

void HostRows::Retain(uint32_t from, uint32_t to) {
  for (TokenRanges& positions : retained_) positions.Add(from, to);
}

void HostRows::Release(uint32_t from, uint32_t to) {
  for (TokenRanges& positions : retained_) positions.Remove(from, to);
}

void HostRows::Sort() {
  Drain().Return(this);
}

void HostRows::MoveRetained(uint32_t head, TokenRanges positions) {
  retained_[head] = std::move(positions);
}

uint32_t HostRows::retained_most() const {
  size_t most = 0;
  for (const TokenRanges& positions : retained_) most = std::max(most, positions.count());
  return static_cast<uint32_t>(most);
}

uint32_t HostRows::count(uint32_t head) const {
  return passing_.heads[head].count + kept_.heads[head].count;
}

std::vector<uint32_t> HostRows::Positions(uint32_t head) const {
  std::vector<uint32_t> positions;
  for (const Queues* queues : {&passing_, &kept_}) {
    for (const Page& page : queues->heads[head].pages) {
      for (uint32_t row = 0; row < page.rows; ++row) {
        positions.push_back(WordOf(page.bytes, layout_.positions, row));
      }
    }
  }
  std::sort(positions.begin(), positions.end());
  return positions;
}

HostRows::Drained HostRows::Drain() {
  Drained drained(layout_);
  drained.heads_ = std::vector<Drained::Head>(retained_.size());
  for (size_t h = 0; h < retained_.size(); ++h) {
    Drained::Head& head = drained.heads_[h];
    head.pages = std::move(passing_.heads[h].pages);
    for (Page& page : kept_.heads[h].pages) head.pages.push_back(std::move(page));
    for (uint32_t p = 0; p < head.pages.size(); ++p) {
      for (uint32_t row = 0; row < head.pages[p].rows; ++row) {
        head.order.push_back(p * kPageRows + row);
      }
    }
    const auto position = [&](uint32_t slot) {
      return WordOf(head.pages[slot / kPageRows].bytes, layout_.positions, slot % kPageRows);
    };
    std::sort(head.order.begin(), head.order.end(),
              [&](uint32_t a, uint32_t b) { return position(a) < position(b); });
    head.end = static_cast<uint32_t>(head.order.size());
  }
  Forget(&passing_);
  Forget(&kept_);
  return drained;
}

uint32_t HostRows::Drained::left_most() const {
  uint32_t most = 0;
  for (uint32_t h = 0; h < heads_.size(); ++h) most = std::max(most, left(h));
  return most;
}

void HostRows::Drained::Only(const TokenRanges& positions) {
  for (Head& head : heads_) {
    const auto is_wanted = [&](uint32_t slot) {
      const Page& page = head.pages[slot / kPageRows];
      return positions.Contains(WordOf(page.bytes, layout_.positions, slot % kPageRows));
    };
    const auto end = std::stable_partition(head.order.begin() + head.next,
                                           head.order.begin() + head.end, is_wanted);
    head.end = static_cast<uint32_t>(end - head.order.begin());
  }
}

double HostRows::Drained::Take(uint32_t head, std::span<std::byte> page, uint32_t row) {
  Head& from = heads_[head];
  CORM_CHECK(from.next < from.end);
  const uint32_t slot = from.order[from.next++];
  const Page& copied = from.pages[slot / kPageRows];
  CopyRow(layout_, copied.bytes, slot % kPageRows, page, row);
  return copied.since;
}

void HostRows::Drained::Return(HostRows* to) {
  for (uint32_t h = 0; h < heads_.size(); ++h) {
    const Head& head = heads_[h];
    for (uint32_t i = head.next; i < head.order.size(); ++i) {
      const Page& page = head.pages[head.order[i] / kPageRows];
      to->Add(h, page.bytes, head.order[i] % kPageRows, page.since);
    }
  }
  heads_.clear();
}

}  // namespace cormorant
