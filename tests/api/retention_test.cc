// What stays, what is erased and what was dropped, through the C API.
//
// Method: greedy answers on the test model. After a purge they are those of a session that never
// read what was purged, word by word.
#include <algorithm>

#include "nlohmann/json.hpp"
#include "tests/api/session_fixture.h"

namespace api_test {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class Retention : public ApiModel {
 protected:
  std::pair<size_t, size_t> RangeOf(size_t index) {
    size_t from = 0, to = 0;
    EXPECT_CORM_OK(corm_session_get_message_range(session.get(), index, &from, &to)) << index;
    return {from, to};
  }
  corm_status Pin(size_t from, size_t to) {
    return corm_session_pin(session.get(), from, to, nullptr, nullptr);
  }
  corm_status Purge(size_t from, size_t to) {
    return corm_session_purge(session.get(), from, to, nullptr, nullptr);
  }
  std::string Messages() {
    char* json = nullptr;
    EXPECT_CORM_OK(corm_session_get_messages(session.get(), &json));
    return Take(json);
  }
  nlohmann::json Audit() {
    char* json = nullptr;
    EXPECT_CORM_OK(corm_session_get_audit(session.get(), &json));
    return nlohmann::json::parse(Take(json));
  }
  /// Heads of layer 5 that hold all of [from, to).
  size_t HeadsWith(size_t from, size_t to) {
    size_t heads = 0;
    for (uint32_t head = 0; head < 3; ++head) {
      std::vector<uint32_t> positions(4096);
      size_t count = 0;
      EXPECT_CORM_OK(corm_session_get_positions(session.get(), 5, head, positions.data(),
                                                positions.size(), &count));
      heads += std::count_if(positions.begin(), positions.begin() + static_cast<ptrdiff_t>(count),
                             [&](uint32_t p) { return from <= p && p < to; }) ==
               static_cast<ptrdiff_t>(to - from);
    }
    return heads;
  }
};

TEST_F(Retention, MessagesAreTheTokensTheyBecame) {
  Open();
  size_t from = 0, to = 0;
  ASSERT_CORM_OK(corm_session_add_message(session.get(), "system", "You are helpful."));
  EXPECT_EQ(corm_session_get_message_range(session.get(), 0, &from, &to), CORM_FAILED_PRECONDITION);
  EXPECT_THAT(corm_last_error(), HasSubstr("not read yet"));
  Ask("What is the capital of France?", 30);
  Ask("And of Italy?", 30);
  EXPECT_EQ(RangeOf(0).first, 0u);
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_LT(RangeOf(i).first, RangeOf(i).second);
    EXPECT_EQ(RangeOf(i).second, RangeOf(i + 1).first);
  }
  EXPECT_EQ(RangeOf(4).second, Stats().tokens);
  const std::vector<uint32_t> ids = Encode("And of Italy?");
  EXPECT_GT(RangeOf(3).second - RangeOf(3).first, ids.size());
  EXPECT_LT(RangeOf(3).second - RangeOf(3).first, ids.size() + 8) << "the template's own";
  EXPECT_EQ(corm_session_get_message_range(session.get(), 5, &from, &to), CORM_OUT_OF_RANGE);
}

TEST_F(Retention, APurgedMessageWasNeverThere) {
  Open();
  ASSERT_CORM_OK(corm_session_add_message(session.get(), "system", "You are helpful."));
  const std::string first = Ask("What is the capital of France?", 40);
  Ask("My secret code word is marzipan. Please remember it.", 40);
  const uint64_t tokens = Stats().tokens;
  const auto question = RangeOf(3), answer = RangeOf(4);
  // Of a message no part can go.
  EXPECT_EQ(Purge(question.first + 2, question.second), CORM_FAILED_PRECONDITION);
  EXPECT_THAT(corm_last_error(), HasSubstr("part of message 3"));
  EXPECT_EQ(Stats().tokens, tokens);
  // One by its number, one by its tokens.
  ASSERT_CORM_OK(corm_session_purge_message(session.get(), 3, nullptr, nullptr));
  EXPECT_EQ(Stats().tokens, tokens - (question.second - question.first));
  EXPECT_EQ(RangeOf(3),
            std::pair(question.first, answer.second - (question.second - question.first)));
  ASSERT_CORM_OK(Purge(RangeOf(3).first, RangeOf(3).second));
  EXPECT_THAT(Messages(), Not(HasSubstr("marzipan")));
  EXPECT_THAT(Messages(), HasSubstr(first.substr(0, 10)));
  const uint64_t left = Stats().tokens;
  const std::string got = Ask("What is my secret code word?", 40);
  EXPECT_GT(Stats().tokens, left) << "what was left stays read";
  EXPECT_THAT(got, Not(HasSubstr("marzipan")));
  EXPECT_EQ(corm_session_purge_message(session.get(), 9, nullptr, nullptr), CORM_OUT_OF_RANGE);

  Open();
  ASSERT_CORM_OK(corm_session_add_message(session.get(), "system", "You are helpful."));
  ASSERT_EQ(Ask("What is the capital of France?", 40), first);
  EXPECT_EQ(Ask("What is my secret code word?", 40), got);
}

