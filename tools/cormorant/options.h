// Options that several commands share, and how they become the library's option structs.
//
// A command holds the structs it needs, calls the Add...Options() functions to declare them on its
// CLI11 subcommand, and later Open...() to get a loaded engine or a session. Nothing is checked
// twice: what only the library can judge (is this policy known, does this cap hold the model) is
// left to it, except where an early answer saves loading a model first.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "tools/cormorant/handles.h"

namespace cli {

/// What is printed, and how.
struct OutputOptions {
  bool json = false;
  bool quiet = false;
  bool verbose = false;
};

/// The model, the device and the caps; one set is one engine.
struct EngineOptions {
  std::string model;
  std::string backend = "auto";
  uint32_t device = 0;
  uint32_t devices = 0;
  uint32_t threads = 0;
  uint64_t mem_cap_bytes = 0;
  uint64_t kv_cap_bytes = 0;
  std::string kv_type = "f16";
  std::string tuning = "off";
  uint32_t context = 0;
  uint32_t prefill_chunk = 0;
  bool all_logits = false;        // Set by commands, not by the user, like this:
  uint32_t max_sessions = 1;      // Two where a cache is observed.
  bool query_statistics = false;  // Where the policy needs them.
};

/// What leaves the cache, and when.
struct CacheOptions {
  std::string evict;  // Empty: the library's default for this cap.
  uint32_t corm_window = 0;
  uint32_t recent = UINT32_MAX;
  std::string basis;
  float scale = 0.0f;
  int32_t reach = -1, fade = -1;
  std::string head_budget;
  std::vector<float> head_weights;  // Set by `tune`, not by the user.
  uint32_t interval = 0;
  uint32_t sinks = 4;
  bool recall = false, recall_compared = false;
  uint64_t reread_most = UINT64_MAX;
  uint64_t host_copies = 0;
  double host_copy_seconds = 3600.0;
  bool zero_pages = false;
  uint32_t audit = 0;
  std::string pin_prompt = "on";  // Or "off", "retain", "host".
  bool pin_prompt_given = false;
  uint64_t budget_bytes = 0;
  std::string mode = "on";
  double canary = 0;
  std::string key;
  std::string positions;
};

/// How the next token is chosen.
struct SamplingOptions {
  uint32_t max_tokens = 1024;
  float temperature = 0.7f;
  uint32_t top_k = 40;
  float top_p = 0.95f;
  float min_p = 0.05f;
  float repetition_penalty = 1.0f;
  uint32_t repetition_window = 64;
  uint64_t seed = 0;
  // What an answer may be: one of these, or nothing.
  std::optional<std::string> grammar, grammar_file, json_schema, json_schema_file;
};

/// Bytes from "24M", "1.5G", "4096"; K M G are binary, an "iB" or "B" may follow. Throws
/// CLI::ValidationError naming `option` for anything else.
uint64_t ParseBytes(const std::string& option, const std::string& text);

/// Token ids from "[1, 2]", "1,2" or "1 2 3". Throws a Failure that names what is not an id.
std::vector<uint32_t> ParseIds(const std::string& text);

/// The bytes of a file exactly as they are; "-" is stdin. Throws a Failure that names the file.
std::string ReadFile(const std::string& path);

void AddOutputOptions(CLI::App& command, OutputOptions& options);
/// Exactly one of the two has to be given.
void AddChoice(CLI::App& command, CLI::Option* one, CLI::Option* other);
/// Only --model.
void AddModelOption(CLI::App& command, std::string& model, bool required = true);
/// --model, device, caps and row type.
void AddEngineOptions(CLI::App& command, EngineOptions& options, bool model_required = true);
void AddCacheOptions(CLI::App& command, CacheOptions& options);
/// --mode and what belongs to it.
void AddRolloutOptions(CLI::App& command, CacheOptions& options);
void AddSamplingOptions(CLI::App& command, SamplingOptions& options);

/// The library's form. Pointers in it are into `options`.
corm_engine_options EngineOptionsFor(const EngineOptions& options);
corm_generate_options GenerateOptionsFor(const SamplingOptions& options);
/// Null where there is none. Throws a Failure (bad usage) with the library's message.
GrammarPtr OpenGrammar(const SamplingOptions& options);

/// The engine's options with what the cache's policy needs. Throws a Failure (bad usage) for a
/// policy that does not exist, before any model is loaded.
EngineOptions EngineFor(const CacheOptions& cache, EngineOptions engine);
/// Makes room in the engine for what the mode takes. Throws a Failure (bad usage) for a canary
/// without a key.
void PrepareMode(const CacheOptions& cache, EngineOptions& engine);
/// Loads the model, with progress on a terminal. A cap that is too small throws kCapTooSmall.
EnginePtr OpenEngine(const EngineOptions& options, const OutputOptions& output);
SessionPtr OpenSession(corm_engine* engine, const CacheOptions& options);
/// CORM_MESSAGE_* of the system prompt, beside what the session's options do with it.
uint32_t PromptFlags(const CacheOptions& options);
TokenizerPtr TokenizerOf(const corm_engine* engine);
/// The vocabulary of a model file; weights are not read.
TokenizerPtr OpenTokenizer(const std::string& model);

/// Ids of `text`; `flags` are CORM_ENCODE_*.
std::vector<uint32_t> Encode(const corm_tokenizer* tokenizer, const std::string& text,
                             uint32_t flags);

}  // namespace cli
