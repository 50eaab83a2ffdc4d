// Judging a model file by its metadata. See model_file.h.
#include "runtime/engine/model_file.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "runtime/base/check.h"
#include "runtime/base/status.h"

namespace cormorant {
namespace {

constexpr size_t kProblemsShown = 8;

RopeSpec RopeOf(const Tape& tape) {
  for (const Op& op : tape.ops) {
    if (const auto* rope = std::get_if<RopeOp>(&op)) return rope->rope;
  }
  return RopeSpec{};
}

}  // namespace

absl::StatusOr<std::unique_ptr<ModelFile>> ModelFile::Open(const std::string& path) {
  std::unique_ptr<ModelFile> model(new ModelFile);
  CORM_ASSIGN_OR_RETURN(model->gguf_, GgufFile::Open(path));
  const auto named = [&](const absl::Status& status) { return At(path, status); };
  absl::StatusOr<const ModelDef*> def = FindModel(*model->gguf_);
  if (!def.ok()) return named(def.status());
  model->def_ = *def;
  absl::StatusOr<ModelConfig> config = model->def_->read_config(*model->gguf_);
  if (!config.ok()) return named(config.status());
  model->config_ = *std::move(config);
  const absl::StatusOr<absl::string_view> name = model->gguf_->String("general.name");
  model->name_ = std::string(name.ok() ? *name : model->def_->architecture);

  WeightTable weights(*model->gguf_);
  TapeBuilder builder(1, 1);
  model->def_->write_tape(model->config_, weights, builder);
  model->problems_ = weights.problems();
  for (const std::string& tensor : weights.Unused()) {
    model->problems_.push_back(absl::StrCat("tensor '", tensor, "' is not part of architecture '",
                                            model->def_->architecture,
                                            "' as this version computes it"));
  }
  if (model->problems_.empty()) model->rope_ = RopeOf(std::move(builder).Finish());
  return model;
}

absl::Status ModelFile::Usable() const {
  if (problems_.empty()) return absl::OkStatus();
  std::vector<std::string> shown(problems_.begin(),
                                 problems_.begin() + std::min(problems_.size(), kProblemsShown));
  if (problems_.size() > kProblemsShown) {
    shown.push_back(absl::StrCat("and ", problems_.size() - kProblemsShown, " more"));
  }
  return absl::UnimplementedError(
      absl::StrCat("model '", name_, "' cannot run: ", absl::StrJoin(shown, "; ")));
}

uint64_t ModelFile::parameters() const {
  uint64_t count = 0;
  for (const GgufTensor& tensor : gguf_->tensors()) count += tensor.elements();
  return count;
}

uint64_t ModelFile::weight_bytes() const {
  uint64_t bytes = 0;
  for (const GgufTensor& tensor : gguf_->tensors()) bytes += tensor.bytes;
  return bytes;
}

Tape ModelFile::WriteTape(uint32_t rows, uint32_t out_rows, bool counts_queries) const {
  CORM_CHECK(problems_.empty());
  WeightTable weights(*gguf_);
  TapeBuilder builder(rows, out_rows, counts_queries);
  def_->write_tape(config_, weights, builder);
  return std::move(builder).Finish();
}

std::vector<HostTensor> ModelFile::HostTensors() const {
  std::vector<HostTensor> tensors;
  const WeightTable table(*gguf_);
  for (const WeightInfo& info : table.weights()) {
    tensors.push_back({info.name, info.dtype, info.shape, gguf_->Data(*info.tensor).data()});
  }
  return tensors;
}

}  // namespace cormorant
