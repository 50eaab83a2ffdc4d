// Who gets how many bytes. See planner.h.
#include "runtime/engine/planner.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "runtime/base/status.h"
#include "runtime/base/units.h"
#include "runtime/ops/split.h"
#include "runtime/ops/step.h"

namespace cormorant {
namespace {

constexpr uint64_t kSlabBytes = 16u << 20;
// Lost between allocations that share a piece of memory.
constexpr uint64_t kAlignmentSlack = 16u << 10;
constexpr uint32_t kChunkMax = 256;
constexpr uint32_t kChunkMin = 32;
// The smallest pool worth running, in pages of a head.
constexpr uint32_t kPagesPerHeadMin = 4;
// Rows a head that a device keeps room for before it takes one more layer from the CPU.
constexpr uint32_t kRowsWished = 1024;

/// Pages of a head with which a session goes on for ever: they hold a chunk, four sinks and the
/// newest rows, which are a quarter of what a head holds, at most 256 (runtime/eviction/corm.cc).
uint64_t PagesPerSession(uint32_t chunk) {
  return CeilDiv(std::min(CeilDiv((uint64_t{chunk} + 4) * 4, 3), uint64_t{chunk} + 260), kPageRows);
}

uint64_t PagesPerHeadMin(uint32_t sessions, uint32_t chunk) {
  return std::max<uint64_t>(kPagesPerHeadMin, sessions * PagesPerSession(chunk));
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

/// What a plan is made for.
struct Problem {
  const EngineOptions& options;
  const ModelFile& model;
  KvGeometry geometry;  // Of all layers, without table length.
  // Of each stage:
  std::vector<const Backend*> backends;
  std::vector<uint64_t> caps;  // On its memory; 0: none.
  std::vector<uint32_t> layers;
  uint32_t devices = 1;  // So many stages are devices; one more may be the CPU.

  bool all_logits() const { return options.all_logits; }
  uint32_t sessions() const { return options.max_sessions; }
};

/// Bytes of the step buffer of a stage for the largest bucket.
uint64_t StepBytes(const Problem& problem, const EnginePlan& plan, uint32_t heads) {
  const uint32_t rows = plan.row_buckets.back();
  const uint32_t out_rows = plan.out_rows(rows, problem.all_logits(), problem.sessions());
  return StepBuffer({rows, out_rows, problem.sessions(), heads}).bytes().size();
}

/// Everything of a stage but its pages.
void SizeStage(const Problem& problem, const EnginePlan& plan, uint32_t index, StagePlan* stage) {
  const Backend& backend = *problem.backends[index];
  const uint32_t heads = stage->geometry.heads();
  const uint64_t step_bytes = StepBytes(problem, plan, heads);
  MemoryPlan& memory = stage->memory;
  uint64_t arena = 0, out = 0;
  for (uint32_t rows : plan.row_buckets) {
    const Tape tape =
        problem.model.WriteTape(rows, plan.out_rows(rows, problem.all_logits(), problem.sessions()),
                                problem.options.query_statistics);
    const std::vector<TapePart> parts = SplitTape(tape, problem.layers);
    const Tape own = StageTape(parts, index);
    arena = std::max(arena, own.arena_bytes);
    out = std::max(out, own.out_bytes);
    memory.weights = backend.WeightBytes(problem.model.HostTensors(), own);
    for (const TapePart& part : parts) {
      if (part.stage != index) continue;
      memory.activations += backend.PlanBytes(part.tape, stage->geometry, step_bytes);
    }
  }
  const uint64_t kv_step_bytes = StepBuffer({1, 1, 1, heads}).bytes().size();
  const RopeSpec rope = problem.model.rope();
  for (const Tape& tape : {AgesTape(stage->geometry, rope), CompactTape(), RebaseTape(rope)}) {
    memory.activations += backend.PlanBytes(tape, stage->geometry, kv_step_bytes);
    memory.staging += tape.out_bytes;
  }
  memory.activations += arena;
  memory.staging += out + step_bytes;
  memory.kv_metadata = problem.sessions() * stage->geometry.metadata_bytes();
  if (const uint64_t piece = backend.Granularity(); piece > 1) {
    const uint64_t taken = memory.total();
    memory.program = RoundUp(taken + kAlignmentSlack, piece) - taken;
  }
}

uint64_t PagesPerSlab(const EnginePlan& plan) {
  return std::max<uint64_t>(kSlabBytes / plan.page_bytes, 1);
}

/// What a device takes for the slabs of so many pages.
uint64_t SlabBytes(const EnginePlan& plan, const Backend& backend, uint64_t pages) {
  const uint64_t each = PagesPerSlab(plan), piece = backend.Granularity();
  return pages / each * RoundUp(each * plan.page_bytes, piece) +
         RoundUp(pages % each * plan.page_bytes, piece);
}

/// The most pages whose slabs take no more than `bytes`.
uint64_t PagesWithin(const EnginePlan& plan, const Backend& backend, uint64_t bytes) {
  const uint64_t each = PagesPerSlab(plan), piece = backend.Granularity();
  const uint64_t slab = RoundUp(each * plan.page_bytes, piece), rest = bytes % slab;
  return bytes / slab * each + std::min(each, (rest - rest % piece) / plan.page_bytes);
}

/// Pages that full sessions could use, and so the most worth having.
uint64_t PagesOfFullSessions(const Problem& problem, const StagePlan& stage) {
  return uint64_t{problem.sessions()} * stage.geometry.heads() * stage.geometry.pages_per_head;
}

/// Of the KV cap each stage gets the share of its heads.
uint64_t PagesUnderKvCap(const Problem& problem, const EnginePlan& plan, const StagePlan& stage) {
  const uint64_t all = PagesOfFullSessions(problem, stage);
  const uint64_t cap = problem.options.kv_cap_bytes;
  if (cap == 0) return all;
  const auto share = static_cast<uint64_t>(static_cast<unsigned __int128>(cap) *
                                           stage.geometry.heads() / plan.geometry.heads());
  return std::min(all,
                  (share - std::min(share, stage.memory.kv_metadata)) / uint64_t{plan.page_bytes});
}

/// What may be taken of a device's memory: what is free, less a sixteenth for what its driver
/// needs. 0: not known, or as much as one likes.
uint64_t FreeMemory(const Backend& backend) {
  const DeviceInfo& device = backend.Device();
  return device.is_host ? 0 : device.memory_free - device.memory_free / 16;
}

/// How many of the devices hold as much as the cap allows; more would have none of it left.
size_t DevicesUnderCap(std::span<const Backend* const> devices, uint64_t cap) {
  uint64_t sum = 0;
  for (size_t i = 0; i < devices.size(); ++i) {
    const uint64_t free = FreeMemory(*devices[i]);
    if (free == 0) return std::max<size_t>(i, 1);  // No share could be given to it.
    sum += free;
    if (cap != 0 && sum >= cap) return i + 1;
  }
  return devices.size();
}

/// The first `count` devices as stages. What the cap leaves each is in proportion to its memory,
/// and a device that holds no more than it has free is as good as capped.
void UseDevices(std::span<const Backend* const> devices, uint64_t cap, Problem* problem) {
  problem->devices = static_cast<uint32_t>(devices.size());
  problem->backends.assign(devices.begin(), devices.end());
  problem->caps.clear();
  uint64_t sum = 0;
  for (const Backend* device : devices) sum += FreeMemory(*device);
  for (const Backend* device : devices) {
    const uint64_t free = FreeMemory(*device);
    uint64_t share = cap;
    if (devices.size() > 1) {
      share = static_cast<uint64_t>(static_cast<unsigned __int128>(cap) * free / sum);
    }
    problem->caps.push_back(cap == 0 || (free != 0 && free < share) ? free : share);
  }
}

/// The plan for a given chunk.
EnginePlan SizePlan(const Problem& problem, uint32_t chunk) {
  const EngineOptions& options = problem.options;
  EnginePlan plan;
  plan.geometry = problem.geometry;
  plan.kv_type = options.kv_type;
  plan.context = options.context != 0 ? options.context : problem.model.config().context;
  plan.prefill_chunk = std::min(chunk, plan.context / 2);
  plan.page_bytes = KvPageLayout(plan.geometry).page_bytes;
  plan.geometry.pages_per_head =
      static_cast<uint32_t>(CeilDiv(uint64_t{plan.context} + plan.prefill_chunk, kPageRows));
  plan.row_buckets = {1};
  for (uint32_t rows : {options.max_sessions, plan.prefill_chunk}) {
    if (rows > plan.row_buckets.back()) plan.row_buckets.push_back(rows);
  }
  plan.capped = options.capped();
  plan.rows_per_head = std::numeric_limits<uint32_t>::max();
  uint32_t first_layer = 0;
  for (uint32_t i = 0; i < problem.layers.size(); ++i) {
    const DeviceInfo& device = problem.backends[i]->Device();
    StagePlan stage;
    stage.backend = std::string(problem.backends[i]->Name());
    stage.device = device.name;
    stage.details = device.details;
    stage.place = i < problem.devices ? MemoryPlace::kDevice : MemoryPlace::kHost;
    stage.first_layer = first_layer;
    stage.geometry = plan.geometry;
    stage.geometry.layers = problem.layers[i];
    first_layer += problem.layers[i];
    SizeStage(problem, plan, i, &stage);
    uint64_t pages = PagesUnderKvCap(problem, plan, stage);
    if (const uint64_t cap = problem.caps[i]; cap != 0) {
      const uint64_t taken = stage.memory.total();
      const uint64_t under_cap =
          PagesWithin(plan, *problem.backends[i], cap - std::min(cap, taken));
      if (under_cap < pages) {
        plan.capped = true;
        plan.short_of_memory = plan.short_of_memory || cap == FreeMemory(*problem.backends[i]);
      }
      pages = std::min(pages, under_cap);
    }
    stage.page_limit =
        static_cast<uint32_t>(std::min<uint64_t>(pages, std::numeric_limits<int32_t>::max()));
    stage.pages_per_slab = static_cast<uint32_t>(
        std::min<uint64_t>(PagesPerSlab(plan), std::max(1u, stage.page_limit)));
    stage.memory.kv_pages = uint64_t{stage.page_limit} * plan.page_bytes;
    plan.rows_per_head = std::min(
        plan.rows_per_head,
        static_cast<uint32_t>(uint64_t{stage.page_limit} * kPageRows / stage.geometry.heads()));
    plan.stages.push_back(std::move(stage));
  }
  return plan;
}

/// A chunk is counted inside the cap, so a small cap wants small chunks: at most a sixteenth of
/// what a head can hold.
bool IsSmallChunk(uint32_t chunk, uint32_t rows_per_head) {
  return chunk <= std::max(kChunkMin, rows_per_head / 16);
}

EnginePlan PlanWithChunk(const Problem& problem) {
  const uint32_t asked = problem.options.prefill_chunk;
  for (uint32_t chunk = asked != 0 ? asked : kChunkMax;; chunk /= 2) {
    EnginePlan plan = SizePlan(problem, chunk);
    if (asked != 0 || !plan.capped || IsSmallChunk(chunk, plan.rows_per_head)) return plan;
  }
}

/// Pages of a stage below which it is not worth running.
uint64_t PagesMin(const Problem& problem, const EnginePlan& plan, const StagePlan& stage) {
  return stage.geometry.heads() * PagesPerHeadMin(problem.sessions(), plan.prefill_chunk);
}

bool Fits(const Problem& problem, const EnginePlan& plan) {
  return std::all_of(plan.stages.begin(), plan.stages.end(), [&](const StagePlan& stage) {
    return stage.page_limit >= PagesMin(problem, plan, stage);
  });
}

/// Whether the devices' pools hold kRowsWished rows a head, or what the KV cap allows.
bool HasRoom(const Problem& problem, const EnginePlan& plan) {
  return std::all_of(
      plan.stages.begin(), plan.stages.begin() + problem.devices, [&](const StagePlan& stage) {
        const uint64_t wished = stage.geometry.heads() * CeilDiv(kRowsWished, kPageRows);
        return stage.page_limit >= std::min(wished, PagesUnderKvCap(problem, plan, stage));
      });
}

/// Bytes a head that a stage's cap leaves for pages; negative when other things are too large.
int64_t RoomPerHead(const Problem& problem, const EnginePlan& plan, size_t index) {
  const StagePlan& stage = plan.stages[index];
  const uint64_t taken = stage.memory.fixed() + stage.memory.kv_metadata;
  return (static_cast<int64_t>(problem.caps[index]) - static_cast<int64_t>(taken)) /
         stage.geometry.heads();
}

/// Spreads `count` layers over the devices, at least one each: a layer at a time goes from the one
/// with the least room a head to the one with the most, while that helps the least. The last stage
/// has the embedding and the output matrix, so equal shares would not do.
EnginePlan PlanSpread(Problem* problem, uint32_t count) {
  const uint32_t devices = problem->devices;
  problem->layers.resize(problem->backends.size());
  uint64_t cap_sum = 0, cap_before = 0;
  for (uint32_t i = 0; i < devices; ++i) cap_sum += problem->caps[i];
  for (uint32_t i = 0, before = 0; i < devices; ++i) {
    cap_before += problem->caps[i];
    // All up to this device, less so many that those behind it have one each.
    const double share = static_cast<double>(cap_before) / static_cast<double>(cap_sum);
    const auto wished = static_cast<uint32_t>(share * count + 0.5);
    const uint32_t until = std::clamp(wished, before + 1, count - (devices - 1 - i));
    problem->layers[i] = (i + 1 == devices ? count : until) - before;
    before = until;
  }
  EnginePlan plan = PlanWithChunk(*problem);
  for (;;) {
    std::vector<int64_t> room;
    for (uint32_t i = 0; i < devices; ++i) room.push_back(RoomPerHead(*problem, plan, i));
    const auto [least, most] = std::minmax_element(room.begin(), room.end());
    uint32_t& from = problem->layers[static_cast<size_t>(least - room.begin())];
    uint32_t& to = problem->layers[static_cast<size_t>(most - room.begin())];
    if (least == most || from == 1) return plan;
    --from, ++to;
    EnginePlan next = PlanWithChunk(*problem);
    int64_t next_least = std::numeric_limits<int64_t>::max();
    for (uint32_t i = 0; i < devices; ++i) {
      next_least = std::min(next_least, RoomPerHead(*problem, next, i));
    }
    if (next_least <= *least) {
      ++from, --to;
      return plan;
    }
    plan = std::move(next);
  }
}

/// The plan for `count` layers on the devices, which have caps if they are several.
EnginePlan PlanDevices(Problem* problem, uint32_t count) {
  if (problem->devices > 1) return PlanSpread(problem, count);
  problem->layers.front() = count;
  return PlanWithChunk(*problem);
}

/// As many layers on the devices as leave them pools of some size, else as many as fit at all; the
/// plan with one layer each when none do.
EnginePlan PlanWithHost(Problem* problem, const Backend& host) {
  const uint32_t layers = problem->geometry.layers, devices = problem->devices;
  problem->backends.push_back(&host);
  problem->caps.push_back(0);
  problem->layers.resize(devices + 1);
  const auto plan_with = [&](uint32_t on_devices) {
    problem->layers.back() = layers - on_devices;
    return PlanDevices(problem, on_devices);
  };
  for (const bool wants_room : {true, false}) {
    uint32_t most = devices - 1, too_many = layers;
    while (most + 1 < too_many) {
      const uint32_t middle = std::midpoint(most, too_many);
      const EnginePlan plan = plan_with(middle);
      const bool is_good = Fits(*problem, plan) && (!wants_room || HasRoom(*problem, plan));
      (is_good ? most : too_many) = middle;
    }
    if (most >= devices) return plan_with(most);
  }
  return plan_with(devices);
}

absl::Status TooSmall(const Problem& problem, const EnginePlan& plan) {
  // The stage that lacks most.
  const auto room = [&](const StagePlan& stage) {
    return static_cast<int64_t>(stage.page_limit) -
           static_cast<int64_t>(PagesMin(problem, plan, stage));
  };
  const auto least =
      std::min_element(plan.stages.begin(), plan.stages.begin() + problem.devices,
                       [&](const StagePlan& a, const StagePlan& b) { return room(a) < room(b); });
  const StagePlan& stage = *least;
  const MemoryPlan& memory = stage.memory;
  const size_t index = static_cast<size_t>(least - plan.stages.begin());
  const uint64_t pages_min = PagesMin(problem, plan, stage);
  const uint64_t kv_min = memory.kv_metadata + pages_min * plan.page_bytes;
  const uint64_t memory_min =
      memory.fixed() + memory.kv_metadata + SlabBytes(plan, *problem.backends[index], pages_min);
  const uint64_t cap = problem.caps[index];
  const bool is_memory = cap != 0 && cap < memory_min;
  std::string text = "the cap cannot hold this model: ";
  if (is_memory) {
    const bool is_asked = cap == problem.options.memory_cap_bytes;
    absl::StrAppend(&text, is_asked ? "--mem-cap " : "the free memory of the device, ", cap,
                    " is below ", memory_min, " bytes (");
    if (plan.stages.size() > 1) absl::StrAppend(&text, "with one layer on it: ");
    absl::StrAppend(&text, "weights ", memory.weights, ", activations ", memory.activations,
                    ", staging ", memory.staging, ", smallest KV store ", kv_min, ")");
  } else {
    absl::StrAppend(&text, "--kv-cap ", problem.options.kv_cap_bytes, " is below ", kv_min,
                    " bytes, the smallest KV store");
  }
  const KvGeometry& rows = plan.geometry;
  const bool f16 = rows.k_type == DType::kF16 || rows.v_type == DType::kF16;
  const bool q4 = rows.k_type == DType::kQ4_0 && rows.v_type == DType::kQ4_0;
  absl::StrAppend(&text, "; the smallest cap that works is ", is_memory ? memory_min : kv_min);
  absl::StrAppend(&text, f16  ? "; --kv-type q8_0 or q4_0 and fewer sessions lower it"
                         : q4 ? "; fewer sessions lower it"
                              : "; --kv-type q4_0 and fewer sessions lower it");
  return absl::ResourceExhaustedError(text);
}

}  // namespace

Tape AgesTape(const KvGeometry& geometry, const RopeSpec& rope) {
  TapeBuilder builder(1, 1);
  KvScoreOp score;
  if (geometry.query_heads != 0) score = {rope, AttentionScale(geometry.head_dim)};
  builder.Add(score);
  builder.Add(KvSpreadOp{});
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
    for (DType known : {DType::kF16, DType::kQ8_0, DType::kQ4_0}) {
      if (part == Info(known).name) {
        *type = known;
        return true;
      }
    }
    return false;
  };
  if (parts.size() > 2 || !parse(parts.front(), k) || !parse(parts.back(), v)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "KV type '", text, "' is not known; expected auto, f16, q8_0, q4_0, or K:V as q8_0:q4_0"));
  }
  return absl::OkStatus();
}

