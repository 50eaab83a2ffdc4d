// Who gets how many bytes. See planner.h.
#include "runtime/engine/planner.h"

#include <algorithm>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "runtime/base/status.h"
#include "runtime/base/units.h"
#include "runtime/ops/step.h"

namespace cormorant {
namespace {

constexpr uint64_t kSlabBytes = 16u << 20;
constexpr uint32_t kChunkMax = 256;
constexpr uint32_t kChunkMin = 32;
// The smallest pool worth running, in pages of a head.
constexpr uint32_t kPagesPerHeadMin = 4;

/// Pages of a head with which a session goes on for ever: they hold a chunk, four sinks and the
/// newest rows, which are a quarter of what a head holds, at most 256 (runtime/eviction/corm.cc).
uint64_t PagesPerSession(uint32_t chunk) {
  return CeilDiv(std::min(CeilDiv((uint64_t{chunk} + 4) * 4, 3), uint64_t{chunk} + 260), kPageRows);
}

absl::Status CheckOptions(const EngineOptions& options, const ModelFile& model) {
  const uint32_t trained = model.config().context;
  if (options.context > trained) {
    return absl::InvalidArgumentError(
        absl::StrCat("a context of ", options.context,
                     " positions was asked for; the model was trained on ", trained,
                     " and gives nonsense beyond: longer conversations are held by "
                     "eviction, not by a larger context"));
  }
  if (options.context != 0 && options.context < 128) {
    return absl::InvalidArgumentError(absl::StrCat("a context of ", options.context,
                                                   " positions is too small; 128 is the least"));
  }
  if (options.max_sessions == 0 || options.max_sessions > 1024) {
    return absl::InvalidArgumentError(
        absl::StrCat("max_sessions is ", options.max_sessions, "; expected 1 to 1024"));
  }
  if (options.prefill_chunk > 4096) {
    return absl::InvalidArgumentError(
        absl::StrCat("prefill chunk is ", options.prefill_chunk, "; expected at most 4096"));
  }
  return absl::OkStatus();
}

/// The plan for a given chunk but for its page limit.
EnginePlan SizePlan(const EngineOptions& options, const ModelFile& model, const Backend& backend,
                    const KvGeometry& base, uint32_t chunk) {
  EnginePlan plan;
  plan.geometry = base;
  plan.context = options.context != 0 ? options.context : model.config().context;
  plan.prefill_chunk = std::min(chunk, plan.context / 2);
  plan.page_bytes = KvPageLayout(base).page_bytes;
  plan.geometry.pages_per_head =
      static_cast<uint32_t>(CeilDiv(uint64_t{plan.context} + plan.prefill_chunk, kPageRows));
  const uint32_t heads = base.heads();

  plan.row_buckets = {1};
  for (uint32_t rows : {options.max_sessions, plan.prefill_chunk}) {
    if (rows > plan.row_buckets.back()) plan.row_buckets.push_back(rows);
  }
  const uint32_t row_most = plan.row_buckets.back();
  const uint64_t step_bytes =
      StepBuffer({row_most, plan.out_rows(row_most, options.all_logits, options.max_sessions),
                  options.max_sessions, heads})
          .bytes()
          .size();
  uint64_t arena = 0, out = 0;
  for (uint32_t rows : plan.row_buckets) {
    const Tape tape =
        model.WriteTape(rows, plan.out_rows(rows, options.all_logits, options.max_sessions));
    arena = std::max(arena, tape.arena_bytes);
    out = std::max(out, tape.out_bytes);
    plan.activations += backend.PlanBytes(tape, plan.geometry, step_bytes);
    plan.weights = backend.WeightBytes(model.HostTensors(), tape);
  }
  const uint64_t kv_step_bytes = StepBuffer({1, 1, 1, heads}).bytes().size();
  for (const Tape& tape : {AgesTape(plan.geometry), CompactTape(), RebaseTape(model.rope())}) {
    plan.activations += backend.PlanBytes(tape, plan.geometry, kv_step_bytes);
    plan.staging += tape.out_bytes;
  }
  plan.activations += arena;
  plan.staging += out + step_bytes;
  plan.kv_metadata = uint64_t{options.max_sessions} * heads * plan.geometry.pages_per_head * 4;
  return plan;
}

/// Pages the caps leave for the pool of a sized plan; at most what full sessions could use.
uint64_t PagesUnderCaps(const EngineOptions& options, const EnginePlan& plan) {
  uint64_t bytes = std::numeric_limits<uint64_t>::max();
  const auto limit = [&](uint64_t cap, uint64_t taken) {
    if (cap != 0) bytes = std::min(bytes, cap > taken ? cap - taken : 0);
  };
  limit(options.memory_cap_bytes, plan.fixed() + plan.kv_metadata);
  limit(options.kv_cap_bytes, plan.kv_metadata);
  const uint64_t all =
      uint64_t{options.max_sessions} * plan.geometry.heads() * plan.geometry.pages_per_head;
  return std::min(bytes / plan.page_bytes, all);
}

absl::Status TooSmall(const EngineOptions& options, const EnginePlan& plan, uint64_t page_min) {
  const uint64_t kv_min = plan.kv_metadata + page_min * plan.page_bytes;
  const uint64_t memory_min = plan.fixed() + kv_min;
  std::string text = "the cap cannot hold this model: ";
  if (options.memory_cap_bytes != 0 && options.memory_cap_bytes < memory_min) {
    absl::StrAppend(&text, "--mem-cap ", options.memory_cap_bytes, " is below ", memory_min,
                    " bytes (weights ", plan.weights, ", activations ", plan.activations,
                    ", staging ", plan.staging, ", smallest KV store ", kv_min, ")");
  } else {
    absl::StrAppend(&text, "--kv-cap ", options.kv_cap_bytes, " is below ", kv_min,
                    " bytes, the smallest KV store");
  }
  const bool f16 = plan.geometry.k_type == DType::kF16 || plan.geometry.v_type == DType::kF16;
  absl::StrAppend(
      &text, "; the smallest cap that works is ",
      options.memory_cap_bytes != 0 && options.memory_cap_bytes < memory_min ? memory_min : kv_min);
  absl::StrAppend(
      &text, f16 ? "; --kv-type q8_0 and fewer sessions lower it" : "; fewer sessions lower it");
  return absl::ResourceExhaustedError(text);
}

}  // namespace

Tape AgesTape(const KvGeometry& geometry) {
  TapeBuilder builder(1, 1);
  builder.Add(KvAgesOp{builder.Out(DType::kU32, {geometry.heads(), kAgeBins + 1, 1})});
  return std::move(builder).Finish();
}

Tape CompactTape() {
  TapeBuilder builder(1, 1);
  builder.Add(KvCompactOp{});
  return std::move(builder).Finish();
}

Tape RebaseTape(const RopeSpec& rope) {
  TapeBuilder builder(1, 1);
  builder.Add(KvRebaseOp{rope});
  return std::move(builder).Finish();
}

absl::Status ParseKvType(const std::string& text, DType* k, DType* v) {
  const std::vector<std::string> parts = absl::StrSplit(text, ':');
  const auto parse = [](const std::string& part, DType* type) {
    for (DType known : {DType::kF16, DType::kQ8_0}) {
      if (part == Info(known).name) {
        *type = known;
        return true;
      }
    }
    return false;
  };
  if (parts.size() > 2 || !parse(parts.front(), k) || !parse(parts.back(), v)) {
    return absl::InvalidArgumentError(
        absl::StrCat("KV type '", text, "' is not known; expected f16, q8_0, or K:V as q8_0:f16"));
  }
  return absl::OkStatus();
}

absl::StatusOr<EnginePlan> PlanEngine(const EngineOptions& options, const ModelFile& model,
                                      const Backend& backend) {
  CORM_RETURN_IF_ERROR(CheckOptions(options, model));
  const ModelConfig& config = model.config();
  KvGeometry geometry{config.layers, config.kv_heads, config.head_dim, DType::kF16, DType::kF16, 0};
  CORM_RETURN_IF_ERROR(ParseKvType(options.kv_type, &geometry.k_type, &geometry.v_type));
  if (config.head_dim % 32 != 0 &&
      (geometry.k_type != DType::kF16 || geometry.v_type != DType::kF16)) {
    return absl::InvalidArgumentError(
        absl::StrCat("--kv-type q8_0 needs heads of a multiple of 32 "
                     "dimensions, this model's have ",
                     config.head_dim, "; use f16"));
  }
  const uint32_t heads = geometry.heads();
  EnginePlan plan;
  // A chunk is counted inside the cap, so a small cap wants small chunks: at most a sixteenth of
  // what a head can hold.
  for (uint32_t chunk = options.prefill_chunk != 0 ? options.prefill_chunk : kChunkMax;;
       chunk /= 2) {
    plan = SizePlan(options, model, backend, geometry, chunk);
    plan.page_limit = static_cast<uint32_t>(
        std::min<uint64_t>(PagesUnderCaps(options, plan), std::numeric_limits<int32_t>::max()));
    plan.rows_per_head = static_cast<uint32_t>(uint64_t{plan.page_limit} * kPageRows / heads);
    const bool fits = !options.capped() || chunk <= plan.rows_per_head / 16;
    if (options.prefill_chunk != 0 || fits || chunk <= kChunkMin) break;
  }
  const uint64_t page_min =
      heads * std::max<uint64_t>(kPagesPerHeadMin,
                                 options.max_sessions * PagesPerSession(plan.prefill_chunk));
  if (plan.page_limit < page_min) return TooSmall(options, plan, page_min);
  plan.pages_per_slab =
      static_cast<uint32_t>(std::clamp<uint64_t>(kSlabBytes / plan.page_bytes, 1, plan.page_limit));
  plan.kv_pages = uint64_t{plan.page_limit} * plan.page_bytes;
  return plan;
}

}  // namespace cormorant
