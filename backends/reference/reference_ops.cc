// The reference of the ops on activations. See runtime/ops/ops.h for what each one computes.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "backends/reference/reference.h"
#include "runtime/format/dequantize.h"

namespace cormorant::reference {
namespace {

/// Elements between neighbours of a tensor's first dimension.
uint64_t Stride(const Tensor& tensor) {
  return uint64_t{tensor.shape[1]} * tensor.shape[2];
}

}  // namespace

const float* Replay::WeightRow(const Tensor& tensor, uint32_t row, uint32_t width) const {
  const std::byte* data = weights[tensor.offset].data;
  Dequantize(tensor.dtype, data + row * RowBytes(tensor.dtype, width), width,
             scratch->weights.data());
  return scratch->weights.data();
}

void Run(const EmbedOp& op, Replay& replay) {
  const uint32_t width = op.table.shape[1];
  for (uint32_t r = 0; r < replay.rows; ++r) {
    const float* row = replay.WeightRow(op.table, replay.step.ids()[r], width);
    std::memcpy(replay.At(op.y) + uint64_t{r} * width, row, width * sizeof(float));
  }
}

void Run(const RmsNormOp& op, Replay& replay) {
  const uint32_t width = op.w.shape[0];
  const float* w = replay.WeightRow(op.w, 0, width);
  for (uint32_t r = 0; r < replay.rows; ++r) {
    const float* x = replay.At(op.x) + uint64_t{r} * width;
    float* y = replay.At(op.y) + uint64_t{r} * width;
    double sum_squares = 0.0;
    for (uint32_t d = 0; d < width; ++d) sum_squares += double{x[d]} * double{x[d]};
    const double root = std::sqrt(sum_squares / width + double{op.eps});
    for (uint32_t d = 0; d < width; ++d) {
      y[d] = static_cast<float>(double{x[d]} * double{w[d]} / root);
    }
  }
}

void Run(const MatMulOp& op, Replay& replay) {
  const uint32_t outer = op.w.shape[0], inner = op.w.shape[1];
  for (uint32_t n = 0; n < outer; ++n) {
    const float* w = replay.WeightRow(op.w, n, inner);
    for (uint32_t r = 0; r < replay.rows; ++r) {
      float& y = replay.At(op.y)[uint64_t{r} * outer + n];
      const double sum = Dot(replay.At(op.x) + uint64_t{r} * inner, w, inner);
      y = static_cast<float>(op.accumulate ? double{y} + sum : sum);
    }
  }
}

void Run(const ActOp& op, Replay& replay) {
  const uint64_t count = replay.rows * Stride(op.y);
  for (uint64_t i = 0; i < count; ++i) {
    const double gate = replay.At(op.gate)[i], up = replay.At(op.up)[i];
    replay.At(op.y)[i] = static_cast<float>(gate / (1.0 + std::exp(-gate)) * up);
  }
}

const float* FactorsOf(const RopeSpec& rope, const Replay& replay) {
  return rope.factors.present() ? replay.WeightRow(rope.factors, 0, rope.dims / 2) : nullptr;
}

Turn TurnOf(const RopeSpec& rope, const float* factors, double position, uint32_t pair) {
  double frequency = std::pow(double{rope.base}, -2.0 * pair / rope.dims) * rope.frequency_scale;
  if (factors != nullptr) frequency /= double{factors[pair]};
  return {std::cos(position * frequency), std::sin(position * frequency)};
}

void Run(const RopeOp& op, Replay& replay) {
  const uint32_t heads = op.x.shape[1], head_dim = op.x.shape[2];
  const float* factors = FactorsOf(op.rope, replay);
  for (uint32_t r = 0; r < replay.rows; ++r) {
    float* x = replay.At(op.x) + r * Stride(op.x);
    for (uint32_t pair = 0; pair < op.rope.dims / 2; ++pair) {
      const Turn turn = TurnOf(op.rope, factors, replay.step.positions()[r], pair);
      for (uint32_t h = 0; h < heads; ++h) {
        float& a = x[h * head_dim + 2 * pair];
        float& b = x[h * head_dim + 2 * pair + 1];
        const double old_a = a, old_b = b;
        a = static_cast<float>(old_a * turn.cos - old_b * turn.sin);
        b = static_cast<float>(old_a * turn.sin + old_b * turn.cos);
      }
    }
  }
}

void Run(const GatherRowsOp& op, Replay& replay) {
  const uint64_t width = Stride(op.x);
  for (uint32_t j = 0; j < replay.rows; ++j) {
    const float* from = replay.At(op.x) + replay.step.out_index()[j] * width;
    std::memcpy(replay.At(op.y) + j * width, from, width * sizeof(float));
  }
}

void Run(const TopKOp& op, Replay& replay) {
  const uint32_t width = op.x.shape[1], k = op.values.shape[1];
  uint32_t* order = replay.scratch->order.data();
  for (uint64_t o = 0; o < replay.rows; ++o) {
    const float* x = replay.At(op.x) + o * width;
    const auto value = [&](uint32_t i) { return std::isnan(x[i]) ? -INFINITY : x[i]; };
    std::iota(order, order + width, 0u);
    std::partial_sort(order, order + k, order + width, [&](uint32_t a, uint32_t b) {
      return value(a) > value(b) || (value(a) == value(b) && a < b);
    });
    std::copy_n(order, k, replay.At<uint32_t>(op.indices) + o * k);
    std::transform(order, order + k, replay.At(op.values) + o * k, value);
  }
}

}  // namespace cormorant::reference
