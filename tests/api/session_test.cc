// Sessions through the C API: conversations, caps, cancelling, and calls that must not mix.
//
// Method: greedy answers on SmolLM2-135M-Instruct, so that two runs can be compared word by word.
// What is checked is what the header promises, above all that nothing is lost when a call ends
// early.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <thread>

#include "nlohmann/json.hpp"
#include "tests/api/session_fixture.h"

namespace api_test {
namespace {

using ::testing::HasSubstr;

TEST_F(ApiModel, ConversationRemembers) {
  Open();
  ASSERT_CORM_OK(corm_session_add_message(session.get(), "system", "You are helpful."));
  const std::string first = Ask("What is the capital of France?", 40);
  EXPECT_THAT(first, HasSubstr("Paris"));
  EXPECT_NE(Ask("Thank you. And of Italy?", 40), "");
  char* text = nullptr;
  ASSERT_CORM_OK(corm_session_get_messages(session.get(), &text));
  const nlohmann::json messages = nlohmann::json::parse(Take(text));
  ASSERT_EQ(messages.size(), 5u);
  EXPECT_EQ(messages[0]["role"], "system");
  EXPECT_EQ(messages[1]["content"], "What is the capital of France?");
  EXPECT_EQ(messages[2]["role"], "assistant");
  EXPECT_EQ(messages[2]["content"], first);
}

TEST_F(ApiModel, ResetForgets) {
  Open();
  const std::string first = Ask("Name a colour.", 20);
  Ask("Name another one.", 20);
  ASSERT_CORM_OK(corm_session_reset(session.get()));
  EXPECT_EQ(Stats().tokens, 0u);
  EXPECT_EQ(Stats().rows_kept, 0);
  EXPECT_EQ(Ask("Name a colour.", 20), first);
}

TEST_F(ApiModel, StatsAddUp) {
  Open();
  Append(Tokens(300));
  const corm_kv_stats kv = Stats();
  EXPECT_EQ(kv.tokens, 300u);
  EXPECT_EQ(kv.rows_full, 300u);
  EXPECT_EQ(kv.bytes_full_f16, 300u * 23040);
  EXPECT_EQ(kv.rows_kept, 300);
  EXPECT_EQ(kv.evicted_total, 0u);
  EXPECT_EQ(kv.next_position, 300u);
  EXPECT_GE(kv.bytes, kv.bytes_full_f16) << "pages and metadata come on top";
  std::vector<double> rows(30);
  ASSERT_CORM_OK(corm_session_get_layer_rows(session.get(), rows.data(), rows.size()));
  EXPECT_THAT(rows, ::testing::Each(300));
}

TEST_F(ApiModel, PositionsPastTheContextAreWhatWasAskedFor) {
  options.context = 256;
  ASSERT_NO_FATAL_FAILURE(OpenEngine());
  session_options.policy = "corm";
  for (const char* positions : {"rebased", "windowed", "original"}) {
    session_options.positions = positions;
    corm_session* made = nullptr;
    ASSERT_CORM_OK(corm_session_create(engine.get(), &session_options, &made));
    session.reset(made);
    Append(Tokens(700));
    const corm_kv_stats kv = Stats();
    EXPECT_EQ(kv.tokens, 700u);
    EXPECT_LE(kv.rows_kept, 256);
    if (session_options.positions == std::string("original")) {
      EXPECT_EQ(kv.next_position, 700u);
      EXPECT_EQ(kv.rebased, 0u);
    } else {
      EXPECT_LE(kv.next_position, 256u);
      EXPECT_GT(kv.rebased, 0u);
    }
    session.reset();  // There is one at a time.
  }
}

TEST_F(ApiModel, SameSeedSameText) {
  Open();
  corm_generate_options generate = Greedy(24);
  generate.temperature = 1.0f;
  std::string texts[3];
  for (size_t i = 0; i < 3; ++i) {
    generate.seed = i == 2 ? 8 : 7;
    ASSERT_CORM_OK(corm_session_reset(session.get()));
    Append(Encode("Once upon a time"));
    ASSERT_CORM_OK(corm_session_generate(session.get(), &generate, &Collect, &texts[i], nullptr));
  }
  EXPECT_EQ(texts[0], texts[1]);
  EXPECT_NE(texts[0], texts[2]);
}

TEST_F(ApiModel, EventsAreWholeCharacters) {
  Open();
  Append(Encode("Emoji: 🐦🌊🎉 日本語 мир"));
  corm_generate_options generate = Greedy(150);
  generate.temperature = 2.0f;
  generate.top_k = 0;
  generate.top_p = 1;
  generate.min_p = 0;
  generate.ignore_end = 1;
  const auto check = [](void*, const corm_token_event* event) {
    EXPECT_EQ(event->text[event->text_bytes], '\0');
    const std::string text(event->text, event->text_bytes);
    // The strict parser of the JSON library refuses half characters.
    const std::string quoted =
        nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::ignore);
    EXPECT_EQ(nlohmann::json::parse(quoted).get<std::string>(), text);
    return 0;
  };
  corm_generate_result result;
  corm_generate_result_init(&result);
  ASSERT_CORM_OK(corm_session_generate(session.get(), &generate, check, nullptr, &result));
  EXPECT_EQ(result.generated_tokens, 150u);
  EXPECT_EQ(result.stop_reason, CORM_STOP_LENGTH);
}

TEST_F(ApiModel, CallbackCancelsAndNothingIsLost) {
  Open();
  ASSERT_CORM_OK(corm_session_add_message(session.get(), "user", "Count from 1 to 100."));
  int left = 5;
  const auto stop = [](void* user, const corm_token_event*) {
    return --*static_cast<int*>(user) == 0 ? 1 : 0;
  };
  const corm_generate_options generate = Greedy(100);
  corm_generate_result result;
  corm_generate_result_init(&result);
  EXPECT_EQ(corm_session_reply(session.get(), &generate, stop, &left, &result), CORM_CANCELLED);
  EXPECT_EQ(result.stop_reason, CORM_STOP_CANCELLED);
  EXPECT_EQ(result.generated_tokens, 5u);
  EXPECT_GT(result.prompt_tokens, 0u);
  EXPECT_NE(Ask("Go on.", 10), "");
}

TEST_F(ApiModel, PromptCanBeCancelledAndGoesOn) {
  options.prefill_chunk = 64;
  Open();
  const std::vector<uint32_t> ids = Tokens(1000);
  const auto stop = [](void*, uint64_t done, uint64_t total) {
    EXPECT_LE(done, total);
    return done >= 256 ? 1 : 0;
  };
  EXPECT_EQ(corm_session_append(session.get(), ids.data(), ids.size(), 0, stop, nullptr),
            CORM_CANCELLED);
  const uint64_t read = Stats().tokens;
  EXPECT_GE(read, 256u);
  EXPECT_LT(read, 1000u);
  Append({ids.begin() + static_cast<ptrdiff_t>(read), ids.end()});
  EXPECT_EQ(Stats().tokens, 1000u);
}

TEST_F(ApiModel, AnotherThreadCancels) {
  Open();
  Append(Encode("A story without an end:"));
  std::atomic<int> seen = 0;
  std::thread canceller([&] {
    while (seen.load() < 3) std::this_thread::yield();
    corm_session_cancel(session.get());
  });
  corm_generate_options generate = Greedy(5000);
  generate.ignore_end = 1;
  const auto count = [](void* user, const corm_token_event*) {
    static_cast<std::atomic<int>*>(user)->fetch_add(1);
    return 0;
  };
  corm_generate_result result;
  corm_generate_result_init(&result);
  EXPECT_EQ(corm_session_generate(session.get(), &generate, count, &seen, &result), CORM_CANCELLED);
  canceller.join();
  EXPECT_LT(result.generated_tokens, 5000u);
  // The next call starts afresh.
  generate.max_tokens = 3;
  EXPECT_CORM_OK(corm_session_generate(session.get(), &generate, nullptr, nullptr, &result));
}

TEST_F(ApiModel, BusySessionIsRefusedNotRaced) {
  Open();
  Append(Encode("Hello"));
  const auto intrude = [](void* user, const corm_token_event*) {
    // From this thread and from another one: neither may enter.
    corm_session* busy = static_cast<corm_session*>(user);
    EXPECT_EQ(corm_session_reset(busy), CORM_FAILED_PRECONDITION);
    std::thread([busy] {
      EXPECT_EQ(corm_session_add_message(busy, "user", "me too"), CORM_FAILED_PRECONDITION);
    }).join();
    return 0;
  };
  const corm_generate_options generate = Greedy(3);
  EXPECT_CORM_OK(corm_session_generate(session.get(), &generate, intrude, session.get(), nullptr));
}

TEST_F(ApiModel, NothingToGenerateFrom) {
  Open();
  const corm_generate_options generate = Greedy(3);
  EXPECT_EQ(corm_session_generate(session.get(), &generate, nullptr, nullptr, nullptr),
            CORM_FAILED_PRECONDITION);
  EXPECT_EQ(corm_session_reply(session.get(), &generate, nullptr, nullptr, nullptr),
            CORM_FAILED_PRECONDITION);
  const uint32_t beyond = 49152;
  EXPECT_EQ(corm_session_append(session.get(), &beyond, 1, 0, nullptr, nullptr),
            CORM_INVALID_ARGUMENT);
}

TEST_F(ApiModel, TwoEnginesAtOnceAnswerAsOneDoes) {
  Open();
  const std::string alone = Ask("Name three fruits.", 30);
  ASSERT_CORM_OK(corm_session_reset(session.get()));
  corm_engine* engine2 = nullptr;
  ASSERT_CORM_OK(corm_engine_create(&options, &engine2));
  const EnginePtr owner(engine2);
  corm_session* session2 = nullptr;
  ASSERT_CORM_OK(corm_session_create(engine2, nullptr, &session2));
  const SessionPtr session_owner(session2);
  std::string other;
  std::thread thread([&] {
    const corm_generate_options generate = Greedy(30);
    EXPECT_CORM_OK(corm_session_add_message(session2, "user", "Name three fruits."));
    EXPECT_CORM_OK(corm_session_reply(session2, &generate, &Collect, &other, nullptr));
  });
  const std::string again = Ask("Name three fruits.", 30);
  thread.join();
  EXPECT_EQ(again, alone);
  EXPECT_EQ(other, alone);
}

TEST_F(ApiModel, CapHoldsAtEveryStep) {
  options.kv_cap_bytes = 6 << 20;
  const std::pair<const char*, const char*> ways[] = {
      {"corm", "q8_0:q4_0"}, {"window", "q8_0"}, {"expected-attention", "q8_0"}};
  for (const auto& [policy, kv_type] : ways) {
    SCOPED_TRACE(std::string(policy) + ", " + kv_type);
    options.query_statistics = policy == std::string("expected-attention");
    options.kv_type = kv_type;
    session.reset();
    session_options.policy = policy;
    Open();
    const auto check = [](void* user, uint64_t, uint64_t) {
      corm_memory_stats m;
      corm_memory_stats_init(&m);
      EXPECT_CORM_OK(corm_engine_get_memory(static_cast<corm_engine*>(user), &m));
      EXPECT_LE(m.kv_pages + m.kv_metadata, 6u << 20);
      return 0;
    };
    const std::vector<uint32_t> ids = Tokens(3000);
    EXPECT_CORM_OK(
        corm_session_append(session.get(), ids.data(), ids.size(), 0, check, engine.get()));
    const corm_kv_stats kv = Stats();
    EXPECT_EQ(kv.tokens, 3000u);
    EXPECT_LT(kv.rows_kept, 1000);
    EXPECT_GT(kv.rows_kept, 200);
    EXPECT_GT(kv.evicted_total, 0u);
    EXPECT_LE(kv.bytes, 6u << 20);
    EXPECT_LE(Memory().kv_peak, 6u << 20);
  }
}

TEST_F(ApiModel, PolicyNoneAtTheCapLosesNothing) {
  options.kv_cap_bytes = 6 << 20;
  session_options.policy = "none";
  Open();
  Ask("Hello!", 10);
  const uint64_t before = Stats().tokens;
  const std::vector<uint32_t> ids = Tokens(3000);
  EXPECT_EQ(corm_session_append(session.get(), ids.data(), ids.size(), 0, nullptr, nullptr),
            CORM_RESOURCE_EXHAUSTED);
  EXPECT_EQ(Stats().tokens, before) << "refused before anything is read";
  // Generating up to the cap ends with what was generated still there.
  corm_generate_options generate = Greedy(0);
  generate.ignore_end = 1;
  corm_generate_result result;
  corm_generate_result_init(&result);
  EXPECT_EQ(corm_session_generate(session.get(), &generate, nullptr, nullptr, &result),
            CORM_RESOURCE_EXHAUSTED);
  EXPECT_EQ(result.stop_reason, CORM_STOP_CAP);
  EXPECT_GT(result.generated_tokens, 50u);
  EXPECT_GE(Stats().tokens, before + result.generated_tokens);
  char* text = nullptr;
  ASSERT_CORM_OK(corm_session_get_messages(session.get(), &text));
  EXPECT_THAT(Take(text), HasSubstr("Hello!"));
}

TEST_F(ApiModel, PolicyNonePastTheContextIsOutOfRange) {
  options.context = 256;
  Open();
  const std::vector<uint32_t> ids = Tokens(300);
  EXPECT_EQ(corm_session_append(session.get(), ids.data(), ids.size(), 0, nullptr, nullptr),
            CORM_OUT_OF_RANGE);
  EXPECT_EQ(Stats().tokens, 0u);
}

TEST_F(ApiModel, ScoreDeliversEveryRowInOrder) {
  const std::vector<uint32_t> ids = Encode("The quick brown fox jumps over the lazy dog.");
  struct Seen {
    size_t next = 0;
    std::vector<uint32_t> likeliest;
  };
  const auto take = [](void* user, size_t index, const float* logits, size_t vocab) {
    Seen& seen = *static_cast<Seen*>(user);
    EXPECT_EQ(index, seen.next++);
    EXPECT_EQ(vocab, 49152u);
    EXPECT_TRUE(std::all_of(logits, logits + vocab, [](float x) { return std::isfinite(x); }));
    seen.likeliest.push_back(
        static_cast<uint32_t>(std::max_element(logits, logits + vocab) - logits));
    return 0;
  };
  Seen seen[2];
  for (uint32_t all = 0; all < 2; ++all) {
    session.reset();
    options.all_logits = all;
    Open();
    ASSERT_CORM_OK(corm_session_score(session.get(), ids.data(), ids.size(), take, &seen[all]));
    EXPECT_EQ(seen[all].likeliest.size(), ids.size());
  }
  EXPECT_EQ(seen[0].likeliest, seen[1].likeliest) << "all at once as one by one";
}

}  // namespace
}  // namespace api_test
