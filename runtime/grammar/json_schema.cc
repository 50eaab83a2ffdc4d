// From a JSON Schema to a grammar. See grammar.h.
//
// Places that a $ref names become rules, compiled one after the other from a queue, so that they
// may refer to each other in any way. Alternatives and schemas that must hold together are merged
// with what stands beside them, and the merged schema is compiled: that is where a small text can
// become much work, so all of it is charged against a limit.
#include <algorithm>
#include <cmath>
#include <deque>
#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "runtime/base/status.h"
#include "runtime/format/byte_reader.h"
#include "runtime/grammar/json_exprs.h"
#include "runtime/grammar/pattern.h"
#include "runtime/grammar/schema_merge.h"

namespace cormorant {
namespace {

using Json = SchemaJson;
using Expr = GrammarBuilder::Expr;

constexpr uint32_t kWorkMax = 1u << 20;  // JSON values looked at.
constexpr size_t kPrefixItemsMax = 256;
constexpr absl::string_view kTypes[] = {"object",  "array",   "string", "number",
                                        "integer", "boolean", "null"};
constexpr absl::string_view kKeywords[] = {"type",
                                           "enum",
                                           "const",
                                           "properties",
                                           "required",
                                           "additionalProperties",
                                           "items",
                                           "minItems",
                                           "maxItems",
                                           "anyOf",
                                           "oneOf",
                                           "allOf",
                                           "minLength",
                                           "pattern",
                                           "format",
                                           "minimum",
                                           "exclusiveMinimum",
                                           "prefixItems",
                                           "maxLength",
                                           "$ref",
                                           "maximum",
                                           "exclusiveMaximum"};
/// Keywords, and the type of the values that they are about: what a schema without `type` is for.
constexpr std::pair<absl::string_view, absl::string_view> kTypeOfKeyword[] = {
    {"properties", "object"}, {"required", "object"},         {"additionalProperties", "object"},
    {"items", "array"},       {"prefixItems", "array"},       {"minItems", "array"},
    {"maxItems", "array"},    {"minLength", "string"},        {"maxLength", "string"},
    {"pattern", "string"},    {"format", "string"},           {"minimum", "number"},
    {"maximum", "number"},    {"exclusiveMinimum", "number"}, {"exclusiveMaximum", "number"}};

/// RFC 3339. Years of four digits that do not begin with 0; leap days in leap years.
constexpr char kDate[] =
    "(?:[1-9]\\d{3}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\\d|3[01])|(?:0[469]|11)-(?:0[1-9]|"
    "[12]\\d|30)|02-(?:0[1-9]|1\\d|2[0-8]))|(?:[1-9]\\d(?:0[48]|[2468][048]|[13579][26])|"
    "(?:[2468][048]|[13579][26])00)-02-29)";
constexpr char kTime[] =
    "(?:[01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(?:\\.\\d{1,9})?(?:Z|[+-](?:[01]\\d|2[0-3]):[0-5]\\d)";
constexpr char kUuid[] = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}";

uint32_t SizeOf(const Json& json) {
  uint32_t size = 1;
  if (json.is_structured()) {
    for (const Json& part : json) size += SizeOf(part);
  }
  return size;
}

class SchemaCompiler {
 public:
  explicit SchemaCompiler(const Json& root) : root_(root), json_(&builder_) {}
  absl::StatusOr<std::shared_ptr<const Grammar>> Run();

 private:
  /// Where a schema stands.
  struct Place {
    std::string path;
    uint32_t depth = 0;
    Place At(absl::string_view key) const {
      return {absl::StrCat(path, "/", absl::StrReplaceAll(key, {{"~", "~0"}, {"/", "~1"}})),
              depth + 1};
    }
  };

