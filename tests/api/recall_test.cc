// What a question brings back, and what a session tells of it, through the C API.
#include <cstdio>

#include "tests/api/session_fixture.h"

namespace api_test {
namespace {

TEST_F(ApiModel, ARecallReadsTheConversationAgain) {
  options.kv_cap_bytes = 6 << 20;
  options.kv_type = "q8_0";
  Open();
  const std::vector<uint32_t> ids = Tokens(700);
  Append(ids);
  EXPECT_GT(Stats().evicted_total, 0u);
  uint64_t done = 0;
  const auto note = [](void* user, uint64_t read, uint64_t) {
    *static_cast<uint64_t*>(user) = read;
    return 0;
  };
  corm_recall_result result;
  corm_recall_result_init(&result);
  ASSERT_CORM_OK(corm_session_recall(session.get(), ids.data(), 12, note, &done, &result));
  EXPECT_EQ(done, ids.size() - 1);
  EXPECT_EQ(result.tokens_read, ids.size());
  EXPECT_EQ(result.from_copies, 0);
  EXPECT_EQ(Stats().tokens, ids.size());
  EXPECT_EQ(Stats().next_position, ids.size());
  const auto recall = [&](corm_session* by, const uint32_t* of, size_t count) {
    return corm_session_recall(by, of, count, nullptr, nullptr, nullptr);
  };
  EXPECT_EQ(recall(session.get(), ids.data(), 0), CORM_INVALID_ARGUMENT);
  EXPECT_EQ(recall(session.get(), nullptr, 1), CORM_INVALID_ARGUMENT);
  EXPECT_EQ(recall(nullptr, ids.data(), 1), CORM_INVALID_ARGUMENT);
  EXPECT_CORM_OK(recall(session.get(), ids.data(), 300));
  EXPECT_LE(Memory().kv_peak, Memory().kv_cap);
}

/// Replies of a session that recalls, where the copies it may make take so many bytes.
class ApiRecall : public ApiModel {
 protected:
  void ExpectRepliesRecall(uint64_t copy_bytes) {
    options.kv_cap_bytes = 6 << 20;
    options.kv_type = "q8_0";
    OpenEngine();
    corm_session_options asked;
    corm_session_options_init(&asked);
    EXPECT_EQ(asked.host_copy_bytes, 0u);
    EXPECT_EQ(asked.host_copy_seconds, 3600.0);
    asked.recall = 1;
    asked.host_copy_bytes = copy_bytes;
    corm_session* made = nullptr;
    ASSERT_CORM_OK(corm_session_create(engine.get(), &asked, &made));
    session.reset(made);
    const corm_generate_result first = Reply("Hello.");
    EXPECT_EQ(first.recalled_tokens + first.recalled_rows, 0u) << "nothing was dropped yet";
    std::string passage;
    for (int i = 0; i < 60; ++i) passage += "The sea was calm, and the ship went on. ";
    Reply(passage);
    const corm_kv_stats before = Stats();
    EXPECT_GT(before.evicted_total, 0u);
    EXPECT_EQ(before.host_rows, copy_bytes > 0 ? before.evicted_total : 0);
    EXPECT_EQ(before.returned_total, 0u);
    const corm_generate_result result = Reply("What was calm?");
    EXPECT_EQ(result.recalled_rows > 0, copy_bytes > 0);
    EXPECT_EQ(result.recalled_tokens > before.tokens / 2, copy_bytes == 0);
    const corm_kv_stats now = Stats();
    EXPECT_EQ(now.returned_total > 0, copy_bytes > 0);
    EXPECT_EQ(now.host_bytes > 0, copy_bytes > 0);
    EXPECT_EQ(now.tokens, before.tokens + result.prompt_tokens + result.generated_tokens);
    EXPECT_LE(Memory().kv_peak, Memory().kv_cap);
  }

