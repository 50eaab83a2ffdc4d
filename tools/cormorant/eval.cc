// `cormorant eval`: what a cap and a policy cost in quality.
//
// Two engines read the same tokens in lockstep, teacher-forced: one keeps every row as f16, the
// other works as the options say. From token M on they are compared (lockstep.h). Only one chunk of
// the full engine's logits is held at a time.
#include <algorithm>

#include "tools/cormorant/commands.h"
#include "tools/cormorant/interrupt.h"
#include "tools/cormorant/lockstep.h"
#include "tools/cormorant/output.h"
#include "tools/cormorant/scored_text.h"

namespace cli {
namespace {

struct EvalOptions {
  EngineOptions engine;
  CacheOptions cache;
  ScoredTextOptions text;
  uint32_t score_from = UINT32_MAX;  // Default: half of the tokens.
  uint32_t chunk = 0;
};

/// The full engine's options: the same model and device, nothing dropped, nothing rounded.
EngineOptions FullOptions(const EngineOptions& chosen) {
  EngineOptions full = chosen;
  full.mem_cap_bytes = 0;
  full.kv_cap_bytes = 0;
  full.kv_type = "f16";
  full.query_statistics = false;  // No row leaves.
  return full;
}

Json Result(const cormorant::Divergence& d, size_t tokens, const corm_engine* engine,
            const corm_session* full, const corm_session* chosen) {
  const corm_kv_stats kv = KvStats(chosen);
  const corm_kv_stats kv_full = KvStats(full);
  const corm_memory_stats memory = MemoryStats(engine);
  const double rows_full = static_cast<double>(kv_full.rows_full);
  return Json{{"tokens", tokens},
              {"scored", d.count()},
              {"ppl_full", d.PerplexityFull()},
              {"ppl", d.PerplexityOther()},
              {"ppl_ratio", d.PerplexityOther() / d.PerplexityFull()},
              {"kl_mean", d.KlMean()},
              {"kl_p99", d.KlP99()},
              {"top1_agreement", d.Top1Agreement()},
              {"rows_kept_fraction", rows_full > 0 ? kv.rows_kept / rows_full : 0},
              {"kv_bytes_full", kv_full.bytes_full_f16},
              {"kv_bytes", kv.bytes},
              {"kv_bytes_peak", memory.kv_peak},
              {"evicted_total", kv.evicted_total},
              {"evicted_forced", kv.evicted_forced},
              {"kv_type", EngineInfo(engine).kv_type},
              {"chunk", EngineInfo(engine).prefill_chunk}};
}

int Eval(EvalOptions options, const OutputOptions& output) {
  options.engine = EngineFor(options.cache, options.engine);
  options.engine.all_logits = true;
  if (options.chunk > 0) options.engine.prefill_chunk = options.chunk;
  const EnginePtr chosen = OpenEngine(options.engine, output);
  const corm_engine_info info = EngineInfo(chosen.get());
  // Both engines read the same chunks, so that the only difference is what the cache holds.
  options.engine.prefill_chunk = info.prefill_chunk;
  const EngineOptions full_options = FullOptions(options.engine);
  const EnginePtr full = OpenEngine(full_options, output);
  const SessionPtr chosen_session = OpenSession(chosen.get(), options.cache);
  CacheOptions keep_all;
  keep_all.evict = "none";
  const SessionPtr full_session = OpenSession(full.get(), keep_all);

  Lockstep step;
  step.ids = ReadScoredText(chosen.get(), options.text);
  const size_t tokens = ScoredTokens(step.ids, options.text);
  step.score_from = options.score_from == UINT32_MAX ? tokens / 2 : options.score_from;
  if (step.score_from >= tokens) {
    throw Failure(kBadUsage, "--score-from " + std::to_string(step.score_from) +
                                 ": there are only " + std::to_string(tokens) + " tokens");
  }
  for (const uint32_t id : step.ids) {
    if (id < info.vocab) continue;
    throw Failure(kFailed, "token id " + std::to_string(id) + " is not in the vocabulary of " +
                               std::to_string(info.vocab));
  }
  const size_t chunk = std::max<uint32_t>(info.prefill_chunk, 1);
  cormorant::Divergence divergence;
  Progress progress(output, "evaluating");
  const InterruptScope scope;
  for (; step.begin < tokens; step.begin += chunk) {
    progress.Show(step.begin, tokens);
    const size_t count = std::min(chunk, tokens - step.begin);
    ReadFull(full_session.get(), count, step);
    ReadOther(chosen_session.get(), count, step, divergence);
  }
  progress.Clear();
  const Json result =
      Result(divergence, tokens, chosen.get(), full_session.get(), chosen_session.get());
  if (output.json) {
    PrintJson(result);
  } else {
    PrintTree(result);
  }
  return kDone;
}

}  // namespace

void AddEval(CLI::App& app, Chosen& chosen) {
  CLI::App* command =
      app.add_subcommand("eval", "Measures what a cap and a policy cost in quality");
  const auto options = std::make_shared<EvalOptions>();
  AddScoredTextOptions(*command, options->text);
  command->add_option_function<uint32_t>(
      "--score-from", [options](const uint32_t& token) { options->score_from = token; },
      "Compare from this token on; default: half of the tokens");
  command->add_option("--chunk", options->chunk,
                      "Tokens both engines read in one step; 0: chosen for the cap");
  AddEngineOptions(*command, options->engine);
  AddCacheOptions(*command, options->cache);
  AddOutputOptions(*command, chosen.output);
  command->footer(
      "\nThe full cache (f16 rows, nothing dropped) and the chosen one read the same text in "
      "lockstep.\nkl_mean, kl_p99: KL(full || chosen) in nats; ppl: perplexity of the real text; "
      "kv_bytes_full: the full cache's f16 rows.");
  command->callback([options, &chosen] {
    chosen.run = [options, &chosen] { return Eval(*options, chosen.output); };
  });
}

}  // namespace cli
