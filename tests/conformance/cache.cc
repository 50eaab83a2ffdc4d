// Pages on the host. See cache.h.
#include "tests/conformance/cache.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "runtime/base/check.h"
#include "runtime/base/half.h"
#include "runtime/base/units.h"

namespace cormorant::conformance {

HostCache::HostCache(const KvGeometry& geometry, uint32_t tables, uint32_t seed)
    : geometry_(geometry), layout_(geometry) {
  const uint32_t heads = tables * geometry.heads();
  tables_.assign(size_t{heads} * geometry.pages_per_head, 0xffffffffu);
  rows_.assign(heads, 0);
  const size_t held = CeilDiv(tables_.size(), kPagesPerSlab);
  const size_t missing = held / 2;
  for (size_t slab = 0; slab < held + 1; ++slab) {
    const bool is_held = slab != missing;
    slabs_.emplace_back(is_held ? size_t{kPagesPerSlab} * layout_.page_bytes : 0, kCanary);
    for (uint32_t page = 0; is_held && page < kPagesPerSlab; ++page) {
      free_.push_back(static_cast<uint32_t>(slab) * kPagesPerSlab + page);
    }
  }
  std::mt19937 random(seed + 1);
  std::shuffle(free_.begin(), free_.end(), random);
}

void HostCache::Grow(uint32_t table, uint32_t head, uint32_t rows) {
  const size_t index = size_t{table} * geometry_.heads() + head;
  const uint64_t before = CeilDiv(rows_[index], kPageRows);
  rows_[index] += rows;
  const uint64_t after = CeilDiv(rows_[index], kPageRows);
  CORM_CHECK(after <= geometry_.pages_per_head && after - before <= free_.size());
  for (uint64_t page = before; page < after; ++page) {
    tables_[index * geometry_.pages_per_head + page] = free_.back();
    free_.pop_back();
  }
}

std::byte* HostCache::Page(Place place) {
  const size_t index = size_t{place.table} * geometry_.heads() + place.head;
  CORM_CHECK(place.slot < rows_[index]);
  const uint32_t page = tables_[index * geometry_.pages_per_head + place.slot / kPageRows];
  return slabs_[page / kPagesPerSlab].data() + size_t{page % kPagesPerSlab} * layout_.page_bytes;
}

uint32_t& HostCache::Word(Place place, uint32_t part) {
  return reinterpret_cast<uint32_t*>(Page(place) + part)[place.slot % kPageRows];
}

template <class F>
void HostCache::ForEachPiece(Place place, F&& f) {
  std::byte* page = Page(place);
  const uint32_t row = place.slot % kPageRows;
  const uint32_t k_bytes = geometry_.k_type == DType::kF16 ? 2 : 1;
  const uint32_t v_bytes = geometry_.v_type == DType::kF16 ? 2 : 1;
  for (uint32_t d = 0; d < geometry_.head_dim; ++d) {
    f(page + layout_.k + layout_.KIndex(row, d) * k_bytes, k_bytes);
    f(page + layout_.v + layout_.VIndex(row, d) * v_bytes, v_bytes);
    if (d % 32 != 0) continue;
    if (k_bytes == 1) f(page + layout_.k_scale + layout_.KScaleIndex(row, d) * 2, 2u);
    if (v_bytes == 1) f(page + layout_.v_scale + layout_.VScaleIndex(row, d) * 2, 2u);
  }
  f(reinterpret_cast<std::byte*>(&Word(place, layout_.positions)), 4u);
  f(reinterpret_cast<std::byte*>(&Word(place, layout_.last_important)), 4u);
}

std::vector<std::byte> HostCache::Row(Place place) const {
  std::vector<std::byte> row;
  Mutable().ForEachPiece(place, [&](const std::byte* piece, uint32_t bytes) {
    row.insert(row.end(), piece, piece + bytes);
  });
  return row;
}

void HostCache::SetRow(Place place, std::span<const std::byte> row) {
  const std::byte* from = row.data();
  ForEachPiece(place, [&](std::byte* piece, uint32_t bytes) {
    std::memcpy(piece, from, bytes);
    from += bytes;
  });
  CORM_CHECK(from == row.data() + row.size());
}

void HostCache::Encode(Place place, bool is_k, std::span<const float> row) {
  std::byte* page = Page(place);
  const uint32_t r = place.slot % kPageRows;
  std::byte* values = page + (is_k ? layout_.k : layout_.v);
  uint16_t* scales = reinterpret_cast<uint16_t*>(page + (is_k ? layout_.k_scale : layout_.v_scale));
  const auto index = [&](uint32_t d) { return is_k ? layout_.KIndex(r, d) : layout_.VIndex(r, d); };
  const bool is_half = (is_k ? geometry_.k_type : geometry_.v_type) == DType::kF16;
  for (uint32_t d = 0; is_half && d < row.size(); ++d) {
    reinterpret_cast<uint16_t*>(values)[index(d)] = F32ToF16(row[d]);
  }
  for (uint32_t first = 0; !is_half && first < row.size(); first += 32) {
    float greatest = 0.0f;
    for (float x : row.subspan(first, 32)) greatest = std::fmax(greatest, std::fabs(x));
    const float scale = greatest / 127.0f;
    scales[is_k ? layout_.KScaleIndex(r, first) : layout_.VScaleIndex(r, first)] = F32ToF16(scale);
    for (uint32_t d = first; d < first + 32; ++d) {
      const float q = scale == 0.0f ? 0.0f : std::nearbyint(row[d] * (1.0f / scale));
      reinterpret_cast<int8_t*>(values)[index(d)] =
          static_cast<int8_t>(std::fmin(127.0f, std::fmax(-127.0f, q)));
    }
  }
}

std::vector<float> HostCache::Decode(Place place, bool is_k) const {
  const std::byte* page = Mutable().Page(place);
  const uint32_t r = place.slot % kPageRows;
  const std::byte* values = page + (is_k ? layout_.k : layout_.v);
  const uint16_t* scales =
      reinterpret_cast<const uint16_t*>(page + (is_k ? layout_.k_scale : layout_.v_scale));
  std::vector<float> row(geometry_.head_dim);
  for (uint32_t d = 0; d < row.size(); ++d) {
    const uint32_t at = is_k ? layout_.KIndex(r, d) : layout_.VIndex(r, d);
    if ((is_k ? geometry_.k_type : geometry_.v_type) == DType::kF16) {
      row[d] = F16ToF32(reinterpret_cast<const uint16_t*>(values)[at]);
    } else {
      const uint32_t scale_at = is_k ? layout_.KScaleIndex(r, d) : layout_.VScaleIndex(r, d);
      row[d] = F16ToF32(scales[scale_at]) * reinterpret_cast<const int8_t*>(values)[at];
    }
  }
  return row;
}

void HostCache::SetK(Place place, std::span<const float> row) {
  Encode(place, true, row);
}
void HostCache::SetV(Place place, std::span<const float> row) {
  Encode(place, false, row);
}
std::vector<float> HostCache::K(Place place) const {
  return Decode(place, true);
}
std::vector<float> HostCache::V(Place place) const {
  return Decode(place, false);
}

float HostCache::KScale(Place place, uint32_t dim) const {
  if (geometry_.k_type == DType::kF16) return 0.0f;
  const uint16_t* scales =
      reinterpret_cast<const uint16_t*>(Mutable().Page(place) + layout_.k_scale);
  return F16ToF32(scales[layout_.KScaleIndex(place.slot % kPageRows, dim)]);
}

}  // namespace cormorant::conformance
