// One conversation as `chat` holds it: turns, slash commands and the figures after each turn.
//
// The session keeps the messages; this adds what a person sees. Where lines come from (a terminal,
// a pipe, a script) is the caller's affair.
#pragma once
#include <string>

#include "tools/cormorant/generation.h"

namespace cli {

/// Everything a conversation needs; owned by the command.
struct ConversationOptions {
  EngineOptions engine;
  CacheOptions cache;
  SamplingOptions sampling;
  std::string system;
};

class Conversation {
 public:
  /// Loads the model. `echo_user`: print user turns too, as a script needs.
  Conversation(const ConversationOptions& options, const OutputOptions& output, bool echo_user);

  enum class Next { kGoOn, kQuit, kFailed, kInterrupted };
  /// A user turn or a slash command.
  Next Play(const std::string& line);
  /// Totals over all turns, on stderr.
  void PrintSummary() const;

 private:
  Next Command(const std::string& name, const std::string& argument);
  Next Turn(const std::string& text);
  /// A command on message `number`, counted from 1; "" is the last one.
  void OnMessage(const std::string& name, const std::string& number);
  void Start();
  void Save(const std::string& path) const;
  void Load(const std::string& path);
  void PrintStats() const;
  void PrintObserved() const;
  void PrintStatus(const Answer& answer) const;
  void Explain(const Answer& answer) const;

  const ConversationOptions& options_;
  const OutputOptions& output_;
  const bool echo_user_;
  FILE* const talk_;   // Where the conversation is printed; null: nowhere.
  const bool status_;  // Whether figures follow each turn.
  const GrammarPtr grammar_;
  EnginePtr engine_;
  SessionPtr session_;
  uint64_t turns_ = 0;
  uint64_t generated_ = 0;
  double first_capped_tok_s_ = 0;  // Speed of the first turn in which the cap dropped rows.
  double last_tok_s_ = 0;
  std::chrono::steady_clock::time_point start_;
};

/// What /help prints.
extern const char kChatHelp[];

}  // namespace cli
