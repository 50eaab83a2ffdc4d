// The rules of ops.h, op by op. See validate.h.
#include "runtime/ops/validate.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "runtime/base/status.h"

namespace cormorant {
namespace {

using Shape = std::array<uint32_t, 3>;

std::string Text(DType dtype, const Shape& shape) {
  return absl::StrCat(Info(dtype).name, " [", shape[0], ",", shape[1], ",", shape[2], "]");
}

bool IsWeightType(DType dtype) {
  return dtype != DType::kU32;
}

/// Checks the ops of one tape in their order.
class Checker {
 public:
  Checker(const Tape& tape, const TapeLimits& limits)
      : tape_(tape), limits_(limits), rows_(tape.rows) {}

  absl::Status CheckTape();

 private:
  absl::Status Check(const EmbedOp& op) const;
  absl::Status Check(const RmsNormOp& op) const;
  absl::Status Check(const MatMulOp& op) const;
  absl::Status Check(const ActOp& op) const;
  absl::Status Check(const RopeOp& op) const;
  absl::Status Check(const KvWriteOp& op) const;
  absl::Status Check(const AttendOp& op) const;
  absl::Status Check(const GatherRowsOp& op);
  absl::Status Check(const TopKOp& op) const;
  absl::Status Check(const KvAgesOp& op) const;
  absl::Status Check(const KvCompactOp& op) const;
  absl::Status Check(const KvRebaseOp& op) const;
  absl::Status Check(const KvSpreadOp& op) const;
  absl::Status Check(const KvScoreOp& op) const;
  absl::Status Check(const QueryStatsOp& op) const;

  /// An f32 tensor of this shape in the arena or out.
  absl::Status Activation(absl::string_view name, const Tensor& tensor, const Shape& shape) const;
  absl::Status Placed(absl::string_view name, const Tensor& tensor, DType dtype,
                      const Shape& shape) const;
  /// Placed, and in out.
  absl::Status InOut(absl::string_view name, const Tensor& tensor, DType dtype,
                     const Shape& shape) const;
  /// A weight of this shape; any weight type, or f32 alone.
  absl::Status Weight(absl::string_view name, const Tensor& tensor, const Shape& shape,
                      bool is_f32) const;
  absl::Status Rope(const RopeSpec& rope, uint32_t head_dim) const;
  absl::Status Scale(float scale) const;
  absl::Status Cache() const;
  absl::Status Layer(uint32_t layer) const;
  absl::Status Group(uint32_t query_heads) const;
  /// The op needs the rows of the step, which are gone after GatherRows.
  absl::Status AllRows() const;

  const Tape& tape_;
  const TapeLimits& limits_;
  uint32_t rows_;  // Rows the next op works on.
  bool is_gathered_ = false;
};

/// Two tensors of one op do not overlap; where they may be the same they are the same bytes.
absl::Status Apart(absl::string_view names, const Tensor& a, const Tensor& b, bool may_be_same) {
  if (!Overlap(a, b)) return absl::OkStatus();
  if (may_be_same && a.offset == b.offset && a.shape == b.shape) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(names, " overlap at bytes ", a.offset, " and ",
                                                 b.offset, "; expected them ",
                                                 may_be_same ? "apart or the same" : "apart"));
}

absl::Status Checker::Placed(absl::string_view name, const Tensor& tensor, DType dtype,
                             const Shape& shape) const {
  if (tensor.region != Region::kArena && tensor.region != Region::kOut) {
    return absl::InvalidArgumentError(absl::StrCat(name, " is not in the arena or out"));
  }
  if (tensor.dtype != dtype || tensor.shape != shape) {
    return absl::InvalidArgumentError(absl::StrCat(name, " is ", Text(tensor.dtype, tensor.shape),
                                                   ", expected ", Text(dtype, shape)));
  }
  if (std::find(shape.begin(), shape.end(), 0u) != shape.end()) {
    return absl::InvalidArgumentError(absl::StrCat(name, " is empty: ", Text(dtype, shape)));
  }
  if (tensor.offset % kTensorAlignment != 0) {
    return absl::InvalidArgumentError(absl::StrCat(name, " starts at byte ", tensor.offset,
                                                   ", expected a multiple of ", kTensorAlignment));
  }
  const bool is_arena = tensor.region == Region::kArena;
  const uint64_t bytes = is_arena ? tape_.arena_bytes : tape_.out_bytes;
  const uint64_t elements_max = bytes / Info(dtype).block_bytes;  // One element a block: f32, u32.
  const bool fits = uint64_t{shape[0]} * shape[1] <= elements_max / shape[2] &&
                    tensor.offset <= bytes && tensor.bytes() <= bytes - tensor.offset;
  if (fits) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(name, ", ", Text(dtype, shape), " at byte ",
                                                 tensor.offset, ", does not fit into the ", bytes,
                                                 " bytes of ", is_arena ? "the arena" : "out"));
}

