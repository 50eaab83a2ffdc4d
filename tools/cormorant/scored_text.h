// The text of `eval` and `logits`: a file, or a stretch of it, as token ids.
#pragma once
#include <string>
#include <vector>

#include "tools/cormorant/output.h"

namespace cli {

struct ScoredTextOptions {
  std::string file;
  std::string ids_file;
  std::string from;
  uint32_t tokens = 0;  // 0: all.
};

/// --file, --ids, --from and --tokens.
void AddScoredTextOptions(CLI::App& command, ScoredTextOptions& options);

/// All ids of the text (BOS only where the vocabulary asks for it), never empty; more than
/// `options.tokens` of them when the text goes on. Throws a Failure that names what is missing.
std::vector<uint32_t> ReadScoredText(const corm_engine* engine, const ScoredTextOptions& options);

/// How many of `ids` are read: all, or --tokens. Throws when there are fewer than asked for.
size_t ScoredTokens(const std::vector<uint32_t>& ids, const ScoredTextOptions& options);

}  // namespace cli
