// KvWriteOp on every backend: the bytes of the cache, exactly.
//
// Method: the pages after the op are compared byte by byte with pages that the test encodes itself,
// all other pages included. Sequences of one and of many rows, over page boundaries, different
// counts in each head, pinned rows. Values that break naive rounding: ties, f16 subnormals and
// overflow, zero blocks, an outlier, 1e-30, and blocks whose quotients lie at a half. Rows of q4_0
// also get values that are hard after their rotation.
#include <algorithm>
#include <cmath>

#include "tests/conformance/kv_scene.h"

namespace cormorant::conformance {
namespace {

CORM_CONFORMANCE(KvWriteTest);

/// Hard values in the first blocks of the first rows; `values` are neighbours in a head.
void MakeHard(uint32_t row, std::span<float> values) {
  const size_t block = std::min<size_t>(32, values.size());
  switch (row) {
    case 0: std::fill_n(values.begin(), block, 0.0f); return;
    case 1:  // Quotients 0.5, 1.5, 2.5, ... of a scale of 2^-7.
      for (size_t i = 0; i < block; ++i) values[i] = (static_cast<float>(i) + 0.5f) * 0x1p-7f;
      values[0] = 127.0f * 0x1p-7f;
      return;
    case 2: values[block - 1] = -1000.0f; return;
    case 3: std::fill_n(values.begin(), block, 1e-30f); return;
    case 4:  // f16: ties to even, up and down; subnormals; the largest; beyond it.
      for (size_t i = 0; i < block; ++i)
        values[i] = 1.0f + (static_cast<float>(i) + 0.5f) * 0x1p-10f;
      return;
    case 5:
      for (size_t i = 0; i < block; ++i) values[i] = (static_cast<float>(i) - 7.5f) * 0x1p-24f;
      return;
    case 6:
      values[0] = 65519.0f, values[1] = -65520.0f, values[2] = 1e9f, values[3] = -0.0f;
      return;
    default: return;
  }
}

/// Rows that are hard once they are rotated: exactly so where a head is 64 dimensions or 256.
void MakeHardRotated(uint32_t row, std::span<float> values) {
  std::vector<float> x(values.begin(), values.end());
  const auto block = std::span<float>(x).first(32);
  switch (row) {
    case 7:  // Of two that are as great the positive one counts: quotients -7.5, -6.5 .. 8.
    case 8:
      for (size_t i = 0; i < 32; ++i) block[i] = (static_cast<float>(i % 16) - 7.5f) / 32.0f;
      block[row] = -0.25f;
      block[31 - row] = 0.25f;
      break;
    case 9: std::fill(block.begin(), block.end(), 0.0f); break;
    case 10:
      std::fill(block.begin(), block.end(), 0x1p-21f);
      block[3] = -0x1p-20f;
      break;
    case 11: std::fill(block.begin(), block.end(), 0x1.fffp-21f); break;
    case 12:  // The greatest is negative: the others' quotients lie at a half, one at 8.
      for (size_t i = 0; i < 32; ++i) block[i] = (static_cast<float>(i % 15) - 7.5f) / 32.0f;
      block[30] = -0.25f;
      break;
    default: return;
  }
  std::ranges::copy(Rotated(x), values.begin());
}

/// The cache as it must be afterwards.
HostCache Expected(Scene& scene, const KvWriteOp& op) {
  HostCache cache = scene.cache;
  const uint32_t kv_heads = op.k.shape[1], head_dim = op.k.shape[2];
  for (uint32_t s = 0; s < scene.step->header().sequences; ++s) {
    const StepSequence& sequence = scene.step->sequences()[s];
    for (uint32_t g = 0; sequence.forgets != 0 && g < kv_heads; ++g) {
      const uint32_t head = op.layer * kv_heads + g;
      for (uint32_t slot = 0; slot < scene.step->counts(s)[head]; ++slot) {
        uint32_t& mark = cache.last_important({sequence.table, head, slot});
        if (mark != kPinned) mark = 0;
      }
    }
    for (uint32_t i = 0; i < sequence.rows; ++i) {
      for (uint32_t g = 0; g < kv_heads; ++g) {
        const uint32_t head = op.layer * kv_heads + g, row = sequence.first_row + i;
        const Place place{sequence.table, head, scene.step->counts(s)[head] + i};
        const size_t at = (size_t{row} * kv_heads + g) * head_dim;
        cache.SetK(place, scene.At(op.k).subspan(at, head_dim));
        cache.SetV(place, scene.At(op.v).subspan(at, head_dim));
        cache.position(place) = scene.step->positions()[row];
        const uint32_t mark = sequence.mark_by == MarkBy::kAttention ? 0 : sequence.clock + i + 1;
        cache.last_important(place) = i < sequence.pinned_rows ? kPinned : mark;
      }
    }
  }
  return cache;
}

TEST_P(KvWriteTest, BytesAreExact) {
  struct Shape {
    uint32_t kv_heads, head_dim, bucket;
    std::vector<SequenceShape> sequences;
  };
  for (const auto& [k_type, v_type] : RowTypes()) {
    const bool is_half = k_type == DType::kF16 && v_type == DType::kF16;
    for (const Shape& s :
         {Shape{3, 64, 1, {{1, 0, 0}}}, Shape{1, 32, 1, {{1, 31, 0}}},
          Shape{2, 128, 1, {{1, 32, 0}}}, Shape{3, 64, 100, {{97, 17, 17}}},
          Shape{2, 64, 16, {{1, 40, 9}, {7, 0, 0}, {3, 63, 40}}}, Shape{2, 84, 9, {{9, 30, 5}}},
          Shape{2, 96, 16, {{14, 20, 0}}}, Shape{1, 256, 16, {{14, 31, 0}}}}) {
      if (s.head_dim % 32 != 0 && !is_half) continue;
      Scene scene(s.head_dim + s.bucket, s.bucket);
      const uint32_t sequences = static_cast<uint32_t>(s.sequences.size());
      scene.cache = HostCache(Geometry(s.kv_heads, s.head_dim, k_type, v_type, 200),
                              TableCount(sequences), s.bucket);
      const Tensor k = scene.Temp({s.bucket, s.kv_heads, s.head_dim});
      scene.Add(KvWriteOp{kLayers - 1, k, scene.Temp({s.bucket, s.kv_heads, s.head_dim})});
      scene.Finish(sequences);
      SetSequences(scene, s.sequences);
      for (uint32_t i = 0; i < sequences; ++i) {
        StepSequence& sequence = scene.step->sequences()[i];
        sequence.pinned_rows = std::min(i + 1, s.sequences[i].rows);
        sequence.mark_by = i % 2 == s.bucket % 2 ? MarkBy::kStep : MarkBy::kAttention;
        sequence.forgets = i % 3 == 0 && sequence.mark_by == MarkBy::kAttention;
      }
      const KvWriteOp& op = scene.op<KvWriteOp>();
      const uint32_t live = scene.step->header().rows;
      for (const Tensor& tensor : {op.k, op.v}) {
        scene.FillNormal(tensor, live);
        const size_t width = size_t{s.kv_heads} * s.head_dim;
        for (uint32_t row = 0; row < live; ++row) {
          const auto values = scene.At(tensor).subspan(row * width, s.head_dim);
          MakeHard(row, values);
          if ((tensor.offset == op.k.offset ? k_type : v_type) == DType::kQ4_0) {
            MakeHardRotated(row, values);
          }
        }
      }
      const std::string what = absl::StrCat("kv_write ", Describe(scene.cache.geometry()), " R ",
                                            live, " sequences ", sequences);
      ExpectCache(what, scene, Expected(scene, op));
    }
  }
}

}  // namespace
}  // namespace cormorant::conformance
