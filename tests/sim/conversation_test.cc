// Conversations: what was read once stays read, with either kind of vocabulary.
//
// Method: models of random weights answer; as long as an answer is plain text, the rendered
// conversation begins with what the session holds, so the next turn must only add to its tokens.
// SentencePiece is the hard case: a space is put before text that follows a special token, and the
// answer's own first space must neither be lost nor doubled.
#include "runtime/engine/conversation.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/sim/driver.h"

namespace cormorant::sim {
namespace {

TEST(Conversations, WhatWasReadStaysRead) {
  for (const bool is_sentencepiece : {false, true}) {
    size_t turns = 0;
    for (uint32_t seed = 1; seed <= 40; ++seed) {
      const TinyModel model({.is_sentencepiece = is_sentencepiece, .seed = seed});
      const std::shared_ptr<Engine> engine = Open(Options(model, "cpu"));
      const std::unique_ptr<Session> session = MakeSession(engine, "none");
      Conversation conversation(session.get());
      bool is_plain = true;
      for (size_t turn = 0; turn < 3 && is_plain; ++turn) {
        const std::vector<uint32_t> before = session->tokens();
        conversation.Add({"user", absl::StrCat(" hello", turn)});
        GenerateResult result;
        const absl::Status status = conversation.Reply(
            Greedy(2), [](uint64_t, uint64_t) { return true; },
            [](uint32_t, absl::string_view) { return true; }, &result);
        ASSERT_TRUE(status.ok()) << status;
        const std::vector<uint32_t>& after = session->tokens();
        ASSERT_GT(after.size(), before.size());
        EXPECT_TRUE(std::equal(before.begin(), before.end(), after.begin()))
            << "turn " << turn << " of seed " << seed << " was read again";
        EXPECT_EQ(result.prompt_tokens + result.generated_tokens, after.size() - before.size());
        const Tokenizer& tokenizer = *engine->tokenizer();
        is_plain = !absl::StrContains(conversation.messages().back().content, "\xef\xbf\xbd") &&
                   std::none_of(after.end() - static_cast<ptrdiff_t>(result.generated_tokens),
                                after.end(), [&](uint32_t id) { return tokenizer.is_cut_out(id); });
        turns += turn > 0;
      }
    }
    EXPECT_GT(turns, 3u) << "is_sentencepiece " << is_sentencepiece;
  }
}

}  // namespace
}  // namespace cormorant::sim