MemoryPlan EnginePlan::device_memory() const {
  MemoryPlan sum;
  for (const StagePlan& stage : stages) {
    if (stage.place != MemoryPlace::kDevice) continue;
    sum.weights += stage.memory.weights;
    sum.activations += stage.memory.activations;
    sum.staging += stage.memory.staging;
    sum.program += stage.memory.program;
    sum.kv_metadata += stage.memory.kv_metadata;
    sum.kv_pages += stage.memory.kv_pages;
  }
  return sum;
}

std::vector<uint32_t> EnginePlan::stage_layers() const {
  std::vector<uint32_t> layers;
  for (const StagePlan& stage : stages) layers.push_back(stage.geometry.layers);
  return layers;
}

absl::StatusOr<EnginePlan> PlanEngine(const EngineOptions& options, const ModelFile& model,
                                      std::span<const Backend* const> devices,
                                      const Backend* host) {
  CORM_RETURN_IF_ERROR(CheckOptions(options, model));
  const ModelConfig& config = model.config();
  KvGeometry geometry{config.layers, config.kv_heads, config.head_dim, DType::kF16, DType::kF16, 0};
  if (options.query_statistics) geometry.query_heads = config.heads;
  CORM_RETURN_IF_ERROR(ParseKvType(options.kv_type, &geometry.k_type, &geometry.v_type));
  if (config.head_dim % 32 != 0 &&
      (geometry.k_type != DType::kF16 || geometry.v_type != DType::kF16)) {
    return absl::InvalidArgumentError(absl::StrCat("--kv-type ", options.kv_type,
                                                   " needs heads of a multiple of 32 "
                                                   "dimensions, this model's have ",
                                                   config.head_dim, "; use f16"));
  }
  Problem problem{options, model, geometry, {}, {}, {}};
  const uint64_t cap = options.memory_cap_bytes;
  const size_t most = std::min<size_t>(DevicesUnderCap(devices, cap), config.layers);
  EnginePlan plan;
  std::optional<EnginePlan> best;
  for (size_t count = 1; count <= most; ++count) {
    UseDevices(devices.first(count), cap, &problem);
    problem.layers.resize(count);
    plan = PlanDevices(&problem, config.layers);
    if (!Fits(problem, plan)) continue;
    if (!plan.short_of_memory) return plan;
    if (!best.has_value() || plan.rows_per_head > best->rows_per_head) best = plan;
  }
  if (best.has_value()) return *std::move(best);
  const StagePlan& first = plan.device();
  const bool kv_cap_is_enough =
      PagesUnderKvCap(problem, plan, first) >= PagesMin(problem, plan, first);
  if (host == nullptr || config.layers <= problem.devices || !kv_cap_is_enough) {
    return TooSmall(problem, plan);
  }
  plan = PlanWithHost(&problem, *host);
  if (!Fits(problem, plan)) return TooSmall(problem, plan);
  return plan;
}

