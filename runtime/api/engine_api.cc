// Engines and sessions of the C API. See cormorant.h.
#include <numeric>

#include "nlohmann/json.hpp"
#include "runtime/api/api.h"
#include "runtime/base/status.h"

using cormorant::api::CopyText;
using cormorant::api::Guard;
using cormorant::api::GuardSession;
using cormorant::api::OrEmpty;
using cormorant::api::ReadStruct;
using cormorant::api::WriteStruct;

namespace cormorant::api {

absl::StatusOr<EngineOptions> ToEngineOptions(const corm_engine_options* options) {
  corm_engine_options read;
  corm_engine_options_init(&read);
  CORM_RETURN_IF_ERROR(ReadStruct(options, "corm_engine_options", &read));
  if (read.model_path == nullptr) return absl::InvalidArgumentError("model_path is NULL");
  EngineOptions out;
  out.model_path = read.model_path;
  if (read.backend != nullptr) out.backend = read.backend;
  out.device = read.device;
  out.devices = read.devices;
  out.threads = read.threads;
  out.memory_cap_bytes = read.memory_cap_bytes;
  out.kv_cap_bytes = read.kv_cap_bytes;
  if (read.kv_type != nullptr) out.kv_type = read.kv_type;
  out.context = read.context;
  out.max_sessions = read.max_sessions;
  out.prefill_chunk = read.prefill_chunk;
  out.all_logits = read.all_logits != 0;
  out.tuning = OrEmpty(read.tuning_path);
  out.query_statistics = read.query_statistics != 0;
  return out;
}

namespace {

/// Steps that a policy's marks are moved by; absent when negative.
absl::StatusOr<std::optional<uint32_t>> ToSteps(absl::string_view name, int32_t steps) {
  if (steps < 0) return std::nullopt;
  if (static_cast<uint32_t>(steps) > kStepsMost) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, " is ", steps, "; expected at most ", kStepsMost));
  }
  return static_cast<uint32_t>(steps);
}

absl::StatusOr<SessionOptions> ToSessionOptions(const corm_session_options* options) {
  corm_session_options read;
  corm_session_options_init(&read);
  if (options != nullptr) {
    CORM_RETURN_IF_ERROR(ReadStruct(options, "corm_session_options", &read));
  }
  SessionOptions out;
  out.policy = OrEmpty(read.policy);
  if (read.corm_window != 0) out.window = read.corm_window;
  if (read.recent != UINT32_MAX) out.recent = read.recent;
  if (read.basis >= 0) {
    if (read.basis > CORM_BASIS_RESIDENT) {
      return absl::InvalidArgumentError(absl::StrCat("basis is ", read.basis, "; expected 0 or 1"));
    }
    out.basis = static_cast<ThresholdBasis>(read.basis);
  }
  out.sinks = read.sinks;
  out.interval = read.interval;
  if (read.importance_scale != 0.0f) out.importance_scale = read.importance_scale;
  out.pin_system_prompt = read.pin_system_prompt != 0;
  CORM_ASSIGN_OR_RETURN(out.reach, ToSteps("reach", read.reach));
  CORM_ASSIGN_OR_RETURN(out.fade, ToSteps("fade", read.fade));
  if (read.recall < CORM_RECALL_NEVER || read.recall > CORM_RECALL_COMPARED) {
    return absl::InvalidArgumentError(
        absl::StrCat("recall is ", read.recall, "; expected CORM_RECALL_*, 0 to 2"));
  }
  out.recall = static_cast<RecallWhen>(read.recall);
  out.reread_most = read.reread_most;
  out.zero_pages = read.zero_pages != 0;
  constexpr uint32_t kAuditMost = 1u << 20;
  if (read.audit > kAuditMost) {
    return absl::InvalidArgumentError(
        absl::StrCat("audit is ", read.audit, "; expected at most ", kAuditMost));
  }
  out.audit = read.audit;
  out.host_copies = {.bytes_most = read.host_copy_bytes, .seconds_most = read.host_copy_seconds};
  out.kv_budget_bytes = read.kv_budget_bytes;
  if (read.mode != nullptr) {
    CORM_ASSIGN_OR_RETURN(out.mode, ParseMode(read.mode));
  }
  out.canary = read.canary;
  out.key = OrEmpty(read.key);
  if (read.positions != nullptr) {
    CORM_ASSIGN_OR_RETURN(out.positions, ParsePositionRule(read.positions));
  }
  out.follows_room = read.controller != 0;
  if (read.head_weight_count > 0) {
    if (read.head_weights == nullptr) {
      return absl::InvalidArgumentError("head_weights is NULL and head_weight_count is not 0");
    }
    out.head_weights.assign(read.head_weights, read.head_weights + read.head_weight_count);
  }
  if (read.head_budget != nullptr) {
    CORM_ASSIGN_OR_RETURN(out.budget, ParseHeadBudget(read.head_budget));
  }
  return out;
}