TEST_F(Retention, ThePromptThatComesWithTheFirstMessageComesBack) {
  // The model's template writes a system message before a conversation that has none.
  Open();
  Ask("My secret code word is marzipan.", 10);
  ASSERT_CORM_OK(corm_session_purge_message(session.get(), 0, nullptr, nullptr));
  ASSERT_CORM_OK(corm_session_purge_message(session.get(), 0, nullptr, nullptr));
  EXPECT_EQ(Messages(), "[]");
  const std::string got = Ask("Hello!", 20);
  Open();
  EXPECT_EQ(Ask("Hello!", 20), got);
  // A message that is not read yet only leaves the conversation.
  const uint64_t tokens = Stats().tokens;
  ASSERT_CORM_OK(corm_session_add_message(session.get(), "user", "marzipan"));
  ASSERT_CORM_OK(corm_session_purge_message(session.get(), 2, nullptr, nullptr));
  EXPECT_THAT(Messages(), Not(HasSubstr("marzipan")));
  EXPECT_EQ(Stats().tokens, tokens);
}

TEST_F(Retention, AnAnswerCanBeGivenOnceMore) {
  Open();
  Ask("My name is Alice.", 20);
  const std::string first = Ask("What is the capital of France?", 30);
  const size_t answer = RangeOf(3).first, question = RangeOf(2).first;
  const uint64_t tokens = Stats().tokens;
  const auto rewind = [&](size_t to) {
    return corm_session_rewind(session.get(), to, nullptr, nullptr);
  };
  EXPECT_EQ(rewind(answer + 3), CORM_FAILED_PRECONDITION);
  EXPECT_THAT(corm_last_error(), HasSubstr("part of message 3"));
  EXPECT_EQ(rewind(tokens + 1), CORM_INVALID_ARGUMENT);
  EXPECT_EQ(corm_session_rewind(nullptr, 0, nullptr, nullptr), CORM_INVALID_ARGUMENT);
  EXPECT_EQ(Stats().tokens, tokens);
  ASSERT_CORM_OK(rewind(answer));
  EXPECT_THAT(Messages(), HasSubstr("capital of France"));
  EXPECT_THAT(Messages(), Not(HasSubstr(first)));
  std::string again;
  const corm_generate_options generate = Greedy(30);
  ASSERT_CORM_OK(corm_session_reply(session.get(), &generate, &Collect, &again, nullptr));
  EXPECT_EQ(again, first);
  EXPECT_EQ(Stats().tokens, tokens);
  // The question put in another way.
  ASSERT_CORM_OK(rewind(question));
  EXPECT_THAT(Messages(), Not(HasSubstr("capital of France")));
  const std::string other = Ask("What is my name?", 20);
  Open();
  Ask("My name is Alice.", 20);
  EXPECT_EQ(Ask("What is my name?", 20), other);
  ASSERT_CORM_OK(rewind(0));
  EXPECT_EQ(Messages(), "[]");
  EXPECT_EQ(Stats().tokens, 0u);
}

TEST_F(Retention, APurgeOfTokensMovesTheOthersDown) {
  Open();
  const std::vector<uint32_t> ids = Tokens(90);
  Append(ids);
  const auto cancel = [](void*, uint64_t, uint64_t) { return 1; };
  EXPECT_EQ(corm_session_purge(session.get(), 20, 50, cancel, nullptr), CORM_CANCELLED);
  EXPECT_EQ(Stats().tokens, 60u) << "erased all the same";
  std::string got, want;
  const corm_generate_options generate = Greedy(12);
  ASSERT_CORM_OK(corm_session_generate(session.get(), &generate, &Collect, &got, nullptr));
  EXPECT_EQ(Purge(0, 0), CORM_INVALID_ARGUMENT);
  EXPECT_EQ(Purge(0, 1000), CORM_INVALID_ARGUMENT);
  std::vector<uint32_t> rest(ids.begin(), ids.begin() + 20);
  rest.insert(rest.end(), ids.begin() + 50, ids.end());
  Open();
  Append(rest);
  ASSERT_CORM_OK(corm_session_generate(session.get(), &generate, &Collect, &want, nullptr));
  EXPECT_EQ(got, want);
}

