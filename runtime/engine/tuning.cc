// Reading a tuning file; see tuning.h.
#include "runtime/engine/tuning.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"
#include "platform/file.h"
#include "platform/log.h"
#include "runtime/base/status.h"
#include "runtime/cache/policy.h"
#include "runtime/ops/step.h"

namespace cormorant {
namespace {

using Json = nlohmann::json;

constexpr int kFormat = 1;

/// What a field of the file may be. Every function below leaves an error behind and goes on, so
/// that the reading itself stays a list of fields.
class Reader {
 public:
  const absl::Status& status() const { return status_; }

  const Json* Find(const Json& in, const char* name) {
    const auto found = in.is_object() ? in.find(name) : in.end();
    return found == in.end() || found->is_null() ? nullptr : &*found;
  }
  std::string Text(const Json& in, const char* name) {
    const Json* field = Find(in, name);
    if (field != nullptr && field->is_string()) return field->get<std::string>();
    Refuse(name, "a text");
    return "";
  }
  double Number(const Json& in, const char* name, double least, double most) {
    const Json* field = Find(in, name);
    if (field != nullptr && field->is_number()) {
      const double number = field->get<double>();
      if (number >= least && number <= most) return number;
    }
    Refuse(name, absl::StrCat("a number from ", least, " to ", most));
    return least;
  }
  std::optional<uint32_t> Steps(const Json& in, const char* name) {
    if (Find(in, name) == nullptr) return std::nullopt;
    return static_cast<uint32_t>(Number(in, name, 0, kStepsMost));
  }
  void Refuse(absl::string_view name, absl::string_view expected) {
    status_.Update(absl::InvalidArgumentError(
        absl::StrCat("field '", name, "' is missing or wrong, expected ", expected,
                     "; write the file again with `cormorant tune`")));
  }
  void Fail(const std::string& message) { status_.Update(absl::InvalidArgumentError(message)); }

