// JSON Schemas: texts that each keyword lets through and those it does not, and errors by place.
//
// tests/api/grammar_test.py has random texts against another implementation.
#include <cstdlib>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/grammar/automaton.h"
#include "runtime/grammar/grammar.h"

namespace cormorant {
namespace {

using ::testing::HasSubstr;
using Texts = std::vector<std::string>;

void Expect(const std::string& schema, const Texts& yes, const Texts& no) {
  const auto grammar = ParseJsonSchema(schema);
  ASSERT_TRUE(grammar.ok()) << schema << "\n" << grammar.status();
  Automaton automaton(*grammar);
  const auto matches = [&](const std::string& text) {
    const uint32_t state = automaton.Read(automaton.start(), text);
    return state != Automaton::kDead && automaton.can_end(state);
  };
  for (const std::string& text : yes) EXPECT_TRUE(matches(text)) << schema << "\n" << text;
  for (const std::string& text : no) EXPECT_FALSE(matches(text)) << schema << "\n" << text;
}

TEST(JsonSchema, AnyValue) {
  const Texts values = {"{}",    "[]",           "null",
                        "true",  "-1.5e10",      "\"\"",
                        "[1,2]", "[\n  1,\n 2]", "{\"a\": {\"b\": [null, \"x\"]}}"};
  Expect("{}", values, {"", "{", "01", "1.", "[1,]", "{\"a\"}", "nul", "\"\n\"", "\"\\x\"", "1 "});
  Expect("true", values, {""});
  Expect(R"({"type": "object"})", {"{}", "{\"a\":1}", "{\n\t\"a\": [1]\n}"}, {"[]", "1"});
}

TEST(JsonSchema, Strings) {
  Expect(R"({"type": "string"})",
         {R"("")", R"("é😀")", R"("\"\\\/\b\f\n\r\t")", R"("\u00e9\uD83D\uDE00")"},
         {"\"", R"("\ud83d")", R"("\ude00")", R"("\u12")", "\"\t\"", "\"\x7f\""});
  Expect(R"({"type": "string", "minLength": 2, "maxLength": 3})",
         {R"("ab")", R"("😀é€")", R"("\n\u0041")"}, {R"("a")", R"("abcd")", R"("")"});
  Expect(R"({"pattern": "^[a-c]+\\d{2}$"})", {R"("a12")", R"("abc00")"},
         {R"("12")", R"("a1")", R"("xa12")", R"("a123")"});
  Expect(R"({"pattern": "b(c|d)?"})", {R"("b")", R"("xbcx")", R"("\nb")"}, {R"("xyz")", R"("")"});
  Expect(R"({"pattern": "^a|z$"})", {R"("ax")", R"("xz")"}, {R"("xa")", R"("zx")"});
  Expect(R"({"pattern": "^[^a]\\s\\w\\.\\/[\"\\\\]$"})", {R"("b z./\"")", R"("\\ _./\\")"},
         {R"("a z./\"")", R"("b z.//")"});
}

TEST(JsonSchema, Formats) {
  Expect(R"({"format": "date"})",
         {R"("2024-02-29")", R"("2000-02-29")", R"("1999-12-31")", R"("2023-04-30")"},
         {R"("2023-02-29")", R"("1900-02-29")", R"("2023-04-31")", R"("2023-13-01")",
          R"("2023-00-10")", R"("2023-1-1")"});
  Expect(R"({"format": "time"})", {R"("23:59:59Z")", R"("00:00:00.123+01:30")"},
         {R"("24:00:00Z")", R"("12:00:00")"});
  Expect(R"({"format": "date-time"})", {R"("2024-02-29T12:30:00Z")"},
         {R"("2024-02-30T12:30:00Z")"});
  Expect(R"({"format": "uuid"})", {R"("01234567-89ab-cdef-0123-456789abcdef")"},
         {R"("01234567-89ab-cdef-0123-456789abcde")", R"("x1234567-89ab-cdef-0123-456789abcdef")"});
}

TEST(JsonSchema, IntegersBetweenBoundsAreAllAndOnlyThose) {
  const int bounds[] = {-1234, -100, -99, -10, -1, 0, 1, 9, 10, 11, 99, 100, 105, 1000, 1234};
  for (const int low : bounds) {
    for (const int high : bounds) {
      if (high < low) continue;
      const std::string schema =
          absl::StrCat(R"({"type": "integer", "minimum": )", low, R"(, "maximum": )", high, "}");
      const auto grammar = ParseJsonSchema(schema);
      ASSERT_TRUE(grammar.ok()) << schema << grammar.status();
      Automaton automaton(*grammar);
      for (int value = -1300; value <= 1300; ++value) {
        const uint32_t state = automaton.Read(automaton.start(), absl::StrCat(value));
        ASSERT_EQ(automaton.can_end(state), low <= value && value <= high) << schema << value;
      }
    }
  }
  Expect(R"({"type": "integer"})", {"0", "-7", "1234567890123456"},
         {"-0", "00", "1.0", "1e3", "12345678901234567"});
  Expect(R"({"type": "integer", "exclusiveMinimum": 3, "maximum": 5.5})", {"4", "5"}, {"3", "6"});
  Expect(R"({"type": "integer", "minimum": 3, "exclusiveMinimum": true})", {"4"}, {"3"});
  Expect(R"({"type": "integer", "minimum": -5})", {"-5", "0", "99999"}, {"-6", "-10"});
}

TEST(JsonSchema, NumbersBetweenBounds) {
  const std::pair<const char*, const char*> bounds[] = {
      {"0", "1"}, {"-1", "1"},   {"0.5", "2.25"}, {"-2.5", "-0.25"}, {"1.05", "1.5"},
      {"3", "3"}, {"-90", "90"}, {"0.001", "10"}, {"9.9", "10.1"},   {"-0.5", "0.5"}};
  for (const auto& [low, high] : bounds) {
    for (const bool is_strict : {false, true}) {
      if (is_strict && std::string(low) == high) continue;
      const char* const prefix = is_strict ? "exclusiveM" : "m";
      const std::string schema = absl::StrCat(R"({"type": "number", ")", prefix, R"(inimum": )",
                                              low, R"(, ")", prefix, R"(aximum": )", high, "}");
      const auto grammar = ParseJsonSchema(schema);
      ASSERT_TRUE(grammar.ok()) << schema << grammar.status();
      Automaton automaton(*grammar);
      size_t accepted = 0;
      const double least = std::atof(low), most = std::atof(high);
      for (int thousandth = -12'000; thousandth <= 12'000; ++thousandth) {
        const std::string sign = thousandth < 0 ? "-" : "";
        std::string digits = absl::StrCat(std::abs(thousandth) % 1000 + 1000).substr(1);
        const std::string text = absl::StrCat(sign, std::abs(thousandth) / 1000, ".", digits);
        const double value = std::atof(text.c_str());
        const bool is_in =
            is_strict ? least < value && value < most : least <= value && value <= most;
        const bool matches = automaton.can_end(automaton.Read(automaton.start(), text));
        ASSERT_EQ(matches, is_in) << schema << text;
        accepted += matches;
      }
      EXPECT_GT(accepted, 0u) << schema;
    }
  }
  Expect(R"({"type": "number", "minimum": 0})", {"0", "0.5", "12", "0.0"}, {"-0.5", "-1", "1e5"});
  Expect(R"({"type": "number"})", {"-1.5E-7", "12", "0.1"}, {".5", "1e400", "+1"});
  Expect(R"({"type": "number", "maximum": 1e2})", {"100", "-100000", "99.999"}, {"100.1", "101"});
}

TEST(JsonSchema, Objects) {
  const std::string three =
      R"({"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "null"},
          "c": {"type": "boolean"}}, "required": )";
  Expect(
      three + "[]}",
      {"{}", R"({"a":1})", R"({"b": null})", R"({"a": 1, "c": true})",
       R"({"a":1,"b":null,"c":false})"},
      {R"({"b":null,"a":1})", R"({"a":1,})", R"({"d":1})", R"({,"a":1})", R"({"a":1 "b":null})"});
  Expect(three + R"(["b"]})", {R"({"b":null})", R"({"a":1,"b":null})", R"({"b":null,"c":true})"},
         {"{}", R"({"a":1})", R"({"a":1,"c":true})"});
  Expect(three + R"(["a", "c"]})", {R"({"a":1,"c":true})", R"({"a":1,"b":null,"c":true})"},
         {R"({"a":1})", R"({"c":true})"});
  Expect(three + R"(["x"], "additionalProperties": {"type": "integer"}})",
         {R"({"x":1})", R"({"a":2,"x":1,"y":3})"}, {"{}", R"({"y":1})", R"({"x":true})"});
  Expect(
      R"({"properties": {"ab": {"type": "null"}, "abc": {}, "é": {}},
          "additionalProperties": true})",
      {R"({"x":1})", R"({"a":1,"abcd":[]})", R"({"ab":null,"abd":1})", R"({"":1})", R"({"è":1})"},
      {R"({"ab":1})", R"({"x":1,"ab":null})", R"({"x":1,"abc":2})", R"({"x":1,"é":2})"});
  Expect(R"({"properties": {"a\"b\n": {"type": "null"}}, "required": ["a\"b\n"]})",
         {R"({"a\"b\n":null})"}, {R"({"ab":null})"});
  Expect(R"({"properties": {"a": false, "b": true}})", {"{}", R"({"b":1})"}, {R"({"a":1})"});
  Expect(R"({"type": "object", "properties": {}, "additionalProperties": false})", {"{}"},
         {R"({"a":1})"});
}