absl::Status Checker::InOut(absl::string_view name, const Tensor& tensor, DType dtype,
                            const Shape& shape) const {
  if (tensor.region == Region::kOut) return Placed(name, tensor, dtype, shape);
  return absl::InvalidArgumentError(absl::StrCat(name, " is not in out"));
}

absl::Status Checker::Activation(absl::string_view name, const Tensor& tensor,
                                 const Shape& shape) const {
  return Placed(name, tensor, DType::kF32, shape);
}

absl::Status Checker::Weight(absl::string_view name, const Tensor& tensor, const Shape& shape,
                             bool is_f32) const {
  if (tensor.region != Region::kWeights) {
    return absl::InvalidArgumentError(absl::StrCat(name, " is not a weight"));
  }
  if (tensor.offset >= limits_.weights.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, " is weight ", tensor.offset, ", there are ", limits_.weights.size()));
  }
  const WeightShape& held = limits_.weights[tensor.offset];
  if (tensor.dtype != held.dtype || tensor.shape != held.shape) {
    return absl::InvalidArgumentError(absl::StrCat(name, " is ", Text(tensor.dtype, tensor.shape),
                                                   ", but weight ", tensor.offset, " is ",
                                                   Text(held.dtype, held.shape)));
  }
  if (is_f32 ? tensor.dtype != DType::kF32 : !IsWeightType(tensor.dtype)) {
    return absl::InvalidArgumentError(absl::StrCat(
        name, " is ", Info(tensor.dtype).name, ", expected ", is_f32 ? "f32" : "a weight type"));
  }
  if (tensor.shape != shape || std::find(shape.begin(), shape.end(), 0u) != shape.end()) {
    return absl::InvalidArgumentError(absl::StrCat(name, " is ", Text(tensor.dtype, tensor.shape),
                                                   ", expected shape ", shape[0], ",", shape[1],
                                                   ",", shape[2]));
  }
  const uint32_t block = Info(tensor.dtype).block;
  if (shape[1] % block != 0) {  // A vector is f32.
    return absl::InvalidArgumentError(absl::StrCat(name, " has rows of ", shape[1], " ",
                                                   Info(tensor.dtype).name,
                                                   " elements, expected a multiple of ", block));
  }
  return absl::OkStatus();
}

absl::Status Checker::Rope(const RopeSpec& rope, uint32_t head_dim) const {
  if (rope.dims % 2 != 0 || rope.dims > head_dim) {
    return absl::InvalidArgumentError(absl::StrCat(
        "rope turns ", rope.dims, " dimensions, expected an even number up to ", head_dim));
  }
  if (!(rope.base > 0.0f && std::isfinite(rope.base)) ||
      !(rope.frequency_scale > 0.0f && std::isfinite(rope.frequency_scale))) {
    return absl::InvalidArgumentError(absl::StrCat("rope has base ", rope.base, " and scale ",
                                                   rope.frequency_scale,
                                                   ", expected finite numbers above 0"));
  }
  if (!rope.factors.present()) return absl::OkStatus();
  return Weight("factors", rope.factors, {rope.dims / 2, 1, 1}, true);
}

absl::Status Checker::Scale(float scale) const {
  if (scale > 0.0f && std::isfinite(scale)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("scale is ", scale, ", expected a finite number above 0"));
}