TEST_F(Retention, PinnedTokensStayAndTheAuditTellsTheOthers) {
  options.kv_cap_bytes = 7 << 20;
  session_options.audit = 200;
  session_options.zero_pages = 1;
  Open();
  EXPECT_EQ(Audit()["records"].size(), 0u);
  Append(Tokens(400));
  ASSERT_CORM_OK(Pin(100, 130));
  Append(Tokens(500));
  EXPECT_EQ(HeadsWith(100, 130), 3u);
  EXPECT_LT(HeadsWith(20, 100), 3u);
  ASSERT_CORM_OK(corm_session_unpin(session.get(), 100, 130, nullptr, nullptr));
  EXPECT_EQ(Pin(0, 800), CORM_RESOURCE_EXHAUSTED);
  EXPECT_THAT(corm_last_error(), HasSubstr("800 would be pinned"));
  EXPECT_EQ(Pin(899, 901), CORM_INVALID_ARGUMENT);
  EXPECT_EQ(corm_session_unpin(session.get(), 9, 2, nullptr, nullptr), CORM_INVALID_ARGUMENT);

  ASSERT_CORM_OK(Purge(0, 10));
  const nlohmann::json audit = Audit();
  EXPECT_EQ(audit["capacity"], 200);
  EXPECT_GT(audit["forgotten"], 0);
  ASSERT_EQ(audit["records"].size(), 200u);
  const nlohmann::json& last = audit["records"].back();
  EXPECT_LT(last["layer"], 30);
  EXPECT_LT(last["kv_head"], 3);
  EXPECT_EQ(last["cause"], "forced");
  EXPECT_EQ(last["rebased"], 0);
  EXPECT_GT(last["step"], 0);
  ASSERT_FALSE(last["positions"].empty());
  EXPECT_LE(last["positions"][0][0], last["positions"][0][1]);

  session_options.audit = (1u << 20) + 1;
  corm_session* refused = nullptr;
  EXPECT_EQ(corm_session_create(engine.get(), &session_options, &refused), CORM_INVALID_ARGUMENT);
}

TEST_F(Retention, APinnedMessageStaysPinnedWhenAllIsReadAnew) {
  options.kv_cap_bytes = 7 << 20;
  Open();
  EXPECT_EQ(corm_session_add_message_with(session.get(), "user", "x", 8), CORM_INVALID_ARGUMENT);
  ASSERT_CORM_OK(corm_session_add_message_with(
      session.get(), "user", "Always remember: the harbour opens at nine.", CORM_MESSAGE_PIN));
  const corm_generate_options generate = Greedy(8);
  ASSERT_CORM_OK(corm_session_reply(session.get(), &generate, nullptr, nullptr, nullptr));
  const auto check = [&](size_t index) {
    Append(Tokens(700));
    const auto [from, to] = RangeOf(index);
    EXPECT_GT(Stats().evicted_total, 0u);
    EXPECT_EQ(HeadsWith(from, to), 3u);
  };
  check(0);
  // An answer that was prompted for and never began is not in the next rendering.
  corm_generate_options at_end = generate;
  at_end.on_prompt = [](void*, uint64_t done, uint64_t total) { return done == total ? 1 : 0; };
  ASSERT_CORM_OK(corm_session_add_message(session.get(), "user", "Hm."));
  EXPECT_EQ(corm_session_reply(session.get(), &at_end, nullptr, nullptr, nullptr), CORM_CANCELLED);
  const uint64_t tokens = Stats().tokens;
  ASSERT_CORM_OK(corm_session_add_message(session.get(), "user", "Hello!"));
  ASSERT_CORM_OK(corm_session_reply(session.get(), &generate, nullptr, nullptr, nullptr));
  EXPECT_LT(Stats().tokens, tokens) << "without the tokens that were appended";
  check(0);

  std::string long_text;
  for (int i = 0; i < 900; ++i) long_text += " word";
  ASSERT_CORM_OK(
      corm_session_add_message_with(session.get(), "user", long_text.c_str(), CORM_MESSAGE_PIN));
  EXPECT_EQ(corm_session_reply(session.get(), &generate, nullptr, nullptr, nullptr),
            CORM_RESOURCE_EXHAUSTED);
  EXPECT_THAT(corm_last_error(), HasSubstr("would be pinned"));
}