 private:
  absl::Status status_;
};

/// [layers][kv_heads], one after the other.
std::vector<float> ReadWeights(Reader& reader, const Json& file, const ModelConfig& config) {
  constexpr char kName[] = "head_weights";
  std::vector<float> weights;
  const Json* layers = reader.Find(file, kName);
  if (layers == nullptr) return weights;
  const auto refuse = [&] {
    reader.Refuse(kName, absl::StrCat(config.layers, " lists of ", config.kv_heads,
                                      " numbers, as the model has layers and KV heads"));
    return std::vector<float>();
  };
  if (!layers->is_array() || layers->size() != config.layers) return refuse();
  for (const Json& layer : *layers) {
    if (!layer.is_array() || layer.size() != config.kv_heads) return refuse();
    for (const Json& weight : layer) {
      if (!weight.is_number()) return refuse();
      weights.push_back(weight.get<float>());
    }
  }
  const absl::Status status = CheckHeadWeights(weights, config.layers * config.kv_heads);
  if (!status.ok()) reader.Fail(std::string(status.message()));
  return weights;
}

std::vector<Tuning::RowLoss> ReadLosses(Reader& reader, const Json& file) {
  std::vector<Tuning::RowLoss> losses;
  const Json* list = reader.Find(file, "row_losses");
  if (list == nullptr) return losses;
  if (!list->is_array()) reader.Refuse("row_losses", "a list");
  for (const Json& each : *list) {
    losses.push_back({reader.Text(each, "kv_type"), reader.Number(each, "fraction", 1e-6, 1e6),
                      reader.Number(each, "kl", -1e-3, 1e6)});
  }
  return losses;
}

absl::StatusOr<Tuning> Read(const std::string& path, const ModelFile& model) {
  CORM_ASSIGN_OR_RETURN(const std::unique_ptr<MappedFile> bytes, MappedFile::Open(path));
  const char* const text = reinterpret_cast<const char*>(bytes->bytes().data());
  const Json file = Json::parse(text, text + bytes->bytes().size(), nullptr, false);
  if (!file.is_object()) {
    return absl::InvalidArgumentError("is no JSON object; write it with `cormorant tune`");
  }
  Reader reader;
  Tuning tuning;
  tuning.path = path;
  if (reader.Number(file, "format", 0, 1e9) != kFormat) {
    reader.Fail(absl::StrCat("is not of format ", kFormat,
                             ", which this version reads; write it again with `cormorant tune`"));
  }
  const std::string named = reader.Text(file, "fingerprint"), own = FingerprintOf(model.gguf());
  if (named != own) {
    reader.Fail(absl::StrCat("is for the model with fingerprint '", named, "', this one has '", own,
                             "'; tune this model with `cormorant tune`"));
  }
  tuning.policy = reader.Text(file, "policy");
  if (const auto known = FindPolicy(tuning.policy); !known.ok()) {
    reader.Fail(std::string(known.status().message()));
  }
  tuning.head_weights = ReadWeights(reader, file, model.config());
  if (const Json* options = reader.Find(file, "options")) {
    if (reader.Find(*options, "scale") != nullptr) {
      tuning.importance_scale = static_cast<float>(reader.Number(*options, "scale", 1e-6, 1e6));
    }
    tuning.reach = reader.Steps(*options, "reach");
    tuning.fade = reader.Steps(*options, "fade");
  }
  tuning.row_losses = ReadLosses(reader, file);
  const Json* beats = reader.Find(file, "beats_untuned");
  tuning.beats_untuned = beats != nullptr && beats->is_boolean() && beats->get<bool>();
  CORM_RETURN_IF_ERROR(reader.status());
  return tuning;
}

}  // namespace

absl::Status CheckHeadWeights(const std::vector<float>& weights, uint32_t heads) {
  if (weights.size() != heads) {
    return absl::InvalidArgumentError(absl::StrCat(weights.size(), " head weights; the model has ",
                                                   heads, " KV heads in all its layers"));
  }
  for (const float weight : weights) {
    if (weight >= kHeadWeightLeast && weight <= kHeadWeightMost) continue;
    return absl::InvalidArgumentError(absl::StrCat("a head weight is ", weight, "; expected ",
                                                   kHeadWeightLeast, " to ", kHeadWeightMost));
  }
  return absl::OkStatus();
}

std::optional<double> Tuning::LossOf(const std::string& kv_type, double fraction) const {
  const RowLoss* below = nullptr;  // The nearest on either side.
  const RowLoss* above = nullptr;
  for (const RowLoss& loss : row_losses) {
    if (loss.kv_type != kv_type) continue;
    if (loss.fraction <= fraction && (below == nullptr || loss.fraction > below->fraction)) {
      below = &loss;
    }
    if (loss.fraction >= fraction && (above == nullptr || loss.fraction < above->fraction)) {
      above = &loss;
    }
  }
  if (below == nullptr) return std::nullopt;
  if (above == nullptr || above->fraction == below->fraction) return below->kl;
  const double part =
      std::log(fraction / below->fraction) / std::log(above->fraction / below->fraction);
  return below->kl + part * (above->kl - below->kl);
}

std::string FingerprintOf(const GgufFile& file) {
  return absl::StrCat(absl::Hex(file.Fingerprint(), absl::kZeroPad16));
}

std::string TuningPathOf(const std::string& model_path) {
  return model_path + ".tuning.json";
}

absl::StatusOr<std::optional<Tuning>> OpenTuning(const std::string& choice,
                                                 const std::string& model_path,
                                                 const ModelFile& model) {
  if (choice.empty()) return std::nullopt;
  const bool is_auto = choice == "auto";
  const std::string path = is_auto ? TuningPathOf(model_path) : choice;
  absl::StatusOr<Tuning> tuning = Read(path, model);
  if (tuning.ok()) return *std::move(tuning);
  const bool is_there = !absl::IsNotFound(tuning.status());
  const absl::Status status = is_there ? At(path, tuning.status()) : tuning.status();
  if (!is_auto) return status;
  if (is_there) Log(LogLevel::kWarning, absl::StrCat("no tuning: ", status.message()));
  return std::nullopt;
}

}  // namespace cormorant