absl::StatusOr<SessionPlan> PlanSession(const EngineOptions& options, const EnginePlan& plan,
                                        uint64_t budget_bytes) {
  SessionPlan session;
  session.capped = plan.capped || budget_bytes != 0;
  session.rows_per_head = plan.rows_per_head / options.max_sessions;
  session.prefill_chunk = plan.prefill_chunk;
  if (budget_bytes == 0) return session;
  const uint64_t heads = plan.geometry.heads();
  const uint64_t metadata = plan.geometry.metadata_bytes();
  const uint64_t pages = (budget_bytes - std::min(budget_bytes, metadata)) / plan.page_bytes;
  session.rows_per_head =
      static_cast<uint32_t>(std::min<uint64_t>(session.rows_per_head, pages * kPageRows / heads));
  while (options.prefill_chunk == 0 &&
         !IsSmallChunk(session.prefill_chunk, session.rows_per_head)) {
    session.prefill_chunk /= 2;
  }
  const uint64_t pages_min = heads * PagesPerHeadMin(1, session.prefill_chunk);
  if (pages >= pages_min) return session;
  return absl::ResourceExhaustedError(absl::StrCat(
      "--kv-budget ", budget_bytes, " is below ", metadata + pages_min * plan.page_bytes,
      " bytes, the smallest that a session works in; rows in fewer bits (--kv-type)",
      options.prefill_chunk == 0 ? "" : " and a smaller --prefill-chunk", " lower it"));
}

}  // namespace cormorant