  static absl::Status Wrong(const Place& place, absl::string_view what) {
    return absl::InvalidArgumentError(absl::StrCat("JSON schema, ", place.path, ": ", what));
  }
  static absl::Status Unknown(const Place& place, absl::string_view what) {
    return absl::UnimplementedError(absl::StrCat("JSON schema, ", place.path, ": ", what));
  }
  absl::Status Charge(const Json& schema, const Place& place);
  absl::StatusOr<const Json*> Find(const Json& ref, const Place& place) const;
  absl::StatusOr<Expr> Refer(const Json& ref, const Place& place);
  absl::StatusOr<Expr> Compile(const Json& schema, const Place& place);
  /// A rule of its own, so that it may be used twice.
  absl::StatusOr<Expr> CompileShared(const Json& schema, const Place& place);
  absl::StatusOr<Json> Merge(const Json& a, const Json& b, const Place& place);
  /// Follows $ref.
  absl::StatusOr<Json> Resolve(const Json& schema, const Place& place);
  absl::StatusOr<Expr> CompileAllOf(const Json& schema, const Place& place);
  absl::StatusOr<Expr> CompileAnyOf(const Json& schema, const char* keyword, const Place& place);
  absl::StatusOr<Expr> CompileValues(const Json& schema, const Place& place);
  absl::StatusOr<Expr> CompileTypes(const Json& schema, const Place& place);
  absl::StatusOr<Expr> CompileType(absl::string_view type, const Json& schema, const Place& place);
  absl::StatusOr<Expr> CompileString(const Json& schema, const Place& place);
  absl::StatusOr<Expr> CompileNumber(const Json& schema, bool is_integer, const Place& place);
  absl::StatusOr<Expr> CompileArray(const Json& schema, const Place& place);
  absl::StatusOr<Expr> CompileObject(const Json& schema, const Place& place);
  /// Members of an object, in order; see CompileObject().
  struct Members {
    std::vector<Expr> members;
    std::vector<bool> is_required;
    std::optional<Expr> others;
  };
  absl::StatusOr<Members> ReadMembers(const Json& schema, const Place& place);
  /// The keyword's number, or `otherwise`.
  absl::StatusOr<uint32_t> Count(const Json& schema, const char* keyword, uint32_t otherwise,
                                 const Place& place) const;
  absl::StatusOr<std::optional<NumberBound>> Bound(const Json& schema, bool is_low,
                                                   const Place& place) const;
  Expr Rule(Expr expr) {
    const GrammarBuilder::Rule rule = builder_.Named(absl::StrCat("json part ", ++parts_));
    builder_.Define(rule, expr);
    return builder_.Of(rule);
  }

  const Json& root_;
  GrammarBuilder builder_;
  JsonExprs json_;
  std::deque<std::pair<GrammarBuilder::Rule, const Json*>> queue_;
  uint32_t work_ = 0;
  uint32_t parts_ = 0;
};

absl::Status SchemaCompiler::Charge(const Json& schema, const Place& place) {
  work_ += SizeOf(schema);
  if (work_ <= kWorkMax) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat("JSON schema, ", place.path,
                                                   ": putting together allOf, anyOf and $ref takes "
                                                   "too much; make the schema simpler"));
}

absl::StatusOr<std::shared_ptr<const Grammar>> SchemaCompiler::Run() {
  const GrammarBuilder::Rule root = builder_.Named("#");
  queue_.push_back({root, &root_});
  for (; !queue_.empty(); queue_.pop_front()) {
    const auto& [rule, schema] = queue_.front();
    CORM_ASSIGN_OR_RETURN(const Expr expr, Compile(*schema, {builder_.name(rule), 0}));
    builder_.Define(rule, expr);
  }
  absl::StatusOr<std::shared_ptr<const Grammar>> grammar = builder_.Build(root);
  return grammar.ok() ? std::move(grammar) : At("JSON schema", grammar.status());
}

absl::StatusOr<const Json*> SchemaCompiler::Find(const Json& ref, const Place& place) const {
  if (!ref.is_string()) return Wrong(place, "$ref is not a string");
  const std::string& text = ref.get_ref<const std::string&>();
  if (text != "#" && !absl::StartsWith(text, "#/")) {
    return Unknown(place, absl::StrCat("$ref ", Quoted(text),
                                       " is not in this schema; those that begin with # are read"));
  }
  const Json* at = &root_;
  std::vector<std::string> keys = absl::StrSplit(text, '/');
  for (size_t i = 1; i < keys.size(); ++i) {
    const std::string key = absl::StrReplaceAll(keys[i], {{"~1", "/"}, {"~0", "~"}});
    size_t index = 0;
    if (at->is_object() && at->contains(key)) {
      at = &(*at)[key];
    } else if (at->is_array() && absl::SimpleAtoi(key, &index) && index < at->size()) {
      at = &(*at)[index];
    } else {
      return Wrong(place, absl::StrCat("there is nothing at $ref ", Quoted(text)));
    }
  }
  return at;
}