TEST(JsonSchema, Arrays) {
  Expect(R"({"type": "array", "items": {"type": "integer"}})", {"[]", "[1]", "[1, 2,\n3]"},
         {"[1,]", "[true]", "[1 2]"});
  Expect(R"({"items": {"type": "null"}, "minItems": 2, "maxItems": 3})",
         {"[null,null]", "[null,null,null]"}, {"[]", "[null]", "[null,null,null,null]"});
  Expect(R"({"items": {"type": "null"}, "maxItems": 0})", {"[]"}, {"[null]"});
  Expect(R"({"prefixItems": [{"type": "integer"}, {"type": "null"}]})", {"[]", "[1]", "[1,null]"},
         {"[null]", "[1,null,1]"});
  Expect(R"({"prefixItems": [{"type": "integer"}], "items": {"type": "null"}, "minItems": 2})",
         {"[1,null]", "[1,null,null]"}, {"[]", "[1]", "[1,2]"});
  Expect(R"({"items": [{"type": "integer"}], "minItems": 1})", {"[1]"}, {"[]", "[1,1]"});
}

TEST(JsonSchema, ValuesAndAlternatives) {
  Expect(R"({"enum": ["a", 1, null, {"x": [1]}]})", {R"("a")", "1", "null", R"({"x":[1]})"},
         {R"("b")", "2"});
  Expect(R"({"const": "é\"\n"})", {R"("é\"\n")"}, {R"("e")"});
  Expect(R"({"type": "string", "enum": ["a", 1]})", {R"("a")"}, {"1"});
  Expect(R"({"type": ["string", "null"], "maxLength": 1})", {R"("a")", "null"}, {R"("ab")", "1"});
  Expect(R"({"anyOf": [{"type": "integer"}, {"const": "x"}]})", {"5", R"("x")"}, {R"("y")"});
  Expect(R"({"properties": {"a": {"type": "null"}}, "required": ["a"],
             "anyOf": [{"properties": {"b": {"type": "null"}}, "required": ["b"]}, {}]})",
         {R"({"a":null,"b":null})", R"({"a":null})"}, {"{}", R"({"b":null})"});
  Expect(R"({"oneOf": [{"type": "integer"}, {"type": "string"}]})", {"1", R"("a")"}, {"null"});
  Expect(R"({"oneOf": [
      {"type": "object", "properties": {"t": {"const": "x"}, "v": {"type": "integer"}},
       "required": ["t", "v"]},
      {"type": "object", "properties": {"t": {"const": "y"}}, "required": ["t"]}]})",
         {R"({"t":"x","v":1})", R"({"t":"y"})"}, {R"({"t":"x"})"});
  Expect(R"({"allOf": [{"type": ["integer", "string"], "minimum": 2}, {"type": "number",
             "maximum": 3}]})",
         {"2", "3"}, {"1", "4", "2.5"});
  Expect(R"({"allOf": [{"properties": {"a": {"type": "integer"}}, "required": ["a"]},
             {"properties": {"a": {"minimum": 5}, "b": {}}}], "title": "both"})",
         {R"({"a":5})", R"({"a":7,"b":1})"}, {R"({"a":4})", "{}"});
}

