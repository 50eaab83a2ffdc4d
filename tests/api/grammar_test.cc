// Grammars through the C API: errors, matching, and answers of a model that keep to them.
#include <string>

#include "nlohmann/json.hpp"
#include "tests/api/session_fixture.h"

namespace api_test {
namespace {

using ::testing::HasSubstr;

struct DestroyGrammar {
  void operator()(corm_grammar* grammar) const { corm_grammar_destroy(grammar); }
};
using GrammarPtr = std::unique_ptr<corm_grammar, DestroyGrammar>;

GrammarPtr Gbnf(const std::string& text) {
  corm_grammar* made = nullptr;
  EXPECT_CORM_OK(corm_grammar_create_gbnf(text.c_str(), &made));
  return GrammarPtr(made);
}

GrammarPtr Schema(const std::string& text) {
  corm_grammar* made = nullptr;
  EXPECT_CORM_OK(corm_grammar_create_json_schema(text.c_str(), &made));
  return GrammarPtr(made);
}

int32_t Match(const GrammarPtr& grammar, const std::string& text) {
  int32_t match = -1;
  EXPECT_CORM_OK(corm_grammar_match(grammar.get(), text.data(), text.size(), &match));
  return match;
}

TEST(Grammar, ErrorsAreStatusesWithAMessage) {
  corm_grammar* made = nullptr;
  EXPECT_EQ(corm_grammar_create_gbnf("root ::= x", &made), CORM_INVALID_ARGUMENT);
  EXPECT_THAT(corm_last_error(), HasSubstr("line 1, column 10"));
  EXPECT_EQ(made, nullptr);
  EXPECT_EQ(corm_grammar_create_json_schema("{\"not\": {}}", &made), CORM_UNIMPLEMENTED);
  EXPECT_THAT(corm_last_error(), HasSubstr("'not'"));
  EXPECT_EQ(corm_grammar_create_gbnf(nullptr, &made), CORM_INVALID_ARGUMENT);
  EXPECT_EQ(corm_grammar_create_json_schema("{}", nullptr), CORM_INVALID_ARGUMENT);
  EXPECT_EQ(corm_grammar_create_gbnf("root ::= (((\"\"){9999}){9999}){9999}", &made),
            CORM_RESOURCE_EXHAUSTED);
  int32_t match;
  EXPECT_EQ(corm_grammar_match(nullptr, "", 0, &match), CORM_INVALID_ARGUMENT);
  corm_grammar_destroy(nullptr);
}

TEST(Grammar, MatchesWithoutAModel) {
  const GrammarPtr grammar = Gbnf("root ::= \"é\"+");
  EXPECT_EQ(Match(grammar, ""), CORM_MATCH_BEGIN);
  EXPECT_EQ(Match(grammar, "\xc3"), CORM_MATCH_BEGIN);
  EXPECT_EQ(Match(grammar, "éé"), CORM_MATCH_WHOLE);
  EXPECT_EQ(Match(grammar, "e"), CORM_MATCH_NONE);
  const GrammarPtr ambiguous = Gbnf("root ::= \"a\" root \"x\" | \"a\" root \"y\" | \"b\"");
  int32_t match;
  const std::string text(30, 'a');
  EXPECT_EQ(corm_grammar_match(ambiguous.get(), text.data(), text.size(), &match),
            CORM_RESOURCE_EXHAUSTED);
}

TEST_F(ApiModel, AnswersMatchTheirGrammarAndEndWithIt) {
  Open();
  const GrammarPtr grammar = Gbnf("root ::= (\"red\" | \"green\" | \"blue\") \"!\"");
  for (const float temperature : {0.0f, 1.5f}) {
    corm_generate_options generate = Greedy(20);
    generate.temperature = temperature;
    generate.ignore_end = 1;  // A grammar ends all the same.
    generate.grammar = grammar.get();
    std::string text;
    corm_generate_result result;
    corm_generate_result_init(&result);
    ASSERT_CORM_OK(corm_session_add_message(session.get(), "user", "The colour of the sky?"));
    ASSERT_CORM_OK(corm_session_reply(session.get(), &generate, &Collect, &text, &result));
    EXPECT_EQ(Match(grammar, text), CORM_MATCH_WHOLE) << text;
    EXPECT_EQ(result.stop_reason, CORM_STOP_END);
  }
  // The conversation goes on without it.
  EXPECT_FALSE(Ask("Say more.", 8).empty());
}

TEST_F(ApiModel, AGrammarThatAllowsEverythingChangesNothing) {
  Open();
  const GrammarPtr grammar = Gbnf("root ::= .*");
  for (const uint32_t top_k : {1u, 40u, 0u}) {
    corm_generate_options generate = Greedy(24);
    generate.temperature = 0.8f;
    generate.top_k = top_k;
    generate.repetition_penalty = 1.1f;
    std::string texts[2];
    for (std::string& text : texts) {
      generate.grammar = &text == &texts[0] ? nullptr : grammar.get();
      ASSERT_CORM_OK(corm_session_reset(session.get()));
      Append(Encode("Once upon a time"));
      ASSERT_CORM_OK(corm_session_generate(session.get(), &generate, &Collect, &text, nullptr));
    }
    EXPECT_EQ(texts[0], texts[1]);
  }
}

TEST_F(ApiModel, AnAnswerThatIsCutIsTheBeginningOfOne) {
  Open();
  const GrammarPtr grammar = Schema(R"({"items": {"type": "integer"}, "minItems": 50})");
  corm_generate_options generate = Greedy(20);
  generate.grammar = grammar.get();
  std::string text;
  corm_generate_result result;
  corm_generate_result_init(&result);
  ASSERT_CORM_OK(corm_session_add_message(session.get(), "user", "Count."));
  ASSERT_CORM_OK(corm_session_reply(session.get(), &generate, &Collect, &text, &result));
  EXPECT_EQ(result.stop_reason, CORM_STOP_LENGTH);
  EXPECT_EQ(Match(grammar, text), CORM_MATCH_BEGIN) << text;
}

TEST_F(ApiModel, DraftsAndObservedSessionsKeepToTheGrammar) {
  options.max_sessions = 2;
  const GrammarPtr grammar = Schema(R"({"properties": {"bird": {"type": "string", "maxLength": 9}},
                                        "required": ["bird"]})");
  for (const bool observes : {true, false}) {
    session_options.kv_budget_bytes = 3 << 20;
    session_options.mode = observes ? "observe" : "on";
    session_options.recall = observes ? CORM_RECALL_NEVER : CORM_RECALL_COMPARED;
    session_options.host_copy_bytes = 64 << 20;
    session.reset();
    ASSERT_NO_FATAL_FAILURE(Open());
    Append(Tokens(600));  // So that there is something to drop, and to recall.
    corm_generate_options generate = Greedy(40);
    generate.grammar = grammar.get();
    std::string text;
    ASSERT_CORM_OK(corm_session_add_message(session.get(), "user", "Name a bird, as JSON."));
    ASSERT_CORM_OK(corm_session_reply(session.get(), &generate, &Collect, &text, nullptr));
    EXPECT_EQ(Match(grammar, text), CORM_MATCH_WHOLE) << text;
    EXPECT_TRUE(nlohmann::json::parse(text).contains("bird"));
  }
}

TEST_F(ApiModel, AGrammarMayBeDestroyedBetweenAnswers) {
  Open();
  for (int i = 0; i < 6; ++i) {  // More than the engine remembers.
    const GrammarPtr grammar =
        Gbnf("root ::= \"" + std::string(1, static_cast<char>('a' + i)) + "\"");
    corm_generate_options generate = Greedy(4);
    generate.grammar = grammar.get();
    std::string text;
    ASSERT_CORM_OK(corm_session_add_message(session.get(), "user", "A letter?"));
    ASSERT_CORM_OK(corm_session_reply(session.get(), &generate, &Collect, &text, nullptr));
    EXPECT_EQ(text, std::string(1, static_cast<char>('a' + i)));
  }
}

}  // namespace
}  // namespace api_test