absl::StatusOr<GenerateOptions> ToGenerateOptions(const corm_generate_options* options,
                                                  corm_generate_options* read) {
  corm_generate_options_init(read);
  if (options != nullptr) {
    CORM_RETURN_IF_ERROR(ReadStruct(options, "corm_generate_options", read));
  }
  GenerateOptions out;
  out.max_tokens = read->max_tokens;
  out.sampler.temperature = read->temperature;
  out.sampler.top_k = read->top_k;
  out.sampler.top_p = read->top_p;
  out.sampler.min_p = read->min_p;
  out.sampler.repetition_penalty = read->repetition_penalty;
  out.sampler.repetition_window = read->repetition_window;
  out.sampler.seed = read->seed;
  out.ignore_end = read->ignore_end != 0;
  if (read->grammar != nullptr) out.grammar = read->grammar->grammar;
  return out;
}

absl::Status WriteResult(const GenerateResult& from, corm_generate_result* to) {
  if (to == nullptr) return absl::OkStatus();
  corm_generate_result out;
  corm_generate_result_init(&out);
  out.prompt_tokens = from.prompt_tokens;
  out.generated_tokens = from.generated_tokens;
  out.prompt_seconds = from.prompt_seconds;
  out.decode_seconds = from.decode_seconds;
  out.stop_reason = static_cast<int32_t>(from.stop_reason);
  out.recalled_tokens = from.recalled_tokens;
  out.recalled_rows = from.recalled_rows;
  out.draft_divergence = from.draft_divergence;
  out.returned = from.returned ? 1 : 0;
  out.degraded = from.degraded ? 1 : 0;
  return WriteStruct(out, "corm_generate_result", to);
}

/// A token callback from C as one from C++.
struct TokenCallback {
  corm_token_fn fn;
  void* user;
  bool operator()(uint32_t id, absl::string_view text) const {
    if (fn == nullptr) return true;
    const std::string owned(text);  // NUL-terminated for C.
    corm_token_event event;
    event.struct_size = sizeof(event);
    event.id = id;
    event.text = owned.c_str();
    event.text_bytes = owned.size();
    return fn(user, &event) == 0;
  }
};

struct EventCallback {
  corm_event_fn fn;
  void* user;
  void operator()(EngineEvent kind, const std::string& message) const {
    if (fn == nullptr) return;
    const corm_event event = {sizeof(event), static_cast<int32_t>(kind), message.c_str()};
    fn(user, &event);
  }
};

}  // namespace
}  // namespace cormorant::api

using cormorant::api::EventCallback;
using cormorant::api::ProgressCallback;
using cormorant::api::TokenCallback;

void corm_engine_options_init(corm_engine_options* options) {
  *options = {};
  options->struct_size = sizeof(*options);
  options->backend = "auto";
  options->kv_type = "f16";
  options->max_sessions = 1;
}

