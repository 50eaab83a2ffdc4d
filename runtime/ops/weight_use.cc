// See weight_use.h.
#include "runtime/ops/weight_use.h"

#include <type_traits>
#include <variant>

namespace cormorant {

std::vector<WeightUse> WeightUses(size_t count, const Tape& tape) {
  std::vector<WeightUse> uses(count, WeightUse::kNone);
  const auto use = [&](const Tensor& tensor, WeightUse how) {
    if (tensor.region == Region::kWeights) uses[tensor.offset] = how;
  };
  for (const Op& op : tape.ops) {
    std::visit(
        [&](const auto& o) {
          using T = std::decay_t<decltype(o)>;
          ForEachTensor(o, [&](const Tensor& tensor, Access) { use(tensor, WeightUse::kVector); });
          if constexpr (std::is_same_v<T, EmbedOp>) use(o.table, WeightUse::kMatrix);
          if constexpr (std::is_same_v<T, MatMulOp>) use(o.w, WeightUse::kMatrix);
        },
        op);
  }
  return uses;
}

}  // namespace cormorant
