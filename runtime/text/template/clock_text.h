// Dates as text: the strftime of chat templates, in English whatever the locale.
#pragma once
#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace cormorant::jinja {

/// The moment, in the zone that is so many seconds before UTC, by a format of strftime.
/// %-d and its like leave the zero out.
absl::StatusOr<std::string> ClockText(absl::string_view format, int64_t unix_seconds,
                                      int64_t utc_offset_seconds);

}  // namespace cormorant::jinja
