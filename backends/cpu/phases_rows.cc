// Row-wise ops. Neighbouring ones run as one phase: a row passes through all of them while it is in
// the cache of one core, and no barrier stands between them.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "backends/cpu/phases.h"

namespace cormorant::cpu {
namespace {

class Embed final : public RowStep {
 public:
  explicit Embed(const EmbedOp& op) : op_(op) {}
  void Run(const Replay& replay, uint32_t first, uint32_t last) const override {
    const uint32_t width = op_.table.shape[1];
    for (uint32_t r = first; r < last; ++r) {
      replay.weights->ReadRow(op_.table.offset, replay.step.ids()[r],
                              replay.At(op_.y) + uint64_t{r} * width);
    }
  }

 private:
  const EmbedOp op_;
};

class Norm final : public RowStep {
 public:
  Norm(const RmsNormOp& op, const Kernels& kernels) : op_(op), kernels_(kernels) {}
  void Run(const Replay& replay, uint32_t first, uint32_t last) const override {
    const uint32_t width = op_.w.shape[0];
    for (uint64_t r = first; r < last; ++r) {
      kernels_.rms_norm(replay.At(op_.y) + r * width, replay.At(op_.x) + r * width,
                        replay.Floats(op_.w), width, op_.eps);
    }
  }

 private:
  const RmsNormOp op_;
  const Kernels& kernels_;
};

class Act final : public RowStep {
 public:
  Act(const ActOp& op, const Kernels& kernels) : op_(op), kernels_(kernels) {}
  void Run(const Replay& replay, uint32_t first, uint32_t last) const override {
    const uint64_t at = uint64_t{first} * op_.y.shape[1];
    kernels_.silu_product(replay.At(op_.y) + at, replay.At(op_.gate) + at, replay.At(op_.up) + at,
                          uint64_t{last - first} * op_.y.shape[1]);
  }

 private:
  const ActOp op_;
  const Kernels& kernels_;
};

/// Angles are computed in double: a float's 24 bits are too few for a position times a frequency.
class Angles final : public RowStep {
 public:
  explicit Angles(const AngleTable& table) : table_(table) {}
  void Run(const Replay& replay, uint32_t first, uint32_t last) const override {
    const uint32_t dims = table_.rope.dims;
    float* cosines = replay.Scratch(table_.cosines);
    float* sines = replay.Scratch(table_.sines);
    for (uint32_t pair = 0; pair < dims / 2; ++pair) {
      const double frequency = Frequency(table_.rope, replay, pair);
      for (uint32_t r = first; r < last; ++r) {
        const double angle = replay.step.positions()[r] * frequency;
        SetAngle(angle, pair, cosines + uint64_t{r} * dims, sines + uint64_t{r} * dims);
      }
    }
  }

 private:
  const AngleTable table_;
};

class Rope final : public RowStep {
 public:
  Rope(const RopeOp& op, const AngleTable& table, const Kernels& kernels)
      : op_(op), table_(table), kernels_(kernels) {}
  void Run(const Replay& replay, uint32_t first, uint32_t last) const override {
    const uint32_t heads = op_.x.shape[1], head_dim = op_.x.shape[2], dims = op_.rope.dims;
    for (uint64_t r = first; r < last; ++r) {
      const float* cosines = replay.Scratch(table_.cosines) + r * dims;
      const float* sines = replay.Scratch(table_.sines) + r * dims;
      for (uint32_t h = 0; h < heads; ++h) {
        kernels_.rotate(replay.At(op_.x) + (r * heads + h) * head_dim, cosines, sines, dims);
      }
    }
  }

 private:
  const RopeOp op_;
  const AngleTable table_;
  const Kernels& kernels_;
};

class KvWrite final : public RowStep {
 public:
  KvWrite(const KvWriteOp& op, const Kernels& kernels) : op_(op), kernels_(kernels) {}
  void Run(const Replay& replay, uint32_t first, uint32_t last) const override {
    for (uint32_t s = 0; s < replay.step.header().sequences; ++s) {
      const StepSequence& sequence = replay.step.sequence(s);
      const uint32_t from = std::max(first, sequence.first_row);
      const uint32_t to = std::min(last, sequence.first_row + sequence.rows);
      for (uint32_t r = from; r < to; ++r) WriteRow(replay, s, r);
    }
  }

 private:
  void WriteRow(const Replay& replay, uint32_t s, uint64_t row) const {
    const KvGeometry& geometry = replay.kv->geometry;
    const KvPageLayout layout(geometry);
    const PageShape shape = ShapeOf(geometry);
    const StepSequence& sequence = replay.step.sequence(s);
    const uint32_t i = static_cast<uint32_t>(row) - sequence.first_row;
    for (uint32_t g = 0; g < geometry.kv_heads; ++g) {
      const uint32_t head = op_.layer * geometry.kv_heads + g;
      const uint32_t slot = replay.step.counts(s)[head] + i;
      const uint32_t* table = PageTable(*replay.kv, sequence.table, head);
      if (i == 0 && sequence.forgets != 0) Forget(replay, table, slot);
      uint8_t* page = PageAt(*replay.kv, table[slot / kPageRows]);
      const uint64_t at = (row * geometry.kv_heads + g) * geometry.head_dim;
      const uint32_t in = slot % kPageRows;
      kernels_.write_row(shape, page, in, replay.At(op_.k) + at, replay.At(op_.v) + at);
      reinterpret_cast<uint32_t*>(page + layout.positions)[in] = replay.step.positions()[row];
      reinterpret_cast<uint32_t*>(page + layout.last_important)[in] =
          i < sequence.pinned_rows                 ? kPinned
          : sequence.mark_by == MarkBy::kAttention ? 0
                                                   : sequence.clock + i + 1;
    }
  }

