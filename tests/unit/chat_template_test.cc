// Chat templates as the engine uses them: SmolLM2's own, threads, and hostile ones.
//
// Method: SmolLM2's template over many conversations against texts that jinja2 rendered
// (tests/golden/make_template_cases.py), and over long ones against a text put together here.
// Hostile templates, one for each resource, must end in RESOURCE_EXHAUSTED soon; each would take
// minutes or gigabytes if its limit were missing. CORMORANT_TEST_MODEL checks that the template
// tested is the model's.
#include "runtime/text/template/chat_template.h"

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace cormorant {
namespace {

using Json = nlohmann::ordered_json;

Json ReadCases() {
  std::ifstream file(absl::StrCat(CORMORANT_TEST_DIR, "/golden/template_cases.json"));
  return Json::parse(file, nullptr, /*allow_exceptions=*/false);
}

std::unique_ptr<ChatTemplate> SmolLm2() {
  const Json all = ReadCases();
  auto parsed = ChatTemplate::Parse(all["smollm2"].get<std::string>());
  return parsed.ok() ? *std::move(parsed) : nullptr;
}

TEST(ChatTemplate, SmolLm2AsJinja2) {
  const Json all = ReadCases();
  ASSERT_TRUE(all.is_object()) << "tests/golden/template_cases.json cannot be read";
  const auto chat = SmolLm2();
  ASSERT_NE(chat, nullptr);
  for (const Json& one : all["smollm2_cases"]) {
    ChatTemplate::Inputs inputs;
    inputs.messages = one["messages"];
    inputs.add_generation_prompt = one["add_generation_prompt"];
    const auto text = chat->Render(inputs);
    if (one.contains("error")) {
      EXPECT_FALSE(text.ok()) << one << "\n  gives: " << text.value_or("");
    } else {
      ASSERT_TRUE(text.ok()) << one << "\n  fails: " << text.status();
      EXPECT_EQ(*text, one["text"].get<std::string>()) << one;
    }
  }
}

TEST(ChatTemplate, SmolLm2OfTheTestModel) {
  const char* path = std::getenv("CORMORANT_TEST_MODEL");
  if (path == nullptr) GTEST_SKIP() << "CORMORANT_TEST_MODEL is not set";
  std::ifstream file(path, std::ios::binary);
  std::string head(16 << 20, '\0');  // The metadata stands at the beginning.
  file.read(head.data(), static_cast<std::streamsize>(head.size()));
  EXPECT_TRUE(absl::StrContains(head, ReadCases()["smollm2"].get<std::string>()));
}

TEST(ChatTemplate, SmolLm2OverLongConversations) {
  const auto chat = SmolLm2();
  ASSERT_NE(chat, nullptr);
  ChatTemplate::Inputs inputs;
  inputs.messages = Json::array({{{"role", "system"}, {"content", "s"}}});
  std::string want = "<|im_start|>system\ns<|im_end|>\n";
  for (int i = 0; i < 4000; ++i) {
    const std::string role = i % 2 == 0 ? "user" : "assistant";
    const std::string content = absl::StrCat("turn ", i, ": ", std::string(i % 997, 'x'), "é");
    inputs.messages.push_back({{"role", role}, {"content", content}});
    absl::StrAppend(&want, "<|im_start|>", role, "\n", content, "<|im_end|>\n");
  }
  absl::StrAppend(&want, "<|im_start|>assistant\n");
  const auto text = chat->Render(inputs);
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_EQ(*text, want);

  inputs.messages = Json::array({{{"role", "system"}, {"content", std::string(8 << 20, 'y')}}});
  const auto one_long = chat->Render(inputs);
  ASSERT_TRUE(one_long.ok()) << one_long.status();
  EXPECT_EQ(one_long->size(), (8u << 20) + 52);
}

TEST(ChatTemplate, RepairsTextThatIsNotUtf8) {
  const auto chat = SmolLm2();
  ASSERT_NE(chat, nullptr);
  ChatTemplate::Inputs inputs;
  inputs.messages = Json::array({{{"role", "system"}, {"content", "a\xff\xc3(\xe2\x82 z"}}});
  inputs.add_generation_prompt = false;
  const auto text = chat->Render(inputs);
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_EQ(*text, "<|im_start|>system\na\uFFFD\uFFFD(\uFFFD\uFFFD z<|im_end|>\n");
  EXPECT_FALSE(ChatTemplate::Parse("a\xff").ok());
}

TEST(ChatTemplate, ManyThreadsRenderOneTemplate) {
  const auto chat = SmolLm2();
  ASSERT_NE(chat, nullptr);
  std::vector<std::thread> threads;
  std::vector<int> same(4, 0);
  for (size_t t = 0; t < same.size(); ++t) {
    threads.emplace_back([&, t] {
      ChatTemplate::Inputs inputs;
      inputs.messages = Json::array({{{"role", "system"}, {"content", absl::StrCat("é", t)}}});
      for (int i = 0; i < 200; ++i) {
        const auto text = chat->Render(inputs);
        same[t] += text.ok() && *text == absl::StrCat("<|im_start|>system\né", t,
                                                      "<|im_end|>\n<|im_start|>assistant\n");
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(same, std::vector<int>(4, 200));
}

/// The code a template ends with on default limits, and that it ends soon.
absl::StatusCode CodeOf(const std::string& source) {
  const auto parsed = ChatTemplate::Parse(source);
  if (!parsed.ok()) return parsed.status().code();
  ChatTemplate::Inputs inputs;
  inputs.messages = Json::array({{{"role", "user"}, {"content", "hello"}}});
  const auto begin = std::chrono::steady_clock::now();
  const auto text = (*parsed)->Render(inputs);
  const auto seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin);
  EXPECT_LT(seconds.count(), 60) << source;
  return text.status().code();
}

TEST(ChatTemplate, HostileTemplatesEnd) {
  const std::string hostile[] = {
      // Steps.
      "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
      "{% macro m(n) %}{% for i in range(9) %}{{ m(n) }}{% endfor %}{% endmacro %}{{ m(1) }}",
      // Depth: of calls, of values, of recursive loops.
      "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
      "{% set ns = namespace(x=1) %}{% for i in range(9999) %}{% set ns.x = [ns.x] %}{% endfor %}"
      "{{ ns.x }}",
      "{% set ns = namespace(x=1) %}{% for i in range(9999) %}{% set ns.x = [ns.x] %}{% endfor %}"
      "{{ ns.x | tojson }}",
      "{% set ns = namespace(x=1, y=1) %}{% for i in range(9999) %}{% set ns.x = [ns.x] %}"
      "{% set ns.y = [ns.y] %}{% endfor %}{{ ns.x == ns.y }}",
      "{% set ns = namespace() %}{% set ns.x = ns %}{{ ns }}",
      "{% set ns = namespace() %}{% set ns.x = [ns] %}{{ ns.x | string | length }}",
      "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}",
      // Bytes: by repetition, doubling, formats, replacement, padding, joining, lists.
      "{{ 'x' * 99999999999 }}",
      "{{ ('x' * 99999999) * 99999999 }}",
      "{% set ns = namespace(x='x') %}{% for i in range(99) %}{% set ns.x = ns.x ~ ns.x %}"
      "{% endfor %}",
      "{% set ns = namespace(x='x') %}{% for i in range(99) %}{% set ns.x = ns.x + ns.x %}"
      "{% endfor %}",
      "{% set a = 'a' * 99999 %}{{ a.replace('a', a) | length }}",
      "{% set a = 'a' * 99999 %}{{ (a | list) | join(a) | length }}",
      "{{ ('a' * 999999) | indent(9999999) | length }}{{ ('a\n' * 999999) | indent(999999) }}",
      "{{ 'a'.center(99999999999) }}",
      "{{ [0] * 99999999999 }}",
      "{% set ns = namespace(x=[0]) %}{% for i in range(99) %}{% set ns.x = ns.x + ns.x %}"
      "{% endfor %}",
      "{{ [1] | batch(999999999, 0) | list }}",
      "{{ [1] | slice(999999999) | list | length }}",
      "{{ [[1]] | tojson(indent=999999999) }}",
      "{% for i in range(99999) %}{% for j in range(99) %}{{ '%1000000s' % 1 }}{% endfor %}"
      "{% endfor %}",
      // Output.
      "{% set a = 'a' * 9999999 %}{% for i in range(99) %}{{ a }}{% endfor %}",
      // Work inside one operation: searching, comparing, sorting, keys that are not texts.
      "{% set a = 'a' * 2000000 %}{% set b = 'a' * 1000000 ~ 'b' %}"
      "{% for i in range(99999) %}{{ b in a }}{% endfor %}",
      "{% set a = range(99999) | list %}{% for i in range(99999) %}{{ -1 in a }}{% endfor %}",
      "{% for i in range(99999) %}{{ range(99999) | sort | length }}{% endfor %}",
      "{{ range(99999) | unique | list | length }}",
      "{{ dict(range(99999) | batch(2)) | length }}",
  };
  for (const std::string& source : hostile) {
    EXPECT_EQ(CodeOf(source), absl::StatusCode::kResourceExhausted) << source;
  }
}

TEST(ChatTemplate, DeepSourcesAreErrors) {
  const auto repeated = [](absl::string_view text, int times) {
    std::string out;
    for (int i = 0; i < times; ++i) absl::StrAppend(&out, text);
    return out;
  };
  const int n = 20'000;
  const std::string deep[] = {
      absl::StrCat("{{ ", repeated("(", n), "1", repeated(")", n), " }}"),
      absl::StrCat("{{ ", repeated("[", n), repeated("]", n), " }}"),
      absl::StrCat("{{ ", repeated("not ", n), "1 }}"),
      absl::StrCat("{{ ", repeated("-", n), "1 }}"),
      absl::StrCat("{{ 1", repeated(" if 1 else 1", n), " }}"),
      repeated("{% if 1 %}", n),
      repeated("{% for x in y %}", n),
      repeated("{% macro m() %}", n),
      absl::StrCat("{{ x", repeated(".x", n), " }}"),
      absl::StrCat("{{ 1", repeated(" + 1", n), " }}"),
      absl::StrCat("{{ 'a'", repeated(" | upper", n), " }}"),
      absl::StrCat("{% set a", repeated(" | upper", n), " %}b{% endset %}"),
      absl::StrCat("{% set ", repeated("(", n), "a", repeated(")", n), " = 1 %}"),
      std::string(2 << 20, 'x'),
  };
  for (const std::string& source : deep) {
    EXPECT_NE(CodeOf(source), absl::StatusCode::kOk) << source.substr(0, 60);
  }
  // A chain of many conditions is not deep.
  EXPECT_EQ(CodeOf(absl::StrCat("{% if 0 %}", repeated("{% elif 0 %}", n), "{% endif %}")),
            absl::StatusCode::kOk);
}

TEST(ChatTemplate, LimitsCanBeSet) {
  const auto parsed = ChatTemplate::Parse("{% for i in range(1000) %}{{ 'abcdefgh' }}{% endfor %}");
  ASSERT_TRUE(parsed.ok());
  const auto code_of = [&](const jinja::Limits& limits) {
    ChatTemplate::Inputs inputs;
    inputs.limits = limits;
    return (*parsed)->Render(inputs).status().code();
  };
  EXPECT_EQ(code_of({}), absl::StatusCode::kOk);
  EXPECT_EQ(code_of({.steps = 500}), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(code_of({.bytes = 5000}), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(code_of({.output_bytes = 5000}), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(code_of({.depth = 1}), absl::StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace cormorant
