// Several threads, several sessions, one engine: the same tokens as alone, and no race.
//
// Nothing here waits for time. Run under ThreadSanitizer, these tests say whether the engine orders
// what its callers' threads do.
#include <atomic>
#include <thread>

#include "absl/strings/str_cat.h"
#include "tests/sim/driver.h"

namespace cormorant::sim {
namespace {

class Concurrent : public ::testing::TestWithParam<const char*> {};

/// What one user says, in turns, and what was answered.
struct User {
  std::vector<std::vector<uint32_t>> prompts;
  std::vector<std::vector<uint32_t>> answers;
  bool wants_all = false;  // Samples from all logits, not from the greatest.
};

std::vector<User> MakeUsers(uint32_t count, uint32_t vocab) {
  std::mt19937 random(17);
  std::vector<User> users(count);
  for (User& user : users) {
    user.wants_all = &user - users.data() == 1 || &user - users.data() == 2;
    for (int turn = 0; turn < 3; ++turn) {
      user.prompts.push_back(RandomIds(random, 1 + random() % 60, vocab));
    }
  }
  return users;
}

void Talk(Session& session, User& user) {
  for (const std::vector<uint32_t>& prompt : user.prompts) {
    ASSERT_TRUE(Append(session, prompt).ok());
    user.answers.push_back(Continue(session, user.wants_all ? GreedyOverAll(12) : Greedy(12)));
  }
}

TEST_P(Concurrent, SessionsGiveTheTokensTheyGiveAlone) {
  const TinyModel model({.type = GgufType::kQ8_0});
  EngineOptions options = Options(model, GetParam());
  options.threads = 2;
  options.max_sessions = 4;
  options.prefill_chunk = 16;
  const std::shared_ptr<Engine> engine = Open(options);
  std::vector<User> alone = MakeUsers(4, model.vocab()), together = alone;
  for (User& user : alone) Talk(*MakeSession(engine, "none"), user);
  std::vector<std::unique_ptr<Session>> sessions;
  for (size_t u = 0; u < together.size(); ++u) sessions.push_back(MakeSession(engine, "none"));
  std::vector<std::thread> threads;
  for (size_t u = 0; u < together.size(); ++u) {
    threads.emplace_back([&, u] { Talk(*sessions[u], together[u]); });
  }
  for (std::thread& thread : threads) thread.join();
  std::vector<const Session*> pointers;
  for (size_t u = 0; u < together.size(); ++u) {
    EXPECT_EQ(together[u].answers, alone[u].answers) << "user " << u;
    pointers.push_back(sessions[u].get());
  }
  CheckInvariants(*engine, pointers);
}

TEST_P(Concurrent, SessionsUnderOneCapComeAndGo) {
  const TinyModel model;
  EngineOptions options = Options(model, GetParam());
  options.max_sessions = 3;
  options.kv_cap_bytes = KvCap(model, options, 14);
  const std::shared_ptr<Engine> engine = Open(options);
  std::vector<std::thread> threads;
  for (uint32_t t = 0; t < options.max_sessions; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937 random(t);
      for (int life = 0; life < 4; ++life) {
        const std::unique_ptr<Session> session = MakeSession(engine, t == 0 ? "window" : "corm");
        ASSERT_NE(session, nullptr);
        for (int turn = 0; turn < 4; ++turn) {
          const absl::Status status =
              Append(*session, RandomIds(random, 1 + random() % 100, model.vocab()));
          ASSERT_TRUE(status.ok()) << status;
          EXPECT_EQ(Continue(*session, 8).size(), 8u);
          // What an application shows while others work.
          EXPECT_LE(engine->memory().kv_used, options.kv_cap_bytes);
          EXPECT_GT(session->stats().rows, 0u);
          EXPECT_LE(session->next_position(), engine->plan().context);
          if (random() % 5 == 0) session->Reset();
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(engine->memory().kv_used, engine->plan().device().memory.kv_metadata);
  CheckInvariants(*engine, {});
}

TEST_P(Concurrent, CancelFromAnotherThreadEndsTheCallAndNothingElse) {
  const TinyModel model;
  EngineOptions options = Options(model, GetParam());
  options.max_sessions = 2;
  options.prefill_chunk = 8;
  const std::shared_ptr<Engine> engine = Open(options);
  std::vector<std::unique_ptr<Session>> sessions;
  for (int s = 0; s < 2; ++s) sessions.push_back(MakeSession(engine, "corm"));
  std::atomic<uint32_t> working{2};
  std::atomic<uint32_t> cancelled{0};
  std::vector<std::thread> threads;
  for (uint32_t s = 0; s < 2; ++s) {
    threads.emplace_back([&, s] {
      std::mt19937 random(s);
      Session& session = *sessions[s];
      for (int call = 0; call < 25; ++call) {
        const std::vector<uint32_t> ids = RandomIds(random, 100, model.vocab());
        const size_t before = session.tokens().size();
        session.ClearCancel();
        const absl::Status status = Append(session, ids);
        const size_t done = session.tokens().size() - before;
        EXPECT_TRUE(status.ok() ? done == ids.size() : absl::IsCancelled(status)) << status;
        EXPECT_TRUE(done % 8 == 0 || done == ids.size());  // Whole steps.
        if (!status.ok()) ++cancelled;
      }
      --working;
    });
  }
  threads.emplace_back([&] {
    for (uint32_t turn = 0; working.load() > 0; ++turn) {
      sessions[turn % 2]->Cancel();
      std::this_thread::yield();
    }
  });
  for (std::thread& thread : threads) thread.join();
  EXPECT_GT(cancelled.load(), 0u);
  for (const auto& session : sessions) {
    session->ClearCancel();
    const uint32_t last[] = {1};
    EXPECT_TRUE(Append(*session, last).ok());
    EXPECT_EQ(Continue(*session, 5).size(), 5u);
  }
}

TEST_P(Concurrent, ASessionThatIsRefusedDoesNotHoldUpOthers) {
  const TinyModel model;
  EngineOptions options = Options(model, GetParam());
  options.max_sessions = 3;
  options.prefill_chunk = 32;
  options.kv_cap_bytes = KvCap(model, options, 12);
  const std::shared_ptr<Engine> engine = Open(options);
  std::atomic<uint32_t> refused{0};
  std::vector<std::thread> threads;
  for (uint32_t t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937 random(t + 50);
      const std::unique_ptr<Session> session = MakeSession(engine, "none");
      for (int call = 0; call < 20; ++call) {
        const absl::Status status = Append(*session, RandomIds(random, 90, model.vocab()));
        if (status.ok()) continue;
        EXPECT_TRUE(absl::IsResourceExhausted(status) || absl::IsOutOfRange(status)) << status;
        ++refused;
        session->Reset();  // Others go on with what this one gives back.
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_GT(refused.load(), 0u);
  EXPECT_EQ(engine->memory().kv_used, engine->plan().device().memory.kv_metadata);
}

TEST_P(Concurrent, OptionsFollowTheRoomThatOthersLeave) {
  const TinyModel model({.context = 2048});
  EngineOptions options = Options(model, GetParam());
  options.max_sessions = 4;
  options.prefill_chunk = 16;
  options.kv_cap_bytes = KvCap(model, options, 24);
  const std::shared_ptr<Engine> engine = Open(options);
  SessionOptions fixed;
  fixed.policy = "corm";
  fixed.follows_room = false;
  const std::unique_ptr<Session> session = MakeSession(engine, "corm");
  std::mt19937 random(3);
  const auto read = [&](Session& to, size_t count) {
    return Append(to, RandomIds(random, count, model.vocab()));
  };
  const uint64_t room = uint64_t{24} * kPageRows;
  ASSERT_TRUE(read(*session, room).ok());
  EXPECT_EQ(session->stats().adjusted, 0u) << "nothing had to leave";
  ASSERT_TRUE(read(*session, 600).ok());
  EXPECT_EQ(session->stats().adjusted, 1u) << "it has all the room";
  ASSERT_TRUE(read(*session, 600).ok());
  EXPECT_EQ(session->stats().adjusted, 1u);
  {
    const std::unique_ptr<Session> other = MakeSession(engine, fixed);
    ASSERT_TRUE(read(*other, 900).ok());
    ASSERT_TRUE(read(*session, 100).ok());
    EXPECT_EQ(session->stats().adjusted, 2u) << "half of it is the other's";
    EXPECT_EQ(other->stats().adjusted, 0u) << "as it was asked";
    CheckInvariants(*engine, std::vector<const Session*>{session.get(), other.get()});
  }
  ASSERT_TRUE(read(*session, 900).ok());
  EXPECT_EQ(session->stats().adjusted, 3u) << "all of it again";
  session->Reset();
  ASSERT_TRUE(read(*session, 900).ok());
  EXPECT_EQ(session->stats().adjusted, 3u) << "what was found holds for what follows";
}

CORM_ON_BACKENDS(Concurrent);

}  // namespace
}  // namespace cormorant::sim
