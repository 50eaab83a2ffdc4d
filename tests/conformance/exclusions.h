// What a backend is known to get wrong: every entry says why, and one that passes is a failure.
#pragma once
#include <span>

#include "absl/strings/string_view.h"

namespace cormorant::conformance {

struct Exclusion {
  absl::string_view test;    // "AttendTest.Prefill"
  absl::string_view target;  // "cpu_avx2"; a prefix fits too: "cpu".
  absl::string_view reason;
};

/// The one table. It only shrinks.
std::span<const Exclusion> Exclusions();

}  // namespace cormorant::conformance