corm_status corm_engine_create(const corm_engine_options* options, corm_engine** engine) {
  return Guard([&]() -> absl::Status {
    if (engine == nullptr) return absl::InvalidArgumentError("the place for the engine is NULL");
    *engine = nullptr;
    CORM_ASSIGN_OR_RETURN(const cormorant::EngineOptions read,
                          cormorant::api::ToEngineOptions(options));
    corm_engine_options caller;
    corm_engine_options_init(&caller);
    CORM_RETURN_IF_ERROR(ReadStruct(options, "corm_engine_options", &caller));
    const ProgressCallback on_load{caller.on_load, caller.on_load_user};
    const EventCallback on_event{caller.on_event, caller.on_event_user};
    CORM_ASSIGN_OR_RETURN(std::shared_ptr<cormorant::Engine> made,
                          cormorant::Engine::Create(read, on_load, on_event));
    *engine = new corm_engine{std::move(made)};
    return absl::OkStatus();
  });
}

void corm_engine_destroy(corm_engine* engine) {
  delete engine;
}

void corm_engine_info_init(corm_engine_info* info) {
  *info = {};
  info->struct_size = sizeof(*info);
}

corm_status corm_engine_get_info(const corm_engine* engine, corm_engine_info* info) {
  return Guard([&]() -> absl::Status {
    if (engine == nullptr) return absl::InvalidArgumentError("the engine is NULL");
    const cormorant::Engine& e = *engine->engine;
    const cormorant::ModelConfig& config = e.model().config();
    const cormorant::EnginePlan& plan = e.plan();
    corm_engine_info out;
    corm_engine_info_init(&out);
    out.layers = config.layers;
    out.kv_heads = config.kv_heads;
    out.head_dim = config.head_dim;
    out.vocab = config.vocab;
    out.context = plan.context;
    out.context_trained = config.context;
    out.prefill_chunk = plan.prefill_chunk;
    out.kv_bytes_per_token = plan.geometry.heads() * cormorant::F16RowBytes(config.head_dim);
    out.kv_page_bytes = plan.page_bytes;
    for (const cormorant::StagePlan& stage : plan.stages) {
      out.kv_pages += stage.page_limit;
      const bool is_host = stage.place == cormorant::MemoryPlace::kHost;
      (is_host ? out.host_layers : out.devices) += is_host ? stage.geometry.layers : 1;
    }
    out.architecture = config.architecture.c_str();
    out.model_name = e.model().name().c_str();
    out.backend = plan.device().backend.c_str();
    out.device = plan.device().device.c_str();
    out.kv_type = plan.kv_type.c_str();
    out.tuning = e.tuning() != nullptr ? e.tuning()->path.c_str() : "";
    return WriteStruct(out, "corm_engine_info", info);
  });
}

void corm_memory_stats_init(corm_memory_stats* stats) {
  *stats = {};
  stats->struct_size = sizeof(*stats);
}

corm_status corm_engine_get_memory(const corm_engine* engine, corm_memory_stats* stats) {
  return Guard([&]() -> absl::Status {
    if (engine == nullptr) return absl::InvalidArgumentError("the engine is NULL");
    using cormorant::MemoryCategory;
    const cormorant::MemoryLedger::Snapshot now = engine->engine->memory();
    const auto of = [&](MemoryCategory category) {
      return now.by_category[static_cast<size_t>(category)];
    };
    corm_memory_stats out;
    corm_memory_stats_init(&out);
    out.cap = now.cap;
    out.used = now.used;
    out.peak = now.peak;
    out.weights = of(MemoryCategory::kWeights);
    out.kv_pages = of(MemoryCategory::kKvPages);
    out.kv_metadata = of(MemoryCategory::kKvMetadata);
    out.activations = of(MemoryCategory::kActivations);
    out.staging = of(MemoryCategory::kStaging);
    out.program = of(MemoryCategory::kProgram);
    out.kv_cap = now.kv_cap;
    out.kv_peak = now.kv_peak;
    out.host = now.host_used;
    out.host_peak = now.host_peak;
    const cormorant::MemoryWatch watch = engine->engine->memory_watch();
    out.device_budget = watch.budget.budget_bytes;
    out.device_used = watch.budget.used_bytes;
    out.memory_short = watch.warnings;
    return WriteStruct(out, "corm_memory_stats", stats);
  });
}