absl::StatusOr<Expr> SchemaCompiler::Refer(const Json& ref, const Place& place) {
  CORM_ASSIGN_OR_RETURN(const Json* const schema, Find(ref, place));
  const GrammarBuilder::Rule rule = builder_.Named(ref.get_ref<const std::string&>());
  if (rule != 0 && !builder_.is_defined(rule)) {
    builder_.Define(rule, builder_.Text(""));  // Until its turn.
    queue_.push_back({rule, schema});
  }
  return builder_.Of(rule);
}

absl::StatusOr<Expr> SchemaCompiler::Compile(const Json& schema, const Place& place) {
  CORM_RETURN_IF_ERROR(Charge(schema, place));
  if (place.depth > kGrammarDepthMax) {
    return Wrong(place, absl::StrCat("schemas nest deeper than ", kGrammarDepthMax));
  }
  if (schema == true) return json_.Value();
  if (schema == false) return builder_.Choice({});
  if (!schema.is_object()) return Wrong(place, "a schema is an object, true or false");
  bool is_only_ref = schema.contains("$ref");
  for (const auto& [keyword, value] : schema.items()) {
    if (IsAnnotation(keyword)) continue;
    if (std::find(std::begin(kKeywords), std::end(kKeywords), keyword) == std::end(kKeywords)) {
      return Unknown(place, absl::StrCat("keyword ", Quoted(keyword), " is not supported"));
    }
    is_only_ref = is_only_ref && keyword == "$ref";
  }
  if (is_only_ref) return Refer(schema["$ref"], place);
  if (schema.contains("$ref") || schema.contains("allOf")) return CompileAllOf(schema, place);
  if (schema.contains("anyOf")) return CompileAnyOf(schema, "anyOf", place);
  if (schema.contains("oneOf")) return CompileAnyOf(schema, "oneOf", place);
  if (schema.contains("const") || schema.contains("enum")) return CompileValues(schema, place);
  return CompileTypes(schema, place);
}

absl::StatusOr<Expr> SchemaCompiler::CompileShared(const Json& schema, const Place& place) {
  CORM_ASSIGN_OR_RETURN(const Expr expr, Compile(schema, place));
  return Rule(expr);
}

absl::StatusOr<Json> SchemaCompiler::Merge(const Json& a, const Json& b, const Place& place) {
  CORM_RETURN_IF_ERROR(Charge(a, place));
  CORM_RETURN_IF_ERROR(Charge(b, place));
  absl::StatusOr<Json> merged = MergeSchemas(a, b);
  return merged.ok() ? std::move(merged) : At("JSON schema, " + place.path, merged.status());
}

absl::StatusOr<Json> SchemaCompiler::Resolve(const Json& schema, const Place& place) {
  if (!schema.is_object() || !schema.contains("$ref")) return schema;
  if (place.depth > kGrammarDepthMax) return Wrong(place, "$ref leads back to itself");
  CORM_RETURN_IF_ERROR(Charge(schema, place));
  CORM_ASSIGN_OR_RETURN(const Json* const found, Find(schema["$ref"], place));
  CORM_ASSIGN_OR_RETURN(const Json target, Resolve(*found, {place.path, place.depth + 1}));
  Json rest = schema;
  rest.erase("$ref");
  return Merge(target, rest, place);
}

