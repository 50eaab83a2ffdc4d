// `cormorant logits`: the raw logits after every token of a text.
//
// Row-major [tokens, vocab] f32 in the machine's byte order, which is little-endian on every
// machine this builds for. Rows are written as they are computed; nothing is held.
#include <bit>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "tools/cormorant/commands.h"
#include "tools/cormorant/interrupt.h"
#include "tools/cormorant/output.h"
#include "tools/cormorant/scored_text.h"

static_assert(std::endian::native == std::endian::little, "logits are documented as little-endian");

namespace cli {
namespace {

struct LogitsOptions {
  EngineOptions engine;
  CacheOptions cache;
  ScoredTextOptions text;
  std::string out;
};

struct Writer {
  FILE* file;
  size_t tokens;
  Progress* progress;
  bool failed = false;
};

int OnLogits(void* user, size_t index, const float* logits, size_t vocab) {
  Writer& writer = *static_cast<Writer*>(user);
  writer.failed = std::fwrite(logits, sizeof(float), vocab, writer.file) != vocab;
  writer.progress->Show(index + 1, writer.tokens);
  return writer.failed || Interrupted() ? 1 : 0;
}

int Logits(LogitsOptions options, const OutputOptions& output) {
  if (output.json && options.out.empty()) {
    throw Failure(kBadUsage, "logits --json needs --out FILE: stdout cannot carry both");
  }
  options.engine = EngineFor(options.cache, options.engine);
  options.engine.all_logits = true;
  const EnginePtr engine = OpenEngine(options.engine, output);
  std::vector<uint32_t> ids = ReadScoredText(engine.get(), options.text);
  ids.resize(ScoredTokens(ids, options.text));
  const SessionPtr session = OpenSession(engine.get(), options.cache);
  FILE* file = options.out.empty() ? stdout : std::fopen(options.out.c_str(), "wb");
  if (file == nullptr) {
    throw Failure(kFailed, "cannot write '" + options.out + "': " + std::strerror(errno));
  }
  Progress progress(output, "computing logits");
  Writer writer = {file, ids.size(), &progress};
  corm_status status;
  {
    const InterruptScope scope;
    status = corm_session_score(session.get(), ids.data(), ids.size(), &OnLogits, &writer);
  }
  progress.Clear();
  const bool closed = file == stdout ? std::fflush(file) == 0 : std::fclose(file) == 0;
  if (writer.failed || !closed) throw Failure(kFailed, "cannot write the logits: disk full?");
  Check(status);
  const uint32_t vocab = EngineInfo(engine.get()).vocab;
  if (output.json) PrintJson(Json{{"tokens", ids.size()}, {"vocab", vocab}});
  return kDone;
}

}  // namespace

void AddLogits(CLI::App& app, Chosen& chosen) {
  CLI::App* command = app.add_subcommand("logits", "Writes the raw logits after each token");
  const auto options = std::make_shared<LogitsOptions>();
  AddScoredTextOptions(*command, options->text);
  command->add_option("-o,--out", options->out, "Where the floats go; default: stdout")
      ->type_name("FILE");
  AddEngineOptions(*command, options->engine);
  AddCacheOptions(*command, options->cache);
  AddOutputOptions(*command, chosen.output);
  command->footer("\nf32, little-endian, row-major [tokens, vocab].");
  command->callback([options, &chosen] {
    chosen.run = [options, &chosen] { return Logits(*options, chosen.output); };
  });
}

}  // namespace cli
