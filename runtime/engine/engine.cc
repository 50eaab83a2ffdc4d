// Loading, and running steps. See engine.h.
#include "runtime/engine/engine.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "runtime/base/check.h"
#include "runtime/base/status.h"
#include "runtime/ops/validate.h"
#include "runtime/text/vocabulary.h"

namespace cormorant {

absl::StatusOr<std::unique_ptr<Backend>> OpenBackend(const EngineOptions& options) {
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
    if (std::any_of(devices.begin(), devices.end(), [](const auto& d) {
          return d.usable && !d.by_name_only;
        })) {
      best = def;
    }
  }
  if (best == nullptr) {
    return absl::NotFoundError(
        absl::StrCat("backend '", options.backend,
                     "' is not in this build; there are: ", absl::StrJoin(known, ", ")));
  }
  absl::StatusOr<std::unique_ptr<Backend>> backend = best->open({options.device, options.threads});
  if (!backend.ok()) return At(absl::StrCat("backend ", best->name), backend.status());
  return backend;
}

namespace {

/// Passes progress on, and gives back the memory of what the device has copied.
class LoadTeller final : public LoadObserver {
 public:
  LoadTeller(const ModelFile& model, uint64_t total_bytes, Engine::Progress on_load)
      : model_(model), total_bytes_(total_bytes), on_load_(on_load) {}
  void Loaded(float fraction) override {
    on_load_(static_cast<uint64_t>(fraction * static_cast<double>(total_bytes_)), total_bytes_);
  }
  void Copied(size_t index) override { model_.DropHostPages(index); }

 private:
  const ModelFile& model_;
  const uint64_t total_bytes_;
  const Engine::Progress on_load_;
};

}  // namespace

Engine::Engine(std::unique_ptr<Backend> backend, const EngineOptions& options)
    : options_(options),
      ledger_(options.memory_cap_bytes, options.kv_cap_bytes),
      backend_(std::move(backend)) {}

Engine::~Engine() = default;

absl::StatusOr<std::shared_ptr<Engine>> Engine::Create(const EngineOptions& options,
                                                       Progress on_load) {
  return CreateOn(nullptr, options, on_load);
}

absl::StatusOr<std::shared_ptr<Engine>> Engine::CreateOn(std::unique_ptr<Backend> backend,
                                                         const EngineOptions& options,
                                                         Progress on_load) {
  std::shared_ptr<Engine> engine(new Engine(std::move(backend), options));
  CORM_RETURN_IF_ERROR(engine->Load(on_load));
  return engine;
}

absl::Status Engine::Load(Progress on_load) {
  CORM_ASSIGN_OR_RETURN(model_, ModelFile::Open(options_.model_path));
  CORM_RETURN_IF_ERROR(model_->Usable());
  absl::StatusOr<Vocabulary> vocabulary = ReadVocabulary(model_->gguf());
  if (!vocabulary.ok()) return At(options_.model_path, vocabulary.status());
  CORM_ASSIGN_OR_RETURN(tokenizer_, Tokenizer::Create(*std::move(vocabulary)));
  if (backend_ == nullptr) {
    CORM_ASSIGN_OR_RETURN(backend_, OpenBackend(options_));
  }
  CORM_ASSIGN_OR_RETURN(plan_, PlanEngine(options_, *model_, *backend_));
  CORM_RETURN_IF_ERROR(ledger_.Reserve(MemoryCategory::kActivations, plan_.activations));
  CORM_RETURN_IF_ERROR(ledger_.Reserve(MemoryCategory::kStaging, plan_.staging));
  CORM_RETURN_IF_ERROR(LoadWeights(on_load));
  CORM_ASSIGN_OR_RETURN(store_, KvStore::Create(plan_, options_.max_sessions, model_->rope(),
                                                backend_.get(), weights_.get(), &ledger_));
  CORM_RETURN_IF_ERROR(CompilePlans());
  scheduler_ =
      std::make_unique<Scheduler>(Scheduler::Limits{plan_.prefill_chunk, options_.max_sessions});
  return absl::OkStatus();
}

