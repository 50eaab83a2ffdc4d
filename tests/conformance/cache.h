// A KV cache on the host: what tests put into pages before a replay and read out of them after it.
//
// Encodes and decodes rows from the text of kv_page.h, and shares no code with any backend. Pages
// are handed out in a shuffled order, so that no kernel gets away with taking them for neighbours;
// a slab in the middle is missing and every byte that holds no row is NaN.
#pragma once
#include <cstddef>
#include <cstdint>
#include <random>
#include <span>
#include <vector>

#include "runtime/ops/kv_page.h"

namespace cormorant::conformance {

constexpr std::byte kCanary{0xff};  // NaN as f16, bf16 and f32; no page, no token, no position.

/// A row after the transform of q4_0 rows, which is also the way back.
std::vector<float> Rotated(std::span<const float> row);

/// Where a row of the cache is.
struct Place {
  uint32_t table = 0;
  uint32_t head = 0;
  uint32_t slot = 0;
};

class HostCache {
 public:
  HostCache() : HostCache(KvGeometry{}, 0, 0) {}
  /// Tables without pages.
  HostCache(const KvGeometry& geometry, uint32_t tables, uint32_t seed);

  /// Gives a head the pages of `rows` more rows.
  void Grow(uint32_t table, uint32_t head, uint32_t rows);

  void SetK(Place place, std::span<const float> row);
  void SetV(Place place, std::span<const float> row);
  std::vector<float> K(Place place) const;
  std::vector<float> V(Place place) const;
  /// As V, but of q4_0 rows as they are held, rotated.
  std::vector<float> HeldV(Place place) const;
  uint32_t& position(Place place) { return Word(place, layout_.positions); }
  uint32_t& last_important(Place place) { return Word(place, layout_.last_important); }
  uint32_t position(Place place) const { return Mutable().position(place); }
  uint32_t last_important(Place place) const { return Mutable().last_important(place); }

  /// Every byte of a row: K, V, their scales, position and last_important.
  std::vector<std::byte> Row(Place place) const;
  void SetRow(Place place, std::span<const std::byte> row);
  /// The magnitude of the K scale of the block of 32 dimensions around `dim`; 0 for f16 rows.
  float KScale(Place place, uint32_t dim) const;

  /// Statistics of a query head of a layer, as QueryStatsOp has them; NaN until set.
  std::span<float> statistics(uint32_t table, uint32_t layer, uint32_t head) {
    const uint32_t sums = geometry_.query_sums();
    const size_t at = (size_t{table} * geometry_.layers + layer) * geometry_.query_heads + head;
    return std::span(statistics_).subspan(at * sums, sums);
  }
  std::vector<float>& all_statistics() { return statistics_; }
  const std::vector<float>& all_statistics() const { return statistics_; }

  const KvGeometry& geometry() const { return geometry_; }
  uint32_t pages_per_slab() const { return kPagesPerSlab; }
  uint32_t page_bytes() const { return layout_.page_bytes; }
  std::vector<uint32_t>& tables() { return tables_; }
  const std::vector<uint32_t>& tables() const { return tables_; }
  /// Empty where no slab is held.
  std::vector<std::vector<std::byte>>& slabs() { return slabs_; }
  const std::vector<std::vector<std::byte>>& slabs() const { return slabs_; }

 private:
  static constexpr uint32_t kPagesPerSlab = 5;

  HostCache& Mutable() const { return const_cast<HostCache&>(*this); }
  std::byte* Page(Place place);
  uint32_t& Word(Place place, uint32_t part);
  void Encode(Place place, bool is_k, std::span<const float> row);
  void EncodeHalfBytes(Place place, bool is_k, std::span<const float> row);
  std::vector<float> Held(Place place, bool is_k) const;
  /// Calls f(pointer, bytes) for every piece of a row.
  template <class F>
  void ForEachPiece(Place place, F&& f);

  KvGeometry geometry_;
  KvPageLayout layout_;
  std::vector<uint32_t> tables_;  // [tables][heads][pages_per_head]
  std::vector<uint32_t> rows_;    // [tables][heads]: rows that have pages.
  std::vector<uint32_t> free_;    // Pages nobody has, in the order they are given.
  std::vector<std::vector<std::byte>> slabs_;
  std::vector<float> statistics_;
};

}  // namespace cormorant::conformance