class Retained : public Retention {
 protected:
  corm_status Retain(size_t from, size_t to, int32_t how) {
    return corm_session_retain(session.get(), from, to, how, nullptr, nullptr);
  }
  corm_status Release(size_t from, size_t to) {
    return corm_session_release(session.get(), from, to, nullptr, nullptr);
  }
  nlohmann::json Listed() {
    char* json = nullptr;
    EXPECT_CORM_OK(corm_session_get_retained(session.get(), &json));
    return nlohmann::json::parse(Take(json));
  }
  std::vector<std::string> Causes() {
    std::vector<std::string> causes;
    const nlohmann::json audit = Audit();
    for (const nlohmann::json& record : audit["records"]) {
      const std::string cause = record["cause"];
      if (cause != "forced" && cause != "pin") causes.push_back(cause);
    }
    return causes;
  }
};

TEST_F(Retained, TokensStayUntilTheyAreReleased) {
  options.kv_cap_bytes = 7 << 20;
  session_options.audit = 100000;
  Open();
  Append(Tokens(300));
  ASSERT_CORM_OK(Pin(5, 25));
  ASSERT_CORM_OK(Retain(10, 20, CORM_RETAIN_RESIDENT));
  ASSERT_CORM_OK(Retain(100, 160, CORM_RETAIN_ON_HOST));
  EXPECT_EQ(Listed(), nlohmann::json::parse(
                          R"({"resident": [[10, 20]], "on_host": [[100, 160]],
                              "pinned": [[5, 10], [20, 25]]})"));
  Append(Tokens(500));
  EXPECT_EQ(HeadsWith(10, 20), 3u);
  EXPECT_LT(HeadsWith(100, 160), 3u);
  corm_kv_stats stats = Stats();
  EXPECT_GT(stats.retained_rows, 0u);
  EXPECT_EQ(stats.host_rows, stats.retained_rows) << "host_copy_bytes is 0";
  EXPECT_EQ(stats.host_bytes, stats.retained_bytes);
  EXPECT_LE(Memory().kv_peak, Memory().kv_cap);

  EXPECT_EQ(Purge(150, 200), CORM_FAILED_PRECONDITION);
  EXPECT_THAT(corm_last_error(), HasSubstr("tokens from 100 up to 160 are retained on the host"));
  EXPECT_THAT(corm_last_error(), HasSubstr("corm_session_release()"));
  EXPECT_EQ(corm_session_unpin(session.get(), 0, 12, nullptr, nullptr), CORM_FAILED_PRECONDITION);
  EXPECT_EQ(corm_session_rewind(session.get(), 159, nullptr, nullptr), CORM_FAILED_PRECONDITION);
  EXPECT_EQ(Pin(150, 200), CORM_FAILED_PRECONDITION);
  EXPECT_EQ(Retain(0, 700, CORM_RETAIN_RESIDENT), CORM_RESOURCE_EXHAUSTED);
  EXPECT_EQ(Retain(0, 9, 0), CORM_INVALID_ARGUMENT);
  EXPECT_EQ(Retain(0, 801, CORM_RETAIN_ON_HOST), CORM_INVALID_ARGUMENT);
  EXPECT_EQ(Release(9, 9), CORM_INVALID_ARGUMENT);
  EXPECT_EQ(corm_session_retain(nullptr, 0, 9, 1, nullptr, nullptr), CORM_INVALID_ARGUMENT);
  EXPECT_EQ(corm_session_get_retained(session.get(), nullptr), CORM_INVALID_ARGUMENT);
  EXPECT_EQ(Stats().tokens, 800u);

  ASSERT_CORM_OK(Release(0, 200));
  EXPECT_EQ(Stats().host_bytes, 0u) << "no copies are made of others";
  EXPECT_EQ(Listed()["on_host"].size() + Listed()["resident"].size(), 0u);
  ASSERT_CORM_OK(Purge(150, 200));
  EXPECT_EQ(Causes(), (std::vector<std::string>{"retain", "retain", "refused", "refused", "refused",
                                                "release", "release", "purge"}));
  ASSERT_CORM_OK(Retain(0, 9, CORM_RETAIN_RESIDENT));
  ASSERT_CORM_OK(corm_session_reset(session.get()));
  EXPECT_EQ(Listed()["resident"].size(), 0u);
}

