// Turns, slash commands and figures of a conversation; see conversation.h.
#include "tools/cormorant/conversation.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>

#include "tools/cormorant/interrupt.h"

namespace cli {

const char kChatHelp[] =
    "/stats       tokens, cache and memory so far\n"
    "/save FILE   write the conversation as JSON messages\n"
    "/load FILE   forget this conversation and go on with a saved one\n"
    "/pin [N]     never drop message N, counted from 1, or the last one; /unpin [N] lets it go\n"
    "/retain [N]  nor let message N be purged; /retain-host [N]: its rows may wait on the host;\n"
    "             /release [N] makes it one like others\n"
    "/purge [N]   erase message N, or the last one, and read the others again without it\n"
    "/audit       what was dropped, when and why, as JSON (with --audit)\n"
    "/reset       forget this conversation\n"
    "/quit        end (as Ctrl-D does)\n"
    "/help        this list\n"
    "Ctrl-C stops an answer.\n";

namespace {

constexpr const char* kCommands[] = {"/help",  "/stats",  "/save",        "/load",    "/pin",
                                     "/unpin", "/retain", "/retain-host", "/release", "/purge",
                                     "/audit", "/reset",  "/quit",        "/exit"};

/// Commands that change what becomes of a message, and what they say then.
struct Keeping {
  const char* name;
  const char* said;
  corm_status (*change)(corm_session* session, size_t from, size_t to, corm_progress_fn on_progress,
                        void* user);
};
constexpr Keeping kKeepings[] = {
    {"/pin", "is never dropped", &corm_session_pin},
    {"/unpin", "may be dropped", &corm_session_unpin},
    {"/retain", "is retained",
     [](corm_session* session, size_t from, size_t to, corm_progress_fn fn, void* user) {
       return corm_session_retain(session, from, to, CORM_RETAIN_RESIDENT, fn, user);
     }},
    {"/retain-host", "is retained on the host",
     [](corm_session* session, size_t from, size_t to, corm_progress_fn fn, void* user) {
       return corm_session_retain(session, from, to, CORM_RETAIN_ON_HOST, fn, user);
     }},
    {"/release", "is retained no more", &corm_session_release},
};

const Keeping* FindKeeping(const std::string& name) {
  for (const Keeping& keeping : kKeepings) {
    if (name == keeping.name) return &keeping;
  }
  return nullptr;
}

/// "of 8.0 MiB" or "no KV cap". A budget that is in use counts as one.
std::string CapText(const corm_memory_stats& memory, const corm_kv_stats& kv, uint64_t budget) {
  uint64_t cap = memory.kv_cap;
  if (budget > 0 && std::strcmp(kv.mode, "on") == 0) cap = cap > 0 ? std::min(cap, budget) : budget;
  return cap > 0 ? "of " + FormatBytes(cap) : "no KV cap";
}

}  // namespace

Conversation::Conversation(const ConversationOptions& options, const OutputOptions& output,
                           bool echo_user)
    : options_(options),
      output_(output),
      echo_user_(echo_user),
      talk_(!output.json     ? stdout
            : output.verbose ? stderr
                             : nullptr),
      status_(!output.quiet && (output.verbose || (isatty(STDERR_FILENO) != 0 && !output.json))),
      grammar_(OpenGrammar(options.sampling)) {
  engine_ = OpenEngine(EngineFor(options_.cache, options_.engine), output_);
  start_ = std::chrono::steady_clock::now();
  session_ = OpenSession(engine_.get(), options_.cache);
  Start();
}

void Conversation::Start() {
  Check(corm_session_reset(session_.get()));
  if (options_.system.empty()) return;
  Check(corm_session_add_message_with(session_.get(), "system", options_.system.c_str(),
                                      PromptFlags(options_.cache)));
}

Conversation::Next Conversation::Play(const std::string& line) {
  if (line.find_first_not_of(" \t\r") == std::string::npos) return Next::kGoOn;
  if (line[0] != '/') return Turn(line);
  const size_t space = line.find(' ');
  const std::string name = line.substr(0, space);
  // A script may well speak of /etc; a person more likely mistyped a command.
  const auto is_name = [&name](const char* known) { return name == known; };
  if (echo_user_ && std::none_of(std::begin(kCommands), std::end(kCommands), is_name)) {
    return Turn(line);
  }
  const size_t begin = line.find_first_not_of(' ', space);
  return Command(name, begin == std::string::npos ? "" : line.substr(begin));
}

Conversation::Next Conversation::Command(const std::string& name, const std::string& argument) {
  if (name == "/quit" || name == "/exit") return Next::kQuit;
  try {
    if (name == "/help") {
      std::fputs(kChatHelp, stderr);
    } else if (name == "/stats") {
      PrintStats();
    } else if (FindKeeping(name) != nullptr || name == "/purge") {
      OnMessage(name, argument);
    } else if (name == "/audit") {
      std::fprintf(stderr, "%s\n", AuditJson(session_.get()).dump().c_str());
    } else if (name == "/reset") {
      Start();
      std::fputs("The conversation is empty.\n", stderr);
    } else if ((name == "/save" || name == "/load") && argument.empty()) {
      std::fprintf(stderr, "%s needs a file name.\n", name.c_str());
    } else if (name == "/save") {
      Save(argument);
    } else if (name == "/load") {
      Load(argument);
    } else {
      std::fprintf(stderr, "There is no command %s.\n%s", name.c_str(), kChatHelp);
    }
  } catch (const Failure& failure) {
    std::fprintf(stderr, "%s\n", failure.what());
  }
  return Next::kGoOn;
}

void Conversation::OnMessage(const std::string& name, const std::string& number) {
  char* json = nullptr;
  Check(corm_session_get_messages(session_.get(), &json));
  const TextPtr owner(json);
  const size_t count = Json::parse(json).size();
  char* end = nullptr;
  const size_t chosen = number.empty() ? count : std::strtoull(number.c_str(), &end, 10);
  if (chosen < 1 || chosen > count || (end != nullptr && *end != '\0')) {
    throw Failure(
        kFailed, name + " takes the number of a message; there are " + std::to_string(count) + ".");
  }
  Progress progress(output_, "reading again");
  const InterruptScope scope;
  if (name == "/purge") {
    Check(corm_session_purge_message(session_.get(), chosen - 1, &Progress::OnProgress, &progress));
    progress.Clear();
    std::fprintf(stderr, "Message %zu is erased.\n", chosen);
    return;
  }
  size_t from = 0, to = 0;
  Check(corm_session_get_message_range(session_.get(), chosen - 1, &from, &to));
  const Keeping& keeping = *FindKeeping(name);
  Check(keeping.change(session_.get(), from, to, &Progress::OnProgress, &progress));
  progress.Clear();
  std::fprintf(stderr, "Message %zu, %s tokens, %s.\n", chosen, FormatCount(to - from).c_str(),
               keeping.said);
}

Conversation::Next Conversation::Turn(const std::string& text) {
  if (talk_ != nullptr && echo_user_) {
    std::fprintf(talk_, "\n> %s\n\n", text.c_str());
    std::fflush(talk_);
  }
  const uint64_t dropped_before = KvStats(session_.get()).evicted_forced;
  Check(corm_session_add_message(session_.get(), "user", text.c_str()));
  const Answer answer = Reply(session_.get(), options_.sampling, {talk_, &output_, grammar_.get()});
  if (talk_ != nullptr) std::fputs("\n", talk_);
  ++turns_;
  generated_ += answer.result.generated_tokens;
  last_tok_s_ = Rate(answer.result.generated_tokens, answer.result.decode_seconds);
  const bool capped = KvStats(session_.get()).evicted_forced > dropped_before;
  if (capped && first_capped_tok_s_ == 0) first_capped_tok_s_ = last_tok_s_;
  if (output_.json) {
    Json json = AnswerJson(answer, engine_.get(), session_.get());
    json["turn"] = turns_;
    PrintJson(json, -1);
  }
  if (status_) PrintStatus(answer);
  if (answer.interrupted) return Next::kInterrupted;
  if (answer.status == CORM_OK || answer.status == CORM_CANCELLED) return Next::kGoOn;
  Explain(answer);
  return Next::kFailed;
}

void Conversation::Explain(const Answer& answer) const {
  std::fprintf(stderr, "cormorant: %s\n", answer.error.c_str());
  if (answer.status != CORM_RESOURCE_EXHAUSTED && answer.status != CORM_OUT_OF_RANGE) return;
  std::fputs(
      "The conversation is not lost: /save FILE keeps it, and a new chat with --evict corm or a "
      "larger --kv-cap goes on after /load FILE. /reset starts an empty one.\n",
      stderr);
}

void Conversation::Save(const std::string& path) const {
  char* json = nullptr;
  Check(corm_session_get_messages(session_.get(), &json));
  const TextPtr owner(json);
  const std::string text = Json::parse(json).dump(2) + "\n";
  FILE* file = std::fopen(path.c_str(), "wb");
  const bool written =
      file != nullptr && std::fwrite(text.data(), 1, text.size(), file) == text.size();
  const bool closed = file != nullptr && std::fclose(file) == 0;
  if (!written || !closed) {
    throw Failure(kFailed, "cannot write '" + path + "': " + std::strerror(errno));
  }
  std::fprintf(stderr, "Saved to %s.\n", path.c_str());
}

void Conversation::Load(const std::string& path) {
  Json messages;
  try {
    messages = Json::parse(ReadFile(path));
    // Everything is read before anything is forgotten.
    for (const Json& message : messages) {
      message.at("role").get<std::string>();
      message.at("content").get<std::string>();
    }
  } catch (const Json::exception& error) {
    throw Failure(kFailed, "'" + path + "' is not a saved conversation: " + error.what());
  }
  Check(corm_session_reset(session_.get()));
  for (const Json& message : messages) {
    Check(corm_session_add_message(session_.get(), message["role"].get<std::string>().c_str(),
                                   message["content"].get<std::string>().c_str()));
  }
  std::fprintf(stderr, "Loaded %s messages; they are read with your next turn.\n",
               FormatCount(messages.size()).c_str());
}

void Conversation::PrintStatus(const Answer& answer) const {
  const corm_kv_stats kv = KvStats(session_.get());
  const corm_memory_stats memory = MemoryStats(engine_.get());
  const bool color = isatty(STDERR_FILENO) != 0;
  std::fprintf(
      stderr, "%s[%s tokens | KV %s %s | full cache %s | rows %s of %s | %s tok/s]%s\n",
      color ? "\033[2m" : "", FormatCount(kv.tokens).c_str(), FormatBytes(kv.bytes).c_str(),
      CapText(memory, kv, options_.cache.budget_bytes).c_str(),
      FormatBytes(kv.bytes_full_f16).c_str(),
      FormatCount(static_cast<uint64_t>(kv.rows_kept)).c_str(), FormatCount(kv.rows_full).c_str(),
      FormatRate(Rate(answer.result.generated_tokens, answer.result.decode_seconds)).c_str(),
      color ? "\033[0m" : "");
}

void Conversation::PrintStats() const {
  const corm_kv_stats kv = KvStats(session_.get());
  const corm_memory_stats memory = MemoryStats(engine_.get());
  const auto line = [](const char* name, const std::string& value) {
    std::fprintf(stderr, "  %-16s %s\n", name, value.c_str());
  };
  line("tokens", FormatCount(kv.tokens));
  line("rows kept", FormatCount(static_cast<uint64_t>(kv.rows_kept)) + " of " +
                        FormatCount(kv.rows_full) + " a head");
  line("KV", FormatBytes(kv.bytes) + " (" + CapText(memory, kv, options_.cache.budget_bytes) +
                 "), peak " + FormatBytes(memory.kv_peak));
  line("full f16 cache", FormatBytes(kv.bytes_full_f16));
  line("rows dropped",
       FormatCount(kv.evicted_total) + ", by the cap alone " + FormatCount(kv.evicted_forced));
  if (kv.host_bytes > 0) {
    const std::string retained =
        kv.retained_rows > 0 ? ", retained " + FormatCount(kv.retained_rows) : "";
    line("copies on host",
         FormatCount(kv.host_rows) + " rows, " + FormatBytes(kv.host_bytes) + retained);
  }
  line("re-based", FormatCount(kv.rebased) + " times");
  if (std::strcmp(kv.mode, "observe") == 0) PrintObserved();
  line("engine memory", FormatBytes(memory.used) + ", peak " + FormatBytes(memory.peak) +
                            (memory.cap > 0 ? ", cap " + FormatBytes(memory.cap) : ""));
  line("weights", FormatBytes(memory.weights));
  if (memory.host > 0) {
    const corm_engine_info info = EngineInfo(engine_.get());
    line("on the CPU", std::to_string(info.host_layers) + " of " + std::to_string(info.layers) +
                           " layers, " + FormatBytes(memory.host));
  }
  if (memory.device_budget > 0) {
    line("device memory", FormatBytes(memory.device_used) + " of " +
                              FormatBytes(memory.device_budget) + " that the driver leaves");
  }
  line("process memory", FormatBytes(ReadProcessMemory().rss_bytes));
}

void Conversation::PrintObserved() const {
  const corm_observed seen = Observed(session_.get());
  std::fprintf(stderr, "  %-16s %s (peak %s), %s rows a head, %s dropped\n", "observed cache",
               FormatBytes(seen.bytes).c_str(), FormatBytes(seen.bytes_peak).c_str(),
               FormatCount(static_cast<uint64_t>(seen.rows_kept)).c_str(),
               FormatCount(seen.evicted_total).c_str());
  std::fprintf(stderr,
               "  %-16s KL mean %.4f, 99 %% %.4f, most %.4f; same first choice %.1f %%; perplexity "
               "x %.3f\n",
               "observed cost", seen.kl_mean, seen.kl_p99, seen.kl_max, 100 * seen.top1_agreement,
               seen.perplexity_kept / seen.perplexity_full);
  std::fprintf(stderr, "  %-16s at %s of %s tokens%s%s\n", "compared",
               FormatCount(seen.compared).c_str(), FormatCount(seen.tokens).c_str(),
               seen.ended != nullptr ? ", then ended: " : "",
               seen.ended != nullptr ? seen.ended : "");
}

void Conversation::PrintSummary() const {
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start_;
  const corm_kv_stats kv = KvStats(session_.get());
  const corm_memory_stats memory = MemoryStats(engine_.get());
  const ProcessMemory process = ReadProcessMemory();
  const auto line = [](const char* name, const std::string& value) {
    std::fprintf(stderr, "  %-22s %s\n", name, value.c_str());
  };
  std::fputs("\n", stderr);
  line("conversation", FormatCount(turns_) + " turns, " + FormatCount(kv.tokens) + " tokens (" +
                           FormatCount(generated_) + " generated) in " +
                           FormatRate(seconds.count()) + " s");
  line("KV cache, peak",
       FormatBytes(memory.kv_peak) +
           (memory.kv_cap > 0 ? " of the cap of " + FormatBytes(memory.kv_cap) : ", no cap"));
  line("a full f16 cache", FormatBytes(kv.bytes_full_f16));
  line("rows kept", FormatCount(static_cast<uint64_t>(kv.rows_kept)) + " of " +
                        FormatCount(kv.rows_full) + " a head");
  if (first_capped_tok_s_ > 0) {
    line("decode speed", FormatRate(first_capped_tok_s_) + " tok/s when the cap was reached, " +
                             FormatRate(last_tok_s_) + " tok/s at the end");
  } else {
    line("decode speed", FormatRate(last_tok_s_) + " tok/s");
  }
  line("process memory", FormatBytes(process.rss_bytes) + ", peak " +
                             FormatBytes(process.rss_peak_bytes) + ", model included");
}

}  // namespace cli
