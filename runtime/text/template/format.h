// Text from a format and values: Python's "%s" % x and "{}".format(x).
#pragma once
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "runtime/text/template/heap.h"
#include "runtime/text/template/native.h"
#include "runtime/text/template/value.h"

namespace cormorant::jinja {

/// format % values: a tuple gives several, a dict named ones.
absl::StatusOr<Value> FormatPercent(Heap& heap, const Value& format, const Value& values);

/// format.format(*positional, **named).
absl::StatusOr<Value> FormatBraces(Interpreter& run, Heap& heap, const Value& format,
                                   const Arguments& arguments);

/// How one value is written: [[fill]align][sign][#][0][width][grouping][.precision][type].
struct FormatSpec {
  absl::string_view fill = " ";
  char align = '\0';
  char sign = '-';
  bool is_alternate = false;
  bool is_percent_style = false;  // Precision cuts texts and pads integers, as % does.
  char grouping = '\0';
  uint64_t width = 0;
  int precision = -1;
  char type = '\0';
};
absl::StatusOr<FormatSpec> ParseFormatSpec(absl::string_view text);
absl::Status AppendFormatted(Heap& heap, const Value& value, const FormatSpec& spec,
                             TextBuilder* out);

}  // namespace cormorant::jinja
