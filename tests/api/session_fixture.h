// A test fixture with an engine and a session on the test model; skips where there is none.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "tests/api/handles.h"

namespace api_test {

class ApiModel : public ::testing::Test {
 protected:
  void SetUp() override {
    SKIP_WITHOUT_MODEL();
    path_ = ModelPath();
    corm_engine_options_init(&options);
    options.model_path = path_.c_str();
    options.backend = "cpu";
    corm_session_options_init(&session_options);
  }

  /// An engine and a session; false, with corm_last_error(), where this machine lacks the backend.
  bool TryOpen() {
    corm_engine* made = nullptr;
    session.reset();
    if (corm_engine_create(&options, &made) != CORM_OK) return false;
    engine.reset(made);
    corm_session* opened = nullptr;
    EXPECT_CORM_OK(corm_session_create(made, &session_options, &opened));
    session.reset(opened);
    return true;
  }

  void OpenEngine() {
    corm_engine* made = nullptr;
    ASSERT_CORM_OK(corm_engine_create(&options, &made));
    engine.reset(made);
  }

  void Open() {
    ASSERT_NO_FATAL_FAILURE(OpenEngine());
    corm_session* made = nullptr;
    ASSERT_CORM_OK(corm_session_create(engine.get(), &session_options, &made));
    session.reset(made);
  }

  std::vector<uint32_t> Encode(const std::string& text) {
    corm_tokenizer* made = nullptr;
    EXPECT_CORM_OK(corm_tokenizer_open(path_.c_str(), &made));
    const TokenizerPtr tokenizer(made);
    std::vector<uint32_t> ids(text.size() + 1);
    size_t count = 0;
    EXPECT_CORM_OK(corm_tokenizer_encode(made, text.data(), text.size(), CORM_ENCODE_BOS,
                                         ids.data(), ids.size(), &count));
    ids.resize(count);
    return ids;
  }

  /// `count` ids of ordinary text, in a fixed order.
  static std::vector<uint32_t> Tokens(size_t count) {
    std::vector<uint32_t> ids(count);
    for (size_t i = 0; i < count; ++i) ids[i] = static_cast<uint32_t>(1000 + i * 7919 % 40000);
    return ids;
  }

  void Append(const std::vector<uint32_t>& ids) {
    EXPECT_CORM_OK(corm_session_append(session.get(), ids.data(), ids.size(), 0, nullptr, nullptr));
  }

  corm_kv_stats Stats() {
    corm_kv_stats stats;
    corm_kv_stats_init(&stats);
    EXPECT_CORM_OK(corm_session_get_stats(session.get(), &stats));
    return stats;
  }

  corm_memory_stats Memory() {
    corm_memory_stats stats;
    corm_memory_stats_init(&stats);
    EXPECT_CORM_OK(corm_engine_get_memory(engine.get(), &stats));
    return stats;
  }

  /// Greedy options for short answers.
  static corm_generate_options Greedy(uint32_t max_tokens) {
    corm_generate_options generate;
    corm_generate_options_init(&generate);
    generate.max_tokens = max_tokens;
    generate.temperature = 0;
    return generate;
  }

  /// The answer to one user message.
  std::string Ask(const std::string& question, uint32_t max_tokens) {
    EXPECT_CORM_OK(corm_session_add_message(session.get(), "user", question.c_str()));
    const corm_generate_options generate = Greedy(max_tokens);
    std::string text;
    EXPECT_CORM_OK(corm_session_reply(session.get(), &generate, &Collect, &text, nullptr));
    return text;
  }

  /// A corm_token_fn; `user` is a std::string.
  static int Collect(void* user, const corm_token_event* event) {
    static_cast<std::string*>(user)->append(event->text, event->text_bytes);
    return 0;
  }

  corm_engine_options options;
  corm_session_options session_options;
  EnginePtr engine;
  SessionPtr session;

 private:
  std::string path_;
};

}  // namespace api_test