absl::StatusOr<Expr> SchemaCompiler::CompileAllOf(const Json& schema, const Place& place) {
  CORM_ASSIGN_OR_RETURN(Json merged, Resolve(schema, place));
  for (uint32_t round = 0; merged.is_object() && merged.contains("allOf"); ++round) {
    if (round > kGrammarDepthMax) return Wrong(place, "allOf leads back to itself");
    const Json parts = merged["allOf"];
    if (!parts.is_array()) return Wrong(place, "allOf is not a list");
    merged.erase("allOf");
    for (size_t i = 0; i < parts.size(); ++i) {
      const Place own = place.At("allOf").At(absl::StrCat(i));
      CORM_ASSIGN_OR_RETURN(const Json part, Resolve(parts[i], own));
      CORM_ASSIGN_OR_RETURN(merged, Merge(merged, part, own));
    }
  }
  return Compile(merged, {place.path, place.depth + 1});
}

absl::StatusOr<Expr> SchemaCompiler::CompileAnyOf(const Json& schema, const char* keyword,
                                                  const Place& place) {
  const Json& parts = schema[keyword];
  if (!parts.is_array() || parts.empty()) {
    return Wrong(place, absl::StrCat(keyword, " is not a list of schemas"));
  }
  Json rest = schema;
  rest.erase(keyword);
  std::vector<Expr> choices;
  std::vector<Json> resolved;
  for (size_t i = 0; i < parts.size(); ++i) {
    const Place own = place.At(keyword).At(absl::StrCat(i));
    const bool is_alone = std::all_of(rest.items().begin(), rest.items().end(),
                                      [](const auto& item) { return IsAnnotation(item.key()); });
    Json part = parts[i];
    if (!is_alone) {
      CORM_ASSIGN_OR_RETURN(part, Resolve(part, own));
      CORM_ASSIGN_OR_RETURN(part, Merge(rest, part, own));
    }
    CORM_ASSIGN_OR_RETURN(const Expr choice, Compile(part, own));
    choices.push_back(choice);
    if (keyword != absl::string_view("oneOf")) continue;
    CORM_ASSIGN_OR_RETURN(part, Resolve(part, own));
    for (size_t other = 0; other < resolved.size(); ++other) {
      CORM_RETURN_IF_ERROR(Charge(part, own));
      if (AreApart(part, resolved[other]) && AreApart(resolved[other], part)) continue;
      return Unknown(own,
                     absl::StrCat("oneOf: a value may be valid here and by alternative ", other,
                                  "; tell them apart by type, or by a required property with "
                                  "another const, or use anyOf"));
    }
    resolved.push_back(std::move(part));
  }
  return builder_.Choice(std::move(choices));
}

absl::StatusOr<Expr> SchemaCompiler::CompileValues(const Json& schema, const Place& place) {
  for (const auto& [keyword, value] : schema.items()) {
    const bool is_known = keyword == "const" || keyword == "enum" || keyword == "type";
    if (is_known || IsAnnotation(keyword)) continue;
    return Unknown(place, absl::StrCat(Quoted(keyword), " beside enum or const"));
  }
  Json values = schema.contains("enum") ? schema["enum"] : Json::array({schema["const"]});
  if (!values.is_array()) return Wrong(place, "enum is not a list");
  const Json types = schema.contains("type") ? schema["type"] : Json();
  std::vector<Expr> choices;
  for (const Json& value : values) {
    if (schema.contains("const") && value != schema["const"]) continue;
    const auto is_of = [&](const Json& type) {
      return type == value.type_name() || (type == "integer" && value.is_number_integer());
    };
    const bool fits = types.is_array() ? std::any_of(types.begin(), types.end(), is_of)
                                       : types.is_null() || is_of(types);
    if (fits) choices.push_back(builder_.Text(value.dump()));
  }
  if (choices.empty()) return Wrong(place, "no value of enum or const fits");
  return builder_.Choice(std::move(choices));
}

