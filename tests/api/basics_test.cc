// The C API without a model: defaults, descriptions, templates, and every way a call can be wrong.
//
// Method: each wrong call must return the status the header promises, leave a message that names
// the cause, and leave the out-parameter NULL. Damaged files are written here, byte by byte: the
// ones that break naive readers announce more than they hold.
#include <cstring>
#include <fstream>
#include <thread>
#include <vector>

#include "nlohmann/json.hpp"
#include "tests/api/handles.h"

extern "C" int cormorant_defaults_from_c(void);  // header.c

namespace api_test {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

/// A file in the test's temporary folder with these bytes.
std::string WriteFile(const std::string& name, const std::string& bytes) {
  const std::string path = ::testing::TempDir() + "/cormorant_" + name;
  std::ofstream(path, std::ios::binary) << bytes;
  return path;
}

template <typename T>
std::string Bytes(T value) {
  return std::string(reinterpret_cast<const char*>(&value), sizeof(value));
}

corm_engine_options Options(const char* path) {
  corm_engine_options options;
  corm_engine_options_init(&options);
  options.model_path = path;
  options.backend = "cpu";
  return options;
}

TEST(ApiBasics, VersionHasThreeNumbers) {
  EXPECT_THAT(corm_version(), ::testing::MatchesRegex("[0-9]+[.][0-9]+[.][0-9]+"));
}

TEST(ApiBasics, HeaderIsCAsWell) {
  EXPECT_EQ(cormorant_defaults_from_c(), 1);
}

TEST(ApiBasics, StatusNamesAreThoseOfTheHeader) {
  EXPECT_STREQ(corm_status_name(CORM_OK), "OK");
  EXPECT_STREQ(corm_status_name(CORM_RESOURCE_EXHAUSTED), "RESOURCE_EXHAUSTED");
  EXPECT_STREQ(corm_status_name(CORM_DATA_LOSS), "DATA_LOSS");
  EXPECT_STREQ(corm_status_name(999), "UNKNOWN");
  EXPECT_STREQ(corm_status_name(-1), "UNKNOWN");
}

TEST(ApiBasics, NullMayBeDestroyed) {
  corm_engine_destroy(nullptr);
  corm_session_destroy(nullptr);
  corm_tokenizer_destroy(nullptr);
  corm_text_free(nullptr);
  corm_session_cancel(nullptr);
}

TEST(ApiBasics, InitFillsSizeAndDefaults) {
  corm_engine_options engine;
  corm_engine_options_init(&engine);
  EXPECT_EQ(engine.struct_size, sizeof(engine));
  EXPECT_STREQ(engine.backend, "auto");
  EXPECT_STREQ(engine.kv_type, "f16");
  EXPECT_EQ(engine.max_sessions, 1u);
  EXPECT_EQ(engine.memory_cap_bytes, 0u);
  EXPECT_EQ(engine.tuning_path, nullptr);
  corm_session_options session;
  corm_session_options_init(&session);
  EXPECT_EQ(session.struct_size, sizeof(session));
  EXPECT_EQ(session.recent, UINT32_MAX);
  EXPECT_EQ(session.sinks, 4u);
  EXPECT_EQ(session.basis, -1);
  EXPECT_EQ(session.importance_scale, 0.0f);
  EXPECT_EQ(session.reach, -1);
  EXPECT_EQ(session.fade, -1);
  EXPECT_EQ(session.recall, 0);
  EXPECT_EQ(session.head_budget, nullptr);
  EXPECT_EQ(session.positions, nullptr);
  EXPECT_EQ(session.head_weights, nullptr);
  EXPECT_EQ(session.head_weight_count, 0u);
  EXPECT_EQ(session.pin_system_prompt, 1);
  corm_generate_options generate;
  corm_generate_options_init(&generate);
  EXPECT_EQ(generate.struct_size, sizeof(generate));
  EXPECT_FLOAT_EQ(generate.temperature, 0.7f);
  EXPECT_EQ(generate.top_k, 40u);
  EXPECT_FLOAT_EQ(generate.top_p, 0.95f);
  EXPECT_FLOAT_EQ(generate.min_p, 0.05f);
  EXPECT_EQ(generate.repetition_penalty, 1.0f);
  EXPECT_EQ(generate.seed, 0u);
}

TEST(ApiBasics, ResultStructsInit) {
  corm_engine_info info;
  corm_engine_info_init(&info);
  EXPECT_EQ(info.struct_size, sizeof(info));
  corm_memory_stats memory;
  corm_memory_stats_init(&memory);
  EXPECT_EQ(memory.struct_size, sizeof(memory));
  corm_kv_stats kv;
  corm_kv_stats_init(&kv);
  EXPECT_EQ(kv.struct_size, sizeof(kv));
  corm_generate_result result;
  corm_generate_result_init(&result);
  EXPECT_EQ(result.struct_size, sizeof(result));
  corm_template_options options;
  corm_template_options_init(&options);
  EXPECT_EQ(options.struct_size, sizeof(options));
  EXPECT_EQ(options.add_generation_prompt, 1);
}

TEST(ApiBasics, MissingFileIsNamed) {
  const corm_engine_options options = Options("/nowhere/at-all.gguf");
  corm_engine* engine = reinterpret_cast<corm_engine*>(1);
  EXPECT_EQ(corm_engine_create(&options, &engine), CORM_NOT_FOUND);
  EXPECT_EQ(engine, nullptr);
  EXPECT_THAT(corm_last_error(), HasSubstr("/nowhere/at-all.gguf"));
  corm_tokenizer* tokenizer = reinterpret_cast<corm_tokenizer*>(1);
  EXPECT_EQ(corm_tokenizer_open("/nowhere/at-all.gguf", &tokenizer), CORM_NOT_FOUND);
  EXPECT_EQ(tokenizer, nullptr);
  char* json = nullptr;
  EXPECT_EQ(corm_inspect(&options, &json), CORM_NOT_FOUND);
}

TEST(ApiBasics, NullArgumentsAreRefused) {
  corm_engine* engine = nullptr;
  EXPECT_EQ(corm_engine_create(nullptr, &engine), CORM_INVALID_ARGUMENT);
  corm_engine_options options;
  corm_engine_options_init(&options);
  EXPECT_EQ(corm_engine_create(&options, &engine), CORM_INVALID_ARGUMENT);
  EXPECT_THAT(corm_last_error(), HasSubstr("model_path"));
  EXPECT_EQ(corm_engine_create(&options, nullptr), CORM_INVALID_ARGUMENT);
  EXPECT_EQ(corm_session_create(nullptr, nullptr, nullptr), CORM_INVALID_ARGUMENT);
  EXPECT_EQ(corm_engine_get_info(nullptr, nullptr), CORM_INVALID_ARGUMENT);
  EXPECT_EQ(corm_tokenizer_open(nullptr, nullptr), CORM_INVALID_ARGUMENT);
  EXPECT_EQ(corm_devices(nullptr), CORM_INVALID_ARGUMENT);
  EXPECT_EQ(corm_session_add_message(nullptr, "user", "hi"), CORM_INVALID_ARGUMENT);
  EXPECT_EQ(corm_tokenizer_size(nullptr), 0u);
}

TEST(ApiBasics, StructSizeOfZeroIsRefused) {
  corm_engine_options options = Options("/nowhere");
  options.struct_size = 0;
  corm_engine* engine = nullptr;
  EXPECT_EQ(corm_engine_create(&options, &engine), CORM_INVALID_ARGUMENT);
  EXPECT_THAT(corm_last_error(), HasSubstr("struct_size"));
}

/// Damaged files: what a download, a disk or an attacker makes of a GGUF.
TEST(ApiBasics, DamagedFilesAreDataLossWithAnOffset) {
  const std::string head = "GGUF" + Bytes(uint32_t{3});
  const std::string huge = Bytes(UINT64_MAX);
  const struct {
    const char* name;
    std::string bytes;
  } cases[] = {
      {"no_magic", "PK\x03\x04 this is another kind of file, long enough for a header"},
      {"magic_only", "GGUF"},
      {"huge_tensor_count", head + huge + Bytes(uint64_t{0})},
      {"huge_metadata_count", head + Bytes(uint64_t{0}) + huge},
      {"huge_key", head + Bytes(uint64_t{0}) + Bytes(uint64_t{1}) + huge + "key"},
      {"cut_in_a_key",
       head + Bytes(uint64_t{0}) + Bytes(uint64_t{1}) + Bytes(uint64_t{20}) + "gen"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.name);
    const std::string path = WriteFile(c.name, c.bytes);
    const corm_engine_options options = Options(path.c_str());
    corm_engine* engine = nullptr;
    const corm_status status = corm_engine_create(&options, &engine);
    EXPECT_THAT(status, ::testing::AnyOf(CORM_DATA_LOSS, CORM_INVALID_ARGUMENT));
    EXPECT_THAT(corm_last_error(), HasSubstr(path));
    EXPECT_EQ(engine, nullptr);
    char* json = nullptr;
    EXPECT_EQ(corm_inspect(&options, &json), status);
    EXPECT_EQ(json, nullptr);
  }
}

TEST(ApiBasics, DevicesAndPoliciesAreJson) {
  char* text = nullptr;
  ASSERT_CORM_OK(corm_devices(&text));
  const nlohmann::json devices = nlohmann::json::parse(Take(text));
  ASSERT_TRUE(devices.is_array());
  bool has_cpu = false;
  for (const nlohmann::json& device : devices) {
    for (const char* key : {"backend", "index", "name", "usable", "reason", "memory_total"}) {
      EXPECT_TRUE(device.contains(key)) << key;
    }
    has_cpu = has_cpu || (device["backend"] == "cpu" && device["usable"] == true);
  }
  EXPECT_TRUE(has_cpu) << "the CPU is always there";
  ASSERT_CORM_OK(corm_policies(&text));
  std::vector<std::string> names;
  for (const nlohmann::json& policy : nlohmann::json::parse(Take(text))) {
    names.push_back(policy.at("name"));
  }
  EXPECT_THAT(names, ::testing::IsSupersetOf({"none", "window", "corm", "corm-values", "snapkv",
                                              "keydiff", "expected-attention"}));
}

std::string Render(const corm_template_options& options) {
  char* text = nullptr;
  EXPECT_CORM_OK(corm_template_render(&options, &text));
  return Take(text);
}

TEST(ApiBasics, TemplateRenders) {
  corm_template_options options;
  corm_template_options_init(&options);
  options.source =
      "{{ bos_token }}{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}"
      "{% if add_generation_prompt %}<go>{% endif %}";
  options.messages_json = R"([{"role": "user", "content": "hi \u00e9"}])";
  options.bos_text = "^";
  EXPECT_EQ(Render(options), "^<user>hi \u00e9<go>");
  options.add_generation_prompt = 0;
  EXPECT_EQ(Render(options), "^<user>hi \u00e9");
}

TEST(ApiBasics, BrokenTemplatesAreRefused) {
  corm_template_options options;
  corm_template_options_init(&options);
  options.source = "{% for m in messages %}no end";
  options.messages_json = "[]";
  char* text = nullptr;
  EXPECT_NE(corm_template_render(&options, &text), CORM_OK);
  EXPECT_THAT(corm_last_error(), Not(::testing::StrEq("")));
  options.source = "fine";
  options.messages_json = "[{";
  EXPECT_EQ(corm_template_render(&options, &text), CORM_INVALID_ARGUMENT);
  EXPECT_THAT(corm_last_error(), HasSubstr("JSON"));
}

TEST(ApiBasics, LastErrorBelongsToTheThread) {
  const corm_engine_options options = Options("/nowhere/mine.gguf");
  corm_engine* engine = nullptr;
  EXPECT_EQ(corm_engine_create(&options, &engine), CORM_NOT_FOUND);
  std::thread([] {
    EXPECT_STREQ(corm_last_error(), "");
    corm_tokenizer* tokenizer = nullptr;
    EXPECT_EQ(corm_tokenizer_open("/nowhere/theirs.gguf", &tokenizer), CORM_NOT_FOUND);
  }).join();
  EXPECT_THAT(corm_last_error(), HasSubstr("mine.gguf"));
}

TEST(ApiBasics, LogSinkMayBeSetAndTakenAway) {
  static int calls = 0;
  corm_set_log([](void*, int, const char*) { ++calls; }, nullptr, CORM_LOG_DEBUG);
  corm_set_log(nullptr, nullptr, CORM_LOG_ERROR);
  const int before = calls;
  const corm_engine_options options = Options("/nowhere");
  corm_engine* engine = nullptr;
  EXPECT_NE(corm_engine_create(&options, &engine), CORM_OK);
  EXPECT_EQ(calls, before);
}

}  // namespace
}  // namespace api_test
