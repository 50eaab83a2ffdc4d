// `cormorant chat`: a conversation from a terminal, a pipe or a script.
//
// A script is a text file with one user turn a line; it is printed as it is played, with the
// figures after each turn when --verbose asks for them. On a terminal lines are edited with
// history, Ctrl-C stops one answer and Ctrl-D ends.
#include <unistd.h>

#include <cstdio>
#include <sstream>

#include "tools/cormorant/commands.h"
#include "tools/cormorant/conversation.h"
#include "tools/cormorant/line_editor.h"

namespace cli {
namespace {

struct ChatOptions {
  ConversationOptions conversation;
  std::string script;
  double seconds_max = 0;
};

int PlayScript(const ChatOptions& options, const OutputOptions& output) {
  std::istringstream lines(ReadFile(options.script));
  const auto start = std::chrono::steady_clock::now();
  Conversation conversation(options.conversation, output, /*echo_user=*/true);
  std::string line;
  while (std::getline(lines, line)) {
    if (!line.empty() && line.back() == '\r') line.pop_back();
    const Conversation::Next next = conversation.Play(line);
    if (next == Conversation::Next::kInterrupted) return kInterrupted;
    if (next == Conversation::Next::kFailed) return kFailed;
    if (next == Conversation::Next::kQuit) break;
    const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - start;
    if (options.seconds_max > 0 && passed.count() >= options.seconds_max) break;
  }
  if (output.verbose) conversation.PrintSummary();
  return kDone;
}

int Talk(const ChatOptions& options, const OutputOptions& output) {
  const bool terminal = isatty(STDIN_FILENO) != 0;
  Conversation conversation(options.conversation, output, /*echo_user=*/false);
  LineEditor editor;
  if (terminal && !output.quiet) std::fprintf(stderr, "/help lists commands; Ctrl-D ends.\n");
  Conversation::Next last = Conversation::Next::kGoOn;
  while (true) {
    std::string line;
    const LineEditor::Event event = editor.ReadLine("> ", line);
    if (event == LineEditor::Event::kEnd) break;
    if (event == LineEditor::Event::kInterrupted) {
      std::fputs("\n", stderr);
      continue;
    }
    last = conversation.Play(line);
    if (last == Conversation::Next::kQuit) return kDone;
    if (!terminal && last == Conversation::Next::kInterrupted) return kInterrupted;
  }
  if (terminal) std::fputs("\n", stderr);
  if (output.verbose) conversation.PrintSummary();
  return !terminal && last == Conversation::Next::kFailed ? kFailed : kDone;
}

}  // namespace

void AddChat(CLI::App& app, Chosen& chosen) {
  CLI::App* command = app.add_subcommand("chat", "Holds a conversation");
  const auto options = std::make_shared<ChatOptions>();
  ConversationOptions& conversation = options->conversation;
  command->add_option("--system", conversation.system, "System message; never dropped by default");
  command
      ->add_option("--script", options->script,
                   "Plays a file, one user turn a line (/save, /stats ... work too); - is stdin")
      ->type_name("FILE");
  command
      ->add_option("--max-seconds", options->seconds_max,
                   "With --script: no new turn after so many seconds; 0: play to the end")
      ->check(CLI::Range(0.0, 1e9).description(""));
  AddEngineOptions(*command, conversation.engine);
  AddCacheOptions(*command, conversation.cache);
  AddRolloutOptions(*command, conversation.cache);
  AddSamplingOptions(*command, conversation.sampling);
  AddOutputOptions(*command, chosen.output);
  command->footer(std::string("\nIn a conversation:\n") + kChatHelp +
                  "With --json every turn is one object on a line of its own.");
  command->callback([options, &chosen] {
    chosen.run = [options, &chosen] {
      PrepareMode(options->conversation.cache, options->conversation.engine);
      return options->script.empty() ? Talk(*options, chosen.output)
                                     : PlayScript(*options, chosen.output);
    };
  });
}

}  // namespace cli
