// `cormorant bench`: speeds as llama-bench defines them.
//
// ppN is the rate at which N prompt tokens are read, tgN the rate at which N tokens are generated
// one by one; each after d tokens that are in the cache already. Tokens are fixed pseudo-random
// ids, so the text is the same everywhere and no answer ends early. Every repetition starts from an
// empty session that is filled with d tokens again, so a test never drifts away from its depth;
// filling is not timed. One untimed warm-up at depth 0 precedes each test.
#include <algorithm>
#include <chrono>
#include <cstdio>

#include "tools/cormorant/commands.h"
#include "tools/cormorant/interrupt.h"
#include "tools/cormorant/output.h"

namespace cli {
namespace {

struct BenchOptions {
  EngineOptions engine;
  CacheOptions cache;
  std::vector<uint32_t> prompt = {512};
  std::vector<uint32_t> generate = {64};
  std::vector<uint32_t> depth = {0, 2048, 8000};
  uint32_t repetitions = 3;
};

constexpr uint32_t kWarmUpGenerated = 16;

/// One line of the result.
struct Test {
  bool is_prompt;
  uint32_t count;
  uint32_t depth;
};

std::string Name(const Test& test) {
  return (test.is_prompt ? "pp" : "tg") + std::to_string(test.count);
}

/// `count` ids below `vocab`, the same in every run (splitmix64).
std::vector<uint32_t> FixedTokens(uint32_t vocab, size_t count, uint64_t seed) {
  std::vector<uint32_t> ids(count);
  uint64_t state = seed;
  for (uint32_t& id : ids) {
    state += 0x9E3779B97F4A7C15u;
    uint64_t z = state;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    id = static_cast<uint32_t>((z ^ (z >> 31)) % vocab);
  }
  return ids;
}

void Append(corm_session* session, const std::vector<uint32_t>& ids) {
  const auto stop = [](void*, uint64_t, uint64_t) { return Interrupted() ? 1 : 0; };
  Check(corm_session_append(session, ids.data(), ids.size(), 0, stop, nullptr));
}

void Generate(corm_session* session, uint32_t count) {
  corm_generate_options options;
  corm_generate_options_init(&options);
  options.max_tokens = count;
  options.temperature = 0;
  options.ignore_end = 1;
  const auto stop = [](void*, const corm_token_event*) { return Interrupted() ? 1 : 0; };
  Check(corm_session_generate(session, &options, stop, nullptr, nullptr));
  if (Interrupted()) throw Failure(kInterrupted, "interrupted");
}

/// Seconds that the timed part of one repetition takes.
double RunOnce(corm_session* session, const Test& test, uint32_t vocab) {
  Check(corm_session_reset(session));
  if (test.depth > 0) Append(session, FixedTokens(vocab, test.depth, 1));
  const std::vector<uint32_t> prompt = FixedTokens(vocab, test.is_prompt ? test.count : 1, 2);
  // Generation goes on from a token, and the first one generated costs a step like all others: so
  // one token is read and one generated before the clock starts.
  if (!test.is_prompt) {
    if (test.depth == 0) Append(session, prompt);
    Generate(session, 1);
  }
  const auto start = std::chrono::steady_clock::now();
  if (test.is_prompt) {
    Append(session, prompt);
  } else {
    Generate(session, test.count);
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  return seconds.count();
}

Json RunTest(corm_engine* engine, corm_session* session, const Test& test, uint32_t repetitions) {
  const uint32_t vocab = EngineInfo(engine).vocab;
  const uint32_t warm_up = test.is_prompt ? test.count : std::min(test.count, kWarmUpGenerated);
  RunOnce(session, {test.is_prompt, warm_up, 0}, vocab);
  std::vector<double> rates;
  for (uint32_t r = 0; r < repetitions; ++r) {
    rates.push_back(Rate(test.count, RunOnce(session, test, vocab)));
  }
  std::sort(rates.begin(), rates.end());
  const size_t half = rates.size() / 2;
  const double median = rates.size() % 2 == 1 ? rates[half] : (rates[half - 1] + rates[half]) / 2;
  const corm_memory_stats memory = MemoryStats(engine);
  const corm_kv_stats kv = KvStats(session);
  return Json{
      {"test", Name(test)},         {"depth", test.depth},       {"tok_s_median", median},
      {"tok_s_min", rates.front()}, {"tok_s_max", rates.back()}, {"kv_bytes", kv.bytes},
      {"mem_bytes", memory.used},   {"rows_kept", kv.rows_kept}, {"repetitions", repetitions}};
}

std::vector<std::string> Row(const Json& result) {
  return {result["test"],
          FormatCount(result["depth"]),
          FormatRate(result["tok_s_median"]),
          FormatRate(result["tok_s_min"]),
          FormatRate(result["tok_s_max"]),
          FormatBytes(result["kv_bytes"]),
          FormatBytes(result["mem_bytes"])};
}

int Bench(const BenchOptions& options, const OutputOptions& output) {
  const EngineOptions engine_options = EngineFor(options.cache, options.engine);
  std::vector<Test> tests;
  for (const uint32_t depth : options.depth) {
    for (const uint32_t count : options.prompt) {
      if (count > 0) tests.push_back({true, count, depth});
    }
    for (const uint32_t count : options.generate) {
      if (count > 0) tests.push_back({false, count, depth});
    }
  }
  const EnginePtr engine = OpenEngine(engine_options, output);
  const SessionPtr session = OpenSession(engine.get(), options.cache);
  Json results = Json::array();
  std::vector<std::vector<std::string>> table = {
      {"test", "depth", "tok/s median", "min", "max", "KV", "memory"}};
  Progress progress(output, "measuring");
  const InterruptScope scope;
  for (size_t t = 0; t < tests.size(); ++t) {
    progress.Show(t, tests.size());
    try {
      results.push_back(RunTest(engine.get(), session.get(), tests[t], options.repetitions));
      table.push_back(Row(results.back()));
    } catch (const Failure& failure) {
      if (failure.code() == kInterrupted) throw;
      progress.Clear();
      std::fprintf(stderr, "cormorant: left out %s at depth %u: %s\n", Name(tests[t]).c_str(),
                   tests[t].depth, failure.what());
    }
  }
  progress.Clear();
  if (results.empty()) throw Failure(kFailed, "no test could run");
  if (output.json) {
    PrintJson(results);
    return kDone;
  }
  const corm_engine_info info = EngineInfo(engine.get());
  std::fprintf(stderr, "%s on %s (%s)\n", info.model_name, info.device, info.backend);
  PrintTable(table);
  return kDone;
}

}  // namespace

void AddBench(CLI::App& app, Chosen& chosen) {
  CLI::App* command = app.add_subcommand("bench", "Measures speed, as llama-bench defines it");
  const auto options = std::make_shared<BenchOptions>();
  command->add_option("-p,--prompt-tokens", options->prompt, "Prompt lengths; 0: no such test")
      ->delimiter(',')
      ->capture_default_str();
  command
      ->add_option("-n,--generate-tokens", options->generate, "Tokens to generate; 0: no such test")
      ->delimiter(',')
      ->capture_default_str();
  command->add_option("-d,--depth", options->depth, "Tokens in the cache before each test")
      ->delimiter(',')
      ->capture_default_str();
  command->add_option("-r,--repetitions", options->repetitions, "Timed runs of each test")
      ->check(CLI::Range(1u, 1000u).description(""))
      ->capture_default_str();
  AddEngineOptions(*command, options->engine);
  AddCacheOptions(*command, options->cache);
  AddOutputOptions(*command, chosen.output);
  command->footer(
      "\nppN: N prompt tokens read; tgN: N tokens generated greedily, one by one, not stopped by "
      "an "
      "end of turn.\nEvery repetition refills an empty session to the depth (not timed), after one "
      "warm-up at depth 0. A test\nthat does not fit (policy none, full context) is left out.");
  command->callback([options, &chosen] {
    chosen.run = [options, &chosen] { return Bench(*options, chosen.output); };
  });
}

}  // namespace cli
