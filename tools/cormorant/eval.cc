// `cormorant eval`: what a cap and a policy cost in quality.
//
// Two engines read the same tokens in lockstep, teacher-forced: one keeps every row as f16, the
// other works as the options say. From token M on, their next-token distributions are compared,
// each position where the real text continues also by the likelihood of the real next token. Only
// one chunk of the full engine's logits is held at a time.
#include <algorithm>
#include <cstdio>

#include "runtime/engine/divergence.h"
#include "tools/cormorant/commands.h"
#include "tools/cormorant/interrupt.h"
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

/// The chunk both engines work on, and where its comparison goes.
struct Lockstep {
  const std::vector<uint32_t>* ids;  // May be longer than what is read: the next token is in there.
  size_t begin = 0;                  // First token of the chunk.
  size_t score_from = 0;
  std::vector<float> full;  // Logits of the full engine, [chunk, vocab].
  cormorant::Divergence divergence;
};

int KeepFull(void* user, size_t index, const float* logits, size_t vocab) {
  Lockstep& step = *static_cast<Lockstep*>(user);
  if (step.begin + index >= step.score_from) {
    std::copy(logits, logits + vocab, step.full.begin() + static_cast<ptrdiff_t>(index * vocab));
  }
  return Interrupted() ? 1 : 0;
}

int Compare(void* user, size_t index, const float* logits, size_t vocab) {
  Lockstep& step = *static_cast<Lockstep*>(user);
  const size_t token = step.begin + index;
  if (token >= step.score_from) {
    std::optional<uint32_t> next;
    if (token + 1 < step.ids->size()) next = (*step.ids)[token + 1];
    step.divergence.Add(&step.full[index * vocab], logits, vocab, next);
  }
  return Interrupted() ? 1 : 0;
}

/// The full engine's options: the same model and device, nothing dropped, nothing rounded.
EngineOptions FullOptions(const EngineOptions& chosen) {
  EngineOptions full = chosen;
  full.mem_cap_bytes = 0;
  full.kv_cap_bytes = 0;
  full.kv_type = "f16";
  return full;
}

Json Result(const Lockstep& step, size_t tokens, const corm_engine* engine,
            const corm_session* full, const corm_session* chosen) {
  const cormorant::Divergence& d = step.divergence;
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
              {"chunk", EngineInfo(engine).prefill_chunk}};
}

int Eval(EvalOptions options, const OutputOptions& output) {
  CheckPolicyName(options.cache);
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

  const std::vector<uint32_t> ids = ReadScoredText(chosen.get(), options.text);
  const size_t tokens = ScoredTokens(ids, options.text);
  Lockstep step;
  step.ids = &ids;
  step.score_from = options.score_from == UINT32_MAX ? tokens / 2 : options.score_from;
  if (step.score_from >= tokens) {
    throw Failure(kBadUsage, "--score-from " + std::to_string(step.score_from) +
                                 ": there are only " + std::to_string(tokens) + " tokens");
  }
  for (const uint32_t id : ids) {
    if (id < info.vocab) continue;
    throw Failure(kFailed, "token id " + std::to_string(id) + " is not in the vocabulary of " +
                               std::to_string(info.vocab));
  }
  const size_t chunk = std::max<uint32_t>(info.prefill_chunk, 1);
  step.full.resize(std::min(chunk, tokens) * info.vocab);
  Progress progress(output, "evaluating");
  const InterruptScope scope;
  for (; step.begin < tokens; step.begin += chunk) {
    progress.Show(step.begin, tokens);
    const size_t count = std::min(chunk, tokens - step.begin);
    const uint32_t* at = &ids[step.begin];
    Check(corm_session_score(full_session.get(), at, count, &KeepFull, &step));
    Check(corm_session_score(chosen_session.get(), at, count, &Compare, &step));
  }
  progress.Clear();
  const Json result = Result(step, tokens, chosen.get(), full_session.get(), chosen_session.get());
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
