// JSON descriptions. See describe.h.
#include "runtime/engine/describe.h"

#include <map>
#include <vector>

#include "backends/module.h"
#include "nlohmann/json.hpp"
#include "runtime/base/status.h"
#include "runtime/cache/policy.h"
#include "runtime/engine/engine.h"
#include "runtime/engine/tuning.h"
#include "runtime/format/gguf.h"
#include "runtime/text/template/chat_template.h"
#include "runtime/text/tokenizer.h"
#include "runtime/text/vocabulary.h"

namespace cormorant {
namespace {

using Json = nlohmann::ordered_json;

std::string Text(const Json& json) {
  // Names in a file may be any bytes; invalid UTF-8 is replaced, never thrown over.
  return json.dump(2, ' ', false, Json::error_handler_t::replace);
}

std::string Str(absl::string_view text) {
  return std::string(text);
}

/// The types of a file's tensors, and whether this version computes with them as they are.
Json TensorTypes(const GgufFile& file) {
  struct Sums {
    uint64_t count = 0, bytes = 0;
    bool is_computed = false;
  };
  std::map<std::string, Sums> by_type;
  for (const GgufTensor& tensor : file.tensors()) {
    Sums& sums = by_type[Str(GgufTypeName(tensor.type))];
    ++sums.count;
    sums.bytes += tensor.bytes;
    sums.is_computed = ComputeType(tensor.type).has_value();
  }
  Json types = Json::array();
  for (const auto& [name, sums] : by_type) {
    types.push_back({{"type", name},
                     {"count", sums.count},
                     {"bytes", sums.bytes},
                     {"computed", sums.is_computed}});
  }
  return types;
}

/// Tokenizer and chat template, with what is wrong with them.
Json DescribeText(const GgufFile& file, Json* problems) {
  absl::StatusOr<Vocabulary> vocabulary = ReadVocabulary(file);
  if (!vocabulary.ok()) {
    problems->push_back(Str(vocabulary.status().message()));
    return nullptr;
  }
  Json text = {{"model", vocabulary->model},
               {"pre", vocabulary->pre},
               {"tokens", vocabulary->tokens.size()},
               {"chat_template", !vocabulary->chat_template.empty()}};
  if (!vocabulary->chat_template.empty()) {
    const auto chat_template = ChatTemplate::Parse(vocabulary->chat_template);
    if (!chat_template.ok()) problems->push_back(Str(chat_template.status().message()));
  }
  const auto tokenizer = Tokenizer::Create(*std::move(vocabulary));
  if (!tokenizer.ok()) problems->push_back(Str(tokenizer.status().message()));
  return text;
}

Json DescribeMemory(const MemoryPlan& memory) {
  return {{"total", memory.total()},           {"weights", memory.weights},
          {"kv_pages", memory.kv_pages},       {"kv_metadata", memory.kv_metadata},
          {"activations", memory.activations}, {"staging", memory.staging},
          {"program", memory.program}};
}

Json DescribeStage(const StagePlan& stage) {
  return {{"backend", stage.backend},        {"device", stage.device},
          {"details", stage.details},        {"first_layer", stage.first_layer},
          {"layers", stage.geometry.layers}, {"under_the_cap", stage.place == MemoryPlace::kDevice},
          {"kv_pages", stage.page_limit},    {"memory", DescribeMemory(stage.memory)}};
}

/// What a tuning is good for; null where there is none.
Json DescribeTuning(const std::optional<Tuning>& tuning) {
  if (!tuning.has_value()) return nullptr;
  return {{"path", tuning->path},
          {"policy", tuning->policy},
          {"head_weights", !tuning->head_weights.empty()},
          {"beats_untuned", tuning->beats_untuned},
          {"row_losses", tuning->row_losses.size()}};
}

Json DescribePlan(const EngineOptions& options, const ModelFile& model, Json* problems) {
  absl::StatusOr<std::optional<Tuning>> tuning =
      OpenTuning(options.tuning, options.model_path, model);
  if (!tuning.ok()) {
    problems->push_back(Str(tuning.status().message()));
    return nullptr;
  }
  const absl::StatusOr<EnginePlan> plan =
      PlanOnThisMachine(options, model, tuning->has_value() ? &**tuning : nullptr);
  if (!plan.ok()) {
    problems->push_back(Str(plan.status().message()));
    return nullptr;
  }
  const StagePlan& device = plan->device();
  Json memory = {{"cap", options.memory_cap_bytes}, {"kv_cap", options.kv_cap_bytes}};
  memory.update(DescribeMemory(plan->device_memory()));
  Json json = {{"backend", device.backend},
               {"device", device.device},
               {"details", device.details},
               {"context", plan->context},
               {"kv_type", plan->kv_type},
               {"tuning", DescribeTuning(*tuning)},
               {"prefill_chunk", plan->prefill_chunk},
               {"rows_per_head", plan->rows_per_head},
               {"kv_page_bytes", plan->page_bytes},
               {"kv_pages", plan->device_memory().kv_pages / plan->page_bytes},
               {"memory", memory},
               {"stages", Json::array()}};
  for (const StagePlan& stage : plan->stages) json["stages"].push_back(DescribeStage(stage));
  return json;
}

}  // namespace

absl::StatusOr<std::string> DescribeModel(const EngineOptions& options) {
  absl::StatusOr<std::unique_ptr<GgufFile>> file = GgufFile::Open(options.model_path);
  if (!file.ok()) return file.status();
  Json problems = Json::array();
  Json json;
  const auto architecture = (*file)->String("general.architecture");
  json["architecture"] = architecture.ok() ? Json(Str(*architecture)) : Json(nullptr);
  const auto name = (*file)->String("general.name");
  json["name"] = name.ok() ? Json(Str(*name)) : Json(nullptr);
  json["file_bytes"] = (*file)->file_bytes();
  json["gguf_version"] = (*file)->version();
  json["fingerprint"] = FingerprintOf(**file);
  uint64_t parameters = 0;
  for (const GgufTensor& tensor : (*file)->tensors()) parameters += tensor.elements();
  json["parameters"] = parameters;
  json["tensors"] = (*file)->tensors().size();
  json["tensor_types"] = TensorTypes(**file);

  Json plan = nullptr;
  absl::StatusOr<std::unique_ptr<ModelFile>> model = ModelFile::Open(options.model_path);
  if (!model.ok()) {
    problems.push_back(Str(model.status().message()));
    json["context"] = nullptr;
    json["kv_bytes_per_token"] = nullptr;
  } else {
    const ModelConfig& config = (*model)->config();
    json["context"] = config.context;
    json["layers"] = config.layers;
    json["heads"] = config.heads;
    json["kv_heads"] = config.kv_heads;
    json["head_dim"] = config.head_dim;
    json["vocab"] = config.vocab;
    json["kv_bytes_per_token"] =
        uint64_t{config.layers} * config.kv_heads * F16RowBytes(config.head_dim);
    for (const std::string& problem : (*model)->problems()) problems.push_back(problem);
    if ((*model)->problems().empty()) plan = DescribePlan(options, **model, &problems);
  }
  json["tokenizer"] = DescribeText(**file, &problems);
  json["plan"] = plan;
  json["supported"] = problems.empty();
  json["problems"] = problems;
  return Text(json);
}

std::string DescribeDevices() {
  Json list = Json::array();
  for (const BackendDef* def : AllBackendDefs()) {
    for (const DeviceInfo& device : def->devices()) {
      list.push_back({{"backend", Str(def->name)},
                      {"index", device.index},
                      {"name", device.name},
                      {"usable", device.usable},
                      {"reason", device.reason},
                      {"by_name_only", device.by_name_only},
                      {"memory_total", device.memory_total},
                      {"memory_free", device.memory_free},
                      {"details", device.details}});
    }
  }
  for (const ModuleProblem& problem : ModuleProblems()) {
    list.push_back({{"backend", "?"},
                    {"index", 0},
                    {"name", problem.path},
                    {"usable", false},
                    {"reason", problem.what},
                    {"by_name_only", false},
                    {"memory_total", 0},
                    {"memory_free", 0},
                    {"details", ""}});
  }
  return Text(list);
}

std::string DescribePolicies() {
  Json list = Json::array();
  for (const PolicyDef* def : AllPolicyDefs()) {
    Json options = Json::array();
    for (const PolicyOption& option : def->options) {
      options.push_back({{"name", Str(option.name)}, {"meaning", Str(option.meaning)}});
    }
    list.push_back({{"name", Str(def->name)},
                    {"summary", Str(def->summary)},
                    {"options", options},
                    {"query_statistics", def->rules({}).observes_queries}});
  }
  return Text(list);
}

}  // namespace cormorant
