// Loading, and running steps. See engine.h.
#include "runtime/engine/engine.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "platform/log.h"
#include "runtime/base/check.h"
#include "runtime/base/status.h"
#include "runtime/engine/row_type.h"
#include "runtime/ops/split.h"
#include "runtime/text/vocabulary.h"

namespace cormorant {

namespace {

/// The backend that the options name, or the best.
absl::StatusOr<const BackendDef*> FindBackend(const EngineOptions& options) {
  const BackendDef* best = nullptr;
  std::vector<absl::string_view> known;
  for (const BackendDef* def : AllBackendDefs()) {
    known.push_back(def->name);
    if (options.backend != "auto") {
      if (def->name == options.backend) best = def;
      continue;
    }
    if (def->priority < 0 || (best != nullptr && def->priority <= best->priority)) continue;
    if (def->may_have_devices != nullptr && !def->may_have_devices()) continue;
    const std::vector<DeviceInfo> devices = def->devices();
    if (std::any_of(devices.begin(), devices.end(),
                    [](const auto& d) { return d.usable && !d.by_name_only; })) {
      best = def;
    }
  }
  if (best == nullptr) {
    return absl::NotFoundError(
        absl::StrCat("backend '", options.backend,
                     "' is not in this build; there are: ", absl::StrJoin(known, ", ")));
  }
  return best;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Backend>> OpenBackend(const EngineOptions& options) {
  CORM_ASSIGN_OR_RETURN(const BackendDef* best, FindBackend(options));
  absl::StatusOr<std::unique_ptr<Backend>> backend = best->open({options.device, options.threads});
  if (!backend.ok()) return At(absl::StrCat("backend ", best->name), backend.status());
  return backend;
}

absl::StatusOr<std::unique_ptr<Backend>> OpenHost(const EngineOptions& options) {
  std::vector<const BackendDef*> defs(AllBackendDefs().begin(), AllBackendDefs().end());
  std::erase_if(defs, [](const BackendDef* def) { return def->priority < 0; });
  std::stable_sort(defs.begin(), defs.end(), [](const BackendDef* a, const BackendDef* b) {
    return a->priority < b->priority;  // Not to ask GPU drivers for their devices.
  });
  for (const BackendDef* def : defs) {
    for (const DeviceInfo& device : def->devices()) {
      if (device.usable && device.is_host) return def->open({device.index, options.threads});
    }
  }
  return absl::NotFoundError("no backend of this build computes on the CPU");
}

namespace {

/// Opens the other devices of the options' backend that can hold layers beside the first, as many
/// as the options allow. One that does not open is left out, and the log says so.
std::vector<std::unique_ptr<Backend>> OpenOthers(const EngineOptions& options) {
  std::vector<std::unique_ptr<Backend>> others;
  const absl::StatusOr<const BackendDef*> def = FindBackend(options);
  if (!def.ok()) return others;
  for (const DeviceInfo& device : (*def)->devices()) {
    if (options.devices != 0 && others.size() + 1 >= options.devices) break;
    if (device.index == options.device || !device.usable || !device.may_join) continue;
    absl::StatusOr<std::unique_ptr<Backend>> other = (*def)->open({device.index, options.threads});
    if (other.ok()) {
      others.push_back(*std::move(other));
    } else {
      Log(LogLevel::kWarning,
          absl::StrCat("device ", device.index, " is left out: ", other.status().message()));
    }
  }
  return others;
}

DeviceOpeners OpenersFor(const EngineOptions& options) {
  return {[options] { return OpenBackend(options); }, [options] { return OpenHost(options); },
          [options] { return OpenOthers(options); }};
}

// Steps between two looks at the device's memory.
constexpr uint64_t kWatchInterval = 16;
// A device is opened again so many times; after so many steps a loss is forgotten.
constexpr uint32_t kReopenings = 2;
constexpr uint64_t kStepsForgiven = 10000;

absl::Status CacheLost() {
  return absl::AbortedError("the cache was lost with its device");
}

/// Where the backend lacks an op of the model, the CPU's takes its place if the choice was `auto`.
absl::Status EnsureSupport(const DeviceOpeners& openers, const EngineOptions& options,
                           const ModelFile& model, std::unique_ptr<Backend>* backend) {
  const Tape tape = model.WriteTape(1, 1, options.query_statistics);
  const absl::Status support = CheckSupport(**backend, tape);
  const bool has_choice = options.backend == "auto" && openers.host != nullptr;
  if (support.ok() || !has_choice || (*backend)->Device().is_host) return support;
  Log(LogLevel::kWarning, absl::StrCat("the CPU computes this model: ", support.message()));
  CORM_ASSIGN_OR_RETURN(*backend, openers.host());
  return CheckSupport(**backend, tape);
}

/// The plan for the device in `backends`. Where it cannot hold the model and its cache alone,
/// others are opened and added, and where all of them cannot, the CPU's backend: one for each
/// stage.
absl::StatusOr<EnginePlan> PlanOn(std::vector<std::unique_ptr<Backend>>* backends,
                                  const DeviceOpeners& openers, const EngineOptions& options,
                                  const ModelFile& model, const Tuning* tuning) {
  CORM_RETURN_IF_ERROR(EnsureSupport(openers, options, model, &backends->front()));
  std::vector<const Backend*> devices = {backends->front().get()};
  absl::StatusOr<EnginePlan> plan = PlanRows(options, model, tuning, devices, nullptr);
  const bool is_enough = plan.ok() && !plan->short_of_memory;
  const bool is_hopeless = !plan.ok() && !absl::IsResourceExhausted(plan.status());
  if (is_enough || is_hopeless || devices.front()->Device().is_host) return plan;
  if (openers.others != nullptr && devices.front()->Device().may_join) {
    for (std::unique_ptr<Backend>& other : openers.others()) {
      devices.push_back(other.get());
      backends->push_back(std::move(other));
    }
    if (devices.size() > 1) plan = PlanRows(options, model, tuning, devices, nullptr);
  }
  std::unique_ptr<Backend> host;
  if (!plan.ok() && openers.host != nullptr) {
    CORM_ASSIGN_OR_RETURN(host, openers.host());
    plan = PlanRows(options, model, tuning, devices, host.get());
  }
  if (!plan.ok()) return plan;
  const bool has_host = plan->stages.back().place == MemoryPlace::kHost;
  backends->resize(plan->stages.size() - (has_host ? 1 : 0));
  if (has_host) backends->push_back(std::move(host));
  return plan;
}

/// Passes progress on over all stages, and gives back the memory of what devices have copied.
class LoadTeller final : public LoadObserver {
 public:
  LoadTeller(const ModelFile& model, const EnginePlan& plan, Engine::Progress on_load)
      : model_(model), on_load_(on_load), stage_bytes_(plan.stages.front().memory.weights) {
    for (const StagePlan& stage : plan.stages) total_bytes_ += stage.memory.weights;
  }
  void Loaded(float fraction) override {
    const double done = static_cast<double>(stage_bytes_) * static_cast<double>(fraction);
    on_load_(before_bytes_ + static_cast<uint64_t>(done), total_bytes_);
  }
  void Copied(size_t index) override { model_.DropHostPages(index); }
  /// What follows is of the next stage, whose weights have `next_bytes`.
  void NextStage(uint64_t next_bytes) { before_bytes_ += std::exchange(stage_bytes_, next_bytes); }

 private:
  const ModelFile& model_;
  const Engine::Progress on_load_;
  uint64_t total_bytes_ = 0, before_bytes_ = 0;
  uint64_t stage_bytes_;
};

}  // namespace

Engine::Engine(DeviceOpeners openers, const EngineOptions& options, OnEvent on_event)
    : options_(options),
      openers_(std::move(openers)),
      on_event_(std::move(on_event)),
      ledger_(options.memory_cap_bytes, options.kv_cap_bytes) {}

Engine::~Engine() = default;

absl::StatusOr<std::shared_ptr<Engine>> Engine::Create(const EngineOptions& options,
                                                       Progress on_load, OnEvent on_event) {
  return CreateOn(OpenersFor(options), options, on_load, std::move(on_event));
}

absl::StatusOr<std::shared_ptr<Engine>> Engine::CreateOn(DeviceOpeners openers,
                                                         const EngineOptions& options,
                                                         Progress on_load, OnEvent on_event) {
  std::shared_ptr<Engine> engine(new Engine(std::move(openers), options, std::move(on_event)));
  CORM_RETURN_IF_ERROR(engine->Load(on_load));
  return engine;
}

absl::Status Engine::Load(Progress on_load) {
  CORM_ASSIGN_OR_RETURN(model_, ModelFile::Open(options_.model_path));
  CORM_RETURN_IF_ERROR(model_->Usable());
  CORM_ASSIGN_OR_RETURN(tuning_, OpenTuning(options_.tuning, options_.model_path, *model_));
  absl::StatusOr<Vocabulary> vocabulary = ReadVocabulary(model_->gguf());
  if (!vocabulary.ok()) return At(options_.model_path, vocabulary.status());
  CORM_ASSIGN_OR_RETURN(tokenizer_, Tokenizer::Create(*std::move(vocabulary)));
  CORM_RETURN_IF_ERROR(OpenStages(openers_.device, on_load));
  scheduler_ =
      std::make_unique<Scheduler>(Scheduler::Limits{plan().prefill_chunk, options_.max_sessions});
  return absl::OkStatus();
}

absl::Status Engine::OpenStages(const DeviceOpener& open, Progress on_load) {
  std::vector<std::unique_ptr<Backend>> backends(1);
  CORM_ASSIGN_OR_RETURN(backends[0], open());
  CORM_ASSIGN_OR_RETURN(EnginePlan plan, PlanOn(&backends, {open, openers_.host, openers_.others},
                                                options_, *model_, tuning()));
  std::vector<Stage::Bucket> buckets = MakeBuckets(plan);
  std::vector<std::unique_ptr<Stage>> stages;
  LoadTeller teller(*model_, plan, on_load);
  for (uint32_t i = 0; i < plan.stages.size(); ++i) {
    if (i > 0) teller.NextStage(plan.stages[i].memory.weights);
    CORM_ASSIGN_OR_RETURN(std::unique_ptr<Stage> stage,
                          Stage::Create(std::move(backends[i]), i,
                                        {options_, *model_, plan, buckets}, &ledger_, &teller));
    stages.push_back(std::move(stage));
  }
  plan_ = &plans_made_.emplace_back(std::move(plan));
  buckets_ = std::move(buckets);
  stages_ = std::move(stages);
  return absl::OkStatus();
}

std::vector<Stage::Bucket> Engine::MakeBuckets(const EnginePlan& plan) const {
  std::vector<Stage::Bucket> buckets;
  for (uint32_t rows : plan.row_buckets) {
    const uint32_t out_rows = plan.out_rows(rows, options_.all_logits, options_.max_sessions);
    const Tape tape = model_->WriteTape(rows, out_rows, options_.query_statistics);
    const TopKOp* top = std::get_if<TopKOp>(&tape.ops.back());
    CORM_CHECK(top != nullptr && top->x.region == Region::kOut);  // As ModelDef asks.
    CORM_CHECK(tape.layer_starts.size() == model_->config().layers + 1);
    buckets.push_back({rows, out_rows, SplitTape(tape, plan.stage_layers())});
  }
  return buckets;
}

std::vector<KvStore*> Engine::stores() const {
  std::vector<KvStore*> stores;
  for (const std::unique_ptr<Stage>& stage : stages_) stores.push_back(&stage->store());
  return stores;
}

void Engine::Tell(EngineEvent event, const std::string& message) const {
  const bool is_trouble = event < EngineEvent::kRecalled || event == EngineEvent::kDegraded;
  Log(is_trouble ? LogLevel::kWarning : LogLevel::kInfo, message);
  if (on_event_ != nullptr) on_event_(event, message);
}

absl::StatusOr<std::unique_ptr<SessionCache>> Engine::CreateCache(
    const SessionCache::Settings& settings) {
  absl::StatusOr<std::unique_ptr<SessionCache>> cache;
  Exclusively([&] {
    absl::Status status;
    if (stages_.empty()) status = Recover(absl::UnavailableError("there is no device"));
    cache = status.ok() ? SessionCache::Create(settings, stores()) : status;
    if (cache.ok()) caches_.push_back(cache->get());
  });
  return cache;
}

void Engine::DestroyCache(std::unique_ptr<SessionCache> cache) {
  Exclusively([&] {
    std::erase(caches_, cache.get());
    cache.reset();
  });
}

void Engine::Exclusively(absl::FunctionRef<void()> fn) {
  std::unique_lock<std::mutex> lock(mutex_);
  changed_.wait(lock, [&] { return !driving_; });
  driving_ = true;
  lock.unlock();
  fn();
  lock.lock();
  driving_ = false;
  changed_.notify_all();
}

absl::Status Engine::Run(Request& request, absl::FunctionRef<bool()> after_step) {
  CORM_CHECK(request.want != WantLogits::kAll || options_.all_logits);
  if (request.done == request.ids.size()) return absl::OkStatus();
  std::unique_lock<std::mutex> lock(mutex_);
  const RequestId id = next_request_++;
  Active active;
  active.request = &request;
  active_[id] = &active;
  scheduler_->Add(id, static_cast<uint32_t>(request.ids.size() - request.done), request.chunk);
  for (;;) {
    while (!active.stepped) {
      if (driving_) {
        changed_.wait(lock);
      } else {
        Drive(lock);
      }
    }
    active.stepped = false;
    bool go_on = active.status.ok();
    if (go_on) {
      lock.unlock();
      go_on = after_step();
      lock.lock();
      if (!go_on) active.status = absl::CancelledError("cancelled between two steps");
    }
    if (!go_on || request.done == request.ids.size()) break;
    scheduler_->Resume(id);
    changed_.notify_all();
  }
  scheduler_->Remove(id);
  active_.erase(id);
  return active.status;
}

void Engine::Drive(std::unique_lock<std::mutex>& lock) {
  const Batch batch = scheduler_->Next();
  CORM_CHECK(!batch.empty());  // The caller's own request is ready.
  std::vector<Turn> turns;     // Looked up under the lock: others may enter Run() during the step.
  for (const BatchEntry& entry : batch) {
    turns.push_back({active_.at(entry.request), entry.tokens});
  }
  driving_ = true;
  lock.unlock();
  RunStep(turns);
  lock.lock();
  driving_ = false;
  for (const Turn& turn : turns) turn.active->stepped = true;
  changed_.notify_all();
}

absl::Status Engine::MakeRoom(SessionCache& cache, uint32_t rows, std::span<const Turn> turns) {
  for (uint32_t stage = 0; stage < stages_.size(); ++stage) {
    CORM_RETURN_IF_ERROR(TakeBack(cache, stage, rows, turns));
  }
  return cache.MakeRoom(rows);
}

absl::Status Engine::TakeBack(SessionCache& cache, uint32_t stage, uint32_t rows,
                              std::span<const Turn> turns) {
  // A session short of pages first takes back what larger sessions hold beyond a fair share.
  const PagePool& pool = stages_[stage]->store().pool();
  const uint32_t share =
      pool.page_limit() / static_cast<uint32_t>(std::max<size_t>(1, caches_.size()));
  std::vector<const SessionCache*> firm;  // What they hold beyond it may not be dropped.
  while (cache.PagesMissing(stage, rows) > pool.free_pages()) {
    SessionCache* largest = nullptr;
    for (SessionCache* other : caches_) {
      const bool in_batch = std::any_of(turns.begin(), turns.end(), [&](const Turn& turn) {
        return turn.active->request->cache == other;
      });
      const bool is_firm = std::find(firm.begin(), firm.end(), other) != firm.end();
      const uint32_t held = other->page_total(stage);
      if (in_batch || is_firm || !other->evicts() || held <= share) continue;
      if (largest == nullptr || held > largest->page_total(stage)) largest = other;
    }
    if (largest == nullptr) break;
    const uint32_t before = largest->page_total(stage);
    const absl::Status status = largest->ShrinkTo(stage, share);
    if (!status.ok() && !absl::IsResourceExhausted(status)) return status;
    if (largest->page_total(stage) >= before) firm.push_back(largest);
  }
  return absl::OkStatus();
}

void Engine::RunStep(std::span<const Turn> turns) {
  for (const Turn& turn : turns) turn.active->done_before = turn.active->request->done;
  const absl::Status lost =
      stages_.empty() ? absl::UnavailableError("there is no device") : RunTurns(turns);
  if (lost.ok()) {
    if (steps_since_loss_++ % kWatchInterval == 0) WatchMemory();
    return;
  }
  const absl::Status recovered = Recover(lost);
  for (const Turn& turn : turns) {
    absl::Status& status = turn.active->status;
    if (turn.active->request->done > turn.active->done_before) {
      status = absl::OkStatus();  // Its step was run; the next will see that the cache is gone.
    } else if (status.ok() || absl::IsUnavailable(status)) {
      status = recovered.ok() ? CacheLost() : recovered;
    }
  }
}

absl::Status Engine::RunTurns(std::span<const Turn> turns) {
  std::vector<Active*> actives;
  std::vector<uint32_t> rows;
  for (const Turn& turn : turns) {
    const Request& request = *turn.active->request;
    absl::Status& status = turn.active->status;
    const bool is_probe = request.use == RowUse::kProbe;
    if (request.cache->clock() != request.before + (is_probe ? 0 : request.done)) {
      status = CacheLost();
      continue;
    }
    status = MakeRoom(*request.cache, turn.rows, turns);
    if (absl::IsUnavailable(status)) return status;
    if (!status.ok()) continue;
    actives.push_back(turn.active);
    rows.push_back(turn.rows);
  }
  if (actives.empty()) return absl::OkStatus();
  const absl::Status status = Replay(actives, rows);
  if (status.ok() || absl::IsUnavailable(status)) return status;
  for (Active* active : actives) active->status = status;
  return absl::OkStatus();
}

absl::Status Engine::Replay(std::span<Active* const> actives, std::span<const uint32_t> rows) {
  uint32_t row_total = 0;
  for (uint32_t stage = 0; stage < stages_.size(); ++stage) {
    row_total = FillStep(actives, rows, stage);
  }
  const auto bucket = std::find_if(buckets_.begin(), buckets_.end(),
                                   [&](const Stage::Bucket& b) { return b.rows >= row_total; });
  CORM_CHECK(bucket != buckets_.end());
  for (size_t i = 0; i < bucket->parts.size(); ++i) {
    const TapePart& part = bucket->parts[i];
    Stage& stage = *stages_[part.stage];
    for (const Handover& input : part.inputs) {
      CORM_RETURN_IF_ERROR(stage.Take(input, *stages_[input.from], row_total));
    }
    CORM_RETURN_IF_ERROR(stage.Run(static_cast<size_t>(bucket - buckets_.begin()), i));
  }
  const TopKOp& top = std::get<TopKOp>(bucket->parts.back().tape.ops.back());
  for (const Active* active : actives) {
    const bool is_top = active->request->want == WantLogits::kTop;
    CORM_RETURN_IF_ERROR(is_top ? ReadTop(*active, top) : ReadLogits(*active, top));
  }
  for (size_t i = 0; i < actives.size(); ++i) {
    actives[i]->request->done += rows[i];
    SessionCache& cache = *actives[i]->request->cache;
    if (actives[i]->request->use == RowUse::kProbe) {
      CORM_RETURN_IF_ERROR(cache.EndProbe());
      continue;
    }
    actives[i]->status = cache.Commit(rows[i], actives[i]->request->use);
    if (absl::IsUnavailable(actives[i]->status)) return actives[i]->status;
    if (actives[i]->status.ok() || actives[i]->request->want != WantLogits::kTop) continue;
    // The tokens are read and cannot be read again: when the session goes on, with options of its
    // own, it may need all logits.
    CORM_RETURN_IF_ERROR(ReadLogits(*actives[i], top));
  }
  return absl::OkStatus();
}

uint32_t Engine::FillStep(std::span<Active* const> actives, std::span<const uint32_t> rows,
                          uint32_t stage) {
  StepBuffer& step = stages_[stage]->step();
  uint32_t row = 0, out = 0;
  for (uint32_t s = 0; s < actives.size(); ++s) {
    const Request& request = *actives[s]->request;
    const SessionCache& cache = *request.cache;
    actives[s]->out_row = out;
    step.sequences()[s] = cache.Describe(stage, row, rows[s], request.use);
    std::copy(cache.counts(stage).begin(), cache.counts(stage).end(), step.counts(s).begin());
    for (uint32_t i = 0; i < rows[s]; ++i, ++row) {
      step.ids()[row] = request.ids[request.done + i];
      step.positions()[row] = cache.next_position() + i;
      const bool is_last = request.done + i + 1 == request.ids.size();
      const bool wanted =
          request.want == WantLogits::kAll || (request.want != WantLogits::kNone && is_last);
      if (wanted) step.out_index()[out++] = row;
    }
    actives[s]->out_rows = out - actives[s]->out_row;
  }
  StepHeader& header = step.header();
  header.rows = row;
  header.out_rows = out;
  header.sequences = static_cast<uint32_t>(actives.size());
  return row;
}

absl::Status Engine::ReadLogits(const Active& active, const TopKOp& from) {
  Request& request = *active.request;
  request.logits_rows = 0;
  if (active.out_rows == 0) return absl::OkStatus();
  Stage& out = *stages_.back();
  const uint64_t vocab = from.x.shape[1];
  request.logits.resize(active.out_rows * vocab);
  CORM_RETURN_IF_ERROR(
      out.backend().Download(std::as_writable_bytes(std::span<float>(request.logits)), out.out(),
                             from.x.offset + active.out_row * vocab * sizeof(float)));
  request.logits_rows = active.out_rows;
  return absl::OkStatus();
}

absl::Status Engine::ReadTop(const Active& active, const TopKOp& from) {
  if (active.out_rows == 0) return absl::OkStatus();
  Stage& out = *stages_.back();
  const uint32_t count = from.values.shape[1];
  std::vector<float> values(count);
  std::vector<uint32_t> ids(count);
  const uint64_t row_at = uint64_t{active.out_row} * count * sizeof(float);
  CORM_RETURN_IF_ERROR(out.backend().Download(std::as_writable_bytes(std::span<float>(values)),
                                              out.out(), from.values.offset + row_at));
  CORM_RETURN_IF_ERROR(out.backend().Download(std::as_writable_bytes(std::span<uint32_t>(ids)),
                                              out.out(), from.indices.offset + row_at));
  std::vector<TokenLogit>& top = active.request->top;
  top.resize(count);
  for (uint32_t i = 0; i < count; ++i) top[i] = {values[i], ids[i]};
  return absl::OkStatus();
}

absl::StatusOr<EnginePlan> PlanOnThisMachine(const EngineOptions& options, const ModelFile& model,
                                             const Tuning* tuning) {
  std::vector<std::unique_ptr<Backend>> backends(1);
  CORM_ASSIGN_OR_RETURN(backends[0], OpenBackend(options));
  return PlanOn(&backends, OpenersFor(options), options, model, tuning);
}

absl::Status Engine::Recover(const absl::Status& lost) {
  for (SessionCache* cache : caches_) cache->Detach();
  stages_.clear();
  if (steps_since_loss_ > kStepsForgiven) losses_ = 0;
  steps_since_loss_ = 0;
  ++losses_;
  Tell(EngineEvent::kDeviceLost, absl::StrCat("the device is lost: ", lost.message()));
  const auto nobody = [](uint64_t, uint64_t) { return true; };
  absl::Status status = lost;
  EngineEvent event = EngineEvent::kDeviceRestored;
  if (losses_ <= kReopenings) status = OpenStages(openers_.device, nobody);
  if (!status.ok() && losses_ <= 2 * kReopenings && openers_.host != nullptr) {
    event = EngineEvent::kHostFallback;
    const absl::Status on_host = OpenStages(openers_.host, nobody);
    if (!on_host.ok()) Log(LogLevel::kError, std::string(on_host.message()));
    if (on_host.ok()) status = on_host;
  }
  if (!status.ok()) {
    losses_ = 0;  // The next call tries again.
    return absl::UnavailableError(absl::StrCat(
        "the device is lost (", lost.message(), ") and cannot be opened again: ", status.message(),
        "; nothing is lost with it: sessions go on once it is back"));
  }
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    scheduler_->SetLimits({plan().prefill_chunk, options_.max_sessions});
  }
  for (SessionCache* cache : caches_) cache->Attach(stores());
  const StagePlan& now = plan().device();
  Tell(event, absl::StrCat("going on with ", now.backend, " on ", now.device,
                           "; sessions read their tokens again"));
  return absl::OkStatus();
}

void Engine::WatchMemory() {
  MemoryBudget sum;
  const StagePlan* short_stage = nullptr;
  uint64_t missing = 0;
  for (size_t i = 0; i < stages_.size(); ++i) {
    const std::optional<MemoryBudget> budget = stages_[i]->backend().Budget();
    const StagePlan& planned = plan().stages[i];
    if (!budget.has_value() || planned.place != MemoryPlace::kDevice) continue;
    sum.budget_bytes += budget->budget_bytes;
    sum.used_bytes += budget->used_bytes;
    // All else was taken when the engine was made.
    const PagePool& pool = stages_[i]->store().pool();
    const uint64_t to_come = uint64_t{pool.page_limit() - pool.held_pages()} * plan().page_bytes;
    if (budget->used_bytes + to_come <= budget->budget_bytes) continue;
    short_stage = &planned;
    missing = budget->used_bytes + to_come - budget->budget_bytes;
  }
  if (sum.budget_bytes == 0) return;
  const bool is_news = short_stage != nullptr && !is_short_;
  is_short_ = short_stage != nullptr;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    watch_.budget = sum;
    if (is_news) ++watch_.warnings;
  }
  if (!is_news) return;
  Tell(EngineEvent::kMemoryShort,
       absl::StrCat("other programs have taken memory of ", short_stage->device, ": ", missing,
                    " bytes of what was planned with are not there any more; a lower --mem-cap "
                    "would leave room"));
}

MemoryWatch Engine::memory_watch() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return watch_;
}

}  // namespace cormorant