absl::Status Engine::LoadWeights(Progress on_load) {
  const uint32_t rows = plan_.row_buckets.back();
  const Tape tape =
      model_->WriteTape(rows, plan_.out_rows(rows, options_.all_logits, options_.max_sessions));
  for (size_t i = 0; i < tape.ops.size(); ++i) {
    const SupportAnswer answer = backend_->Supports(tape.ops[i]);
    if (answer.support == Support::kNone) {
      return absl::UnimplementedError(absl::StrCat("backend ", backend_->Name(), " cannot compute ",
                                                   ToString(tape.ops[i]), ": ", answer.why));
    }
  }
  CORM_RETURN_IF_ERROR(ledger_.Reserve(MemoryCategory::kWeights, plan_.weights));
  LoadTeller teller(*model_, plan_.weights, on_load);
  CORM_ASSIGN_OR_RETURN(weights_, backend_->LoadWeights(model_->HostTensors(), tape, &teller));
  return absl::OkStatus();
}

absl::Status Engine::CompilePlans() {
  TapeLimits limits;
  limits.geometry = plan_.geometry;
  for (const HostTensor& tensor : model_->HostTensors()) {
    limits.weights.push_back({tensor.dtype, tensor.shape});
  }
  std::vector<Tape> tapes;
  uint64_t arena_bytes = 1, out_bytes = 1;
  for (uint32_t rows : plan_.row_buckets) {
    tapes.push_back(
        model_->WriteTape(rows, plan_.out_rows(rows, options_.all_logits, options_.max_sessions)));
    CORM_RETURN_IF_ERROR(Validate(tapes.back(), limits));
    arena_bytes = std::max(arena_bytes, tapes.back().arena_bytes);
    out_bytes = std::max(out_bytes, tapes.back().out_bytes);
  }
  CORM_ASSIGN_OR_RETURN(arena_, backend_->Allocate(arena_bytes));
  CORM_ASSIGN_OR_RETURN(out_, backend_->Allocate(out_bytes));
  step_ = std::make_unique<StepBuffer>(StepBuffer::Bounds{
      tapes.back().rows, tapes.back().out_rows, options_.max_sessions, plan_.geometry.heads()});
  const Bindings bindings{weights_.get(), arena_.get(), out_.get(), &store_->binding(),
                          step_->bytes().size()};
  for (const Tape& tape : tapes) {
    CORM_ASSIGN_OR_RETURN(std::unique_ptr<Plan> plan, backend_->Compile(tape, bindings));
    const TopKOp* top = std::get_if<TopKOp>(&tape.ops.back());
    CORM_CHECK(top != nullptr && top->x.region == Region::kOut);  // As ModelDef asks.
    plans_.push_back({tape.rows, *top, std::move(plan)});
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<SessionCache>> Engine::CreateCache(
    const SessionCache::Settings& settings) {
  absl::StatusOr<std::unique_ptr<SessionCache>> cache;
  Exclusively([&] {
    cache = SessionCache::Create(settings, store_.get());
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
  request.done = 0;
  request.logits_rows = 0;
  request.top.clear();
  if (request.ids.empty()) return absl::OkStatus();
  std::unique_lock<std::mutex> lock(mutex_);
  const RequestId id = next_request_++;
  Active active;
  active.request = &request;
  active_[id] = &active;
  scheduler_->Add(id, static_cast<uint32_t>(request.ids.size()));
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
  // A session short of pages first takes back what larger sessions hold beyond a fair share.
  const uint32_t share =
      plan_.page_limit / static_cast<uint32_t>(std::max<size_t>(1, caches_.size()));
  std::vector<const SessionCache*> firm;  // What they hold beyond it may not be dropped.
  while (cache.PagesMissing(rows) > store_->pool().free_pages()) {
    SessionCache* largest = nullptr;
    for (SessionCache* other : caches_) {
      const bool in_batch = std::any_of(turns.begin(), turns.end(), [&](const Turn& turn) {
        return turn.active->request->cache == other;
      });
      const bool is_firm = std::find(firm.begin(), firm.end(), other) != firm.end();
      if (in_batch || is_firm || !other->evicts() || other->page_total() <= share) continue;
      if (largest == nullptr || other->page_total() > largest->page_total()) largest = other;
    }
    if (largest == nullptr) break;
    const uint32_t before = largest->page_total();
    const absl::Status status = largest->ShrinkTo(share);
    if (!status.ok() && !absl::IsResourceExhausted(status)) return status;
    if (largest->page_total() >= before) firm.push_back(largest);
  }
  return cache.MakeRoom(rows);
}

void Engine::RunStep(std::span<const Turn> turns) {
  std::vector<Active*> actives;
  std::vector<uint32_t> rows;
  for (const Turn& turn : turns) {
    turn.active->status = MakeRoom(*turn.active->request->cache, turn.rows, turns);
    if (!turn.active->status.ok()) continue;
    actives.push_back(turn.active);
    rows.push_back(turn.rows);
  }
  if (actives.empty()) return;
  const absl::Status status = Replay(actives, rows);
  if (status.ok()) return;
  for (Active* active : actives) active->status = status;
}

absl::Status Engine::Replay(std::span<Active* const> actives, std::span<const uint32_t> rows) {
  const uint32_t row_total = FillStep(actives, rows);
  const auto plan = std::find_if(plans_.begin(), plans_.end(),
                                 [&](const Compiled& c) { return c.rows >= row_total; });
  CORM_CHECK(plan != plans_.end());
  CORM_ASSIGN_OR_RETURN(const Tick tick, backend_->Submit(*plan->plan, step_->bytes()));
  CORM_RETURN_IF_ERROR(backend_->Wait(tick));
  for (const Active* active : actives) {
    const bool is_top = active->request->want == WantLogits::kTop;
    CORM_RETURN_IF_ERROR(is_top ? ReadTop(*active, plan->top) : ReadLogits(*active, plan->top));
  }
  for (size_t i = 0; i < actives.size(); ++i) {
    actives[i]->request->done += rows[i];
    actives[i]->status = actives[i]->request->cache->Commit(rows[i]);
    if (actives[i]->status.ok() || actives[i]->request->want != WantLogits::kTop) continue;
    // The tokens are read and cannot be read again: when the session goes on, with options of its
    // own, it may need all logits. Should the device be lost, the status says so already.
    ReadLogits(*actives[i], plan->top).IgnoreError();
  }
  return absl::OkStatus();
}

uint32_t Engine::FillStep(std::span<Active* const> actives, std::span<const uint32_t> rows) {
  uint32_t row = 0, out = 0;
  for (uint32_t s = 0; s < actives.size(); ++s) {
    const Request& request = *actives[s]->request;
    const SessionCache& cache = *request.cache;
    actives[s]->out_row = out;
    step_->sequences()[s] = cache.Describe(row, rows[s], request.pin);
    std::copy(cache.counts().begin(), cache.counts().end(), step_->counts(s).begin());
    for (uint32_t i = 0; i < rows[s]; ++i, ++row) {
      step_->ids()[row] = request.ids[request.done + i];
      step_->positions()[row] = cache.next_position() + i;
      const bool is_last = request.done + i + 1 == request.ids.size();
      const bool wanted =
          request.want == WantLogits::kAll || (request.want != WantLogits::kNone && is_last);
      if (wanted) step_->out_index()[out++] = row;
    }
    actives[s]->out_rows = out - actives[s]->out_row;
  }
  StepHeader& header = step_->header();
  header.rows = row;
  header.out_rows = out;
  header.sequences = static_cast<uint32_t>(actives.size());
  return row;
}

absl::Status Engine::ReadLogits(const Active& active, const TopKOp& from) {
  Request& request = *active.request;
  request.logits_rows = 0;
  if (active.out_rows == 0) return absl::OkStatus();
  const uint64_t vocab = from.x.shape[1];
  request.logits.resize(active.out_rows * vocab);
  CORM_RETURN_IF_ERROR(backend_->Download(std::as_writable_bytes(std::span<float>(request.logits)),
                                          *out_,
                                          from.x.offset + active.out_row * vocab * sizeof(float)));
  request.logits_rows = active.out_rows;
  return absl::OkStatus();
}

absl::Status Engine::ReadTop(const Active& active, const TopKOp& from) {
  if (active.out_rows == 0) return absl::OkStatus();
  const uint32_t count = from.values.shape[1];
  std::vector<float> values(count);
  std::vector<uint32_t> ids(count);
  const uint64_t row_at = uint64_t{active.out_row} * count * sizeof(float);
  CORM_RETURN_IF_ERROR(backend_->Download(std::as_writable_bytes(std::span<float>(values)), *out_,
                                          from.values.offset + row_at));
  CORM_RETURN_IF_ERROR(backend_->Download(std::as_writable_bytes(std::span<uint32_t>(ids)), *out_,
                                          from.indices.offset + row_at));
  std::vector<TokenLogit>& top = active.request->top;
  top.resize(count);
  for (uint32_t i = 0; i < count; ++i) top[i] = {values[i], ids[i]};
  return absl::OkStatus();
}

}  // namespace cormorant
