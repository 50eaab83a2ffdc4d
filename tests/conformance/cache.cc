// Pages on the host. See cache.h.
#include "tests/conformance/cache.h"

#include <algorithm>
#include <bit>
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
  statistics_.assign(tables * geometry.statistics_bytes() / 4,
                     std::bit_cast<float>(0xffffffffu));  // The canary.
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
  const auto side = [&](DType type, bool is_k) {
    const uint32_t bytes = type == DType::kF16 ? 2 : 1;
    for (uint32_t d = 0; d < geometry_.head_dim; ++d) {
      const uint32_t at = is_k ? layout_.KIndex(row, d) : layout_.VIndex(row, d);
      const bool is_high = type == DType::kQ4_0 && (is_k ? d % 8 >= 4 : d % 32 >= 16);
      if (!is_high) f(page + (is_k ? layout_.k : layout_.v) + at * bytes, bytes);
      if (type == DType::kF16 || d % 32 != 0) continue;
      const uint32_t scale = is_k ? layout_.KScaleIndex(row, d) : layout_.VScaleIndex(row, d);
      f(page + (is_k ? layout_.k_scale : layout_.v_scale) + scale * 2, 2u);
    }
  };
  side(geometry_.k_type, true);
  side(geometry_.v_type, false);
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

std::vector<float> Rotated(std::span<const float> row) {
  size_t block = 1;
  while (row.size() % (block * 2) == 0 && block < 256) block *= 2;
  std::vector<float> x(row.begin(), row.end());
  for (size_t first = 0; first < x.size(); first += block) {
    for (size_t stride = 1; stride < block; stride *= 2) {
      const std::vector<float> old = x;
      for (size_t i = first; i < first + block; ++i) {
        const bool is_second = ((i - first) & stride) != 0;
        x[i] = is_second ? old[i - stride] - old[i] : old[i] + old[i + stride];
      }
    }
  }
  const float factor = static_cast<float>(1.0 / std::sqrt(static_cast<double>(block)));
  for (float& element : x) element *= factor;
  return x;
}

void HostCache::EncodeHalfBytes(Place place, bool is_k, std::span<const float> row) {
  std::byte* page = Page(place);
  const uint32_t r = place.slot % kPageRows;
  std::byte* values = page + (is_k ? layout_.k : layout_.v);
  uint16_t* scales = reinterpret_cast<uint16_t*>(page + (is_k ? layout_.k_scale : layout_.v_scale));
  const std::vector<float> x = Rotated(row);
  for (uint32_t first = 0; first < x.size(); first += 32) {
    float greatest = 0.0f;
    for (uint32_t d = first; d < first + 32; ++d) {
      const bool is_greater = std::fabs(x[d]) > std::fabs(greatest);
      if (is_greater || x[d] == std::fabs(greatest)) greatest = x[d];
    }
    const float scale = std::fabs(greatest) < 0x1p-20f ? 0.0f : greatest / -8.0f;
    scales[is_k ? layout_.KScaleIndex(r, first) : layout_.VScaleIndex(r, first)] = F32ToF16(scale);
    for (uint32_t d = first; d < first + 32; ++d) {
      const float q = scale == 0.0f ? 0.0f : std::nearbyint(x[d] * (1.0f / scale));
      const auto half = static_cast<uint8_t>(std::fmin(7.0f, std::fmax(-8.0f, q)) + 8.0f);
      std::byte& byte = values[is_k ? layout_.KIndex(r, d) : layout_.VIndex(r, d)];
      const bool is_high = is_k ? d % 8 >= 4 : d % 32 >= 16;
      byte = is_high ? (byte & std::byte{0x0f}) | std::byte{half} << 4
                     : (byte & std::byte{0xf0}) | std::byte{half};
    }
  }
}

void HostCache::Encode(Place place, bool is_k, std::span<const float> row) {
  if ((is_k ? geometry_.k_type : geometry_.v_type) == DType::kQ4_0) {
    return EncodeHalfBytes(place, is_k, row);
  }
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

std::vector<float> HostCache::Held(Place place, bool is_k) const {
  const std::byte* page = Mutable().Page(place);
  const uint32_t r = place.slot % kPageRows;
  const std::byte* values = page + (is_k ? layout_.k : layout_.v);
  const uint16_t* scales =
      reinterpret_cast<const uint16_t*>(page + (is_k ? layout_.k_scale : layout_.v_scale));
  const DType type = is_k ? geometry_.k_type : geometry_.v_type;
  std::vector<float> row(geometry_.head_dim);
  for (uint32_t d = 0; d < row.size(); ++d) {
    const uint32_t at = is_k ? layout_.KIndex(r, d) : layout_.VIndex(r, d);
    if (type == DType::kF16) {
      row[d] = F16ToF32(reinterpret_cast<const uint16_t*>(values)[at]);
      continue;
    }
    const uint32_t scale_at = is_k ? layout_.KScaleIndex(r, d) : layout_.VScaleIndex(r, d);
    int32_t quant = reinterpret_cast<const int8_t*>(values)[at];
    if (type == DType::kQ4_0) {
      const bool is_high = is_k ? d % 8 >= 4 : d % 32 >= 16;
      quant = (is_high ? quant >> 4 & 15 : quant & 15) - 8;
    }
    row[d] = F16ToF32(scales[scale_at]) * static_cast<float>(quant);
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
  const std::vector<float> row = Held(place, true);
  return geometry_.k_type == DType::kQ4_0 ? Rotated(row) : row;
}
std::vector<float> HostCache::V(Place place) const {
  const std::vector<float> row = Held(place, false);
  return geometry_.v_type == DType::kQ4_0 ? Rotated(row) : row;
}
std::vector<float> HostCache::HeldV(Place place) const {
  return Held(place, false);
}

float HostCache::KScale(Place place, uint32_t dim) const {
  if (geometry_.k_type == DType::kF16) return 0.0f;
  const uint16_t* scales =
      reinterpret_cast<const uint16_t*>(Mutable().Page(place) + layout_.k_scale);
  return std::fabs(F16ToF32(scales[layout_.KScaleIndex(place.slot % kPageRows, dim)]));
}

}  // namespace cormorant::conformance
