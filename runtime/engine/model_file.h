// A model file as the engine sees it before any weight is loaded: what it is, and whether it can
// run.
//
// Everything here comes from metadata alone, so `inspect` and loading agree, and a model that
// cannot run is refused with the whole list of reasons and never half-way.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "backends/backend.h"
#include "models/model.h"
#include "runtime/format/gguf.h"

namespace cormorant {

class ModelFile {
 public:
  /// Opens a GGUF file of a known architecture. Problems with its tensors do not fail the call: see
  /// problems().
  static absl::StatusOr<std::unique_ptr<ModelFile>> Open(const std::string& path);

  const GgufFile& gguf() const { return *gguf_; }
  const ModelConfig& config() const { return config_; }
  /// The name the file gives itself, or its architecture.
  const std::string& name() const { return name_; }
  /// Why this file cannot run, one sentence each; empty when it can.
  const std::vector<std::string>& problems() const { return problems_; }
  /// INVALID tensors as one UNIMPLEMENTED error; OK when there are no problems.
  absl::Status Usable() const;
  uint64_t parameters() const;

  /// A step of `rows` rows with `out_rows` outputs, which counts queries (QueryStatsOp) or does
  /// not. Needs Usable().
  Tape WriteTape(uint32_t rows, uint32_t out_rows, bool counts_queries = false) const;
  /// How the model turns positions, factors included. Needs Usable().
  RopeSpec rope() const { return rope_; }
  /// The weights in tape order, pointing into the mapped file.
  std::vector<HostTensor> HostTensors() const;
  /// Host tensor `index` will hardly be read again: its pages need not stay in memory.
  void DropHostPages(size_t index) const { gguf_->DropPages(gguf_->tensors()[index]); }
  /// Bytes of all tensors as stored.
  uint64_t weight_bytes() const;

 private:
  ModelFile() = default;

  std::unique_ptr<GgufFile> gguf_;
  const ModelDef* def_ = nullptr;
  ModelConfig config_;
  std::string name_;
  RopeSpec rope_;
  std::vector<std::string> problems_;
};

}  // namespace cormorant
