// What a model architecture must say of itself: which GGUF it reads and the tape of one step.
//
// An architecture is one file, models/<name>.cc, that defines `const ModelDef kModel_<name>`; CMake
// finds it by name. It reads its hyper-parameters from GGUF metadata and writes a decoder as a
// tape. It knows no device, no session and no cache policy.
#pragma once
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "runtime/format/gguf.h"
#include "runtime/ops/ops.h"
#include "runtime/ops/tape.h"

namespace cormorant {

/// The hyper-parameters of a decoder that the rest of the runtime needs to know.
struct ModelConfig {
  std::string architecture;
  uint32_t layers = 0;
  uint32_t width = 0;     // D
  uint32_t ffn = 0;       // F
  uint32_t heads = 0;     // H
  uint32_t kv_heads = 0;  // G
  uint32_t head_dim = 0;  // E
  uint32_t vocab = 0;     // V
  uint32_t context = 0;   // Positions the model was trained on.
  float norm_eps = 1e-5f;
  RopeSpec rope;
};

/// One weight of a model file, as tapes name it.
struct WeightInfo {
  std::string name;
  DType dtype = DType::kF32;
  std::array<uint32_t, 3> shape = {1, 1, 1};
  const GgufTensor* tensor = nullptr;
};

/// The weights of a file by name. Tape builders take tensors from it; what is missing, misshapen or
/// cannot be computed is collected, and what nobody took is known, so that a file which needs more
/// than the architecture computes is refused instead of computed wrongly.
class WeightTable {
 public:
  explicit WeightTable(const GgufFile& file);

  bool Has(absl::string_view name) const { return index_.contains(name); }
  /// The tensor named `name`, which must have this shape (slowest dimension first). On a mismatch
  /// the problem is recorded and an absent tensor returned.
  Tensor Take(const std::string& name, std::initializer_list<uint32_t> shape);

  const std::vector<WeightInfo>& weights() const { return weights_; }
  const std::vector<std::string>& problems() const { return problems_; }
  /// Names of the file's tensors that no Take asked for.
  std::vector<std::string> Unused() const;

 private:
  std::vector<WeightInfo> weights_;
  std::vector<bool> computable_;
  std::vector<bool> used_;
  absl::flat_hash_map<std::string, uint32_t> index_;
  std::vector<std::string> problems_;
};

/// Logits of a row that a tape picks out, so that sampling need not read all V of them.
constexpr uint32_t kTopLogits = 128;

struct ModelDef {
  absl::string_view architecture;  // As general.architecture names it.
  absl::StatusOr<ModelConfig> (*read_config)(const GgufFile& file);
  /// Writes a step of builder.rows() rows: token ids in, and three tensors out, in this order: the
  /// logits [O,V], and of their TopK, the last op, values and indices [O,min(V,kTopLogits)]. Each
  /// layer, and what follows the last one, begins with builder.BeginLayer(), as the fragments of
  /// blocks.h do it.
  void (*write_tape)(const ModelConfig& config, WeightTable& weights, TapeBuilder& builder);
};

/// Every architecture compiled in; generated from file names.
std::span<const ModelDef* const> AllModelDefs();

/// The architecture a file names, or UNIMPLEMENTED with the list of known ones.
absl::StatusOr<const ModelDef*> FindModel(const GgufFile& file);

/// Reads the metadata that most decoders share, under the prefix "<architecture>.", and checks that
/// it describes something a tape can be written for.
absl::StatusOr<ModelConfig> ReadCommonConfig(const GgufFile& file);

}  // namespace cormorant