TEST_F(Retained, TokensAreRetainedAsTheyAreRead) {
  options.kv_cap_bytes = 7 << 20;
  Open();
  const std::vector<uint32_t> ids = Tokens(40);
  const auto append = [&](uint32_t flags) {
    return corm_session_append(session.get(), ids.data(), ids.size(), flags, nullptr, nullptr);
  };
  ASSERT_CORM_OK(append(CORM_APPEND_PIN));
  ASSERT_CORM_OK(append(CORM_APPEND_RETAIN));
  ASSERT_CORM_OK(append(CORM_APPEND_RETAIN_ON_HOST));
  EXPECT_EQ(append(CORM_APPEND_PIN | CORM_APPEND_RETAIN), CORM_INVALID_ARGUMENT);
  EXPECT_EQ(append(8), CORM_INVALID_ARGUMENT);
  EXPECT_EQ(Listed(), nlohmann::json::parse(R"({"resident": [[40, 80]], "on_host": [[80, 120]],
                                                "pinned": [[0, 40]]})"));
}

TEST_F(Retained, MessagesAreRetainedAndCannotBeErased) {
  options.kv_cap_bytes = 7 << 20;
  Open();
  ASSERT_CORM_OK(corm_session_add_message_with(
      session.get(), "user", "Always remember: never open valve nine.", CORM_MESSAGE_RETAIN));
  EXPECT_EQ(corm_session_add_message_with(session.get(), "user", "x",
                                          CORM_MESSAGE_PIN | CORM_MESSAGE_RETAIN),
            CORM_INVALID_ARGUMENT);
  const corm_generate_options generate = Greedy(8);
  ASSERT_CORM_OK(corm_session_reply(session.get(), &generate, nullptr, nullptr, nullptr));
  ASSERT_CORM_OK(corm_session_add_message_with(session.get(), "user", "The pump is in hall four.",
                                               CORM_MESSAGE_RETAIN_ON_HOST));
  ASSERT_CORM_OK(corm_session_reply(session.get(), &generate, nullptr, nullptr, nullptr));
  const auto listed = [&](size_t index) {
    const auto [from, to] = RangeOf(index);
    return nlohmann::json{{from, to}};
  };
  EXPECT_EQ(Listed()["resident"], listed(0));
  EXPECT_EQ(Listed()["on_host"], listed(2));
  for (const size_t index : {size_t{0}, size_t{2}}) {
    EXPECT_EQ(corm_session_purge_message(session.get(), index, nullptr, nullptr),
              CORM_FAILED_PRECONDITION);
  }
  EXPECT_THAT(Messages(), HasSubstr("valve nine"));
  EXPECT_EQ(corm_session_rewind(session.get(), RangeOf(1).first, nullptr, nullptr),
            CORM_FAILED_PRECONDITION);
  ASSERT_CORM_OK(corm_session_rewind(session.get(), RangeOf(3).first, nullptr, nullptr));
  EXPECT_THAT(Messages(), HasSubstr("hall four"));

  // Read anew from the start, for an answer that was prompted for and never began.
  corm_generate_options at_end = generate;
  at_end.on_prompt = [](void*, uint64_t done, uint64_t total) { return done == total ? 1 : 0; };
  ASSERT_CORM_OK(corm_session_add_message(session.get(), "user", "Hm."));
  EXPECT_EQ(corm_session_reply(session.get(), &at_end, nullptr, nullptr, nullptr), CORM_CANCELLED);
  ASSERT_CORM_OK(corm_session_add_message(session.get(), "user", "Hello!"));
  ASSERT_CORM_OK(corm_session_reply(session.get(), &generate, nullptr, nullptr, nullptr));
  EXPECT_EQ(Listed()["resident"], listed(0));
  EXPECT_EQ(Listed()["on_host"], listed(2));
  Append(Tokens(600));
  EXPECT_EQ(HeadsWith(RangeOf(0).first, RangeOf(0).second), 3u);
  EXPECT_GT(Stats().retained_rows, 0u);

  // Of a message that is not read nothing is retained yet.
  std::string long_text;
  for (int i = 0; i < 900; ++i) long_text += " word";
  ASSERT_CORM_OK(
      corm_session_add_message_with(session.get(), "user", long_text.c_str(), CORM_MESSAGE_RETAIN));
  EXPECT_EQ(corm_session_reply(session.get(), &generate, nullptr, nullptr, nullptr),
            CORM_RESOURCE_EXHAUSTED);
  ASSERT_CORM_OK(corm_session_purge_message(session.get(), 6, nullptr, nullptr));
  const auto [from, to] = RangeOf(0);
  ASSERT_CORM_OK(Release(from, to));
  ASSERT_CORM_OK(corm_session_purge_message(session.get(), 0, nullptr, nullptr));
  EXPECT_THAT(Messages(), Not(HasSubstr("valve nine")));
}