 private:
  corm_generate_result Reply(const std::string& text) {
    corm_generate_options generate;
    corm_generate_options_init(&generate);
    generate.max_tokens = 3;
    corm_generate_result result;
    corm_generate_result_init(&result);
    EXPECT_CORM_OK(corm_session_add_message(session.get(), "user", text.c_str()));
    EXPECT_CORM_OK(corm_session_reply(session.get(), &generate, nullptr, nullptr, &result));
    return result;
  }
};

TEST_F(ApiRecall, RepliesReadTheConversationAgain) {
  ExpectRepliesRecall(0);
}

TEST_F(ApiRecall, RepliesLookThroughCopies) {
  ExpectRepliesRecall(1 << 30);
}

/// What a user likes to have read, of about 17 tokens a sentence.
std::string Passage(int sentences) {
  const char* const said[] = {
      "The ship left the harbor of %s in the morning and sailed for %d days.",
      "In %s the crew bought %d barrels of water and some bread.",
      "A storm came up near %s and lasted for %d hours.",
      "The captain knew %s well, for he had lived there %d years.",
      "From %s they brought %d chests of tea to the coast."};
  const char* const towns[] = {"Lisbon", "Dover", "Naples", "Boston", "Genoa",
                               "Lima",   "Oslo",  "Cairo",  "Malta",  "Havana"};
  std::string text = "Here is a passage that I like. Say only: thank you.";
  for (int i = 0; i < sentences; ++i) {
    char sentence[128];
    std::snprintf(sentence, sizeof(sentence), said[(i + 1) % 5], towns[(i * 7 + 1) % 10],
                  (i * 13 + 1) % 90 + 2);
    text += std::string(" ") + sentence;
  }
  return text;
}

/// Replies that are compared with drafts, in a chat whose answers the test writes itself.
class ApiReturns : public ApiModel {
 protected:
  void OpenSession(int32_t recall, uint64_t copy_bytes) {
    session_options.recall = recall;
    session_options.host_copy_bytes = copy_bytes;
    options.on_event = [](void* user, const corm_event* event) {
      static_cast<std::vector<int32_t>*>(user)->push_back(event->kind);
    };
    options.on_event_user = &events;
    options.kv_type = "q8_0";
    ASSERT_NO_FATAL_FAILURE(Open());
    Say("The locker number is 73563. Please remember it. The locker number is 73563.",
        "I will remember it: The locker number is 73563.");
    Say(Passage(60), "Thank you.");
  }
  corm_generate_result Reply(const std::string& text, std::string* answer) {
    EXPECT_CORM_OK(corm_session_add_message(session.get(), "user", text.c_str()));
    const corm_generate_options generate = Greedy(16);
    corm_generate_result result;
    corm_generate_result_init(&result);
    answer->clear();
    EXPECT_CORM_OK(corm_session_reply(session.get(), &generate, &Collect, answer, &result));
    messages_ += 2;
    return result;
  }
  /// A message that is read, and the answer that is to stand.
  void Say(const std::string& text, const char* answer) {
    std::string given;
    Reply(text, &given);
    size_t from = 0, to = 0;
    ASSERT_CORM_OK(corm_session_get_message_range(session.get(), messages_ - 1, &from, &to));
    ASSERT_CORM_OK(corm_session_rewind(session.get(), from, nullptr, nullptr));
    ASSERT_CORM_OK(corm_session_add_message(session.get(), "assistant", answer));
  }

  std::vector<int32_t> events;

 private:
  size_t messages_ = 0;
};

TEST_F(ApiReturns, AnAnswerThatNeedsWhatWasDroppedIsTold) {
  options.kv_cap_bytes = 6000000;
  OpenSession(CORM_RECALL_COMPARED, 1 << 30);
  EXPECT_GT(Stats().evicted_total, 0u);
  const uint64_t before = Stats().tokens;
  std::string answer;
  events.clear();
  corm_generate_result result = Reply("What is the locker number?", &answer);
  EXPECT_THAT(answer, ::testing::HasSubstr("73563"));
  EXPECT_EQ(result.returned, 1);
  EXPECT_GE(result.draft_divergence, 0.06);
  EXPECT_EQ(result.degraded, 0);
  EXPECT_EQ(events,
            (std::vector<int32_t>{CORM_EVENT_RECALLED, CORM_EVENT_RETURNED, CORM_EVENT_RECALLED}));
  EXPECT_EQ(Stats().tokens, before + result.prompt_tokens + result.generated_tokens + 1)
      << "the draft is gone; the token that ends the turn is not counted";
  EXPECT_EQ(Stats().frozen, 0) << "under a cap rows leave for room only";
  events.clear();
  result = Reply("What is the capital of France?", &answer);
  EXPECT_THAT(answer, ::testing::HasSubstr("Paris"));
  EXPECT_EQ(result.returned, 0);
  EXPECT_LT(result.draft_divergence, 0.06);
  EXPECT_EQ(events, (std::vector<int32_t>{CORM_EVENT_RECALLED}));
  EXPECT_LE(Memory().kv_peak, Memory().kv_cap);
}

TEST_F(ApiReturns, AnAnswerThatLacksWhatWasDroppedSaysSo) {
  EXPECT_EQ(session_options.reread_most, UINT64_MAX);
  options.kv_cap_bytes = 6000000;
  session_options.reread_most = 500;
  OpenSession(CORM_RECALL_ALWAYS, 0);
  std::string answer;
  events.clear();
  const corm_generate_result result = Reply("What is the locker number?", &answer);
  EXPECT_THAT(answer, ::testing::Not(::testing::HasSubstr("73563")));
  EXPECT_EQ(result.degraded, 1);
  EXPECT_EQ(result.recalled_tokens, 0u);
  EXPECT_EQ(events, (std::vector<int32_t>{CORM_EVENT_DEGRADED}));
  session_options.recall = 3;
  corm_session* made = nullptr;
  session.reset();
  EXPECT_EQ(corm_session_create(engine.get(), &session_options, &made), CORM_INVALID_ARGUMENT);
}

}  // namespace
}  // namespace api_test
