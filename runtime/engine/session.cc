// Reading and generating. See session.h.
#include "runtime/engine/session.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "platform/clock.h"
#include "runtime/base/status.h"
#include "runtime/engine/shadow.h"
#include "runtime/text/detokenizer.h"

namespace cormorant {
namespace {

constexpr uint32_t kNaturalInterval = 64;
constexpr uint32_t kForcedInterval = 32;
constexpr uint32_t kFloor = 64;
// Rows that are read or brought back between two looks of a question at the cache (Recall): few
// enough for all of them to be still there.
constexpr uint32_t kRecallLeast = 32, kRecallMost = 256;
// Tokens at the end of a question that look: of a long message, what is asked stands last.
constexpr size_t kLooking = 128;

absl::StatusOr<SessionCache::Settings> MakeSettings(const Engine& engine,
                                                    const SessionOptions& options,
                                                    const SessionPlan& session) {
  const EnginePlan& plan = engine.plan();
  const bool capped = session.capped;
  const std::string name = !options.policy.empty() ? options.policy : capped ? "corm" : "none";
  CORM_ASSIGN_OR_RETURN(const PolicyDef* policy, FindPolicy(name));
  const float scale = options.importance_scale.value_or(1.0f);
  if (!(scale > 0.0f && scale <= 1e6f)) {
    return absl::InvalidArgumentError(
        absl::StrCat("importance scale is ", scale, "; expected above 0, at most 1e6"));
  }
  PolicyOptions asked;
  asked.window = options.window;
  asked.recent = options.recent;
  asked.basis = options.basis;
  asked.budget = options.budget;
  // A tuning is for one policy with too little room.
  const Tuning* tuning = engine.tuning();
  if (tuning != nullptr && (!capped || tuning->policy != name)) tuning = nullptr;
  asked.reach = options.reach;
  asked.fade = options.fade;
  asked.sinks = options.sinks;
  asked.importance_scale = options.importance_scale;
  if (tuning != nullptr) {
    if (!asked.reach.has_value()) asked.reach = tuning->reach;
    if (!asked.fade.has_value()) asked.fade = tuning->fade;
    if (!asked.importance_scale.has_value()) asked.importance_scale = tuning->importance_scale;
  }
  asked.capped = capped;
  const uint32_t rows_per_head = session.rows_per_head;
  // Half of the context is what re-basing leaves a head, cap or not.
  asked.rows_per_head = std::min(capped ? rows_per_head : kNever, plan.context / 2);
  SessionCache::Settings settings;
  settings.rules = policy->rules(asked);
  if (settings.rules.observes_queries && plan.geometry.query_heads == 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("policy '", name,
                     "' needs statistics of queries, which this engine does not keep; create "
                     "it with corm_engine_options.query_statistics"));
  }
  if (options.follows_room && capped) {
    settings.rows_per_head = asked.rows_per_head;
    settings.rules_for = [policy, asked](uint32_t rows) mutable {
      asked.rows_per_head = rows;
      return policy->rules(asked);
    };
  }
  settings.context = plan.context;
  const uint32_t interval = capped ? kForcedInterval : kNaturalInterval;
  settings.interval =
      std::min(options.interval != 0 ? options.interval : interval, plan.context / 4);
  settings.floor = std::min(kFloor, rows_per_head / 8);
  settings.zeroes = options.zero_pages;
  settings.host = options.host_copies;
  settings.budget_bytes = options.kv_budget_bytes;
  settings.positions = options.positions;
  if (tuning != nullptr) settings.weights = tuning->head_weights;
  if (options.head_weights.empty()) return settings;
  CORM_RETURN_IF_ERROR(CheckHeadWeights(options.head_weights, plan.geometry.heads()));
  const RankBy rank_by = settings.rules.rank_by;
  const bool counts_steps = rank_by == RankBy::kLastImportant || rank_by == RankBy::kPosition;
  if (settings.rules.evicts && !counts_steps) {
    return absl::InvalidArgumentError(absl::StrCat(
        "policy '", name, "' does not rank rows by age in steps, which head weights are of"));
  }
  settings.weights = options.head_weights;
  return settings;
}

uint32_t PieceOf(const SessionCache& cache) {
  return std::clamp(cache.recent(), kRecallLeast, kRecallMost);
}

/// Passes on the logits of a request's last step; its tokens are those from `at` on. False cancels.
bool HandOut(const Request& request, size_t at, Session::OnLogits on_logits) {
  const size_t rows = request.logits_rows, first = at + request.done - rows;
  const std::span<const float> logits = request.logits;
  for (size_t i = 0; i < rows; ++i) {
    const size_t vocab = logits.size() / rows;
    if (!on_logits(first + i, logits.subspan(i * vocab, vocab))) return false;
  }
  return true;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Session>> Session::Create(std::shared_ptr<Engine> engine,
                                                         const SessionOptions& options) {
  SessionOptions own = options;
  if (own.mode == Mode::kCanary) {
    CORM_ASSIGN_OR_RETURN(own.mode, CanaryMode(own.key, own.canary));
  }
  // In every mode, so that wrong options do not wait for the first canary.
  CORM_ASSIGN_OR_RETURN(SessionPlan plan,
                        PlanSession(engine->options(), engine->plan(), own.kv_budget_bytes));
  CORM_ASSIGN_OR_RETURN(SessionCache::Settings settings, MakeSettings(*engine, own, plan));
  if (own.mode != Mode::kOn) {
    own.policy = "none";
    own.kv_budget_bytes = 0;
    CORM_ASSIGN_OR_RETURN(plan, PlanSession(engine->options(), engine->plan(), 0));
    CORM_ASSIGN_OR_RETURN(settings, MakeSettings(*engine, own, plan));
  }
  std::unique_ptr<Session> session(new Session(engine, own, plan));
  if (own.audit > 0) session->audit_ = std::make_unique<Audit>(own.audit);
  settings.audit = session->audit_.get();
  CORM_ASSIGN_OR_RETURN(session->cache_, engine->CreateCache(settings));
  if (own.mode == Mode::kObserve) {
    CORM_ASSIGN_OR_RETURN(session->shadow_, Shadow::Create(std::move(engine), options));
  }
  return session;
}

Session::Session(std::shared_ptr<Engine> engine, const SessionOptions& options,
                 const SessionPlan& plan)
    : engine_(std::move(engine)), options_(options), plan_(plan) {}

Session::~Session() {
  if (cache_ != nullptr) engine_->DestroyCache(std::move(cache_));
}

absl::Status Session::CheckIds(std::span<const uint32_t> ids) const {
  constexpr size_t kIdsMax = 1u << 30;  // Steps and positions are counted in 32 bits.
  if (ids.size() > kIdsMax || tokens_.size() > kIdsMax - ids.size()) {
    return absl::InvalidArgumentError(absl::StrCat(ids.size(), " more tokens after ",
                                                   tokens_.size(), "; a session reads ", kIdsMax,
                                                   " at most: reset it"));
  }
  const uint32_t vocab = engine_->model().config().vocab;
  const auto bad = std::find_if(ids.begin(), ids.end(), [&](uint32_t id) { return id >= vocab; });
  if (bad == ids.end()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("token id ", *bad, " at place ", bad - ids.begin(),
                                                 "; the vocabulary has ", vocab, " tokens"));
}

absl::Status Session::CheckRoom(uint64_t tokens) const {
  absl::Status status;
  do {
    // Those that are pending, and all that the cache is behind the log when a call ended early.
    engine_->Exclusively(
        [&] { status = cache_->CanRead(tokens_.size() - cache_->clock() + tokens); });
  } while (absl::IsResourceExhausted(status) && shadow_ != nullptr && shadow_->GiveWay());
  return status;
}

bool Session::drops_by_itself() const {
  return cache_->evicts() && (options_.kv_budget_bytes != 0 || cache_->drops_by_age());
}

SessionCache::Stats Session::stats() const {
  SessionCache::Stats stats;
  engine_->Exclusively([&] { stats = cache_->stats(); });
  return stats;
}

std::vector<uint32_t> Session::row_counts() const {
  std::vector<uint32_t> counts;
  engine_->Exclusively([&] { counts = cache_->counts(); });
  counts.resize(engine_->plan().geometry.heads());  // All zero while there is no device.
  return counts;
}

uint32_t Session::next_position() const {
  uint32_t position = 0;
  engine_->Exclusively([&] { position = cache_->next_position(); });
  return position;
}

absl::StatusOr<std::vector<uint32_t>> Session::ResidentPositions(uint32_t head) const {
  absl::StatusOr<std::vector<uint32_t>> positions;
  engine_->Exclusively([&] { positions = cache_->Positions(head); });
  return positions;
}

absl::Status Session::Run(Request& request, absl::FunctionRef<bool()> after_step) {
  request.cache = cache_.get();
  request.before = tokens_.size() - pending_.size();
  request.chunk = plan_.prefill_chunk;
  if (shadow_ == nullptr) return RunAlone(request, after_step);
  request.want = engine_->options().all_logits ? WantLogits::kAll : WantLogits::kLast;
  for (;;) {
    const absl::Status status = RunAlone(request, [&] {
      shadow_->Follow(request);
      return after_step();
    });
    shadow_->Follow(request);  // Also what a step read that failed after it.
    if (!absl::IsResourceExhausted(status) || !shadow_->GiveWay()) return status;
  }
}

absl::Status Session::RunAlone(Request& request, absl::FunctionRef<bool()> after_step) {
  for (;;) {
    const absl::Status status = engine_->Run(request, after_step);
    if (!absl::IsAborted(status)) return status;
    CORM_RETURN_IF_ERROR(Refill(request.ids.first(request.done), request.use));
  }
}

absl::Status Session::Refill(std::span<const uint32_t> done, RowUse use) {
  const size_t before = tokens_.size() - pending_.size();
  std::vector<uint32_t> log(tokens_.begin(), tokens_.begin() + static_cast<ptrdiff_t>(before));
  log.insert(log.end(), done.begin(), done.end());
  TokenRanges pins = pins_, on_host = on_host_;
  if (use == RowUse::kPin || use == RowUse::kRetain) pins.Add(before, log.size());
  if (use == RowUse::kRetainOnHost) on_host.Add(before, log.size());
  return ReadLog({.log = log, .pins = pins, .on_host = on_host},
                 [](uint64_t, uint64_t) { return true; });
}

absl::Status Session::Probe(std::span<const uint32_t> question,
                            absl::FunctionRef<bool()> after_step) {
  Request request;
  request.cache = cache_.get();
  engine_->Exclusively([&] { request.before = cache_->clock(); });
  request.ids = question;
  request.chunk = plan_.prefill_chunk;
  request.use = RowUse::kProbe;
  request.want = WantLogits::kNone;
  return engine_->Run(request, after_step);
}

absl::Status Session::ReadLog(const Reading& reading, Progress progress) {
  for (;;) {
    size_t from = 0;
    engine_->Exclusively([&] { from = cache_->clock(); });
    if (from >= reading.log.size()) return absl::OkStatus();
    size_t to = std::min(reading.log.size(), from + std::min(reading.piece, reading.log.size()));
    Request request;
    const auto up_to_change = [&](const TokenRanges& ranges, RowUse use) {
      for (const auto& [first, last] : ranges.list()) {
        if (first <= from && from < last) request.use = use;
        if (from < first) to = std::min(to, first);
        if (from < last) to = std::min(to, last);
      }
    };
    up_to_change(reading.pins, RowUse::kPin);
    up_to_change(reading.on_host, RowUse::kRetainOnHost);
    request.cache = cache_.get();
    request.before = from;
    request.ids = reading.log.subspan(from, to - from);
    request.chunk = plan_.prefill_chunk;
    request.want = WantLogits::kNone;
    const auto goes_on = [&] {
      return progress(from + request.done, reading.log.size()) && !cancelled_.load();
    };
    absl::Status status = engine_->Run(request, goes_on);
    if (status.ok() && !reading.question.empty()) status = Probe(reading.question, goes_on);
    if (!status.ok() && !absl::IsAborted(status)) return status;
  }
}

absl::StatusOr<Session::Recalled> Session::Recall(std::span<const uint32_t> ids,
                                                  Progress progress) {
  CORM_RETURN_IF_ERROR(CheckIds(ids));
  if (ids.empty()) return absl::InvalidArgumentError("there are no tokens to recall by");
  CORM_RETURN_IF_ERROR(ReadPending(WantLogits::kLast));
  if (shadow_ != nullptr) return shadow_->Recall(ids, progress);
  if (stats().evicted_total == 0) return Recalled();
  if (!cache_->judges()) {
    return absl::FailedPreconditionError(
        "attention has no say in what this session's policy drops, so a question cannot keep what "
        "it needs; use corm");
  }
  const std::span<const uint32_t> question = ids.last(std::min<size_t>(ids.size(), kLooking));
  const bool may_read = tokens_.size() <= options_.reread_most;
  bool is_all = false;
  absl::StatusOr<bool> looks = false;
  engine_->Exclusively([&] {
    const auto rows = static_cast<uint32_t>(question.size());
    is_all = cache_->CanLookBack(rows);
    looks = is_all;
    if (!is_all && !may_read) looks = cache_->CanLookBackAtSome(rows);
    if (absl::IsResourceExhausted(looks.status())) looks = false;
    if (looks.value_or(false)) cache_->BeginLook();
  });
  absl::StatusOr<Recalled> recalled = Recalled();
  if (!looks.ok()) {
    recalled = looks.status();
  } else if (*looks) {
    recalled = LookBack(question, progress);
    engine_->Exclusively([&] { cache_->EndLook(); });
  }
  const absl::Status& status = recalled.status();
  // A device that was lost took the cache along, or rows that were on their way.
  const bool is_lost = absl::IsAborted(status) || absl::IsUnavailable(status);
  if (!status.ok() && !is_lost) return status;
  if (recalled.ok() && recalled->from_copies) {
    engine_->Tell(EngineEvent::kRecalled,
                  absl::StrCat(recalled->found.rows,
                               " rows that a question attends to came back from copies"));
  }
  if (is_all && !is_lost) return recalled;
  if (may_read) return ReadAgain(question, progress);
  if (is_lost) {
    ForgetCache(DropCause::kLost);
    recalled = Recalled();
  }
  engine_->Tell(EngineEvent::kDegraded,
                absl::StrCat("not all that was dropped can come back for this question: not all of "
                             "it has copies on the host, and ",
                             tokens_.size(), " tokens are more than ", options_.reread_most,
                             " that may be read again"));
  recalled->degraded = true;
  return recalled;
}

void Session::Returned(double divergence) {
  engine_->Tell(EngineEvent::kReturned,
                absl::StrCat("the conversation has returned to what was dropped: what may be said "
                             "next differs by ",
                             divergence, " nats"));
  Easing easing = Easing::kNone;
  engine_->Exclusively([&] { easing = cache_->Ease(); });
  if (easing == Easing::kFrozen) {
    engine_->Tell(EngineEvent::kFrozen, absl::StrCat("for ", SessionCache::kFreezeTokens,
                                                     " tokens rows leave for room only"));
  } else if (easing == Easing::kRelaxed) {
    engine_->Tell(EngineEvent::kRelaxed, "rows stay twice as long from now on");
  }
}

absl::StatusOr<Session::Recalled> Session::LookBack(std::span<const uint32_t> question,
                                                    Progress progress) {
  Recalled recalled;
  recalled.from_copies = true;
  const uint32_t probe = std::min(
      {static_cast<uint32_t>(question.size()), plan_.prefill_chunk, engine_->plan().prefill_chunk});
  const uint32_t piece = PieceOf(*cache_);
  uint32_t most = 0;
  absl::StatusOr<std::optional<uint32_t>> left = std::nullopt;
  const auto goes_on = [&] {
    return progress(most - left->value_or(most), most) && !cancelled_.load();
  };
  // What is resident is judged first: it makes room for the copies.
  CORM_RETURN_IF_ERROR(Probe(question, goes_on));
  for (;;) {
    engine_->Exclusively([&] { left = cache_->BringBack(piece, probe); });
    CORM_RETURN_IF_ERROR(left.status());
    if (!left->has_value()) break;
    most = std::max(most, **left + piece);
    CORM_RETURN_IF_ERROR(Probe(question, goes_on));
    absl::StatusOr<SessionCache::Found> found;
    engine_->Exclusively([&] { found = cache_->FoundByProbe(); });
    CORM_RETURN_IF_ERROR(found.status());
    recalled.found.rows += found->rows;
    recalled.found.share_sum += found->share_sum;
    recalled.found.share_most = std::max(recalled.found.share_most, found->share_most);
  }
  absl::Status around;
  engine_->Exclusively([&] { around = cache_->BringBackAround(probe); });
  CORM_RETURN_IF_ERROR(around);
  return recalled;
}

absl::StatusOr<Session::Recalled> Session::ReadAgain(std::span<const uint32_t> question,
                                                     Progress progress) {
  ForgetCache(DropCause::kRecall);
  const std::span<const uint32_t> log = std::span(tokens_).first(tokens_.size() - 1);
  const size_t piece = PieceOf(*cache_);
  CORM_RETURN_IF_ERROR(ReadLog(
      {.log = log, .pins = pins_, .on_host = on_host_, .question = question, .piece = piece},
      progress));
  CORM_RETURN_IF_ERROR(ReadPending(WantLogits::kLast));
  engine_->Tell(EngineEvent::kReadAgain,
                absl::StrCat(tokens_.size(),
                             " tokens were read again for a question, since rows "
                             "were dropped of which there are no copies"));
  Recalled recalled;
  recalled.tokens_read = tokens_.size();
  return recalled;
}

absl::Status Session::ReadPending(WantLogits want) {
  if (pending_.empty()) return absl::OkStatus();
  Request request;
  request.ids = pending_;
  request.use = UseOf(tokens_.size() - pending_.size(), tokens_.size());
  request.want = want;
  request.logits = std::move(logits_);
  const absl::Status status = Run(request, [&] { return !cancelled_.load(); });
  KeepLogits(request);
  pending_.erase(pending_.begin(), pending_.begin() + static_cast<ptrdiff_t>(request.done));
  // Cancelled after its last step: the tokens are read, and the next call sees the flag no more.
  return pending_.empty() && absl::IsCancelled(status) ? absl::OkStatus() : status;
}

absl::Status Session::Append(std::span<const uint32_t> ids, RowUse use, Progress progress) {
  CORM_RETURN_IF_ERROR(CheckIds(ids));
  if (ids.empty()) return absl::OkStatus();
  if (use == RowUse::kRetain || use == RowUse::kRetainOnHost) {
    CORM_RETURN_IF_ERROR(CanStay(tokens_.size(), tokens_.size() + ids.size(), use));
  }
  CORM_RETURN_IF_ERROR(CheckRoom(ids.size()));
  CORM_RETURN_IF_ERROR(ReadPending(WantLogits::kNone));
  Request request;
  request.ids = ids;
  request.use = use;
  return Extend(request, [&] { return progress(request.done, ids.size()) && !cancelled_.load(); });
}

absl::Status Session::Extend(Request& request, absl::FunctionRef<bool()> after_step) {
  const absl::Status status = Run(request, after_step);
  const std::span<const uint32_t> done = request.ids.first(request.done);
  Set(tokens_.size(), tokens_.size() + done.size(), request.use);
  tokens_.insert(tokens_.end(), done.begin(), done.end());
  KeepLogits(request);
  return status;
}

absl::Status Session::Read(std::span<const uint32_t> ids, RowUse use, WantLogits want,
                           OnLogits on_logits) {
  CORM_RETURN_IF_ERROR(ReadPending(WantLogits::kNone));
  Request request;
  request.ids = ids;
  request.use = use;
  request.want = want;
  return Extend(request, [&] { return HandOut(request, 0, on_logits) && !cancelled_.load(); });
}

absl::Status Session::Score(std::span<const uint32_t> ids, OnLogits on_logits) {
  CORM_RETURN_IF_ERROR(CheckIds(ids));
  CORM_RETURN_IF_ERROR(CheckRoom(ids.size()));
  CORM_RETURN_IF_ERROR(ReadPending(WantLogits::kNone));
  const bool all = engine_->options().all_logits;
  const size_t piece = all ? ids.size() : 1;
  for (size_t at = 0; at < ids.size(); at += piece) {
    Request request;
    request.ids = ids.subspan(at, std::min(piece, ids.size() - at));
    request.want = all ? WantLogits::kAll : WantLogits::kLast;
    CORM_RETURN_IF_ERROR(
        Extend(request, [&] { return HandOut(request, at, on_logits) && !cancelled_.load(); }));
  }
  return absl::OkStatus();
}

std::unique_ptr<TokenFilter> Session::MakeFilter(const GenerateOptions& options) const {
  if (options.grammar == nullptr) return nullptr;
  const std::optional<uint32_t> last = LastToken();
  return std::make_unique<TokenFilter>(engine_->GrammarFor(options.grammar),
                                       !last || engine_->tokenizer()->is_cut_out(*last));
}

absl::StatusOr<std::optional<uint32_t>> Session::Choose(Sampler* sampler, TokenFilter* filter) {
  std::optional<uint32_t> id;
  if (filter != nullptr) {
    id = sampler->Sample(logits_, tokens_, filter);
    if (id) filter->Accept(*id);
    CORM_RETURN_IF_ERROR(filter->status());
  } else {
    id = logits_.empty() ? sampler->Sample(top_, tokens_) : sampler->Sample(logits_, tokens_);
  }
  ForgetLogits();
  if (id) {
    pending_.push_back(*id);
    tokens_.push_back(*id);
  } else if (!filter->can_end()) {
    return absl::FailedPreconditionError(
        "no token of the vocabulary goes on as the grammar asks for; it has characters that this "
        "model cannot write");
  }
  return id;
}

absl::StatusOr<Draft> Session::Begin(const GenerateOptions& options, uint32_t tokens) {
  CORM_RETURN_IF_ERROR(options.sampler.Validate());
  Sampler sampler(options.sampler);
  const std::unique_ptr<TokenFilter> filter = MakeFilter(options);
  Draft draft;
  while (draft.ids.size() < tokens) {
    CORM_RETURN_IF_ERROR(ReadPending(WantLogits::kLast));
    if (logits_.empty()) return absl::FailedPreconditionError("there is nothing to go on from");
    draft.logits.push_back(logits_);
    CORM_ASSIGN_OR_RETURN(const std::optional<uint32_t> id, Choose(&sampler, filter.get()));
    if (!id) {
      draft.logits.pop_back();
      break;
    }
    draft.ids.push_back(*id);
    if (engine_->tokenizer()->is_end_of_generation(*id)) break;
  }
  return draft;
}

absl::Status Session::Generate(const GenerateOptions& options, OnToken on_token,
                               GenerateResult* result) {
  *result = GenerateResult{};
  CORM_RETURN_IF_ERROR(options.sampler.Validate());
  const double start = Now();
  const auto stop = [&](StopReason reason, absl::Status status) {
    result->stop_reason = reason;
    result->decode_seconds = Now() - start;
    return status;
  };
  const auto failed = [&](const absl::Status& status) {
    return stop(absl::IsCancelled(status) ? StopReason::kCancelled : StopReason::kCap, status);
  };
  Sampler sampler(options.sampler);
  const std::unique_ptr<TokenFilter> filter = MakeFilter(options);
  const bool may_end = !options.ignore_end || filter != nullptr;
  const Tokenizer& tokenizer = *engine_->tokenizer();
  Detokenizer detokenizer(tokenizer, LastToken());
  std::string text;
  for (bool is_last = false; !is_last;) {
    const bool is_top_enough =
        shadow_ == nullptr && filter == nullptr && sampler.TopSuffices(tokens_);
    const absl::Status read = ReadPending(is_top_enough ? WantLogits::kTop : WantLogits::kLast);
    if (!read.ok()) return failed(read);
    if (logits_.empty() && !(is_top_enough && !top_.empty())) {
      return stop(StopReason::kCancelled,
                  absl::FailedPreconditionError(
                      "there is nothing to go on from; append tokens or a message first"));
    }
    const absl::StatusOr<std::optional<uint32_t>> chosen = Choose(&sampler, filter.get());
    if (!chosen.ok()) return failed(chosen.status());
    if (!chosen->has_value()) return stop(StopReason::kEnd, absl::OkStatus());
    const uint32_t id = **chosen;
    text.clear();
    if (may_end && tokenizer.is_end_of_generation(id)) {
      detokenizer.Flush(&text);
      if (!text.empty()) on_token(id, text);
      return stop(StopReason::kEnd, absl::OkStatus());
    }
    ++result->generated_tokens;
    is_last = result->generated_tokens == options.max_tokens;
    detokenizer.Push(id, &text);
    if (is_last) detokenizer.Flush(&text);
    if (!on_token(id, text) || cancelled_.load()) {
      return stop(StopReason::kCancelled, absl::CancelledError("generation was cancelled"));
    }
  }
  return stop(StopReason::kLength, absl::OkStatus());
}

void Session::Reset() {
  ForgetTokens(DropCause::kReset);
  if (shadow_ != nullptr) shadow_->Reset();
}

void Session::Restart() {
  ForgetTokens(DropCause::kReset);
  if (shadow_ != nullptr) shadow_->Restart();
}

void Session::ForgetTokens(DropCause cause) {
  ForgetCache(cause);
  engine_->Exclusively([&] { cache_->EndEasing(); });
  tokens_.clear();
  pending_.clear();
  Set(0, std::numeric_limits<size_t>::max(), RowUse::kKeep);
}

void Session::KeepLogits(Request& request) {
  ForgetLogits();
  if (request.done < request.ids.size()) return;
  if (request.logits_rows > 0 && request.want == WantLogits::kAll) {
    // Copied: the memory of a chunk's logits is not kept.
    const auto vocab = static_cast<ptrdiff_t>(request.logits.size() / request.logits_rows);
    logits_.assign(request.logits.end() - vocab, request.logits.end());
  } else if (request.logits_rows > 0) {
    logits_ = std::move(request.logits);
  }
  top_ = std::move(request.top);
}

void Session::ForgetLogits() {
  logits_.clear();
  top_.clear();
}

}  // namespace cormorant