TEST_F(Retained, TokensOfNoMessageAreNotLostWhenAllIsReadAnew) {
  Open();
  Ask("Hello!", 8);
  const size_t from = Stats().tokens;
  Append(Tokens(20));
  ASSERT_CORM_OK(Retain(from, from + 20, CORM_RETAIN_RESIDENT));
  corm_generate_options at_end = Greedy(8);
  at_end.on_prompt = [](void*, uint64_t done, uint64_t total) {
    return done == total && total > 5 ? 1 : 0;  // Not at the end of the answer before.
  };
  ASSERT_CORM_OK(corm_session_add_message(session.get(), "user", "Hm."));
  EXPECT_EQ(corm_session_reply(session.get(), &at_end, nullptr, nullptr, nullptr), CORM_CANCELLED);
  ASSERT_CORM_OK(corm_session_add_message(session.get(), "user", "Hello again!"));
  const uint64_t tokens = Stats().tokens;
  const corm_generate_options generate = Greedy(8);
  EXPECT_EQ(corm_session_reply(session.get(), &generate, nullptr, nullptr, nullptr),
            CORM_FAILED_PRECONDITION);
  EXPECT_THAT(corm_last_error(), HasSubstr("which are of no message"));
  EXPECT_EQ(Stats().tokens, tokens);
  ASSERT_CORM_OK(Release(from, from + 20));
  ASSERT_CORM_OK(corm_session_reply(session.get(), &generate, nullptr, nullptr, nullptr));
  EXPECT_LT(Stats().tokens, tokens + 8) << "without the tokens that were appended";
}

TEST_F(Retained, ALongConversationKeepsWhatIsOnTheHost) {
  options.kv_cap_bytes = 5 << 20;
  options.kv_type = "q8_0";
  options.context = 1024;
  session_options.reread_most = 0;
  Open();
  ASSERT_CORM_OK(corm_session_add_message_with(
      session.get(), "user",
      "The locker number is 73563. Please remember it. The locker number is 73563.",
      CORM_MESSAGE_RETAIN_ON_HOST));
  const corm_generate_options generate = Greedy(8);
  ASSERT_CORM_OK(corm_session_reply(session.get(), &generate, nullptr, nullptr, nullptr));
  const auto [from, to] = RangeOf(0);
  for (int i = 0; i < 12; ++i) Append(Tokens(250));
  corm_kv_stats stats = Stats();
  EXPECT_GT(stats.rebased, 2u);
  EXPECT_GT(stats.retained_rows, 0u);
  EXPECT_LE(stats.retained_rows, (to - from) * 90);
  EXPECT_EQ(Listed()["on_host"], (nlohmann::json{{from, to}}));
  // May not be read again; what is retained is looked at.
  corm_recall_result result;
  corm_recall_result_init(&result);
  const std::vector<uint32_t> question = Encode("What is the locker number?");
  ASSERT_CORM_OK(corm_session_recall(session.get(), question.data(), question.size(), nullptr,
                                     nullptr, &result));
  EXPECT_EQ(result.from_copies, 1);
  EXPECT_EQ(result.degraded, 1);
  EXPECT_EQ(result.tokens_read, 0u);
  EXPECT_GT(result.copied_rows, 0u);
  EXPECT_EQ(Stats().returned_total - stats.returned_total, stats.retained_rows);
  EXPECT_LT(Stats().retained_rows, stats.retained_rows) << "some stay for the answer";
  EXPECT_LE(Memory().kv_peak, Memory().kv_cap);
  // A policy that cannot bring rows back does not take them.
  session_options.policy = "window";
  corm_session* window = nullptr;
  session.reset();
  ASSERT_CORM_OK(corm_session_create(engine.get(), &session_options, &window));
  session.reset(window);
  Append(Tokens(30));
  EXPECT_EQ(Retain(0, 9, CORM_RETAIN_ON_HOST), CORM_FAILED_PRECONDITION);
}

}  // namespace
}  // namespace api_test