absl::Status Checker::Cache() const {
  const KvGeometry& g = limits_.geometry;
  if (g.layers == 0 || g.kv_heads == 0 || g.head_dim == 0 || g.pages_per_head == 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the cache has ", g.layers, " layers, ", g.kv_heads, " KV heads of ", g.head_dim,
        " dimensions and ", g.pages_per_head, " pages a head; expected at least 1 of each"));
  }
  for (DType type : {g.k_type, g.v_type}) {
    if (type != DType::kF16 && type != DType::kQ8_0 && type != DType::kQ4_0) {
      return absl::InvalidArgumentError(
          absl::StrCat("the cache holds ", Info(type).name, " rows, expected f16, q8_0 or q4_0"));
    }
    const uint32_t multiple = type == DType::kF16 ? 4 : 32;
    if (g.head_dim % multiple != 0) {
      return absl::InvalidArgumentError(absl::StrCat("heads have ", g.head_dim, " dimensions, ",
                                                     Info(type).name, " rows need a multiple of ",
                                                     multiple));
    }
  }
  return absl::OkStatus();
}

absl::Status Checker::Layer(uint32_t layer) const {
  CORM_RETURN_IF_ERROR(Cache());
  if (layer < limits_.geometry.layers) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("layer is ", layer, ", the cache has ", limits_.geometry.layers));
}

absl::Status Checker::Group(uint32_t query_heads) const {
  if (query_heads % limits_.geometry.kv_heads == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(query_heads, " query heads cannot share ",
                                                 limits_.geometry.kv_heads, " KV heads evenly"));
}

absl::Status Checker::AllRows() const {
  if (!is_gathered_) return absl::OkStatus();
  return absl::InvalidArgumentError("works on the step's rows and stands after the tape's gather");
}

absl::Status Checker::Check(const EmbedOp& op) const {
  CORM_RETURN_IF_ERROR(AllRows());
  CORM_RETURN_IF_ERROR(Weight("table", op.table, {op.table.shape[0], op.table.shape[1], 1}, false));
  return Activation("y", op.y, {rows_, op.table.shape[1], 1});
}

absl::Status Checker::Check(const RmsNormOp& op) const {
  const uint32_t width = op.w.shape[0];
  CORM_RETURN_IF_ERROR(Weight("w", op.w, {width, 1, 1}, true));
  CORM_RETURN_IF_ERROR(Activation("x", op.x, {rows_, width, 1}));
  CORM_RETURN_IF_ERROR(Activation("y", op.y, {rows_, width, 1}));
  if (!(op.eps >= 1e-8f && op.eps <= 1e-3f)) {
    return absl::InvalidArgumentError(absl::StrCat("eps is ", op.eps, ", expected 1e-8 to 1e-3"));
  }
  return Apart("y and x", op.y, op.x, true);
}

absl::Status Checker::Check(const MatMulOp& op) const {
  const uint32_t outer = op.w.shape[0], inner = op.w.shape[1];
  CORM_RETURN_IF_ERROR(Weight("w", op.w, {outer, inner, 1}, false));
  CORM_RETURN_IF_ERROR(Activation("x", op.x, {rows_, inner, 1}));
  CORM_RETURN_IF_ERROR(Activation("y", op.y, {rows_, outer, 1}));
  return Apart("y and x", op.y, op.x, false);
}

absl::Status Checker::Check(const ActOp& op) const {
  const Shape shape = {rows_, op.y.shape[1], 1};
  CORM_RETURN_IF_ERROR(Activation("y", op.y, shape));
  CORM_RETURN_IF_ERROR(Activation("gate", op.gate, shape));
  CORM_RETURN_IF_ERROR(Activation("up", op.up, shape));
  CORM_RETURN_IF_ERROR(Apart("y and gate", op.y, op.gate, true));
  return Apart("y and up", op.y, op.up, true);
}

absl::Status Checker::Check(const RopeOp& op) const {
  CORM_RETURN_IF_ERROR(AllRows());
  CORM_RETURN_IF_ERROR(Activation("x", op.x, {rows_, op.x.shape[1], op.x.shape[2]}));
  return Rope(op.rope, op.x.shape[2]);
}

absl::Status Checker::Check(const KvWriteOp& op) const {
  CORM_RETURN_IF_ERROR(AllRows());
  CORM_RETURN_IF_ERROR(Layer(op.layer));
  const Shape shape = {rows_, limits_.geometry.kv_heads, limits_.geometry.head_dim};
  CORM_RETURN_IF_ERROR(Activation("k", op.k, shape));
  return Activation("v", op.v, shape);
}

