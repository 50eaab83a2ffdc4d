// The template language against jinja2.
//
// Method: tests/golden/make_template_cases.py let jinja2 render small templates, one or a few
// features each, in the environment of Hugging Face transformers, and wrote down the texts and the
// failures. Each must come out byte for byte; where jinja2 fails, this interpreter must fail too.
// The words of a failure are its own, except those of raise_exception, which are the template's.
#include <fstream>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "runtime/text/template/chat_template.h"

namespace cormorant {
namespace {

using Json = nlohmann::ordered_json;

Json ReadCases() {
  std::ifstream file(absl::StrCat(CORMORANT_TEST_DIR, "/golden/template_cases.json"));
  return Json::parse(file, nullptr, /*allow_exceptions=*/false);
}

absl::StatusOr<std::string> Rendered(const std::string& source, const Json& all) {
  auto parsed = ChatTemplate::Parse(source);
  if (!parsed.ok()) return parsed.status();
  ChatTemplate::Inputs inputs;
  inputs.messages = all["messages"];
  inputs.extra = all["extra"];
  inputs.bos_token = all["bos_token"];
  inputs.eos_token = all["eos_token"];
  inputs.now = all["now"];
  return (*parsed)->Render(inputs);
}

TEST(TemplateLanguage, RendersAsJinja2) {
  const Json all = ReadCases();
  ASSERT_TRUE(all.is_object()) << "tests/golden/template_cases.json cannot be read";
  ASSERT_GT(all["cases"].size(), 200u);
  for (const Json& one : all["cases"]) {
    if (!one.contains("text")) continue;
    const std::string source = one["template"];
    const auto text = Rendered(source, all);
    if (!text.ok()) {
      ADD_FAILURE() << source << "\n  fails: " << text.status();
    } else {
      EXPECT_EQ(*text, one["text"].get<std::string>()) << source;
    }
  }
}

TEST(TemplateLanguage, FailsWhereJinja2Fails) {
  const Json all = ReadCases();
  ASSERT_TRUE(all.is_object());
  size_t count = 0;
  for (const Json& one : all["cases"]) {
    if (!one.contains("error")) continue;
    const std::string source = one["template"];
    const auto text = Rendered(source, all);
    EXPECT_FALSE(text.ok()) << source << "\n  gives: " << text.value_or("")
                            << "\n  jinja2: " << one["error"];
    if (!text.ok()) {
      EXPECT_TRUE(absl::StrContains(text.status().message(), "line ")) << text.status();
    }
    ++count;
  }
  EXPECT_GT(count, 80u);
}

TEST(TemplateLanguage, ErrorsNameTheTemplateAndTheLine) {
  const auto parse = ChatTemplate::Parse("a\nb\n{% if x %}\n", "my model");
  EXPECT_EQ(parse.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(absl::StartsWith(parse.status().message(), "my model: line 3: ")) << parse.status();

  auto parsed = ChatTemplate::Parse("a\n{{ 1 }}\n{{ x.y }}\n", "my model");
  ASSERT_TRUE(parsed.ok());
  EXPECT_EQ((*parsed)->Render({}).status().message(), "my model, line 3: 'x' is undefined");

  parsed =
      ChatTemplate::Parse("{% macro m() %}\n{{ raise_exception('no!') }}{% endmacro %}{{ m() }}");
  ASSERT_TRUE(parsed.ok());
  const absl::Status raised = (*parsed)->Render({}).status();
  EXPECT_EQ(raised.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(raised.message(), "chat template, line 2: no!");
}

}  // namespace
}  // namespace cormorant
