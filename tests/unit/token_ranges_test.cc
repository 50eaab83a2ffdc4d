// Ranges of tokens against a set of places, by random calls.
#include "runtime/cache/token_ranges.h"

#include <gtest/gtest.h>

#include <random>
#include <set>

namespace cormorant {
namespace {

TEST(TokenRanges, AreTheSetOfTheirPlaces) {
  std::mt19937 random(1);
  constexpr size_t kPlaces = 24;
  for (int trace = 0; trace < 200; ++trace) {
    TokenRanges ranges;
    std::set<size_t> places;
    for (int call = 0; call < 30; ++call) {
      size_t from = random() % kPlaces, to = random() % kPlaces;  // Often none.
      const uint32_t what = random() % 4;
      if (what == 2) {
        ranges.Cut(from, to);
        std::set<size_t> left;
        for (size_t place : places) {
          if (place < from || from >= to) left.insert(place);
          if (place >= to && from < to) left.insert(place - (to - from));
        }
        places = left;
      } else {
        what == 0 ? ranges.Remove(from, to) : ranges.Add(from, to);
        for (size_t place = from; place < to; ++place) {
          what == 0 ? (void)places.erase(place) : (void)places.insert(place);
        }
      }
      std::set<size_t> listed;
      size_t end = 0;
      for (const auto& [first, last] : ranges.list()) {
        ASSERT_LT(first, last);
        ASSERT_TRUE(end == 0 || first > end) << "ranges touch";
        end = last;
        for (size_t place = first; place < last; ++place) listed.insert(place);
      }
      ASSERT_EQ(listed, places);
      ASSERT_EQ(ranges.count(), places.size());
      from = random() % kPlaces, to = from + random() % 5;
      size_t in = 0;
      for (size_t place = from; place < to; ++place) in += places.count(place);
      ASSERT_EQ(ranges.Covers(from, to), in == to - from);
      ASSERT_EQ(ranges.Touches(from, to), in > 0);
      ASSERT_EQ(ranges.Contains(from), places.count(from) == 1);
      size_t within = 0;
      for (const auto& [first, last] : ranges.Within(from, to)) {
        ASSERT_TRUE(first < last && ranges.Covers(first, last) && from <= first && last <= to);
        within += last - first;
      }
      ASSERT_EQ(within, in);
    }
  }
}

}  // namespace
}  // namespace cormorant
