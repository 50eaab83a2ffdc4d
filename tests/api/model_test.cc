// The C API on a real model: engines, tokenizers, caps and what the ledger says about them.
//
// Method: SmolLM2-135M-Instruct (CORMORANT_TEST_MODEL), whose sizes are known; figures that must
// add up are added up here.
#include <cstddef>

#include "nlohmann/json.hpp"
#include "tests/api/session_fixture.h"

namespace api_test {
namespace {

using ::testing::HasSubstr;

TEST_F(ApiModel, InfoDescribesTheModel) {
  Open();
  corm_engine_info info;
  corm_engine_info_init(&info);
  ASSERT_CORM_OK(corm_engine_get_info(engine.get(), &info));
  EXPECT_STREQ(info.architecture, "llama");
  EXPECT_EQ(info.layers, 30u);
  EXPECT_EQ(info.kv_heads, 3u);
  EXPECT_EQ(info.head_dim, 64u);
  EXPECT_EQ(info.vocab, 49152u);
  EXPECT_EQ(info.context_trained, 8192u);
  // K and V, f16, 30 layers of 3 heads of 64.
  EXPECT_EQ(info.kv_bytes_per_token, 2u * 2 * 30 * 3 * 64);
  EXPECT_STREQ(info.backend, "cpu");
  EXPECT_GT(info.prefill_chunk, 0u);
}

TEST_F(ApiModel, LedgerAddsUp) {
  options.kv_cap_bytes = 8 << 20;
  Open();
  Append(Encode("The ledger has every byte in exactly one category."));
  const corm_memory_stats m = Memory();
  EXPECT_EQ(m.used, m.weights + m.kv_pages + m.kv_metadata + m.activations + m.staging + m.program);
  EXPECT_GE(m.peak, m.used);
  EXPECT_GE(m.kv_peak, m.kv_pages + m.kv_metadata);
  EXPECT_EQ(m.kv_cap, 8u << 20);
  EXPECT_LE(m.kv_peak, m.kv_cap);
  EXPECT_GT(m.weights, 60u << 20);
}

TEST_F(ApiModel, MemoryCapHolds) {
  options.memory_cap_bytes = 200u << 20;
  Open();
  Append(Tokens(2000));
  const corm_memory_stats m = Memory();
  EXPECT_EQ(m.cap, 200u << 20);
  EXPECT_LE(m.peak, m.cap);
}

TEST_F(ApiModel, CapsThatAreTooSmallNameOneThatWorks) {
  options.kv_cap_bytes = 100 << 10;
  corm_engine* made = nullptr;
  EXPECT_EQ(corm_engine_create(&options, &made), CORM_RESOURCE_EXHAUSTED);
  EXPECT_EQ(made, nullptr);
  EXPECT_THAT(corm_last_error(), ::testing::ContainsRegex("[0-9]"));
  options.kv_cap_bytes = 0;
  options.memory_cap_bytes = 10 << 20;
  EXPECT_EQ(corm_engine_create(&options, &made), CORM_RESOURCE_EXHAUSTED);
}

TEST_F(ApiModel, WrongOptionsAreRefusedByName) {
  corm_engine* made = nullptr;
  options.backend = "abacus";
  EXPECT_NE(corm_engine_create(&options, &made), CORM_OK);
  EXPECT_THAT(corm_last_error(), HasSubstr("abacus"));
  options.backend = "cpu";
  options.kv_type = "f13";
  EXPECT_EQ(corm_engine_create(&options, &made), CORM_INVALID_ARGUMENT);
  EXPECT_THAT(corm_last_error(), HasSubstr("f13"));
  options.kv_type = "f16";
  options.context = 1u << 20;
  EXPECT_NE(corm_engine_create(&options, &made), CORM_OK);
  options.context = 0;
  options.device = 77;
  EXPECT_NE(corm_engine_create(&options, &made), CORM_OK);
  EXPECT_EQ(made, nullptr);
  options.device = 0;
  OpenEngine();
  corm_session_options wrong;
  corm_session_options_init(&wrong);
  wrong.policy = "dodo";
  corm_session* none = nullptr;
  EXPECT_NE(corm_session_create(engine.get(), &wrong, &none), CORM_OK);
  EXPECT_THAT(corm_last_error(), HasSubstr("dodo"));
  corm_session_options_init(&wrong);
  wrong.head_budget = "row";
  EXPECT_EQ(corm_session_create(engine.get(), &wrong, &none), CORM_INVALID_ARGUMENT);
  EXPECT_THAT(corm_last_error(), HasSubstr("row"));
  corm_session_options_init(&wrong);
  wrong.reach = 4096;
  EXPECT_EQ(corm_session_create(engine.get(), &wrong, &none), CORM_INVALID_ARGUMENT);
  EXPECT_THAT(corm_last_error(), HasSubstr("4096"));
  corm_session_options_init(&wrong);
  wrong.fade = 5000;
  EXPECT_EQ(corm_session_create(engine.get(), &wrong, &none), CORM_INVALID_ARGUMENT);
  EXPECT_THAT(corm_last_error(), HasSubstr("fade is 5000"));
  corm_session_options_init(&wrong);
  wrong.positions = "shifted";
  EXPECT_EQ(corm_session_create(engine.get(), &wrong, &none), CORM_INVALID_ARGUMENT);
  EXPECT_THAT(corm_last_error(), HasSubstr("'shifted'"));
  EXPECT_EQ(none, nullptr);
}

TEST_F(ApiModel, StatisticsOfQueriesAreKeptWhereTheyAreAskedFor) {
  OpenEngine();
  const uint64_t without = Memory().kv_metadata;
  session_options.policy = "expected-attention";
  corm_session* made = nullptr;
  EXPECT_EQ(corm_session_create(engine.get(), &session_options, &made), CORM_FAILED_PRECONDITION);
  EXPECT_THAT(corm_last_error(), HasSubstr("corm_engine_options.query_statistics"));
  EXPECT_EQ(made, nullptr);
  options.query_statistics = 1;
  Open();
  EXPECT_EQ(Memory().kv_metadata, without + 30u * 9 * (1 + 64 / 2 * 5) * 4);
  EXPECT_FALSE(Ask("Name three fruits.", 5).empty());
}

TEST_F(ApiModel, OptionsOfAnOlderHeaderAreAccepted) {
  // An application built before all_logits and what follows it existed.
  options.struct_size = offsetof(corm_engine_options, all_logits);
  options.all_logits = 0xFFFFFFFFu;  // Past its end: must not be read.
  options.on_load = reinterpret_cast<corm_progress_fn>(1);
  Open();
  corm_engine_info info;
  corm_engine_info_init(&info);
  info.struct_size = offsetof(corm_engine_info, vocab);
  info.vocab = 12345;  // Past its end: must not be written.
  ASSERT_CORM_OK(corm_engine_get_info(engine.get(), &info));
  EXPECT_EQ(info.layers, 30u);
  EXPECT_EQ(info.vocab, 12345u);
}

TEST_F(ApiModel, LoadingReportsProgress) {
  struct Seen {
    uint64_t calls = 0;
    uint64_t last = 0;
  } seen;
  options.on_load = [](void* user, uint64_t done, uint64_t total) {
    Seen& s = *static_cast<Seen*>(user);
    EXPECT_GE(done, s.last);
    EXPECT_LE(done, total);
    s.last = done;
    ++s.calls;
    return 0;
  };
  options.on_load_user = &seen;
  OpenEngine();
  EXPECT_GT(seen.calls, 0u);
}

TEST_F(ApiModel, SessionsAreLimited) {
  Open();
  corm_session* second = nullptr;
  EXPECT_NE(corm_session_create(engine.get(), nullptr, &second), CORM_OK);
  EXPECT_EQ(second, nullptr);
  session.reset();
  ASSERT_CORM_OK(corm_session_create(engine.get(), nullptr, &second));
  corm_session_destroy(second);
}

TEST_F(ApiModel, SessionOutlivesItsEngine) {
  Open();
  engine.reset();
  Append(Encode("The handle is gone, the engine is not."));
  EXPECT_GT(Stats().tokens, 0u);
}

TEST_F(ApiModel, TokenizerGoesThereAndBack) {
  corm_tokenizer* made = nullptr;
  ASSERT_CORM_OK(corm_tokenizer_open(ModelPath().c_str(), &made));
  const TokenizerPtr tokenizer(made);
  EXPECT_EQ(corm_tokenizer_size(made), 49152u);
  EXPECT_THAT(corm_tokenizer_chat_template(made), HasSubstr("<|im_start|>"));
  EXPECT_STREQ(corm_tokenizer_eos_text(made), "<|im_end|>");
  EXPECT_STREQ(corm_tokenizer_bos_text(made), "<|im_start|>");
  const std::string text = "Grüße, 世界! 🐦 <|im_end|>\n\n  tabs\tand 12345 numbers";
  size_t count = 0;
  EXPECT_EQ(corm_tokenizer_encode(made, text.data(), text.size(), 0, nullptr, 0, &count),
            CORM_OUT_OF_RANGE);
  std::vector<uint32_t> ids(count);
  ASSERT_CORM_OK(
      corm_tokenizer_encode(made, text.data(), text.size(), 0, ids.data(), ids.size(), &count));
  EXPECT_EQ(count, ids.size());
  char* back = nullptr;
  size_t bytes = 0;
  ASSERT_CORM_OK(corm_tokenizer_decode(made, ids.data(), ids.size(), 0, &back, &bytes));
  EXPECT_EQ(bytes, text.size());
  EXPECT_EQ(Take(back), text);
  // As a special token it is one id, and its text appears only when asked for.
  const std::string end = "<|im_end|>";
  uint32_t id = 0;
  ASSERT_CORM_OK(corm_tokenizer_encode(made, end.data(), end.size(), CORM_ENCODE_PARSE_SPECIAL, &id,
                                       1, &count));
  EXPECT_EQ(count, 1u);
  ASSERT_CORM_OK(corm_tokenizer_decode(made, &id, 1, 0, &back, nullptr));
  EXPECT_EQ(Take(back), "");
  ASSERT_CORM_OK(corm_tokenizer_decode(made, &id, 1, CORM_DECODE_SPECIAL, &back, nullptr));
  EXPECT_EQ(Take(back), end);
  id = 49152;
  EXPECT_NE(corm_tokenizer_decode(made, &id, 1, 0, &back, nullptr), CORM_OK);
}

TEST_F(ApiModel, TokenizerOfAnEngineOutlivesIt) {
  OpenEngine();
  corm_tokenizer* made = nullptr;
  ASSERT_CORM_OK(corm_engine_get_tokenizer(engine.get(), &made));
  const TokenizerPtr tokenizer(made);
  engine.reset();
  EXPECT_EQ(corm_tokenizer_size(made), 49152u);
}

TEST_F(ApiModel, InspectPlansWithoutLoading) {
  options.kv_cap_bytes = 24 << 20;
  char* text = nullptr;
  ASSERT_CORM_OK(corm_inspect(&options, &text));
  const nlohmann::json json = nlohmann::json::parse(Take(text));
  EXPECT_EQ(json.at("architecture"), "llama");
  EXPECT_EQ(json.at("kv_bytes_per_token"), 23040);
  EXPECT_EQ(json.at("supported"), true);
  EXPECT_TRUE(json.at("problems").empty());
  EXPECT_TRUE(json.at("plan").is_object());
  EXPECT_EQ(json.at("context"), 8192);
  options.kv_cap_bytes = 1000;
  ASSERT_CORM_OK(corm_inspect(&options, &text));
  const nlohmann::json small = nlohmann::json::parse(Take(text));
  EXPECT_FALSE(small.at("problems").empty()) << "a cap nothing fits in is a problem, not an error";
}

}  // namespace
}  // namespace api_test