void corm_session_options_init(corm_session_options* options) {
  *options = {};
  options->struct_size = sizeof(*options);
  options->recent = UINT32_MAX;
  options->sinks = 4;
  options->basis = -1;
  options->pin_system_prompt = 1;
  options->host_copy_seconds = 3600.0;
  options->reread_most = UINT64_MAX;
  options->controller = 1;
  options->reach = -1;
  options->fade = -1;
}

corm_status corm_session_create(corm_engine* engine, const corm_session_options* options,
                                corm_session** session) {
  return Guard([&]() -> absl::Status {
    if (engine == nullptr || session == nullptr) {
      return absl::InvalidArgumentError("engine and session may not be NULL");
    }
    *session = nullptr;
    CORM_ASSIGN_OR_RETURN(const cormorant::SessionOptions read,
                          cormorant::api::ToSessionOptions(options));
    auto handle = std::make_unique<corm_session>();
    CORM_ASSIGN_OR_RETURN(handle->session, cormorant::Session::Create(engine->engine, read));
    handle->conversation = std::make_unique<cormorant::Conversation>(handle->session.get());
    *session = handle.release();
    return absl::OkStatus();
  });
}

void corm_session_destroy(corm_session* session) {
  delete session;
}

corm_status corm_session_reset(corm_session* session) {
  return GuardSession(session, [&] {
    session->conversation->Reset();
    return absl::OkStatus();
  });
}

void corm_session_cancel(corm_session* session) {
  if (session != nullptr) session->session->Cancel();
}

corm_status corm_session_append(corm_session* session, const uint32_t* ids, size_t count,
                                uint32_t flags, corm_progress_fn on_progress, void* user) {
  return GuardSession(session, [&]() -> absl::Status {
    if (ids == nullptr && count != 0) return absl::InvalidArgumentError("ids is NULL");
    CORM_ASSIGN_OR_RETURN(const cormorant::RowUse use, cormorant::api::ToRowUse(flags));
    session->session->ClearCancel();
    return session->session->Append({ids, count}, use, ProgressCallback{on_progress, user});
  });
}

corm_status corm_session_score(corm_session* session, const uint32_t* ids, size_t count,
                               corm_logits_fn on_logits, void* user) {
  return GuardSession(session, [&]() -> absl::Status {
    if ((ids == nullptr && count != 0) || on_logits == nullptr) {
      return absl::InvalidArgumentError("ids and on_logits may not be NULL");
    }
    session->session->ClearCancel();
    return session->session->Score({ids, count}, [&](size_t index, std::span<const float> logits) {
      return on_logits(user, index, logits.data(), logits.size()) == 0;
    });
  });
}

void corm_recall_result_init(corm_recall_result* result) {
  *result = {};
  result->struct_size = sizeof(*result);
}

corm_status corm_session_recall(corm_session* session, const uint32_t* ids, size_t count,
                                corm_progress_fn on_progress, void* user,
                                corm_recall_result* result) {
  return GuardSession(session, [&]() -> absl::Status {
    if (ids == nullptr && count > 0) return absl::InvalidArgumentError("ids may not be NULL");
    session->session->ClearCancel();
    CORM_ASSIGN_OR_RETURN(
        const cormorant::Session::Recalled recalled,
        session->session->Recall({ids, count}, ProgressCallback{on_progress, user}));
    if (result == nullptr) return absl::OkStatus();
    corm_recall_result out;
    corm_recall_result_init(&out);
    out.from_copies = recalled.from_copies ? 1 : 0;
    out.tokens_read = recalled.tokens_read;
    out.copied_rows = recalled.found.rows;
    out.copied_share = recalled.found.share_most;
    out.degraded = recalled.degraded ? 1 : 0;
    return WriteStruct(out, "corm_recall_result", result);
  });
}

