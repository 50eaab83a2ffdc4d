// HostRows: rows come out byte for byte as they went in, by position; what is discarded is said.
//
// Method: pages of random bytes with known positions, in every row type. What a row is made of is
// taken from the indices of kv_page.h, element by element, where the code copies pieces.
#include "runtime/cache/host_rows.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <random>

#include "gtest/gtest.h"

namespace cormorant {
namespace {

KvGeometry Geometry(DType k, DType v, uint32_t head_dim, uint32_t heads) {
  KvGeometry geometry;
  geometry.layers = 1;
  geometry.kv_heads = heads;
  geometry.head_dim = head_dim;
  geometry.k_type = k;
  geometry.v_type = v;
  return geometry;
}

class Pages {
 public:
  explicit Pages(const KvGeometry& geometry) : layout_(geometry) {}

  std::vector<std::byte> Random() {
    std::vector<std::byte> page(layout_.page_bytes);
    for (std::byte& b : page) b = static_cast<std::byte>(random_());
    return page;
  }
  void SetPosition(std::vector<std::byte>* page, uint32_t row, uint32_t position) const {
    std::memcpy(&(*page)[layout_.positions + row * 4], &position, 4);
  }
  uint32_t Position(std::span<const std::byte> page, uint32_t row) const {
    uint32_t position;
    std::memcpy(&position, &page[layout_.positions + row * 4], 4);
    return position;
  }
  /// Every number of a row, scales, position and mark, as bits.
  std::vector<uint32_t> Row(std::span<const std::byte> page, uint32_t row) const {
    std::vector<uint32_t> numbers;
    for (uint32_t d = 0; d < layout_.head_dim; ++d) {
      numbers.push_back(
          Number(page, layout_.k, layout_.k_type, layout_.KIndex(row, d), KvPageLayout::KShift(d)));
      numbers.push_back(
          Number(page, layout_.v, layout_.v_type, layout_.VIndex(row, d), KvPageLayout::VShift(d)));
      if (layout_.k_type != DType::kF16) {
        numbers.push_back(Read<uint16_t>(page, layout_.k_scale, layout_.KScaleIndex(row, d)));
      }
      if (layout_.v_type != DType::kF16) {
        numbers.push_back(Read<uint16_t>(page, layout_.v_scale, layout_.VScaleIndex(row, d)));
      }
    }
    numbers.push_back(Read<uint32_t>(page, layout_.positions, row));
    numbers.push_back(Read<uint32_t>(page, layout_.last_important, row));
    return numbers;
  }

 private:
  template <class T>
  static T Read(std::span<const std::byte> page, uint32_t part, uint32_t index) {
    T value;
    std::memcpy(&value, &page[part + index * sizeof(T)], sizeof(T));
    return value;
  }
  static uint32_t Number(std::span<const std::byte> page, uint32_t part, DType type, uint32_t index,
                         uint32_t shift) {
    if (type == DType::kF16) return Read<uint16_t>(page, part, index);
    const uint32_t byte = Read<uint8_t>(page, part, index);
    return type == DType::kQ8_0 ? byte : byte >> shift & 15;
  }