absl::Status Checker::Check(const AttendOp& op) const {
  CORM_RETURN_IF_ERROR(AllRows());
  CORM_RETURN_IF_ERROR(Layer(op.layer));
  const Shape shape = {rows_, op.q.shape[1], limits_.geometry.head_dim};
  CORM_RETURN_IF_ERROR(Activation("q", op.q, shape));
  CORM_RETURN_IF_ERROR(Activation("o", op.o, shape));
  CORM_RETURN_IF_ERROR(Group(op.q.shape[1]));
  CORM_RETURN_IF_ERROR(Scale(op.scale));
  return Apart("o and q", op.o, op.q, false);
}

absl::Status Checker::Check(const GatherRowsOp& op) {
  if (is_gathered_) return absl::InvalidArgumentError("is the second gather of the tape");
  const uint32_t width = op.x.shape[1];
  CORM_RETURN_IF_ERROR(Activation("x", op.x, {tape_.rows, width, 1}));
  CORM_RETURN_IF_ERROR(Activation("y", op.y, {tape_.out_rows, width, 1}));
  is_gathered_ = true;
  rows_ = tape_.out_rows;
  return Apart("y and x", op.y, op.x, false);
}

absl::Status Checker::Check(const TopKOp& op) const {
  const uint32_t width = op.x.shape[1], k = op.values.shape[1];
  CORM_RETURN_IF_ERROR(Activation("x", op.x, {rows_, width, 1}));
  const uint32_t most = std::min(width, kTopKMax);
  if (k == 0 || k > most) {
    return absl::InvalidArgumentError(
        absl::StrCat("values has rows of ", k, " numbers, expected 1 to ", most));
  }
  CORM_RETURN_IF_ERROR(InOut("values", op.values, DType::kF32, {rows_, k, 1}));
  CORM_RETURN_IF_ERROR(InOut("indices", op.indices, DType::kU32, {rows_, k, 1}));
  CORM_RETURN_IF_ERROR(Apart("values and x", op.values, op.x, false));
  CORM_RETURN_IF_ERROR(Apart("indices and x", op.indices, op.x, false));
  return Apart("values and indices", op.values, op.indices, false);
}

absl::Status Checker::Check(const KvAgesOp& op) const {
  CORM_RETURN_IF_ERROR(Cache());
  return InOut("ages", op.ages, DType::kU32, {limits_.geometry.heads(), kAgeBins + 1, 1});
}

absl::Status Checker::Check(const KvCompactOp&) const {
  return Cache();
}

absl::Status Checker::Check(const KvRebaseOp& op) const {
  CORM_RETURN_IF_ERROR(Cache());
  return Rope(op.rope, limits_.geometry.head_dim);
}

absl::Status Checker::Check(const KvSpreadOp&) const {
  return Cache();
}

absl::Status Checker::Check(const KvScoreOp& op) const {
  CORM_RETURN_IF_ERROR(Cache());
  CORM_RETURN_IF_ERROR(Group(limits_.geometry.query_heads));
  CORM_RETURN_IF_ERROR(Scale(op.scale));
  return Rope(op.rope, limits_.geometry.head_dim);
}

absl::Status Checker::Check(const QueryStatsOp& op) const {
  CORM_RETURN_IF_ERROR(AllRows());
  CORM_RETURN_IF_ERROR(Layer(op.layer));
  const KvGeometry& g = limits_.geometry;
  if (g.query_heads == 0) {
    return absl::InvalidArgumentError("the cache keeps no statistics of queries");
  }
  CORM_RETURN_IF_ERROR(Group(g.query_heads));
  return Activation("q", op.q, {rows_, g.query_heads, g.head_dim});
}

absl::Status Checker::CheckTape() {
  if (tape_.rows == 0 || tape_.out_rows == 0) {
    return absl::InvalidArgumentError(absl::StrCat("a tape of ", tape_.rows, " rows and ",
                                                   tape_.out_rows,
                                                   " output rows; expected at least 1 of each"));
  }
  for (size_t i = 0; i < tape_.ops.size(); ++i) {
    const absl::Status status =
        std::visit([this](const auto& op) { return Check(op); }, tape_.ops[i]);
    if (!status.ok()) return At(absl::StrCat("op ", i, " (", OpName(tape_.ops[i]), ")"), status);
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status Validate(const Tape& tape, const TapeLimits& limits) {
  return Checker(tape, limits).CheckTape();
}

}  // namespace cormorant
