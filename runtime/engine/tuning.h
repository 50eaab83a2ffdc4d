// What `cormorant tune` found for a model: a JSON file beside it.
//
// It says which heads can spare more rows than others (cut.h), options of the policy that did
// better than its own, and the loss that was measured for each type of rows at some fractions of
// the bytes that all rows take as f16. It is for one model alone, which it names by
// GgufFile::Fingerprint(). tools/cormorant/tune.cc writes it; docs/decisions/0021-tuning.md has
// what it is worth.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/engine/model_file.h"

namespace cormorant {

/// Bounds of a head's weight.
constexpr float kHeadWeightLeast = 0.0625f, kHeadWeightMost = 16.0f;
/// INVALID_ARGUMENT unless there is one weight a head, each within bounds.
absl::Status CheckHeadWeights(const std::vector<float>& weights, uint32_t heads);

struct Tuning {
  struct RowLoss {
    std::string kv_type;
    double fraction = 0;  // Bytes of the KV store, of what all rows of the text take as f16.
    double kl = 0;        // Mean, in nats.
  };

  std::string path;
  std::string policy;               // That the rest is for.
  std::vector<float> head_weights;  // Of all heads; empty: all 1.
  std::optional<float> importance_scale;
  std::optional<uint32_t> reach, fade;
  std::vector<RowLoss> row_losses;
  bool beats_untuned = false;  // On text that was held out.

  /// The loss of a type of rows: between measured fractions as a straight line in their logarithm,
  /// above them that of the greatest. Nothing below them: there it may be anything.
  std::optional<double> LossOf(const std::string& kv_type, double fraction) const;
};

/// The fingerprint of a model as tuning files have it: 16 hexadecimal digits.
std::string FingerprintOf(const GgufFile& file);
/// Where "auto" looks.
std::string TuningPathOf(const std::string& model_path);

/// `choice` is a path, "auto" for the file beside the model, or "" for none. With "auto" a file
/// that is not there or does not fit is as good as none, and the log says why it does not fit; a
/// file that is named is NOT_FOUND or INVALID_ARGUMENT then, naming what is wrong with it.
absl::StatusOr<std::optional<Tuning>> OpenTuning(const std::string& choice,
                                                 const std::string& model_path,
                                                 const ModelFile& model);

}  // namespace cormorant
