// `cormorant run`: one completion of one prompt.
//
// With the chat template the prompt is a user message; with --raw it is plain text that the model
// goes on from, read without special tokens in it (text that looks like one stays text).
#include <cstdio>

#include "tools/cormorant/commands.h"
#include "tools/cormorant/generation.h"
#include "tools/cormorant/interrupt.h"

namespace cli {
namespace {

struct RunOptions {
  EngineOptions engine;
  CacheOptions cache;
  SamplingOptions sampling;
  std::string prompt;
  std::string file;
  std::string system;
  bool raw = false;
};

Answer RunRaw(corm_engine* engine, corm_session* session, const RunOptions& options,
              const std::string& prompt, const Streaming& streaming) {
  const TokenizerPtr tokenizer = TokenizerOf(engine);
  const std::vector<uint32_t> ids = Encode(tokenizer.get(), prompt, CORM_ENCODE_BOS);
  if (ids.empty()) throw Failure(kFailed, "the prompt has no tokens; give some text");
  const bool pin = options.cache.pin_prompt_given && options.cache.pin_prompt == "on";
  const uint32_t flags = pin ? uint32_t{CORM_APPEND_PIN} : PromptFlags(options.cache);
  const auto start = std::chrono::steady_clock::now();
  {
    Progress progress(*streaming.output, "reading the prompt");
    const InterruptScope scope;
    Check(corm_session_append(session, ids.data(), ids.size(), flags, &Progress::OnProgress,
                              &progress));
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  Answer answer = Continue(session, options.sampling, streaming);
  answer.result.prompt_tokens = ids.size();
  answer.result.prompt_seconds += seconds.count();
  return answer;
}

int Run(const RunOptions& options, const OutputOptions& output) {
  const std::string prompt = options.file.empty() ? options.prompt : ReadFile(options.file);
  const GrammarPtr grammar = OpenGrammar(options.sampling);
  const EnginePtr engine = OpenEngine(EngineFor(options.cache, options.engine), output);
  const SessionPtr session = OpenSession(engine.get(), options.cache);
  const Streaming streaming = {output.json ? (output.verbose ? stderr : nullptr) : stdout, &output,
                               grammar.get()};
  Answer answer;
  if (options.raw) {
    answer = RunRaw(engine.get(), session.get(), options, prompt, streaming);
  } else {
    if (!options.system.empty()) {
      Check(corm_session_add_message_with(session.get(), "system", options.system.c_str(),
                                          PromptFlags(options.cache)));
    }
    Check(corm_session_add_message(session.get(), "user", prompt.c_str()));
    answer = Reply(session.get(), options.sampling, streaming);
  }
  if (streaming.to != nullptr) std::fputs("\n", streaming.to);
  if (output.json) PrintJson(AnswerJson(answer, engine.get(), session.get()));
  if (output.verbose) {
    const corm_kv_stats kv = KvStats(session.get());
    std::fprintf(
        stderr, "prompt %s tokens at %s tok/s, answer %s tokens at %s tok/s, KV %s, stopped: %s\n",
        FormatCount(answer.result.prompt_tokens).c_str(),
        FormatRate(Rate(answer.result.prompt_tokens, answer.result.prompt_seconds)).c_str(),
        FormatCount(answer.result.generated_tokens).c_str(),
        FormatRate(Rate(answer.result.generated_tokens, answer.result.decode_seconds)).c_str(),
        FormatBytes(kv.bytes).c_str(), StopReason(answer));
  }
  if (answer.interrupted || answer.status == CORM_CANCELLED) return kInterrupted;
  if (answer.status != CORM_OK) throw Failure(kFailed, answer.error);
  return kDone;
}

}  // namespace

void AddRun(CLI::App& app, Chosen& chosen) {
  CLI::App* command = app.add_subcommand("run", "Completes one prompt");
  const auto options = std::make_shared<RunOptions>();
  CLI::Option* prompt = command->add_option("-p,--prompt", options->prompt, "The prompt");
  CLI::Option* file =
      command->add_option("-f,--file", options->file, "A file with the prompt; - is stdin");
  AddChoice(*command, prompt, file->type_name("FILE"));
  command->add_option("--system", options->system, "System message before the prompt");
  command->add_flag("--raw", options->raw,
                    "No chat template: the model goes on from the text itself");
  AddEngineOptions(*command, options->engine);
  AddCacheOptions(*command, options->cache);
  AddRolloutOptions(*command, options->cache);
  AddSamplingOptions(*command, options->sampling);
  AddOutputOptions(*command, chosen.output);
  command->callback([options, &chosen] {
    chosen.run = [options, &chosen] {
      PrepareMode(options->cache, options->engine);
      return Run(*options, chosen.output);
    };
  });
}

}  // namespace cli
