// `cormorant tune`: measures what a model loses under small budgets, searches for head weights and
// policy options that lose less, and writes what it found beside the model.
//
// The loss is the mean KL that `eval` computes, at each of the budgets, relative to the policy as
// it is. The text is cut into stretches; some train the search, others are held out and judge it:
// only what loses less there, with a paired bootstrap over blocks of 64 tokens, is written. The
// loss of each type of rows goes into the file in any case. The fields of the file are what
// WriteFile() writes; runtime/engine/tuning.h is who reads it.
#include <chrono>
#include <cmath>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <numeric>

#include "tools/cormorant/commands.h"
#include "tools/cormorant/interrupt.h"
#include "tools/cormorant/lockstep.h"
#include "tools/cormorant/output.h"
#include "tools/cormorant/tune_search.h"

namespace cli {
namespace {

constexpr uint32_t kHeldOut = 3;  // Stretches at most that judge.
constexpr size_t kBlock = 64;     // Tokens that are resampled together.
constexpr int kResamples = 2000;
// For the table of row types, in percent of the bytes of all rows as f16.
constexpr double kRowBudgets[] = {50, 25, 12.5, 6};
constexpr const char* kRowTypes[] = {"f16", "q8_0", "q8_0:q4_0", "q4_0"};

struct TuneOptions {
  EngineOptions engine;
  std::string text, held_out, out;
  uint32_t tokens = 2048;
  uint32_t stretches = 2;
  std::vector<double> budgets = {25, 12.5};
  double minutes = 60;
  uint32_t evaluations = 1000;
  uint64_t seed = 1;
};

/// Stretches of `tokens` tokens and one more, evenly spread over the text: at most `most` of
/// [from, to), which are shares of it.
std::vector<Lockstep> Spread(const std::vector<uint32_t>& ids, const std::vector<uint32_t>& prefix,
                             uint32_t tokens, uint32_t most, double from, double to) {
  std::vector<Lockstep> stretches;
  const size_t own = tokens - prefix.size();
  const auto first = static_cast<size_t>(from * static_cast<double>(ids.size()));
  const auto last = static_cast<size_t>(to * static_cast<double>(ids.size()));
  const size_t count = std::min<size_t>(most, (last - first) / (own + 1));
  for (size_t i = 0; i < count; ++i) {
    const size_t at = first + (last - first) * i / count;
    Lockstep step;
    step.ids = prefix;
    step.ids.insert(step.ids.end(), ids.begin() + static_cast<ptrdiff_t>(at),
                    ids.begin() + static_cast<ptrdiff_t>(at + own + 1));
    step.score_from = tokens / 2;
    stretches.push_back(std::move(step));
  }
  return stretches;
}

double Mean(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

/// KL at the positions of all held-out stretches, one after the other.
struct Judged {
  double budget = 0;
  std::vector<double> untuned, tuned;
};

/// The middle 95 % of the sum over `series` of resampled mean differences, each over its untuned
/// mean: below 0 where tuning loses less.
std::pair<double, double> Interval(const std::vector<Judged>& series, uint64_t seed) {
  const size_t blocks = (series.front().tuned.size() + kBlock - 1) / kBlock;
  std::vector<double> sums(blocks, 0.0);
  for (const Judged& judged : series) {
    const double scale = Mean(judged.untuned) * static_cast<double>(judged.tuned.size());
    for (size_t i = 0; i < judged.tuned.size(); ++i) {
      sums[i / kBlock] += (judged.tuned[i] - judged.untuned[i]) / scale;
    }
  }
  std::mt19937_64 random(seed);
  std::vector<double> means(kResamples, 0.0);
  for (double& mean : means) {
    for (size_t i = 0; i < blocks; ++i) mean += sums[random() % blocks];
    mean /= static_cast<double>(series.size());
  }
  std::sort(means.begin(), means.end());
  return {means[kResamples / 40], means[kResamples - 1 - kResamples / 40]};
}

class Tuner {
 public:
  Tuner(const TuneOptions& options, const OutputOptions& output)
      : options_(options),
        output_(output),
        full_(Open("f16")),
        chosen_(Open(options.engine.kv_type)) {
    const TokenizerPtr tokenizer = TokenizerOf(full_.get());
    prefix_ = Encode(tokenizer.get(), "", CORM_ENCODE_BOS);
    if (prefix_.size() > 1) prefix_.erase(prefix_.begin() + 1, prefix_.end());
    const bool has_other = !options.held_out.empty();
    const std::vector<uint32_t> ids = Encode(tokenizer.get(), ReadFile(options.text), 0);
    const double until = has_other ? 1.0 : 0.6;  // Of the text, for training.
    train_ = Spread(ids, prefix_, options.tokens, options.stretches, 0.0, until);
    held_out_ = has_other ? Spread(Encode(tokenizer.get(), ReadFile(options.held_out), 0), prefix_,
                                   options.tokens, kHeldOut, 0.0, 1.0)
                          : Spread(ids, prefix_, options.tokens, kHeldOut, until, 1.0);
    if (train_.empty() || held_out_.empty()) {
      throw Failure(kFailed, "a text is too short for a stretch of " +
                                 std::to_string(options.tokens) + " tokens (" +
                                 std::to_string(ids.size()) + " tokens in '" + options.text +
                                 "'): lower --tokens or use more text");
    }
    for (Lockstep& step : train_) ReadAll(step);
  }

  Json Run() {
    for (const Lockstep& step : train_) {
      for (const double budget : options_.budgets) {
        untuned_.push_back(Mean(Kl(chosen_.get(), step, budget, {})));
        if (untuned_.back() > 0) continue;
        throw Failure(kFailed, "nothing is lost at a budget of " + std::to_string(budget) +
                                   " %: there is nothing to tune; lower --budgets");
      }
    }
    const corm_engine_info info = EngineInfo(chosen_.get());
    const auto start = std::chrono::steady_clock::now();
    Progress progress(output_, "evaluations");
    const auto goes_on = [&](uint32_t evaluations) {
      evaluations_ = evaluations;
      progress.Show(evaluations, options_.evaluations);
      const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - start;
      return evaluations < options_.evaluations && passed.count() < 60 * options_.minutes;
    };
    const auto on_better = [&](uint32_t evaluations, const std::vector<double>& losses) {
      if (output_.quiet) return;
      progress.Clear();
      std::fprintf(stderr, "evaluation %u: %.4f of the untuned loss\n", evaluations, Mean(losses));
    };
    Search search(
        {info.layers, info.kv_heads, options_.seed},
        [&](const Candidate& candidate) { return Losses(candidate); }, goes_on, on_better);
    const Candidate best = search.Run();
    progress.Clear();
    return File(best);
  }

 private:
  EnginePtr Open(const std::string& kv_type) const {
    EngineOptions engine = options_.engine;
    engine.kv_type = kv_type;
    engine.all_logits = true;
    return OpenEngine(engine, output_);
  }
  void ReadAll(Lockstep& step) const {
    CacheOptions all;
    all.evict = "none";
    const SessionPtr session = OpenSession(full_.get(), all);
    ReadFull(session.get(), options_.tokens, step);
  }
  /// KL of each position at `budget` percent; 100: nothing is dropped.
  std::vector<double> Kl(corm_engine* engine, const Lockstep& step, double budget,
                         const Candidate& candidate) const {
    CacheOptions cache;
    cache.evict = budget < 100 ? "corm" : "none";
    if (budget < 100) {
      const double all = static_cast<double>(EngineInfo(engine).kv_bytes_per_token) *
                         static_cast<double>(options_.tokens);
      cache.budget_bytes = static_cast<uint64_t>(all * budget / 100);
    }
    cache.scale = candidate.scale;
    cache.reach = candidate.reach;
    cache.fade = candidate.fade;
    for (const float log : candidate.log_weights) cache.head_weights.push_back(std::exp2(log));
    const SessionPtr session = OpenSession(engine, cache);
    cormorant::Divergence divergence;
    ReadOther(session.get(), options_.tokens, step, divergence);
    return divergence.kl();
  }
  /// One for each stretch: the mean over budgets of the loss, relative to the untuned.
  std::vector<double> Losses(const Candidate& candidate) const {
    std::vector<double> losses;
    size_t at = 0;
    for (const Lockstep& step : train_) {
      double sum = 0;
      for (const double budget : options_.budgets) {
        sum += Mean(Kl(chosen_.get(), step, budget, candidate)) / untuned_[at++];
      }
      losses.push_back(sum / static_cast<double>(options_.budgets.size()));
    }
    return losses;
  }

  std::vector<Judged> Judge(const Candidate& best) {
    std::vector<Judged> series;
    for (const double budget : options_.budgets) series.push_back({budget, {}, {}});
    for (Lockstep& step : held_out_) {
      ReadAll(step);
      for (Judged& judged : series) {
        for (const auto& [candidate, to] :
             {std::pair(Candidate{}, &judged.untuned), std::pair(best, &judged.tuned)}) {
          const std::vector<double> kl = Kl(chosen_.get(), step, judged.budget, candidate);
          to->insert(to->end(), kl.begin(), kl.end());
        }
      }
      step.full = {};  // The next one's take its place.
    }
    return series;
  }

  /// The policy's loss with each type of rows, on the stretches of training.
  Json RowLosses() const {
    Json losses = Json::array();
    for (const char* const type : kRowTypes) {
      const EnginePtr engine = Open(type);
      std::vector<double> budgets(std::begin(kRowBudgets), std::end(kRowBudgets));
      budgets.insert(budgets.begin(), 100);
      for (const double budget : budgets) {
        std::vector<double> kl;
        try {
          for (const Lockstep& step : train_)
            kl.push_back(Mean(Kl(engine.get(), step, budget, {})));
        } catch (const Failure& failure) {
          if (failure.code() == kInterrupted) throw;
          continue;  // A budget that no session of such rows works in.
        }
        losses.push_back({{"kv_type", type}, {"fraction", budget / 100}, {"kl", Mean(kl)}});
      }
    }
    return losses;
  }

  Json File(const Candidate& best) {
    const std::vector<Judged> series = Judge(best);
    const auto [low, high] = Interval(series, options_.seed);
    const bool beats = high < 0;
    Json budgets = Json::array();
    for (const Judged& judged : series) {
      const auto [low_of, high_of] = Interval({judged}, options_.seed);
      budgets.push_back({{"budget", judged.budget},
                         {"kl_untuned", Mean(judged.untuned)},
                         {"kl_tuned", Mean(judged.tuned)},
                         {"change_interval", {low_of, high_of}}});
    }
    Json file = Header();
    file["beats_untuned"] = beats;
    file["held_out"] = {{"text", options_.held_out.empty() ? options_.text : options_.held_out},
                        {"tokens", held_out_.size() * options_.tokens},
                        {"change_interval", {low, high}},
                        {"budgets", budgets}};
    file["policy"] = "corm";
    if (beats) AddFound(best, file);
    file["row_losses"] = RowLosses();
    return file;
  }
  /// What the file is of, and what it was measured on.
  Json Header() const {
    const corm_engine_options api = EngineOptionsFor(options_.engine);
    char* text = nullptr;
    Check(corm_inspect(&api, &text));
    const TextPtr owner(text);
    const Json model = Json::parse(text);
    char date[16];
    const std::time_t now = std::time(nullptr);
    std::strftime(date, sizeof(date), "%Y-%m-%d", std::gmtime(&now));
    return {{"format", 1},
            {"fingerprint", model.at("fingerprint")},
            {"model", model.at("name")},
            {"version", corm_version()},
            {"date", date},
            {"measured",
             {{"text", options_.text},
              {"tokens", options_.tokens},
              {"stretches", train_.size()},
              {"budgets", options_.budgets},
              {"kv_type", options_.engine.kv_type},
              {"evaluations", evaluations_},
              {"seed", options_.seed},
              {"backend", EngineInfo(chosen_.get()).backend}}}};
  }
  void AddFound(const Candidate& best, Json& file) const {
    Json chosen = Json::object();
    if (best.scale > 0) chosen["scale"] = best.scale;
    if (best.reach >= 0) chosen["reach"] = best.reach;
    if (best.fade >= 0) chosen["fade"] = best.fade;
    file["options"] = chosen;
    const size_t kv_heads = EngineInfo(chosen_.get()).kv_heads;
    Json layers = Json::array();
    for (size_t h = 0; h < best.log_weights.size(); ++h) {
      if (h % kv_heads == 0) layers.push_back(Json::array());
      layers.back().push_back(std::exp2(best.log_weights[h]));
    }
    file["head_weights"] = layers;
  }

  const TuneOptions& options_;
  const OutputOptions& output_;
  const EnginePtr full_, chosen_;
  std::vector<uint32_t> prefix_;  // The BOS token, where the model has one.
  std::vector<Lockstep> train_, held_out_;
  std::vector<double> untuned_;  // KL of the policy as it is, [stretches][budgets].
  uint32_t evaluations_ = 0;
};

int Tune(const TuneOptions& options, const OutputOptions& output) {
  for (const double budget : options.budgets) {
    if (budget > 0 && budget < 100) continue;
    throw Failure(kBadUsage,
                  "--budgets: " + std::to_string(budget) + " is not above 0 and below 100");
  }
  const std::string path =
      options.out.empty() ? options.engine.model + ".tuning.json" : options.out;
  const InterruptScope scope;
  const Json file = Tuner(options, output).Run();
  std::ofstream to(path, std::ios::trunc);
  to << file.dump(1) << "\n";
  to.close();
  if (!to) throw Failure(kFailed, "cannot write '" + path + "'");
  if (output.json) {
    PrintJson(file);
    return kDone;
  }
  PrintTree(Json{{"held_out", file.at("held_out")}, {"row_losses", file.at("row_losses")}});
  std::printf("tuned %s; written to %s\n",
              file.at("beats_untuned") ? "beats untuned on held-out text: weights and options"
                                       : "does not beat untuned on held-out text: row losses alone",
              path.c_str());
  return kDone;
}

}  // namespace

void AddTune(CLI::App& app, Chosen& chosen) {
  CLI::App* command = app.add_subcommand(
      "tune", "Searches head weights and policy options that lose less, and measures row types");
  const auto options = std::make_shared<TuneOptions>();
  options->engine.kv_type = "q8_0";
  AddModelOption(*command, options->engine.model);
  const auto add = [command](const char* name, auto& value, const char* help) {
    return command->add_option(name, value, help)->capture_default_str();
  };
  command->add_option("-f,--file", options->text, "The text")->type_name("FILE")->required();
  command
      ->add_option("--held-out", options->held_out,
                   "Text that judges what was found; default: the last two fifths of the text")
      ->type_name("FILE");
  command->add_option("--out", options->out, "Where it is written; default: MODEL.tuning.json")
      ->type_name("FILE");
  add("--tokens", options->tokens, "Tokens of a stretch of text; the second half is compared")
      ->check(CLI::Range(128, 1 << 20));
  add("--stretches", options->stretches, "Stretches that train; a step must help on each")
      ->check(CLI::Range(1, 64));
  add("--budgets", options->budgets, "KV bytes, in percent of what a stretch takes as f16")
      ->delimiter(',');
  add("--kv-type", options->engine.kv_type, "Row type that is tuned for")
      ->check(CLI::IsMember({"f16", "q8_0", "q8_0:q4_0", "q4_0"}).description(""));
  add("--minutes", options->minutes, "No new evaluation after so long");
  add("--evaluations", options->evaluations,
      "Evaluations at most; the result is then the same "
      "whenever the seed is");
  add("--seed", options->seed, "Seed of the search and of intervals");
  add("--backend", options->engine.backend, "Where it runs");
  add("--device", options->engine.device, "Which device of the backend");
  add("--threads", options->engine.threads, "CPU threads; 0: one for each physical core");
  AddOutputOptions(*command, chosen.output);
  command->callback([options, &chosen] {
    chosen.run = [options, &chosen] { return Tune(*options, chosen.output); };
  });
}

}  // namespace cli
