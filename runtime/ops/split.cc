// Cutting tapes. See split.h.
#include "runtime/ops/split.h"

#include <algorithm>
#include <utility>

#include "runtime/base/check.h"

namespace cormorant {
namespace {

/// The stage of each op.
std::vector<uint32_t> StagesOfOps(const Tape& tape, std::span<const uint32_t> layers) {
  std::vector<uint32_t> stages(tape.ops.size(), static_cast<uint32_t>(layers.size() - 1));
  uint32_t layer = 0;
  for (uint32_t stage = 0; stage < layers.size(); ++stage) {
    CORM_CHECK(layers[stage] > 0 && layer + layers[stage] < tape.layer_starts.size());
    const size_t first = tape.layer_starts[layer];
    layer += layers[stage];
    std::fill(stages.begin() + static_cast<ptrdiff_t>(first),
              stages.begin() + static_cast<ptrdiff_t>(tape.layer_starts[layer]), stage);
  }
  CORM_CHECK(layer + 1 == tape.layer_starts.size());
  return stages;
}

/// Which stages hold what was last written to the bytes of a tensor.
class Holders {
 public:
  void Written(const Tensor& tensor, uint32_t stage) {
    std::erase_if(held_, [&](const Held& held) { return Overlap(held.tensor, tensor); });
    held_.push_back({tensor, {stage}});
  }
  /// The stage from which `stage` must get the tensor, if it lacks it; it then has it.
  bool Needs(const Tensor& tensor, uint32_t stage, Handover* handover) {
    const auto held = std::find_if(held_.begin(), held_.end(), [&](const Held& candidate) {
      return Overlap(candidate.tensor, tensor);
    });
    if (held == held_.end()) return false;
    // The same bytes under another shape: [R, H * E] is [R, H, E].
    CORM_CHECK(held->tensor.offset == tensor.offset && held->tensor.bytes() == tensor.bytes());
    if (std::find(held->stages.begin(), held->stages.end(), stage) != held->stages.end()) {
      return false;
    }
    *handover = {held->stages.front(), tensor};
    held->stages.push_back(stage);
    return true;
  }

 private:
  struct Held {
    Tensor tensor;
    std::vector<uint32_t> stages;
  };
  std::vector<Held> held_;
};

void RenumberLayer(Op& op, uint32_t first_layer) {
  if (auto* write = std::get_if<KvWriteOp>(&op)) write->layer -= first_layer;
  if (auto* attend = std::get_if<AttendOp>(&op)) attend->layer -= first_layer;
  if (auto* stats = std::get_if<QueryStatsOp>(&op)) stats->layer -= first_layer;
}

/// Adds an op to a part, and to its inputs what other stages have computed for it.
void AddOp(const Op& op, Holders& holders, TapePart& part) {
  Tape& tape = part.tape;
  const auto each = [&](auto&& f) { std::visit([&](const auto& o) { ForEachTensor(o, f); }, op); };
  each([&](const Tensor& tensor, Access access) {
    if (tensor.region == Region::kWeights) return;
    uint64_t& bytes = tensor.region == Region::kArena ? tape.arena_bytes : tape.out_bytes;
    bytes = std::max(bytes, tensor.offset + tensor.bytes());
    Handover handover;
    if (access != Access::kWrite && holders.Needs(tensor, part.stage, &handover)) {
      part.inputs.push_back(handover);
    }
  });
  each([&](const Tensor& tensor, Access access) {
    if (tensor.region != Region::kWeights && access != Access::kRead) {
      holders.Written(tensor, part.stage);
    }
  });
  tape.ops.push_back(op);
}

}  // namespace

std::vector<TapePart> SplitTape(const Tape& tape, std::span<const uint32_t> layers) {
  CORM_CHECK(!layers.empty());
  if (layers.size() == 1) return {{0, tape, {}}};
  const std::vector<uint32_t> stages = StagesOfOps(tape, layers);
  std::vector<uint32_t> first_layers = {0};
  for (uint32_t count : layers) first_layers.push_back(first_layers.back() + count);
  std::vector<TapePart> parts;
  Holders holders;
  for (size_t i = 0; i < tape.ops.size(); ++i) {
    if (parts.empty() || parts.back().stage != stages[i]) {
      parts.push_back({stages[i], {}, {}});
      parts.back().tape.rows = tape.rows;
      parts.back().tape.out_rows = tape.out_rows;
    }
    Op op = tape.ops[i];
    RenumberLayer(op, first_layers[stages[i]]);
    AddOp(op, holders, parts.back());
  }
  return parts;
}

Tape StageTape(std::span<const TapePart> parts, uint32_t stage) {
  Tape all;
  for (const TapePart& part : parts) {
    if (part.stage != stage) continue;
    all.rows = part.tape.rows;
    all.out_rows = part.tape.out_rows;
    all.arena_bytes = std::max(all.arena_bytes, part.tape.arena_bytes);
    all.out_bytes = std::max(all.out_bytes, part.tape.out_bytes);
    all.ops.insert(all.ops.end(), part.tape.ops.begin(), part.tape.ops.end());
  }
  return all;
}

}  // namespace cormorant