TEST(JsonSchema, References) {
  Expect(R"({"$ref": "#/$defs/n", "$defs": {"n": {"type": "object", "properties": {
             "v": {"type": "integer"}, "next": {"$ref": "#/$defs/n"}}, "required": ["v"]}}})",
         {R"({"v":1})", R"({"v":1,"next":{"v":2,"next":{"v":3}}})"}, {R"({"v":1,"next":{}})"});
  Expect(R"({"items": {"$ref": "#"}})", {"[]", "[[],[[]]]"}, {"[1]"});
  Expect(R"({"properties": {"a/b~": {"type": "null"}, "c": {"$ref": "#/properties/a~1b~0"}}})",
         {R"({"c":null})"}, {R"({"c":1})"});
  Expect(R"({"$ref": "#/definitions/s", "maxLength": 1, "definitions": {"s": {"type": "string"}}})",
         {R"("a")"}, {R"("ab")"});
}

TEST(JsonSchema, ErrorsNameThePlace) {
  const std::tuple<const char*, absl::StatusCode, const char*> cases[] = {
      {"{", absl::StatusCode::kInvalidArgument, "not valid JSON"},
      {"[]", absl::StatusCode::kInvalidArgument, "#: a schema is an object"},
      {R"({"properties": {"a": {"not": {}}}})", absl::StatusCode::kUnimplemented,
       "#/properties/a: keyword 'not'"},
      {R"({"items": {"type": "strin"}})", absl::StatusCode::kInvalidArgument,
       "#/items: there is no"},
      {R"({"type": "integer", "multipleOf": 2})", absl::StatusCode::kUnimplemented, "multipleOf"},
      {R"({"uniqueItems": true})", absl::StatusCode::kUnimplemented, "uniqueItems"},
      {R"({"format": "email"})", absl::StatusCode::kUnimplemented, "format 'email'"},
      {R"j({"pattern": "(?=a)"})j", absl::StatusCode::kUnimplemented, "pattern, byte 0"},
      {R"({"pattern": "a\\b"})", absl::StatusCode::kUnimplemented, "byte 1"},
      {R"({"pattern": "(a"})", absl::StatusCode::kInvalidArgument, "not closed"},
      {R"j({"pattern": "(^a)"})j", absl::StatusCode::kUnimplemented, "anchor"},
      {R"({"pattern": "a", "maxLength": 2})", absl::StatusCode::kUnimplemented, "together"},
      {R"({"minLength": 3, "maxLength": 2})", absl::StatusCode::kInvalidArgument, "above"},
      {R"({"minLength": -1})", absl::StatusCode::kInvalidArgument, "minLength"},
      {R"({"type": "integer", "minimum": 3, "maximum": 2})", absl::StatusCode::kInvalidArgument,
       "between"},
      {R"({"type": "integer", "minimum": 12345678901234567890})", absl::StatusCode::kUnimplemented,
       "15 digits"},
      {R"({"$ref": "#/$defs/x"})", absl::StatusCode::kInvalidArgument, "there is nothing at"},
      {R"({"$ref": "http://x"})", absl::StatusCode::kUnimplemented, "not in this schema"},
      {R"({"$ref": "#"})", absl::StatusCode::kInvalidArgument, "never comes to an end"},
      {R"({"properties": {"a": {"$ref": "#"}}, "required": ["a"]})",
       absl::StatusCode::kInvalidArgument, "never comes to an end"},
      {R"({"oneOf": [{"type": "integer"}, {"type": "number"}]})", absl::StatusCode::kUnimplemented,
       "#/oneOf/1: oneOf"},
      {R"({"allOf": [{"pattern": "a"}, {"pattern": "b"}]})", absl::StatusCode::kUnimplemented,
       "'pattern' differs"},
      {R"({"allOf": [{"$ref": "#"}]})", absl::StatusCode::kInvalidArgument, "leads back to itself"},
      {R"({"enum": []})", absl::StatusCode::kInvalidArgument, "no value"},
      {R"({"type": "string", "maxLength": 300000})", absl::StatusCode::kResourceExhausted,
       "repetition"},
  };
  for (const auto& [schema, code, words] : cases) {
    const auto grammar = ParseJsonSchema(schema);
    EXPECT_EQ(grammar.status().code(), code) << schema << grammar.status();
    EXPECT_THAT(std::string(grammar.status().message()), HasSubstr(words)) << schema;
  }
}

TEST(JsonSchema, SmallTextsThatMeanMuchWorkAreRefused) {
  // Each is both of the next two, in another order.
  std::string doubling = R"({"$ref": "#/$defs/a0", "$defs": {)";
  for (int i = 0; i < 100; ++i) {
    for (const char* const names : {"ab", "ba"}) {
      absl::StrAppend(&doubling, "\"", std::string(1, names[0]), i, R"(": {"allOf": [)");
      for (const char* name = names; *name != 0; ++name) {
        absl::StrAppend(&doubling, name == names ? "" : ", ", R"({"$ref": "#/$defs/)",
                        std::string(1, *name), i + 1, "\"}");
      }
      absl::StrAppend(&doubling, "]}, ");
    }
  }
  absl::StrAppend(&doubling, R"("a100": {"type": "null"}, "b100": {"type": "null"}}})");
  EXPECT_EQ(ParseJsonSchema(doubling).status().code(), absl::StatusCode::kResourceExhausted);
  const std::string deep = absl::StrCat(std::string(100'000, '['), std::string(100'000, ']'));
  EXPECT_THAT(std::string(ParseJsonSchema(deep).status().message()), HasSubstr("deeper than"));
  // Objects in optional properties of objects do not double.
  std::string nested = R"({"type": "null"})";
  for (int i = 0; i < 40; ++i) {
    nested = absl::StrCat(R"({"properties": {"a": )", nested, R"(, "b": {"type": "null"}}})");
  }
  EXPECT_TRUE(ParseJsonSchema(nested).ok());
}

}  // namespace
}  // namespace cormorant