absl::StatusOr<Expr> SchemaCompiler::CompileTypes(const Json& schema, const Place& place) {
  Json types = Json::array();
  if (schema.contains("type")) {
    types = schema["type"].is_array() ? schema["type"] : Json::array({schema["type"]});
  } else {
    for (const auto& [keyword, type] : kTypeOfKeyword) {
      const bool is_new =
          std::find(types.begin(), types.end(), Json(std::string(type))) == types.end();
      if (schema.contains(keyword) && is_new) types.push_back(std::string(type));
    }
    if (types.empty()) return json_.Value();
  }
  std::vector<Expr> choices;
  for (const Json& type : types) {
    if (!type.is_string() || std::find(std::begin(kTypes), std::end(kTypes),
                                       type.get_ref<const std::string&>()) == std::end(kTypes)) {
      return Wrong(place, absl::StrCat("there is no type ", Quoted(type.dump())));
    }
    CORM_ASSIGN_OR_RETURN(const Expr choice,
                          CompileType(type.get_ref<const std::string&>(), schema, place));
    choices.push_back(choice);
  }
  return builder_.Choice(std::move(choices));
}

absl::StatusOr<Expr> SchemaCompiler::CompileType(absl::string_view type, const Json& schema,
                                                 const Place& place) {
  if (type == "object") return CompileObject(schema, place);
  if (type == "array") return CompileArray(schema, place);
  if (type == "string") return CompileString(schema, place);
  if (type == "null") return builder_.Text("null");
  if (type != "boolean") return CompileNumber(schema, type == "integer", place);
  return builder_.Choice({builder_.Text("true"), builder_.Text("false")});
}

absl::StatusOr<uint32_t> SchemaCompiler::Count(const Json& schema, const char* keyword,
                                               uint32_t otherwise, const Place& place) const {
  if (!schema.contains(keyword)) return otherwise;
  const Json& value = schema[keyword];
  const double count = value.is_number() ? value.get<double>() : -1.0;
  if (count >= 0 && count == std::floor(count)) {
    return static_cast<uint32_t>(std::min<double>(count, kGrammarStatesMax));
  }
  return Wrong(place, absl::StrCat(keyword, " is not a number of things"));
}

absl::StatusOr<Expr> SchemaCompiler::CompileString(const Json& schema, const Place& place) {
  constexpr uint32_t kUnlimited = GrammarBuilder::kUnlimited;
  CORM_ASSIGN_OR_RETURN(const uint32_t least, Count(schema, "minLength", 0, place));
  CORM_ASSIGN_OR_RETURN(const uint32_t most, Count(schema, "maxLength", kUnlimited, place));
  const bool has_pattern = schema.contains("pattern"), has_format = schema.contains("format");
  if (!has_pattern && !has_format) {
    if (least > most) return Wrong(place, "minLength is above maxLength");
    return json_.String(least, most);
  }
  if ((has_pattern && has_format) || least != 0 || most != kUnlimited) {
    return Unknown(place, "pattern, format and the length of a string are not supported together");
  }
  const Json& value = schema[has_pattern ? "pattern" : "format"];
  if (!value.is_string()) return Wrong(place, "pattern or format is not a string");
  std::string pattern = value.get<std::string>();
  if (has_format) {
    if (pattern == "date") {
      pattern = kDate;
    } else if (pattern == "time") {
      pattern = kTime;
    } else if (pattern == "date-time") {
      pattern = absl::StrCat(kDate, "T", kTime);
    } else if (pattern == "uuid") {
      pattern = kUuid;
    } else {
      return Unknown(place, absl::StrCat("format ", Quoted(pattern),
                                         " is not supported; there are "
                                         "date, time, date-time and uuid"));
    }
    pattern = absl::StrCat("^", pattern, "$");
  }
  absl::StatusOr<Expr> inside = ReadPattern(pattern, &builder_, &json_);
  if (!inside.ok()) return At("JSON schema, " + place.path, inside.status());
  return json_.Quoted(*inside);
}

