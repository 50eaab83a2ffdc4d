// Regular expressions of JSON Schema, as expressions of a grammar.
//
// What is regular of ECMA 262: characters, `.`, classes with ranges, \d \w \s and their opposites,
// escapes, groups, |, * + ? {m} {m,} {m,n} (lazy ones match the same texts). ^ and $ stand at the
// ends of the whole, or of its alternatives; without them anything may come before and behind.
#pragma once
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "runtime/grammar/json_exprs.h"

namespace cormorant {

/// The inside of a JSON string that matches. INVALID_ARGUMENT for what is not a regular expression,
/// UNIMPLEMENTED for what is not regular; both say at which byte.
absl::StatusOr<GrammarBuilder::Expr> ReadPattern(absl::string_view pattern, GrammarBuilder* builder,
                                                 JsonExprs* json);

}  // namespace cormorant
