// Finding a file's architecture, its shared hyper-parameters and its weights. See model.h.
#include "models/model.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "runtime/base/status.h"

namespace cormorant {
namespace {

constexpr uint64_t kMaxDimension = 1u << 20;

/// A count between 1 and `max` from the metadata.
absl::Status ReadCount(const GgufFile& file, const std::string& key, uint64_t max, uint32_t* to) {
  CORM_ASSIGN_OR_RETURN(const uint64_t value, file.Unsigned(key));
  if (value == 0 || value > max) {
    return absl::DataLossError(absl::StrCat("'", key, "' is ", value, "; expected 1 to ", max));
  }
  *to = static_cast<uint32_t>(value);
  return absl::OkStatus();
}

std::string ShapeText(std::span<const uint32_t> shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ","), "]");
}

/// RoPE scaling that this version can compute: none, or linear.
absl::Status ReadRopeScaling(const GgufFile& file, const std::string& prefix, RopeSpec* rope) {
  const std::string type_key = prefix + "rope.scaling.type";
  if (file.Has(type_key)) {
    CORM_ASSIGN_OR_RETURN(const absl::string_view type, file.String(type_key));
    if (type == "none") return absl::OkStatus();
    if (type != "linear") {
      return absl::UnimplementedError(
          absl::StrCat("'", type_key, "' is '", type, "'; this version computes none and linear"));
    }
  }
  for (const char* name : {"rope.scaling.factor", "rope.scale_linear"}) {
    if (!file.Has(prefix + name)) continue;
    CORM_ASSIGN_OR_RETURN(const double factor, file.Number(prefix + name));
    if (!(factor > 0.0 && factor < 1e6)) {
      return absl::DataLossError(absl::StrCat("'", prefix, name, "' is ", factor));
    }
    rope->frequency_scale = static_cast<float>(1.0 / factor);
    break;
  }
  return absl::OkStatus();
}

absl::Status CheckConfig(const ModelConfig& config) {
  if (config.heads % config.kv_heads != 0) {
    return absl::DataLossError(absl::StrCat(config.heads, " query heads cannot share ",
                                            config.kv_heads, " KV heads evenly"));
  }
  if (config.head_dim % 4 != 0 || config.head_dim > 1024) {
    return absl::UnimplementedError(absl::StrCat("head width ", config.head_dim,
                                                 "; this version computes multiples of 4 to 1024"));
  }
  if (config.rope.dims % 2 != 0 || config.rope.dims > config.head_dim) {
    return absl::DataLossError(absl::StrCat("RoPE turns ", config.rope.dims, " of ",
                                            config.head_dim, " dimensions of a head"));
  }
  if (!(config.rope.base > 1.0f) || !(config.norm_eps >= 1e-12f && config.norm_eps <= 1e-2f)) {
    return absl::DataLossError(absl::StrCat("RoPE base ", config.rope.base, ", norm epsilon ",
                                            config.norm_eps, ": not a usable model"));
  }
  return absl::OkStatus();
}

}  // namespace

WeightTable::WeightTable(const GgufFile& file) {
  for (const GgufTensor& tensor : file.tensors()) {
    WeightInfo info;
    info.name = tensor.name;
    info.tensor = &tensor;
    const std::optional<DType> dtype = ComputeType(tensor.type);
    bool fits = tensor.shape.size() <= 3;
    for (size_t d = 0; d < tensor.shape.size() && fits; ++d) {
      fits = tensor.shape[d] <= 0xffffffffu;
      // GGUF lists the fastest dimension first, tapes the slowest.
      info.shape[tensor.shape.size() - 1 - d] = static_cast<uint32_t>(tensor.shape[d]);
    }
    info.dtype = dtype.value_or(DType::kF32);
    index_.emplace(info.name, static_cast<uint32_t>(weights_.size()));
    weights_.push_back(std::move(info));
    computable_.push_back(dtype.has_value() && fits);
    used_.push_back(false);
  }
}

Tensor WeightTable::Take(const std::string& name, std::initializer_list<uint32_t> shape) {
  const auto it = index_.find(name);
  if (it == index_.end()) {
    problems_.push_back(absl::StrCat("tensor '", name, "' is missing"));
    return Tensor{};
  }
  const WeightInfo& info = weights_[it->second];
  used_[it->second] = true;
  if (!computable_[it->second]) {
    problems_.push_back(absl::StrCat("tensor '", name, "' is stored as ",
                                     GgufTypeName(info.tensor->type),
                                     ", which this version cannot compute"));
    return Tensor{};
  }
  std::array<uint32_t, 3> want = {1, 1, 1};
  std::copy(shape.begin(), shape.end(), want.begin());
  if (info.shape != want) {
    problems_.push_back(absl::StrCat("tensor '", name, "' has shape ", ShapeText(info.shape),
                                     ", expected ", ShapeText(want)));
    return Tensor{};
  }
  return Tensor{Region::kWeights, info.dtype, info.shape, it->second};
}