absl::StatusOr<std::optional<NumberBound>> SchemaCompiler::Bound(const Json& schema, bool is_low,
                                                                 const Place& place) const {
  std::optional<NumberBound> bound;
  const char* const keywords[] = {is_low ? "minimum" : "maximum",
                                  is_low ? "exclusiveMinimum" : "exclusiveMaximum"};
  const bool is_flag = schema.contains(keywords[1]) && schema[keywords[1]].is_boolean();
  for (const bool is_strict : {false, true}) {
    const char* const keyword = keywords[is_strict ? 1 : 0];
    if (!schema.contains(keyword) || (is_strict && is_flag)) continue;
    const Json& value = schema[keyword];
    if (!value.is_number()) return Wrong(place, absl::StrCat(keyword, " is not a number"));
    const bool flag = !is_strict && is_flag && schema[keywords[1]] == true;  // As in draft 4.
    absl::StatusOr<NumberBound> read = ToNumberBound(value, is_strict || flag);
    if (!read.ok())
      return At(absl::StrCat("JSON schema, ", place.path, ", ", keyword), read.status());
    // The one that leaves less room; of the same number the strict one.
    const bool is_closer = !bound ||
                           (is_low ? LeavesRoom(*bound, *read) : LeavesRoom(*read, *bound)) ||
                           (!LeavesRoom(*bound, *read) && !LeavesRoom(*read, *bound));
    if (is_closer) bound = *std::move(read);
  }
  return bound;
}

absl::StatusOr<Expr> SchemaCompiler::CompileNumber(const Json& schema, bool is_integer,
                                                   const Place& place) {
  CORM_ASSIGN_OR_RETURN(const std::optional<NumberBound> low, Bound(schema, true, place));
  CORM_ASSIGN_OR_RETURN(const std::optional<NumberBound> high, Bound(schema, false, place));
  if (low && high && !LeavesRoom(*low, *high)) {
    return Wrong(place, "no number is between minimum and maximum");
  }
  return is_integer ? json_.Integer(low, high) : json_.Number(low, high);
}

absl::StatusOr<Expr> SchemaCompiler::CompileArray(const Json& schema, const Place& place) {
  Json first = schema.contains("prefixItems") ? schema["prefixItems"] : Json::array();
  Json others = schema.contains("items") ? schema["items"] : Json(first.empty());
  if (others.is_array() && first.empty()) {  // As in drafts before 2020.
    first = std::exchange(others, Json(false));
  }
  if (!first.is_array() || first.size() > kPrefixItemsMax) {
    return Wrong(place, absl::StrCat("prefixItems is not a list of at most ", kPrefixItemsMax));
  }
  const auto listed = static_cast<uint32_t>(first.size());
  CORM_ASSIGN_OR_RETURN(const uint32_t least, Count(schema, "minItems", 0, place));
  CORM_ASSIGN_OR_RETURN(uint32_t most,
                        Count(schema, "maxItems", GrammarBuilder::kUnlimited, place));
  if (others == false) most = std::min(most, listed);
  if (least > most) return Wrong(place, "minItems is above what there may be");
  const Expr comma = builder_.Sequence({builder_.Text(","), json_.Space()});
  const Expr empty = builder_.Text("");
  // From the last item to the first: what may follow those before it.
  Expr more = empty;
  if (most > listed) {
    CORM_ASSIGN_OR_RETURN(const Expr item, CompileShared(others, place.At("items")));
    const Expr next = listed == 0 ? item : builder_.Sequence({comma, item});
    const bool has_limit = most != GrammarBuilder::kUnlimited;
    const uint32_t needed = std::max(least, listed) - listed,
                   room = has_limit ? most - listed : most;
    if (listed > 0) {
      more = builder_.Repeat(next, needed, room);
    } else {
      const Expr rest = builder_.Sequence({comma, item});
      more = builder_.Sequence(
          {item, builder_.Repeat(rest, std::max(needed, 1u) - 1, has_limit ? room - 1 : room)});
    }
  }
  for (uint32_t i = std::min(listed, most); i-- > 0;) {
    CORM_ASSIGN_OR_RETURN(const Expr item,
                          Compile(first[i], place.At("prefixItems").At(absl::StrCat(i))));
    more = builder_.Sequence({i == 0 ? empty : comma, item, more});
    if (i >= least && i > 0) more = builder_.Optional(more);
  }
  std::vector<Expr> choices;
  if (least == 0) choices.push_back(builder_.Text("[]"));
  if (most > 0) choices.push_back(json_.Braced("[", more, "]"));
  return builder_.Choice(std::move(choices));
}

