// How an expected failure travels: absl::Status and the macros that pass it on.
//
// A Status says what was found, what was expected and what the user can do; its code carries the
// reaction. A fault of our own that no input can reach stops at a CORM_CHECK instead.
#pragma once
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

#define CORM_RETURN_IF_ERROR(expr)                                                   \
  do {                                                                               \
    if (absl::Status corm_status_ = (expr); !corm_status_.ok()) return corm_status_; \
  } while (false)

#define CORM_CONCAT_INNER(a, b) a##b
#define CORM_CONCAT(a, b) CORM_CONCAT_INNER(a, b)

/// CORM_ASSIGN_OR_RETURN(auto x, F()): x is F's value, or the function returns F's error.
#define CORM_ASSIGN_OR_RETURN(lhs, expr) \
  CORM_ASSIGN_OR_RETURN_INNER(CORM_CONCAT(corm_result_, __LINE__), lhs, expr)
#define CORM_ASSIGN_OR_RETURN_INNER(result, lhs, expr) \
  auto result = (expr);                                \
  if (!result.ok()) return std::move(result).status(); \
  lhs = *std::move(result)

namespace cormorant {

/// The same error with "where: " before its message; OK stays OK.
inline absl::Status At(absl::string_view where, const absl::Status& status) {
  if (status.ok()) return status;
  return absl::Status(status.code(), absl::StrCat(where, ": ", status.message()));
}

}  // namespace cormorant