void corm_generate_options_init(corm_generate_options* options) {
  *options = {};
  options->struct_size = sizeof(*options);
  options->temperature = 0.7f;
  options->top_k = 40;
  options->top_p = 0.95f;
  options->min_p = 0.05f;
  options->repetition_penalty = 1.0f;
  options->repetition_window = 64;
}

void corm_generate_result_init(corm_generate_result* result) {
  *result = {};
  result->struct_size = sizeof(*result);
}

corm_status corm_session_generate(corm_session* session, const corm_generate_options* options,
                                  corm_token_fn on_token, void* user,
                                  corm_generate_result* result) {
  return GuardSession(session, [&]() -> absl::Status {
    corm_generate_options read;
    CORM_ASSIGN_OR_RETURN(const cormorant::GenerateOptions generate,
                          cormorant::api::ToGenerateOptions(options, &read));
    session->session->ClearCancel();
    cormorant::GenerateResult out;
    const absl::Status status =
        session->session->Generate(generate, TokenCallback{on_token, user}, &out);
    CORM_RETURN_IF_ERROR(cormorant::api::WriteResult(out, result));
    return status;
  });
}

corm_status corm_session_add_message(corm_session* session, const char* role, const char* content) {
  return corm_session_add_message_with(session, role, content, 0);
}

corm_status corm_session_reply(corm_session* session, const corm_generate_options* options,
                               corm_token_fn on_token, void* user, corm_generate_result* result) {
  return GuardSession(session, [&]() -> absl::Status {
    corm_generate_options read;
    CORM_ASSIGN_OR_RETURN(const cormorant::GenerateOptions generate,
                          cormorant::api::ToGenerateOptions(options, &read));
    session->session->ClearCancel();
    cormorant::GenerateResult out;
    const absl::Status status = session->conversation->Reply(
        generate, ProgressCallback{read.on_prompt, user}, TokenCallback{on_token, user}, &out);
    CORM_RETURN_IF_ERROR(cormorant::api::WriteResult(out, result));
    return status;
  });
}

corm_status corm_session_get_messages(const corm_session* session, char** json) {
  return GuardSession(session, [&]() -> absl::Status {
    nlohmann::ordered_json list = nlohmann::ordered_json::array();
    for (const cormorant::Message& message : session->conversation->messages()) {
      list.push_back({{"role", message.role}, {"content", message.content}});
    }
    return CopyText(list.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace),
                    json);
  });
}

void corm_kv_stats_init(corm_kv_stats* stats) {
  *stats = {};
  stats->struct_size = sizeof(*stats);
}

corm_status corm_session_get_stats(const corm_session* session, corm_kv_stats* stats) {
  return GuardSession(session, [&]() -> absl::Status {
    const cormorant::Session& s = *session->session;
    const cormorant::SessionCache::Stats now = s.stats();
    const cormorant::KvGeometry& geometry = s.engine().plan().geometry;
    corm_kv_stats out;
    corm_kv_stats_init(&out);
    out.tokens = s.tokens().size();
    out.rows_kept = static_cast<double>(now.rows) / geometry.heads();
    out.rows_full = out.tokens;
    out.bytes = now.bytes;
    out.bytes_full_f16 =
        out.rows_full * geometry.heads() * cormorant::F16RowBytes(geometry.head_dim);
    out.evicted_total = now.evicted_total;
    out.evicted_forced = now.evicted_forced;
    out.rebased = now.rebased;
    out.host_rows = now.host_rows;
    out.host_bytes = now.host_bytes;
    out.returned_total = now.returned_total;
    out.frozen = now.is_frozen ? 1 : 0;
    out.relaxed = now.relaxed;
    out.adjusted = now.adjusted;
    out.retained_rows = now.retained_rows;
    out.retained_bytes = now.retained_bytes;
    out.next_position = s.next_position();
    out.mode = cormorant::ModeName(s.options().mode).data();
    return WriteStruct(out, "corm_kv_stats", stats);
  });
}