  /// Clears what the first `slots` rows of a head have summed.
  static void Forget(const Replay& replay, const uint32_t* table, uint32_t slots) {
    const KvPageLayout layout(replay.kv->geometry);
    for (uint32_t s = 0; s < slots; ++s) {
      uint8_t* page = PageAt(*replay.kv, table[s / kPageRows]);
      uint32_t& sum = reinterpret_cast<uint32_t*>(page + layout.last_important)[s % kPageRows];
      if (sum != kPinned) sum = 0;
    }
  }

  const KvWriteOp op_;
  const Kernels& kernels_;
};

class Gather final : public RowStep {
 public:
  explicit Gather(const GatherRowsOp& op) : op_(op) {}
  void Run(const Replay& replay, uint32_t first, uint32_t last) const override {
    const uint64_t width = op_.x.shape[1];
    for (uint32_t j = first; j < last; ++j) {
      std::memcpy(replay.At(op_.y) + j * width,
                  replay.At(op_.x) + replay.step.out_index()[j] * width, width * sizeof(float));
    }
  }

 private:
  const GatherRowsOp op_;
};

class Quantize final : public RowStep {
 public:
  Quantize(const Tensor& x, uint64_t tiles, const Kernels& kernels)
      : x_(x), tiles_(tiles), kernels_(kernels) {}
  void Run(const Replay& replay, uint32_t first, uint32_t last) const override {
    const uint32_t width = x_.shape[1] * x_.shape[2], blocks = width / kBlock;
    const float* rows[kTileRowsMax];
    for (uint32_t r = first; r < last; ++r) rows[r - first] = replay.At(x_) + uint64_t{r} * width;
    kernels_.quantize_tile(
        rows, last - first, blocks, 1.0f,
        replay.Scratch<uint8_t>(tiles_) + first / kernels_.tile_rows * kernels_.tile_bytes(blocks));
  }

 private:
  const Tensor x_;
  const uint64_t tiles_;
  const Kernels& kernels_;
};

class RowsPhase final : public Phase {
 public:
  RowsPhase(std::vector<std::unique_ptr<RowStep>> steps, bool is_out, uint32_t tile_rows)
      : steps_(std::move(steps)), is_out_(is_out), tile_rows_(tile_rows) {}
  uint32_t Items(const Replay& replay) const override {
    return (Rows(replay) + tile_rows_ - 1) / tile_rows_;
  }
  void Run(const Replay& replay, uint32_t item, uint32_t) const override {
    const uint32_t first = item * tile_rows_;
    const uint32_t last = std::min(Rows(replay), first + tile_rows_);
    for (const std::unique_ptr<RowStep>& step : steps_) step->Run(replay, first, last);
  }

 private:
  uint32_t Rows(const Replay& replay) const { return is_out_ ? replay.out_rows() : replay.rows(); }

  const std::vector<std::unique_ptr<RowStep>> steps_;
  const bool is_out_;
  const uint32_t tile_rows_;
};

}  // namespace

double Frequency(const RopeSpec& rope, const Replay& replay, uint32_t pair) {
  const double frequency =
      std::pow(double{rope.base}, -2.0 * pair / rope.dims) * double{rope.frequency_scale};
  return rope.factors.present() ? frequency / double{replay.Floats(rope.factors)[pair]} : frequency;
}

void SetAngle(double angle, uint32_t pair, float* cosines, float* sines) {
  cosines[2 * pair] = cosines[2 * pair + 1] = static_cast<float>(std::cos(angle));
  sines[2 * pair + 1] = static_cast<float>(std::sin(angle));
  sines[2 * pair] = -sines[2 * pair + 1];
}

std::unique_ptr<RowStep> MakeAngles(const AngleTable& table) {
  return std::make_unique<Angles>(table);
}
std::unique_ptr<RowStep> MakeEmbed(const EmbedOp& op) {
  return std::make_unique<Embed>(op);
}
std::unique_ptr<RowStep> MakeRmsNorm(const RmsNormOp& op, const Kernels& kernels) {
  return std::make_unique<Norm>(op, kernels);
}
std::unique_ptr<RowStep> MakeAct(const ActOp& op, const Kernels& kernels) {
  return std::make_unique<Act>(op, kernels);
}
std::unique_ptr<RowStep> MakeRope(const RopeOp& op, const AngleTable& table,
                                  const Kernels& kernels) {
  return std::make_unique<Rope>(op, table, kernels);
}
std::unique_ptr<RowStep> MakeKvWrite(const KvWriteOp& op, const Kernels& kernels) {
  return std::make_unique<KvWrite>(op, kernels);
}
std::unique_ptr<RowStep> MakeGather(const GatherRowsOp& op) {
  return std::make_unique<Gather>(op);
}
std::unique_ptr<RowStep> MakeQuantize(const Tensor& x, uint64_t tiles, const Kernels& kernels) {
  return std::make_unique<Quantize>(x, tiles, kernels);
}
std::unique_ptr<Phase> MakeRowsPhase(std::vector<std::unique_ptr<RowStep>> steps, bool is_out,
                                     uint32_t tile_rows) {
  return std::make_unique<RowsPhase>(std::move(steps), is_out, tile_rows);
}

}  // namespace cormorant::cpu