absl::StatusOr<SchemaCompiler::Members> SchemaCompiler::ReadMembers(const Json& schema,
                                                                    const Place& place) {
  Json properties = schema.contains("properties") ? schema["properties"] : Json::object();
  const Json required = schema.contains("required") ? schema["required"] : Json::array();
  if (!properties.is_object()) return Wrong(place, "properties is not an object");
  if (!required.is_array()) return Wrong(place, "required is not a list");
  const Json others = schema.contains("additionalProperties") ? schema["additionalProperties"]
                                                              : Json(properties.empty());
  for (const Json& name : required) {
    if (!name.is_string()) return Wrong(place, "required has something that is not a string");
    const std::string& key = name.get_ref<const std::string&>();
    if (!properties.contains(key)) properties[key] = others;
  }
  Members found;
  std::vector<std::string> names;
  bool is_first_known = false;  // What comes first is written in one place only.
  for (const auto& [name, value] : properties.items()) {
    const Place own = place.At("properties").At(name);
    CORM_ASSIGN_OR_RETURN(Expr expr, Compile(value, own));
    const bool is_required = std::find(required.begin(), required.end(), name) != required.end();
    const Expr member = json_.Member(builder_.Text(Json(name).dump()), expr);
    found.members.push_back(is_first_known ? member : Rule(member));
    found.is_required.push_back(is_required);
    is_first_known = is_first_known || is_required;
    names.push_back(name);
  }
  if (others != false) {
    CORM_ASSIGN_OR_RETURN(const Expr value,
                          CompileShared(others, place.At("additionalProperties")));
    found.others = Rule(json_.Member(json_.StringBut(std::move(names)), value));
  }
  return found;
}

absl::StatusOr<Expr> SchemaCompiler::CompileObject(const Json& schema, const Place& place) {
  CORM_ASSIGN_OR_RETURN(const Members all, ReadMembers(schema, place));
  const Expr comma = builder_.Sequence({builder_.Text(","), json_.Space()});
  // From the last member to the first: what may follow once there is one, and what may be first.
  Expr more = builder_.Text("");
  std::vector<Expr> first;
  bool may_be_empty = true;
  if (all.others) {
    more = Rule(builder_.Repeat(builder_.Sequence({comma, *all.others}), 0));
    first.push_back(builder_.Sequence({*all.others, more}));
  }
  for (size_t i = all.members.size(); i-- > 0;) {
    if (all.is_required[i]) {
      first.clear();
      may_be_empty = false;
    }
    first.push_back(builder_.Sequence({all.members[i], more}));
    Expr next = builder_.Sequence({comma, all.members[i], more});
    if (!all.is_required[i]) next = builder_.Choice({next, more});
    more = Rule(next);
  }
  std::reverse(first.begin(), first.end());
  std::vector<Expr> choices;
  if (may_be_empty) choices.push_back(builder_.Text("{}"));
  if (!first.empty()) {
    choices.push_back(json_.Braced("{", Rule(builder_.Choice(std::move(first))), "}"));
  }
  return builder_.Choice(std::move(choices));
}

}  // namespace

absl::StatusOr<std::shared_ptr<const Grammar>> ParseJsonSchema(absl::string_view text) {
  if (text.size() > kGrammarBytesMax) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "the JSON schema has ", text.size(), " bytes; at most ", kGrammarBytesMax, " are read"));
  }
  bool is_too_deep = false;
  const Json schema = Json::parse(
      text,
      [&is_too_deep](int depth, Json::parse_event_t /*event*/, Json& /*value*/) {
        is_too_deep = is_too_deep || depth > static_cast<int>(kGrammarDepthMax);
        return !is_too_deep;
      },
      /*allow_exceptions=*/false);
  if (is_too_deep) {
    return absl::InvalidArgumentError(
        absl::StrCat("the JSON schema nests deeper than ", kGrammarDepthMax));
  }
  if (schema.is_discarded()) return absl::InvalidArgumentError("the JSON schema is not valid JSON");
  return SchemaCompiler(schema).Run();
}

}  // namespace cormorant
