// Character classes and case mappings as data; see unicode.h for the questions they answer.
#pragma once
#include <cstddef>
#include <cstdint>

namespace cormorant::jinja {

/// `code point << 5 | class bits`, ascending: the bits hold from there to the next entry.
extern const uint32_t kClassRuns[];
extern const size_t kClassRunsCount;

/// Every step-th character of [first, last] maps to itself plus delta.
struct CaseRange {
  uint32_t first, last;
  uint32_t step;
  int32_t delta;
};
extern const CaseRange kLowerRanges[];
extern const size_t kLowerRangesCount;
extern const CaseRange kUpperRanges[];
extern const size_t kUpperRangesCount;

/// A character that maps to several, or whose title case is not its upper case.
struct CaseSpecial {
  uint32_t code;
  const char* text;
};
extern const CaseSpecial kLowerSpecials[];
extern const size_t kLowerSpecialsCount;
extern const CaseSpecial kUpperSpecials[];
extern const size_t kUpperSpecialsCount;
extern const CaseSpecial kTitleSpecials[];
extern const size_t kTitleSpecialsCount;

}  // namespace cormorant::jinja