std::vector<std::string> WeightTable::Unused() const {
  std::vector<std::string> names;
  for (size_t i = 0; i < weights_.size(); ++i) {
    if (!used_[i]) names.push_back(weights_[i].name);
  }
  return names;
}

absl::StatusOr<const ModelDef*> FindModel(const GgufFile& file) {
  CORM_ASSIGN_OR_RETURN(const absl::string_view name, file.String("general.architecture"));
  std::vector<absl::string_view> known;
  for (const ModelDef* def : AllModelDefs()) {
    if (def->architecture == name) return def;
    known.push_back(def->architecture);
  }
  return absl::UnimplementedError(
      absl::StrCat("architecture '", name,
                   "' is not known; this version computes: ", absl::StrJoin(known, ", ")));
}

absl::StatusOr<ModelConfig> ReadCommonConfig(const GgufFile& file) {
  ModelConfig config;
  CORM_ASSIGN_OR_RETURN(const absl::string_view name, file.String("general.architecture"));
  config.architecture = std::string(name);
  const std::string prefix = config.architecture + ".";
  CORM_RETURN_IF_ERROR(ReadCount(file, prefix + "block_count", 4096, &config.layers));
  CORM_RETURN_IF_ERROR(ReadCount(file, prefix + "context_length", 1u << 26, &config.context));
  CORM_RETURN_IF_ERROR(ReadCount(file, prefix + "embedding_length", kMaxDimension, &config.width));
  CORM_RETURN_IF_ERROR(ReadCount(file, prefix + "feed_forward_length", kMaxDimension, &config.ffn));
  CORM_RETURN_IF_ERROR(ReadCount(file, prefix + "attention.head_count", 4096, &config.heads));
  config.kv_heads = config.heads;
  if (file.Has(prefix + "attention.head_count_kv")) {
    CORM_RETURN_IF_ERROR(
        ReadCount(file, prefix + "attention.head_count_kv", config.heads, &config.kv_heads));
  }
  if (file.Has(prefix + "attention.key_length")) {
    CORM_RETURN_IF_ERROR(ReadCount(file, prefix + "attention.key_length", 1024, &config.head_dim));
    if (file.Has(prefix + "attention.value_length")) {
      uint32_t value_dim = 0;
      CORM_RETURN_IF_ERROR(ReadCount(file, prefix + "attention.value_length", 1024, &value_dim));
      if (value_dim != config.head_dim) {
        return absl::UnimplementedError(absl::StrCat("key heads of ", config.head_dim,
                                                     " and value heads of ", value_dim,
                                                     "; this version needs them equal"));
      }
    }
  } else {
    if (config.width % config.heads != 0) {
      return absl::DataLossError(absl::StrCat("width ", config.width, " is not a multiple of ",
                                              config.heads, " heads, and '", prefix,
                                              "attention.key_length' is absent"));
    }
    config.head_dim = config.width / config.heads;
  }
  CORM_ASSIGN_OR_RETURN(const double eps, file.Number(prefix + "attention.layer_norm_rms_epsilon"));
  config.norm_eps = static_cast<float>(eps);
  config.rope.dims = config.head_dim;
  if (file.Has(prefix + "rope.dimension_count")) {
    CORM_RETURN_IF_ERROR(ReadCount(file, prefix + "rope.dimension_count", 1024, &config.rope.dims));
  }
  if (file.Has(prefix + "rope.freq_base")) {
    CORM_ASSIGN_OR_RETURN(const double base, file.Number(prefix + "rope.freq_base"));
    config.rope.base = static_cast<float>(base);
  }
  CORM_RETURN_IF_ERROR(ReadRopeScaling(file, prefix, &config.rope));
  const GgufTensor* embedding = file.FindTensor("token_embd.weight");
  if (embedding == nullptr || embedding->shape.size() != 2 ||
      embedding->shape[1] > kMaxDimension * 4) {
    return absl::DataLossError("tensor 'token_embd.weight' [vocabulary, width] is missing");
  }
  config.vocab = static_cast<uint32_t>(embedding->shape[1]);
  CORM_RETURN_IF_ERROR(CheckConfig(config));
  return config;
}

}  // namespace cormorant
