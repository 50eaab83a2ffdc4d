// Chat templates of real models against jinja2.
//
// Method: tests/golden/make_real_template_cases.py let jinja2 render the templates of
// CORMORANT_SHARED_DATA over many conversations, with and without tools, calls, thoughts, parts and
// other variables. The templates are not ours to keep, so what is kept are hashes: of each template
// and of each text, or a 0 where jinja2 raises. Each text must come out byte for byte; where jinja2
// raises, this interpreter must fail too. `make_real_template_cases.py FOLDER build/bin/cormorant`
// shows how a text differs.
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "runtime/text/template/chat_template.h"

namespace cormorant {
namespace {

using Json = nlohmann::ordered_json;

std::string Read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

/// FNV-1a of 64 bits, in hexadecimal.
std::string Hash(absl::string_view text) {
  uint64_t value = 0xcbf29ce484222325;
  for (const char byte : text) value = (value ^ static_cast<uint8_t>(byte)) * 0x100000001b3;
  return absl::StrFormat("%016x", value);
}

ChatTemplate::Inputs InputsOf(const Json& all, const Json& one) {
  ChatTemplate::Inputs inputs;
  inputs.messages = one["messages"];
  inputs.tools = one["tools"];
  inputs.add_generation_prompt = one["add_generation_prompt"];
  inputs.extra = one["extra"];
  inputs.bos_token = all["bos_token"];
  inputs.eos_token = all["eos_token"];
  inputs.now = all["now"];
  return inputs;
}

struct Counts {
  size_t templates = 0, texts = 0, failures = 0;
};

void CheckTemplate(const std::string& name, const std::string& source, const Json& all,
                   Counts* counts) {
  const std::vector<std::string> wanted =
      absl::StrSplit(all["templates"][name]["texts"].get<std::string>(), ' ');
  ASSERT_EQ(wanted.size(), all["cases"].size());
  const auto parsed = ChatTemplate::Parse(source, name);
  for (size_t i = 0; i < wanted.size(); ++i) {
    const Json& one = all["cases"][i];
    const auto text = parsed.ok() ? (*parsed)->Render(InputsOf(all, one))
                                  : absl::StatusOr<std::string>(parsed.status());
    const std::string where = absl::StrCat(name, ": ", one["name"].get<std::string>());
    if (wanted[i] == "0") {
      EXPECT_FALSE(text.ok()) << where << ": jinja2 raises, this gives\n" << *text;
      ++counts->failures;
    } else if (!text.ok()) {
      ADD_FAILURE() << where << " fails: " << text.status();
    } else {
      EXPECT_EQ(Hash(*text), wanted[i]) << where << " gives\n" << *text;
      ++counts->texts;
    }
  }
  ++counts->templates;
}

TEST(RealTemplates, RenderAsJinja2) {
  const char* folder = std::getenv("CORMORANT_SHARED_DATA");
  if (folder == nullptr) GTEST_SKIP() << "CORMORANT_SHARED_DATA is not set";
  const Json all = Json::parse(
      Read(absl::StrCat(CORMORANT_TEST_DIR, "/golden/real_template_cases.json")), nullptr, false);
  ASSERT_TRUE(all.is_object()) << "tests/golden/real_template_cases.json cannot be read";
  Counts counts;
  for (const auto& [name, wanted] : all["templates"].items()) {
    const std::string source = Read(absl::StrCat(folder, "/templates/", name, ".jinja"));
    if (source.empty()) {
      std::cout << "no templates/" << name << ".jinja in " << folder << "\n";
      continue;
    }
    ASSERT_EQ(Hash(source), wanted["template"].get<std::string>())
        << name << " has changed; run tests/golden/make_real_template_cases.py";
    CheckTemplate(name, source, all, &counts);
  }
  std::cout << counts.templates << " templates: " << counts.texts << " texts as jinja2's, "
            << counts.failures << " failures where jinja2 raises\n";
  if (counts.templates == 0) GTEST_SKIP() << "no templates in " << folder;
  EXPECT_GT(counts.texts, 40 * counts.templates);
}

}  // namespace
}  // namespace cormorant
