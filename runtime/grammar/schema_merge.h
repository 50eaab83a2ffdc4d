// Schemas that must hold together, as one schema; and whether two can hold at once.
#pragma once
#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"

namespace cormorant {

using SchemaJson = nlohmann::ordered_json;

/// Keywords that say nothing about values.
bool IsAnnotation(absl::string_view keyword);

/// What both ask for. UNIMPLEMENTED, naming the keyword, where that is not one schema.
absl::StatusOr<SchemaJson> MergeSchemas(const SchemaJson& a, const SchemaJson& b);

/// Whether no value that is written for `a`, which has only the properties it names, can be valid
/// by `b`; false also where that is not known.
bool AreApart(const SchemaJson& a, const SchemaJson& b);

}  // namespace cormorant
