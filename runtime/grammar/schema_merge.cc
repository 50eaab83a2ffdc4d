// Keyword by keyword. See schema_merge.h.
#include "runtime/grammar/schema_merge.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "runtime/base/status.h"

namespace cormorant {
namespace {

/// Of a list, or of one value.
std::vector<SchemaJson> Listed(const SchemaJson& json) {
  if (!json.is_array()) return {json};
  return std::vector<SchemaJson>(json.begin(), json.end());
}

bool Has(const std::vector<SchemaJson>& list, const SchemaJson& value) {
  return std::find(list.begin(), list.end(), value) != list.end();
}

SchemaJson CommonTypes(const SchemaJson& a, const SchemaJson& b) {
  const std::vector<SchemaJson> as = Listed(a), bs = Listed(b);
  SchemaJson common = SchemaJson::array();
  for (const SchemaJson& type : as) {
    if (Has(bs, type) || (type == "integer" && Has(bs, "number"))) common.push_back(type);
  }
  for (const SchemaJson& type : bs) {
    if (type == "integer" && Has(as, "number") && !Has(as, type)) common.push_back(type);
  }
  return common;
}

/// Properties of both; one that both name must be as both say.
SchemaJson AllProperties(const SchemaJson& a, const SchemaJson& b) {
  SchemaJson all = a;
  for (const auto& [name, schema] : b.items()) {
    const auto other = all.find(name);
    if (other == all.end()) {
      all[name] = schema;
    } else if (*other != schema) {
      *other = SchemaJson{{"allOf", SchemaJson::array({*other, schema})}};
    }
  }
  return all;
}

/// The values that a schema names one by one, or none.
std::vector<SchemaJson> ValuesOf(const SchemaJson& schema) {
  if (!schema.is_object()) return {};
  if (schema.contains("const")) return {schema["const"]};
  return schema.contains("enum") ? Listed(schema["enum"]) : std::vector<SchemaJson>();
}

bool AreValuesApart(const SchemaJson& a, const SchemaJson& b) {
  const std::vector<SchemaJson> as = ValuesOf(a), bs = ValuesOf(b);
  if (as.empty() || bs.empty()) return false;
  return std::none_of(as.begin(), as.end(),
                      [&](const SchemaJson& value) { return Has(bs, value); });
}

SchemaJson MemberOr(const SchemaJson& schema, const char* keyword, SchemaJson otherwise) {
  return schema.contains(keyword) ? schema[keyword] : std::move(otherwise);
}

/// How two values of a keyword are one; nothing where they are not.
absl::StatusOr<SchemaJson> MergeKeyword(const std::string& keyword, const SchemaJson& a,
                                        const SchemaJson& b) {
  if (a == b || IsAnnotation(keyword)) return a;
  const bool are_numbers = a.is_number() && b.is_number();
  if (keyword == "type") return CommonTypes(a, b);
  if (keyword == "allOf" && a.is_array() && b.is_array()) {
    SchemaJson all = a;
    all.insert(all.end(), b.begin(), b.end());
    return all;
  }
  if (keyword == "properties" && a.is_object() && b.is_object()) return AllProperties(a, b);
  if (keyword == "required" || keyword == "enum") {
    std::vector<SchemaJson> as = Listed(a);
    const std::vector<SchemaJson> bs = Listed(b);
    if (keyword == "enum") {
      std::erase_if(as, [&](const SchemaJson& value) { return !Has(bs, value); });
    } else {
      std::copy_if(bs.begin(), bs.end(), std::back_inserter(as),
                   [&](const SchemaJson& name) { return !Has(as, name); });
    }
    return SchemaJson(as);
  }
  if (are_numbers && (keyword == "minimum" || keyword == "exclusiveMinimum" ||
                      keyword == "minLength" || keyword == "minItems")) {
    return std::max(a, b);
  }
  if (are_numbers && (keyword == "maximum" || keyword == "exclusiveMaximum" ||
                      keyword == "maxLength" || keyword == "maxItems")) {
    return std::min(a, b);
  }
  return absl::UnimplementedError(
      absl::StrCat("'", keyword, "' differs between schemas that must hold together"));
}

}  // namespace

bool IsAnnotation(absl::string_view keyword) {
  constexpr absl::string_view kAnnotations[] = {
      "title",    "description", "default", "examples", "deprecated",  "readOnly",     "writeOnly",
      "$comment", "$schema",     "$id",     "$defs",    "definitions", "discriminator"};
  return std::find(std::begin(kAnnotations), std::end(kAnnotations), keyword) !=
         std::end(kAnnotations);
}

absl::StatusOr<SchemaJson> MergeSchemas(const SchemaJson& a, const SchemaJson& b) {
  if (a == true) return b;
  if (b == true) return a;
  if (!a.is_object() || !b.is_object()) return SchemaJson(false);
  // What it refuses depends on the properties beside it.
  for (const auto* const pair : {&a, &b}) {
    const SchemaJson& other = pair == &a ? b : a;
    if (pair->contains("additionalProperties") && (*pair)["additionalProperties"] != true &&
        MemberOr(other, "properties", nullptr) != MemberOr(*pair, "properties", nullptr) &&
        other.contains("properties")) {
      return absl::UnimplementedError(
          "'additionalProperties' beside other properties, in schemas that must hold together");
    }
  }
  SchemaJson merged = a;
  for (const auto& [keyword, value] : b.items()) {
    const auto own = merged.find(keyword);
    if (own == merged.end()) {
      merged[keyword] = value;
      continue;
    }
    CORM_ASSIGN_OR_RETURN(SchemaJson both, MergeKeyword(keyword, *own, value));
    *own = std::move(both);
  }
  return merged;
}

bool AreApart(const SchemaJson& a, const SchemaJson& b) {
  if (a == false || b == false) return true;
  if (!a.is_object() || !b.is_object()) return false;
  if (AreValuesApart(a, b)) return true;
  if (a.contains("type") && b.contains("type")) {
    if (CommonTypes(a["type"], b["type"]).empty()) return true;
  }
  const SchemaJson as = MemberOr(a, "properties", SchemaJson::object());
  const SchemaJson bs = MemberOr(b, "properties", SchemaJson::object());
  if (!as.is_object() || !bs.is_object() || as.empty()) return false;
  const bool both_are_objects =
      MemberOr(a, "type", "") == "object" && MemberOr(b, "type", "") == "object";
  if (!both_are_objects) return false;
  const std::vector<SchemaJson> needed = Listed(MemberOr(a, "required", SchemaJson::array()));
  for (const SchemaJson& name : Listed(MemberOr(b, "required", SchemaJson::array()))) {
    if (!name.is_string()) continue;
    const auto own = as.find(name.get<std::string>());
    const bool is_open = MemberOr(a, "additionalProperties", false) != false;
    if (own == as.end() && !is_open) return true;
    const auto other = bs.find(name.get<std::string>());
    if (own == as.end() || other == bs.end()) continue;
    if (Has(needed, name) && AreValuesApart(*own, *other)) return true;
  }
  return false;
}

}  // namespace cormorant