void corm_observed_init(corm_observed* observed) {
  *observed = {};
  observed->struct_size = sizeof(*observed);
}

corm_status corm_session_get_observed(const corm_session* session, corm_observed* observed) {
  return GuardSession(session, [&]() -> absl::Status {
    const cormorant::Shadow* const shadow = session->session->shadow();
    if (shadow == nullptr) {
      return absl::FailedPreconditionError(
          "the session is not in mode observe; create one that is");
    }
    const cormorant::Observed now = shadow->observed();
    const cormorant::Divergence& divergence = now.divergence;
    corm_observed out;
    corm_observed_init(&out);
    out.tokens = now.tokens;
    out.compared = divergence.count();
    out.kl_mean = divergence.KlMean();
    out.kl_p99 = divergence.KlP99();
    out.kl_max = divergence.KlMax();
    out.top1_agreement = divergence.Top1Agreement();
    out.perplexity_full = divergence.PerplexityFull();
    out.perplexity_kept = divergence.PerplexityOther();
    out.rows_kept =
        static_cast<double>(now.cache.rows) / session->session->engine().plan().geometry.heads();
    out.bytes = now.cache.bytes;
    out.bytes_peak = now.bytes_peak;
    out.evicted_total = now.cache.evicted_total;
    out.evicted_forced = now.cache.evicted_forced;
    out.rebased = now.cache.rebased;
    if (!now.status.ok()) {
      session->observed_ended = std::string(now.status.message());
      out.ended = session->observed_ended.c_str();
    }
    return WriteStruct(out, "corm_observed", observed);
  });
}

corm_status corm_session_get_positions(const corm_session* session, uint32_t layer,
                                       uint32_t kv_head, uint32_t* positions, size_t capacity,
                                       size_t* count) {
  return GuardSession(session, [&]() -> absl::Status {
    if (count == nullptr || (positions == nullptr && capacity != 0)) {
      return absl::InvalidArgumentError("positions and count may not be NULL");
    }
    const cormorant::KvGeometry& geometry = session->session->engine().plan().geometry;
    if (layer >= geometry.layers || kv_head >= geometry.kv_heads) {
      return absl::OutOfRangeError(absl::StrCat("layer ", layer, ", KV head ", kv_head,
                                                "; the model has ", geometry.layers, " layers of ",
                                                geometry.kv_heads, " KV heads"));
    }
    CORM_ASSIGN_OR_RETURN(const std::vector<uint32_t> held,
                          session->session->ResidentPositions(layer * geometry.kv_heads + kv_head));
    *count = held.size();
    std::copy_n(held.begin(), std::min(capacity, held.size()), positions);
    return absl::OkStatus();
  });
}

corm_status corm_session_get_layer_rows(const corm_session* session, double* rows,
                                        size_t capacity) {
  return GuardSession(session, [&]() -> absl::Status {
    if (rows == nullptr && capacity != 0) return absl::InvalidArgumentError("rows is NULL");
    const std::vector<uint32_t> counts = session->session->row_counts();
    const size_t per_layer = session->session->engine().plan().geometry.kv_heads;
    for (size_t layer = 0; layer < std::min(capacity, counts.size() / per_layer); ++layer) {
      const auto first = counts.begin() + static_cast<ptrdiff_t>(layer * per_layer);
      rows[layer] = static_cast<double>(
                        std::accumulate(first, first + static_cast<ptrdiff_t>(per_layer), 0u)) /
                    static_cast<double>(per_layer);
    }
    return absl::OkStatus();
  });
}
