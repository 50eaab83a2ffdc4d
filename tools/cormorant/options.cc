// Declares the shared options and turns them into engines and sessions; see options.h.
#include "tools/cormorant/options.h"

#include <cctype>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>

#include "tools/cormorant/output.h"

namespace cli {
namespace {

constexpr char kDeviceGroup[] = "Device and memory";
constexpr char kCacheGroup[] = "Cache";
constexpr char kRolloutGroup[] = "Rollout";
constexpr char kSamplingGroup[] = "Sampling";
constexpr char kGrammarGroup[] = "Grammar";
constexpr char kOutputGroup[] = "Output";

/// A row type, or two as "q8_0:q4_0".
std::string CheckKvType(const std::string& text) {
  const auto known = [](const std::string& type) {
    return type == "f16" || type == "q8_0" || type == "q4_0";
  };
  if (text == "auto") return "";
  const size_t colon = text.find(':');
  const bool right = colon == std::string::npos
                         ? known(text)
                         : known(text.substr(0, colon)) && known(text.substr(colon + 1));
  if (right) return "";
  return "'" + text + "' is not a row type; use auto, f16, q8_0 or q4_0, or K:V as q8_0:q4_0";
}

void AddBytesOption(CLI::App& command, const std::string& name, uint64_t& bytes,
                    const std::string& help, const char* group = kDeviceGroup) {
  command
      .add_option_function<std::string>(
          name, [name, &bytes](const std::string& text) { bytes = ParseBytes(name, text); }, help)
      ->type_name("BYTES")
      ->group(group);
}

}  // namespace

uint64_t ParseBytes(const std::string& option, const std::string& text) {
  const auto refuse = [&]() -> uint64_t {
    throw CLI::ValidationError(option, "'" + text +
                                           "' is not a size; write bytes or a number with K, M or "
                                           "G (binary), as 24M or 1.5G");
  };
  if (text.empty() || !std::isdigit(static_cast<unsigned char>(text[0]))) return refuse();
  errno = 0;
  char* end = nullptr;
  const double number = std::strtod(text.c_str(), &end);
  std::string suffix(end);
  for (char& c : suffix) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  double unit = 1;
  if (!suffix.empty() && suffix != "B") {
    const size_t power = std::string("KMGT").find(suffix[0]);
    if (power == std::string::npos) return refuse();
    unit = std::exp2(10.0 * static_cast<double>(power + 1));
    const std::string rest = suffix.substr(1);
    if (!rest.empty() && rest != "B" && rest != "IB") return refuse();
  }
  const double bytes = number * unit;
  if (errno != 0 || !std::isfinite(bytes) || bytes >= 0x1p63) return refuse();
  return static_cast<uint64_t>(bytes);
}

std::vector<uint32_t> ParseIds(const std::string& text) {
  std::vector<uint32_t> ids;
  const char* at = text.c_str();
  const char* const end = at + text.size();
  while (at < end) {
    const bool separator = std::strchr(" \t\r\n,[]", *at) != nullptr && *at != '\0';
    if (separator) {
      ++at;
      continue;
    }
    char* after = nullptr;
    errno = 0;
    const unsigned long long id = std::strtoull(at, &after, 10);
    const bool digit = std::isdigit(static_cast<unsigned char>(*at)) != 0;
    if (!digit || errno != 0 || id > std::numeric_limits<uint32_t>::max()) {
      throw Failure(kFailed, "'" + std::string(at, std::min<size_t>(end - at, 20)) +
                                 "' is not a token id; ids are numbers, as 1,2,3 or [1, 2, 3]");
    }
    ids.push_back(static_cast<uint32_t>(id));
    at = after;
  }
  return ids;
}

std::string ReadFile(const std::string& path) {
  FILE* file = path == "-" ? stdin : std::fopen(path.c_str(), "rb");
  if (file == nullptr) {
    throw Failure(kFailed, "cannot open '" + path + "': " + std::strerror(errno));
  }
  std::string bytes;
  char block[65536];
  size_t got = 0;
  while ((got = std::fread(block, 1, sizeof(block), file)) > 0) bytes.append(block, got);
  const bool failed = std::ferror(file) != 0;
  const int reason = errno;
  if (file != stdin) std::fclose(file);
  if (failed) throw Failure(kFailed, "cannot read '" + path + "': " + std::strerror(reason));
  return bytes;
}

void AddOutputOptions(CLI::App& command, OutputOptions& options) {
  command.add_flag("--json", options.json, "Result as JSON on stdout; everything else on stderr")
      ->group(kOutputGroup);
  command.add_flag("--quiet", options.quiet, "No progress, no status, errors only")
      ->group(kOutputGroup);
  command
      .add_flag("--verbose", options.verbose, "Say more on stderr: what is loaded, live figures")
      ->group(kOutputGroup)
      ->excludes("--quiet");
}

void AddChoice(CLI::App& command, CLI::Option* one, CLI::Option* other) {
  one->excludes(other);
  command.parse_complete_callback([one, other] {
    if (one->count() + other->count() > 0) return;
    throw CLI::RequiredError("one of " + one->get_name() + " and " + other->get_name());
  });
}

void AddModelOption(CLI::App& command, std::string& model, bool required) {
  command.add_option("-m,--model", model, "The model, a GGUF file")
      ->type_name("FILE")
      ->required(required);
}

void AddEngineOptions(CLI::App& command, EngineOptions& options, bool model_required) {
  AddModelOption(command, options.model, model_required);
  const auto add = [&command](const std::string& name, auto& value, const std::string& help) {
    return command.add_option(name, value, help)->group(kDeviceGroup);
  };
  add("--backend", options.backend,
      "Where it runs: auto, cpu, vulkan, cuda, hip (`cormorant devices` lists them)")
      ->capture_default_str();
  add("--device", options.device, "Which device of the backend")->capture_default_str();
  add("--devices", options.devices,
      "So many devices at most, --device first, share a model that one cannot hold; 0: all")
      ->capture_default_str();
  add("--threads", options.threads, "CPU threads; 0: one for each physical core");
  AddBytesOption(command, "--mem-cap", options.mem_cap_bytes,
                 "Cap on all device memory of the engine; K M G are binary; 0: none (default)");
  AddBytesOption(command, "--kv-cap", options.kv_cap_bytes,
                 "Cap on the KV store alone, pages and their metadata; 0: none (default)");
  add("--kv-type", options.kv_type,
      "Row type of the cache: f16, q8_0, q4_0 or K:V as q8_0:q4_0; auto: what loses least under "
      "the cap")
      ->check(CLI::Validator(CheckKvType, ""))
      ->capture_default_str();
  add("--tuning", options.tuning,
      "What `cormorant tune` found for the model: its file, auto for MODEL.tuning.json where that "
      "is there, or off")
      ->type_name("FILE|auto|off")
      ->capture_default_str();
  add("--ctx", options.context, "Positions to use; 0: as many as the model was trained on");
  add("--prefill-chunk", options.prefill_chunk, "Prompt tokens read in one step; 0: chosen");
}

namespace {

/// An option in steps that a policy has a default of its own for.
void AddSteps(CLI::App& command, const char* name, int32_t& value, const char* help) {
  command
      .add_option_function<int32_t>(
          name, [&value](const int32_t& steps) { value = steps; }, help)
      ->check(CLI::Range(0, 4095))
      ->group(kCacheGroup);
}

/// By what rows are ranked.
void AddRankingOptions(CLI::App& command, CacheOptions& options) {
  const auto add = [&command](const std::string& name, auto& value, const std::string& help) {
    return command.add_option(name, value, help)->group(kCacheGroup);
  };
  add("--corm-window", options.corm_window,
      "Queries for which a key must be minor to leave on its own account; 0: 256 without a cap, "
      "only under pressure with one");
  command
      .add_option_function<uint32_t>(
          "--corm-recent", [&options](const uint32_t& rows) { options.recent = rows; },
          "Newest rows that are never dropped; default: the policy's own (256)")
      ->group(kCacheGroup);
  add("--corm-basis", options.basis,
      "What a key's share is measured against: step (tokens so far) or resident (rows in the "
      "cache); default: the policy's own")
      ->type_name("step|resident")
      ->check(CLI::IsMember({"step", "resident"}).description(""));
  add("--corm-scale", options.scale,
      "A key is important at a share of C/t or more; 0: the policy's own (2 to 4 "
      "under a cap, else 1)")
      ->type_name("C")
      ->capture_default_str();
  AddSteps(command, "--corm-reach", options.reach,
           "Steps for which each doubling of a share past C/t is remembered longer; default: the "
           "policy's own (8 to 64 under a cap, else 0)");
  AddSteps(
      command, "--corm-fade", options.fade,
      "Steps that each position of distance from an important key costs its neighbours, which "
      "are important with it; 0: they are not; default: the policy's own (8 to 64 under a cap)");
  add("--head-budget", options.head_budget,
      "Heads that share the room there is: all of the session's, a layer's, or each head its own; "
      "default: the policy's own")
      ->type_name("session|layer|head")
      ->check(CLI::IsMember({"session", "layer", "head"}).description(""));
}

/// What stays whatever happens, and what is known and left of the rest.
void AddRetentionOptions(CLI::App& command, CacheOptions& options) {
  const auto add = [&command](const std::string& name, auto& value, const std::string& help) {
    return command.add_option(name, value, help)->group(kCacheGroup);
  };
  add("--audit", options.audit,
      "Keeps so many records of what was dropped, when and why, without text: with --json, and "
      "/audit in a chat; 0: none")
      ->capture_default_str();
  command
      .add_flag("--zero-pages", options.zero_pages,
                "Overwrites the memory of rows on the device as soon as they leave the cache")
      ->group(kCacheGroup);
  add("--sinks", options.sinks, "First tokens that are never dropped")->capture_default_str();
  command
      .add_option_function<std::string>(
          "--pin-prompt",
          [&options](const std::string& choice) {
            options.pin_prompt = choice;
            options.pin_prompt_given = true;
          },
          "Never drop the system prompt; retain: nor purge it; host: do not purge it, but its rows "
          "may wait on the host; with --raw, and if given, the same of the prompt")
      ->expected(0, 1)
      ->default_str("on")
      ->type_name("on|off|retain|host")
      ->check(CLI::IsMember({"on", "off", "retain", "host"}).description(""))
      ->group(kCacheGroup);
}

}  // namespace

void AddRolloutOptions(CLI::App& command, CacheOptions& options) {
  const auto add = [&command](const std::string& name, auto& value, const std::string& help) {
    return command.add_option(name, value, help)->group(kRolloutGroup);
  };
  add("--mode", options.mode,
      "on: rows are dropped; off: none are, whatever else is asked for; observe: none are, and "
      "what "
      "dropping them would have cost is reported, for twice the compute; canary: on for a share of "
      "keys, off for the others")
      ->type_name("off|observe|canary|on")
      ->check(CLI::IsMember({"off", "observe", "canary", "on"}).description(""))
      ->capture_default_str();
  add("--canary", options.canary, "The share of keys that a canary is on for")
      ->type_name("P")
      ->check(CLI::Range(0.0, 1.0).description(""))
      ->capture_default_str();
  add("--key", options.key, "Whose conversation it is: the same text, the same side of a canary")
      ->type_name("TEXT");
}

void AddCacheOptions(CLI::App& command, CacheOptions& options) {
  const auto add = [&command](const std::string& name, auto& value, const std::string& help) {
    return command.add_option(name, value, help)->group(kCacheGroup);
  };
  add("--evict", options.evict,
      "Which rows leave the cache: none, corm, window, ... (`cormorant policies` lists them). "
      "Default: corm when a cap is given, else none");
  AddBytesOption(
      command, "--kv-budget", options.budget_bytes,
      "What this session may hold of the KV store, inside the caps; counts like a cap of "
      "its own; 0: none (default)",
      kCacheGroup);
  AddRankingOptions(command, options);
  add("--evict-interval", options.interval, "Tokens between evictions; 0: chosen");
  CLI::Option* const recall =
      command
          .add_flag("--recall", options.recall,
                    "Before each answer brings back what its question needs of what was dropped: "
                    "from copies on the host (--host-copies), else by reading the whole "
                    "conversation again, which is slow")
          ->group(kCacheGroup);
  command
      .add_flag("--recall-compared", options.recall_compared,
                "The same, and says when an answer needed it, by a draft without")
      ->excludes(recall)
      ->group(kCacheGroup);
  add("--reread-most", options.reread_most,
      "Tokens that a recall may read again at most, for want of copies; any number unless given");
  AddBytesOption(command, "--host-copies", options.host_copies,
                 "Host memory for copies of dropped rows; 0: none are made (default)", kCacheGroup);
  add("--host-copy-seconds", options.host_copy_seconds,
      "Copies are overwritten after so long; 0: never")
      ->capture_default_str();
  add("--positions", options.positions,
      "Past the model's context rows become neighbours: all of them (rebased), or all but the "
      "newest, which keep their distances (windowed); original: positions go on, which most models "
      "do not stand. Default: windowed")
      ->type_name("rebased|windowed|original")
      ->check(CLI::IsMember({"rebased", "windowed", "original"}).description(""));
  AddRetentionOptions(command, options);
}

namespace {

/// What an answer may be; one of them at most.
void AddGrammarOptions(CLI::App& command, SamplingOptions& options) {
  CLI::Option_group* const group = command.add_option_group(kGrammarGroup);
  group->require_option(0, 1);
  group->add_option("--grammar", options.grammar, "The answer matches this grammar, in GBNF")
      ->type_name("GBNF");
  group->add_option("--grammar-file", options.grammar_file, "The same, from a file; - is stdin")
      ->type_name("FILE");
  group
      ->add_option("-j,--json-schema", options.json_schema,
                   "The answer is JSON that is valid by this schema; {} is any JSON")
      ->type_name("JSON");
  group
      ->add_option("--json-schema-file", options.json_schema_file,
                   "The same, from a file; - is stdin")
      ->type_name("FILE");
}

}  // namespace

void AddSamplingOptions(CLI::App& command, SamplingOptions& options) {
  const auto add = [&command](const std::string& name, auto& value, const std::string& help) {
    return command.add_option(name, value, help)->capture_default_str()->group(kSamplingGroup);
  };
  add("-n,--max-tokens", options.max_tokens,
      "Longest answer in tokens; 0: until the model ends its turn");
  add("--temp", options.temperature, "Temperature; 0: always the likeliest token")
      ->check(CLI::Range(0.0, 1e6).description(""));
  add("--top-k", options.top_k, "Only the K likeliest tokens; 0: off");
  add("--top-p", options.top_p, "Only the likeliest tokens that together have P; 1: off")
      ->check(CLI::Range(0.0, 1.0).description(""));
  add("--min-p", options.min_p, "Only tokens with P times the likeliest one's share; 0: off")
      ->check(CLI::Range(0.0, 1.0).description(""));
  add("--repeat-penalty", options.repetition_penalty,
      "Divides positive logits of tokens seen lately; 1: off");
  add("--repeat-window", options.repetition_window, "Tokens that 'lately' means");
  add("--seed", options.seed, "Same seed, same text on the same device");
  AddGrammarOptions(command, options);
}

corm_engine_options EngineOptionsFor(const EngineOptions& options) {
  corm_engine_options api;
  corm_engine_options_init(&api);
  api.model_path = options.model.c_str();
  api.backend = options.backend.c_str();
  api.device = options.device;
  api.devices = options.devices;
  api.threads = options.threads;
  api.memory_cap_bytes = options.mem_cap_bytes;
  api.kv_cap_bytes = options.kv_cap_bytes;
  api.kv_type = options.kv_type.c_str();
  if (options.tuning != "off") api.tuning_path = options.tuning.c_str();
  api.context = options.context;
  api.prefill_chunk = options.prefill_chunk;
  api.all_logits = options.all_logits ? 1 : 0;
  api.max_sessions = options.max_sessions;
  api.query_statistics = options.query_statistics ? 1 : 0;
  return api;
}

corm_generate_options GenerateOptionsFor(const SamplingOptions& options) {
  corm_generate_options api;
  corm_generate_options_init(&api);
  api.max_tokens = options.max_tokens;
  api.temperature = options.temperature;
  api.top_k = options.top_k;
  api.top_p = options.top_p;
  api.min_p = options.min_p;
  api.repetition_penalty = options.repetition_penalty;
  api.repetition_window = options.repetition_window;
  api.seed = options.seed;
  return api;
}

GrammarPtr OpenGrammar(const SamplingOptions& options) {
  const auto text_of = [](const std::optional<std::string>& text,
                          const std::optional<std::string>& file) {
    return file ? std::optional(ReadFile(*file)) : text;
  };
  corm_grammar* grammar = nullptr;
  corm_status status = CORM_OK;
  if (const auto text = text_of(options.grammar, options.grammar_file)) {
    status = corm_grammar_create_gbnf(text->c_str(), &grammar);
  } else if (const auto schema = text_of(options.json_schema, options.json_schema_file)) {
    status = corm_grammar_create_json_schema(schema->c_str(), &grammar);
  }
  if (status != CORM_OK) throw Failure(kBadUsage, corm_last_error());
  return GrammarPtr(grammar);
}

EngineOptions EngineFor(const CacheOptions& cache, EngineOptions engine) {
  if (cache.evict.empty()) return engine;
  char* text = nullptr;
  Check(corm_policies(&text));
  const TextPtr owner(text);
  std::string names;
  for (const Json& policy : Json::parse(text)) {
    const std::string name = policy.at("name");
    if (name == cache.evict) {
      engine.query_statistics = policy.at("query_statistics");
      return engine;
    }
    names += (names.empty() ? "" : ", ") + name;
  }
  throw Failure(kBadUsage, "--evict: there is no policy '" + cache.evict + "'; there is " + names);
}

void PrepareMode(const CacheOptions& cache, EngineOptions& engine) {
  if (cache.mode == "canary" && cache.key.empty()) {
    throw Failure(kBadUsage, "--mode canary needs --key: whose conversation it is");
  }
  engine.max_sessions = cache.mode == "observe" ? 2 : 1;
}

EnginePtr OpenEngine(const EngineOptions& options, const OutputOptions& output) {
  Progress progress(output, "loading the model");
  corm_engine_options api = EngineOptionsFor(options);
  api.on_load = &Progress::OnProgress;
  api.on_load_user = &progress;
  corm_engine* engine = nullptr;
  const corm_status status = corm_engine_create(&api, &engine);
  progress.Clear();
  if (status == CORM_RESOURCE_EXHAUSTED) throw Failure(kCapTooSmall, corm_last_error());
  Check(status);
  return EnginePtr(engine);
}

uint32_t PromptFlags(const CacheOptions& options) {
  if (options.pin_prompt == "retain") return CORM_MESSAGE_RETAIN;
  return options.pin_prompt == "host" ? CORM_MESSAGE_RETAIN_ON_HOST : 0;
}

SessionPtr OpenSession(corm_engine* engine, const CacheOptions& options) {
  corm_session_options api;
  corm_session_options_init(&api);
  if (!options.evict.empty()) api.policy = options.evict.c_str();
  api.corm_window = options.corm_window;
  api.recent = options.recent;
  api.sinks = options.sinks;
  api.interval = options.interval;
  if (!options.basis.empty()) {
    api.basis = options.basis == "step" ? CORM_BASIS_STEP : CORM_BASIS_RESIDENT;
  }
  api.importance_scale = options.scale;
  api.reach = options.reach;
  api.fade = options.fade;
  if (!options.head_budget.empty()) api.head_budget = options.head_budget.c_str();
  api.head_weights = options.head_weights.data();
  api.head_weight_count = options.head_weights.size();
  api.pin_system_prompt = options.pin_prompt == "on" ? 1 : 0;
  api.recall = options.recall_compared ? CORM_RECALL_COMPARED
               : options.recall        ? CORM_RECALL_ALWAYS
                                       : CORM_RECALL_NEVER;
  api.reread_most = options.reread_most;
  api.host_copy_bytes = options.host_copies;
  api.host_copy_seconds = options.host_copy_seconds;
  api.zero_pages = options.zero_pages ? 1 : 0;
  api.audit = options.audit;
  api.kv_budget_bytes = options.budget_bytes;
  api.mode = options.mode.c_str();
  api.canary = options.canary;
  api.key = options.key.c_str();
  if (!options.positions.empty()) api.positions = options.positions.c_str();
  corm_session* session = nullptr;
  Check(corm_session_create(engine, &api, &session));
  return SessionPtr(session);
}

TokenizerPtr TokenizerOf(const corm_engine* engine) {
  corm_tokenizer* tokenizer = nullptr;
  Check(corm_engine_get_tokenizer(engine, &tokenizer));
  return TokenizerPtr(tokenizer);
}

TokenizerPtr OpenTokenizer(const std::string& model) {
  corm_tokenizer* tokenizer = nullptr;
  Check(corm_tokenizer_open(model.c_str(), &tokenizer));
  return TokenizerPtr(tokenizer);
}

std::vector<uint32_t> Encode(const corm_tokenizer* tokenizer, const std::string& text,
                             uint32_t flags) {
  // One token a byte and a few special ones is the common upper bound; asking twice is the rest.
  std::vector<uint32_t> ids(text.size() + 8);
  size_t count = 0;
  corm_status status = corm_tokenizer_encode(tokenizer, text.data(), text.size(), flags, ids.data(),
                                             ids.size(), &count);
  if (status == CORM_OUT_OF_RANGE) {
    ids.resize(count);
    status = corm_tokenizer_encode(tokenizer, text.data(), text.size(), flags, ids.data(),
                                   ids.size(), &count);
  }
  Check(status);
  ids.resize(count);
  return ids;
}

}  // namespace cli
