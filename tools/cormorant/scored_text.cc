// Reads the text that `eval` and `logits` work on; see scored_text.h.
#include "tools/cormorant/scored_text.h"

namespace cli {

void AddScoredTextOptions(CLI::App& command, ScoredTextOptions& options) {
  CLI::Option* file = command.add_option("-f,--file", options.file, "The text; - is stdin");
  CLI::Option* ids =
      command.add_option("--ids", options.ids_file, "Token ids instead of a text, as a JSON list");
  AddChoice(command, file->type_name("FILE"), ids->type_name("FILE"));
  command.add_option("--from", options.from, "Start at the first occurrence of TEXT in the file")
      ->type_name("TEXT")
      ->excludes(ids);
  command.add_option("--tokens", options.tokens, "Read so many tokens; 0: all (default)");
}

std::vector<uint32_t> ReadScoredText(const corm_engine* engine, const ScoredTextOptions& options) {
  const TokenizerPtr tokenizer = TokenizerOf(engine);
  std::vector<uint32_t> ids;
  if (!options.ids_file.empty()) {
    ids = ParseIds(ReadFile(options.ids_file));
  } else {
    std::string text = ReadFile(options.file);
    if (!options.from.empty()) {
      const size_t at = text.find(options.from);
      if (at == std::string::npos) {
        throw Failure(kFailed, "--from: '" + options.from + "' is not in '" + options.file + "'");
      }
      text.erase(0, at);
    }
    ids = Encode(tokenizer.get(), text, CORM_ENCODE_BOS);
  }
  if (ids.empty()) throw Failure(kFailed, "the text has no tokens");
  return ids;
}

size_t ScoredTokens(const std::vector<uint32_t>& ids, const ScoredTextOptions& options) {
  if (options.tokens == 0) return ids.size();
  if (options.tokens <= ids.size()) return options.tokens;
  throw Failure(kFailed, "--tokens " + std::to_string(options.tokens) + ": the text has only " +
                             std::to_string(ids.size()));
}

}  // namespace cli