  const KvPageLayout layout_;
  std::mt19937 random_{5};
};

const DType kTypes[] = {DType::kF16, DType::kQ8_0, DType::kQ4_0};

TEST(HostRows, ARowIsCopiedWholeAndNoOtherIsTouched) {
  for (const DType k : kTypes) {
    for (const DType v : kTypes) {
      const KvGeometry geometry = Geometry(k, v, 96, 1);
      Pages pages(geometry);
      const std::vector<std::byte> from = pages.Random();
      std::vector<std::byte> to = pages.Random();
      const std::vector<std::byte> before = to;
      CopyRow(KvPageLayout(geometry), from, 31, to, 5);
      for (uint32_t row = 0; row < kPageRows; ++row) {
        EXPECT_EQ(pages.Row(to, row), row == 5 ? pages.Row(from, 31) : pages.Row(before, row));
      }
    }
  }
}

TEST(HostRows, RowsLeaveByPositionAndTheRestGoesBack) {
  const KvGeometry geometry = Geometry(DType::kQ8_0, DType::kF16, 32, 2);
  Pages pages(geometry);
  HostRows rows(geometry, {.bytes_most = 1 << 20});
  std::vector<uint32_t> positions(100);
  for (uint32_t i = 0; i < positions.size(); ++i) positions[i] = i * 3;
  std::shuffle(positions.begin(), positions.end(), std::mt19937(1));
  std::vector<std::vector<uint32_t>> want(300);
  for (const uint32_t position : positions) {
    std::vector<std::byte> page = pages.Random();
    pages.SetPosition(&page, 7, position);
    want[position] = pages.Row(page, 7);
    rows.Add(1, page, 7, 0.0);
  }
  EXPECT_EQ(rows.count(0), 0u);
  EXPECT_EQ(rows.count(1), 100u);
  EXPECT_EQ(rows.rows(), 100u);
  EXPECT_EQ(rows.bytes(), 4u * rows.layout().page_bytes);

  HostRows::Drained drained = rows.Drain();
  EXPECT_EQ(rows.rows(), 0u);
  EXPECT_TRUE(rows.is_complete());
  EXPECT_EQ(drained.left(0), 0u);
  EXPECT_EQ(drained.left_most(), 100u);
  std::vector<std::byte> page = pages.Random();
  for (uint32_t i = 0; i < 60; ++i) {
    drained.Take(1, page, i % kPageRows);
    EXPECT_EQ(pages.Position(page, i % kPageRows), i * 3);
    EXPECT_EQ(pages.Row(page, i % kPageRows), want[i * 3]);
  }
  drained.Return(&rows);
  EXPECT_EQ(rows.count(1), 40u);
  HostRows::Drained rest = rows.Drain();
  rest.Take(1, page, 0);
  EXPECT_EQ(pages.Row(page, 0), want[180]);
}

TEST(HostRows, OnlyRowsThatAreWantedLeave) {
  const KvGeometry geometry = Geometry(DType::kF16, DType::kF16, 32, 2);
  Pages pages(geometry);
  HostRows rows(geometry, {.bytes_most = 1 << 20});
  for (uint32_t position = 0; position < 50; ++position) {
    std::vector<std::byte> page = pages.Random();
    pages.SetPosition(&page, 0, position);
    for (const uint32_t head : {0u, 1u}) {
      if (head == 0 || position >= 20) rows.Add(head, page, 0, 0.0);
    }
  }
  HostRows::Drained drained = rows.Drain();
  std::vector<std::byte> page = pages.Random();
  drained.Take(0, page, 0);
  TokenRanges wanted;
  wanted.Add(0, 2);  // The first has left.
  wanted.Add(18, 22);
  drained.Only(wanted);
  EXPECT_EQ(drained.left(0), 5u);
  EXPECT_EQ(drained.left(1), 2u);
  EXPECT_EQ(drained.left_most(), 5u);
  std::vector<uint32_t> left;
  while (drained.left(0) > 0) {
    drained.Take(0, page, 0);
    left.push_back(pages.Position(page, 0));
  }
  EXPECT_EQ(left, (std::vector<uint32_t>{1, 18, 19, 20, 21}));
  drained.Return(&rows);
  EXPECT_EQ(rows.count(0), 44u);
  EXPECT_EQ(rows.count(1), 30u);
}

TEST(HostRows, TheOldestOfAHeadGoWhenTheBytesAreUsedUp) {
  const KvGeometry geometry = Geometry(DType::kF16, DType::kF16, 32, 2);
  Pages pages(geometry);
  HostRows rows(geometry, {.bytes_most = 3 * uint64_t{KvPageLayout(geometry).page_bytes}});
  const auto add = [&](uint32_t head, uint32_t first, uint32_t count) {
    for (uint32_t i = 0; i < count; ++i) {
      std::vector<std::byte> page = pages.Random();
      pages.SetPosition(&page, 0, first + i);
      rows.Add(head, page, 0, 0.0);
      EXPECT_LE(rows.bytes(), 3u * rows.layout().page_bytes);
    }
  };
  add(0, 0, 96);
  EXPECT_TRUE(rows.is_complete());
  add(0, 96, 1);
  EXPECT_FALSE(rows.is_complete());
  EXPECT_EQ(rows.count(0), 65u);
  add(1, 0, 1);  // No page of its own to give up.
  EXPECT_EQ(rows.count(1), 0u);
  HostRows::Drained drained = rows.Drain();
  std::vector<std::byte> page = pages.Random();
  drained.Take(0, page, 0);
  EXPECT_EQ(pages.Position(page, 0), 32u);
  rows.Clear();
  EXPECT_TRUE(rows.is_complete());
}

TEST(HostRows, WhatIsRetainedStaysBesideTheLimits) {
  const KvGeometry geometry = Geometry(DType::kF16, DType::kF16, 32, 2);
  const uint64_t page_bytes = KvPageLayout(geometry).page_bytes;
  Pages pages(geometry);
  HostRows rows(geometry, {.bytes_most = page_bytes, .seconds_most = 10.0});
  rows.Retain(10, 60);
  EXPECT_EQ(rows.retained_most(), 50u);
  std::vector<std::byte> page = pages.Random();
  for (uint32_t head = 0; head < 2; ++head) {
    for (uint32_t i = 0; i < 100; ++i) {
      pages.SetPosition(&page, 0, i);
      rows.Add(head, page, 0, 1.0);
    }
  }
  EXPECT_EQ(rows.kept_rows(), 100u);
  EXPECT_EQ(rows.kept_bytes(), 4 * page_bytes);
  EXPECT_EQ(rows.rows(), 100u + 50 % kPageRows) << "of the first head, the newest others";
  EXPECT_EQ(rows.bytes(), 5 * page_bytes);
  EXPECT_FALSE(rows.is_complete());
  rows.Expire(20.0);
  rows.Discard();
  EXPECT_EQ(rows.rows(), 100u);
  EXPECT_EQ(rows.count(0), 50u);
  std::vector<uint32_t> want(50);
  std::iota(want.begin(), want.end(), 10);
  EXPECT_EQ(rows.Positions(1), want);

  // Looked through and given back they are what they were.
  rows.Drain().Return(&rows);
  EXPECT_EQ(rows.kept_rows(), 100u);
  // Ordinary again, and as old as they are: for all there is not room.
  rows.Release(20, 70);
  rows.Sort();
  EXPECT_EQ(rows.kept_rows(), 20u);
  EXPECT_EQ(rows.rows(), 20u + 40 % kPageRows);
  rows.Expire(11.0);
  EXPECT_EQ(rows.rows(), 20u);
  // Copies that are there are retained from then on.
  pages.SetPosition(&page, 0, 99);
  rows.Add(0, page, 0, 20.0);
  rows.Retain(99, 100);
  rows.Sort();
  rows.Expire(100.0);
  EXPECT_EQ(rows.kept_rows(), 21u);
  rows.Clear();
  EXPECT_EQ(rows.bytes(), 0u);
  EXPECT_EQ(rows.retained_most(), 0u);
  EXPECT_TRUE(rows.is_complete());
}

TEST(HostRows, RowsExpire) {
  const KvGeometry geometry = Geometry(DType::kF16, DType::kF16, 32, 1);
  Pages pages(geometry);
  HostRows rows(geometry, {.bytes_most = 1 << 20, .seconds_most = 10.0});
  std::vector<std::byte> page = pages.Random();
  for (uint32_t i = 0; i < 40; ++i) {
    pages.SetPosition(&page, 0, i);
    rows.Add(0, page, 0, i < 32 ? 1.0 : 5.0);
  }
  rows.Expire(10.9);
  EXPECT_EQ(rows.rows(), 40u);
  HostRows::Drained drained = rows.Drain();
  drained.Return(&rows);  // As old as they were.
  rows.Expire(11.0);
  EXPECT_EQ(rows.rows(), 8u);
  EXPECT_FALSE(rows.is_complete());
  rows.Expire(15.0);
  EXPECT_EQ(rows.rows(), 0u);
  EXPECT_EQ(rows.bytes(), 0u);
  rows.Discard();
  EXPECT_FALSE(rows.is_complete());
}

}  // namespace
}  // namespace cormorant
