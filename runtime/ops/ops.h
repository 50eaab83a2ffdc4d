// The vocabulary: every computation a model or the cache may ask of a backend, as plain data.
//
// An op names its tensors; it holds no code and no pointers. Its docstring is its specification:
// the reference backend implements it word for word, and the conformance suite holds every other
// backend to it, element by element, within the bound given here.
//
// Shape letters:  R rows of the step's bucket   O rows whose output is wanted   D model width
//                 K,N matmul inner/outer        F feed-forward width            V vocabulary
//                 H query heads   G KV heads    E head width                    P pages of a head
// Only the first rows of a bucket are live, the rest must not be touched: ops before the tape's
// GatherRows (at most one) work on the step's `rows` of R, those after it on its `out_rows` of O.
// What the ops of a live row read is finite, but for TopK. Two tensors of one op do not overlap,
// but where a docstring says that one may be another: then they are the same bytes. Nothing that
// changes from step to step is in an op: ids, positions, page tables, counts and thresholds are in
// the step buffer (step.h), so a compiled tape is replayed and never patched.
#pragma once
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <variant>

#include "runtime/ops/dtype.h"
#include "runtime/ops/step.h"

namespace cormorant {

/// Where a tensor lives. Weights are numbered (offset = index in the weight table); the arena holds
/// activations of one step; out holds what the host reads back. The cache is addressed by ops
/// through page tables, never as a tensor.
enum class Region : uint8_t { kNone, kWeights, kArena, kOut };

/// A dense row-major tensor. shape[0] is the slowest dimension; unused dimensions are 1.
struct Tensor {
  Region region = Region::kNone;
  DType dtype = DType::kF32;
  std::array<uint32_t, 3> shape = {1, 1, 1};
  uint64_t offset = 0;  // Bytes in the region; for kWeights the index in the weight table.

  constexpr uint64_t elements() const { return uint64_t{shape[0]} * shape[1] * shape[2]; }
  constexpr uint64_t bytes() const { return RowBytes(dtype, elements()); }
  constexpr bool present() const { return region != Region::kNone; }
};

/// Whether both are the same numbers, in whatever shape.
constexpr bool IsSame(const Tensor& a, const Tensor& b) {
  return a.region == b.region && a.offset == b.offset && a.elements() == b.elements();
}
/// Whether two tensors share bytes. A tape re-uses the bytes of a tensor after its last use, so a
/// backend that runs ops together or out of order must ask.
constexpr bool Overlap(const Tensor& a, const Tensor& b) {
  return a.region == b.region && a.region != Region::kNone && a.region != Region::kWeights &&
         a.offset < b.offset + b.bytes() && b.offset < a.offset + a.bytes();
}

/// How RoPE turns pairs (2i, 2i+1) of a head: by position * inverse_frequency(i),
/// inverse_frequency(i) = base^(-2i/dims) * frequency_scale / factors[i].
/// Dimensions at or past `dims` are left alone.
struct RopeSpec {
  uint32_t dims = 0;  // Even, at most E.
  float base = 10000.0f;
  float frequency_scale = 1.0f;
  Tensor factors;  // [dims/2] f32 weights, or absent (all 1).
};

/// y[r,d] = table[ids[r],d]
///
///   y [R,D] f32     table [V,D] any weight type
///
/// Exact: the scalar dequantization of runtime/format. ids from the step buffer, below V.
struct EmbedOp {
  Tensor y, table;
};

/// y[r,d] = x[r,d] * w[d] / sqrt(mean_d(x[r,d]^2) + eps)
///
///   x  [R,D] f32      y  [R,D] f32; may be x      w  [D] f32
///
/// The mean is accumulated in f32 or better. eps is in units of x squared, in [1e-8, 1e-3].
/// Error against the reference: |dy| <= 8 ulp(f32) of |y|.
/// Source: Zhang & Sennrich 2019, arXiv 1910.07467, eq. 4.
struct RmsNormOp {
  Tensor y, x, w;
  float eps = 1e-5f;
};

/// y[r,n] = sum_k x[r,k] * w[n,k], plus the old y[r,n] when `accumulate`
///
///   x  [R,K] f32      w  [N,K] any weight type, taken as its scalar dequantization
///   y  [R,N] f32, not x
///
/// Consecutive MatMul ops that read the same x may be run as one by a backend, if their outputs do
/// not overlap.
/// A backend may quantize x to 8 bits in blocks of 32 when w is a block type. Error against the
/// reference: |dy| <= 1e-5 * sum_k |x_k w_k| + 2^-23 |y| + 1e-30, and when w is a block type also
/// 1.01 * sum over blocks b of (max_b|x| / 254 * sum_b|w|): half a step of x and a little rounding.
struct MatMulOp {
  Tensor y, x, w;
  bool accumulate = false;
};

/// y[r,f] = silu(gate[r,f]) * up[r,f],  silu(a) = a / (1 + exp(-a))
///
///   gate, up  [R,F] f32      y  [R,F] f32; may be gate or up
///
/// Error against the reference: |dy| <= 4e-6 * |y| + 1e-30.
/// Source: Shazeer 2020, arXiv 2002.05202 (SwiGLU).
struct ActOp {
  Tensor y, gate, up;
};

/// Rotates pairs of x in place: (a, b) -> (a cos t - b sin t, a sin t + b cos t), t as RopeSpec
/// says, with the row's position from the step buffer.
///
///   x  [R,H,E] f32
///
/// The same angles for all H heads. t is computed in f64 or to the same effect: error <=
/// 2e-6 * sqrt(a^2 + b^2), positions < 2^20.
/// Source: Su et al. 2021, arXiv 2104.09864.
struct RopeOp {
  Tensor x;
  RopeSpec rope;
};

/// Counts queries, as they are before RoPE, into the statistics of their sequence and layer.
///
///   q  [R,H,E] f32      statistics  [tables][L][H][1 + 5 E/2] f32, beside the cache
///
/// For each query head: n, then for each pair (a, b) of dimensions (2i, 2i+1) sums of a, b, a^2,
/// b^2 and a b. A row i >= pinned_rows of a sequence that `observes` adds 1 and its own to those of
/// the sequence's table; where the sequence's clock is 0, they are 0 before. Rows are added in
/// ascending order, so the sums do not depend on how a step is computed. (The first queries of a
/// text, those of sinks, are unlike all others.)
///
/// Each product and each sum is rounded to f32; a backend may leave out the rounding of products.
/// Error against the reference: |ds| <= (rows + 1) 2^-23 (|old| + sum of the magnitudes of what is
/// added). n is exact up to 2^24, where it stays.
struct QueryStatsOp {
  uint32_t layer = 0;
  Tensor q;
};

/// Appends the live rows of k and v to the cache of `layer`, one row for each KV head.
///
///   k, v  [R,G,E] f32
///
/// The sequences of a step cover its live rows. Row i of a sequence goes to slot counts[head] + i
/// of each head, in the page its table names, converted to the cache's row types (round to nearest
/// even; q8_0 and q4_0 as in kv_page.h: exact to the byte, so that every backend holds the same
/// cache). Its position is the row's position; its last_important is its own step (step.h), or 0
/// with mark_by = attention, or kPinned for the sequence's first `pinned_rows`. With `forgets`, the
/// last_important of resident rows of the layer's heads becomes 0 where it is not kPinned.
struct KvWriteOp {
  uint32_t layer = 0;
  Tensor k, v;
};

/// o[r,h,:] = sum_s a_s V[s,:],  a = softmax_s(scale * q[r,h,:] . K[s,:])
/// over slots s < counts[head] + i + 1 (the slots visible to the row), i the row's place among its
/// sequence's rows, head = layer * G + h / (H/G)
///
///   q, o  [R,H,E] f32; o may not be q      K, V  as the cache holds them, dequantized and, q4_0
///                                          rows, rotated back
///
/// A backend may rotate q instead of q4_0 keys, which leaves products as they are, and o instead of
/// q4_0 values.
///
/// Then, for rows i >= judged_from of the sequence, every slot s visible to the row with
/// x = a_s / (c / t) >= 1 for any of the G-group's query heads gets
/// last_important = max(old, step of row i + Reach(x, reach)) in that KV head, reach the sequence's
/// (0: the paper's rule): t is the row's step, the number of visible slots, or 1, as the sequence's
/// `basis` says; c > 0. (CORM, arXiv 2404.15949 def. 1; as score >= log-sum-exp + log(c/t).)
///
/// With mark_by = attention instead: for each row i >= judged_from and each query head of the
/// group, every slot visible to it whose last_important is below kAttentionMost gets
/// kAttentionUnits * a_s added to it, rounded to an integer. (The rows of a step times G are below
/// 2^15.)
///
/// Nothing else in the cache changes. Runs after KvWrite of the layer.
///
/// Error against the reference on o, with M = max_s scale * sum_d |q[d] K[s,d]| and B =
/// max_s |V[s,:]|_inf of the row and head: |do| <= (2e-5 + 1e-6 M) B when K and V rows are f16,
/// else (2e-4 + 4e-5 M) B (scores of q8_0 and q4_0 rows may use q in 15 bits). Stamps may differ
/// only for |log a_s - log(c/t)| < T = 1e-4 + 1e-6 M (f16 K rows) or 1e-3 + 4e-5 M (other K rows),
/// and by what Reach makes of a factor 1 + T. What a query adds to a sum of attention is right to
/// 1 + 2 T of itself. With q4_0 K rows M = max_s scale * |q| |K[s,:]|, of Euclidean norms, which no
/// rotation changes.
struct AttendOp {
  uint32_t layer = 0;
  Tensor o, q;
  float scale = 1.0f;
};

/// y[j,:] = x[out_index[j],:] for the live output rows j; exact
///
///   x  [R,D] f32      y  [O,D] f32
struct GatherRowsOp {
  Tensor y, x;
};

/// The k greatest of a row, greatest first: x[o,a] stands before x[o,b] when it is greater, or
/// equal and a < b. indices[o,i] is the place in x[o,:] of the i-th, values[o,i] the number itself.
///
///   x  [O,V] f32      values  [O,k] f32, in out      indices  [O,k] u32, in out
///
/// k is values.shape[1], 1 <= k <= min(V, kTopKMax). x may hold infinities and NaN: a NaN counts as
/// -infinity, in the order and in values. -0 and +0 are equal, subnormal numbers are not zero.
/// Exact: values keep the bits of x, but for a NaN.
struct TopKOp {
  Tensor values, indices, x;
};

/// Counts how long ago the rows of every head were last worth keeping, for sequence 0 of the step.
///
///   ages  [L*G, kAgeBins + 1] u32, in out
///
/// Row s < counts[h] of head h is evictable when its last_important is not kPinned and its position
/// is below `recent_from`. Its age, never negative, is by the sequence's rank_by (step.h):
///
///   last_important   clock + kDoublingsMost * (reach + value_reach) - last_important
///                    - Reach(max(1, kValueUnits * sum_d |V[s,d]|), value_reach)
///   position         position_clock - position
///   hash             HashAge(h, position)
///   attention        AttentionAge(last_important, 1)
///   mean attention   AttentionAge(last_important, position_clock - position)
///
/// The sum is in f32: those of d mod 4 = 0, 1, 2 and 3, d ascending, then (s0 + s1) + (s2 + s3),
/// each rounded to nearest even; of q4_0 values it is of the row as it is held, rotated.
/// (Magnitudes are exact in f32, so every backend has the same sum.)
///
/// ages[h,b] counts evictable rows in age bin b (AgeBin below); ages[h,kAgeBins] counts evictable
/// rows with age >= natural_age. Every element is written.
struct KvAgesOp {
  Tensor ages;
};

/// Drops rows: of every head of sequence 0, the `evict[head]` evictable rows with the greatest age
/// (both words as in KvAges; the age itself, not its bin), among equals the lowest position first;
/// they go behind those that stay.
///
/// The new count is counts[head] - evict[head]. Among the rows that stay, those in slots below it
/// do not move; the others change places with dropped rows below it, both in ascending order of
/// slot (the lowest such row goes where the lowest dropped row was). So dropped rows lie in the
/// slots from the new count up to the old one, until others are written there. Row bytes, position
/// and last_important move together; nothing else is written. evict[head] never exceeds the number
/// of evictable rows; positions of a head are distinct.
struct KvCompactOp {};

/// Re-bases positions of sequence 0 (window_from, window_at: step.h). In every head, rows whose
/// position p is at least window_from, the window, get position window_at + p - window_from. Of the
/// n others the row of rank j by position (the lowest has rank 0) gets position window_at - n + j:
/// they close up and end right before the window, which begins at the same position in all heads.
/// Keys are rotated, as in Rope, by new minus old position. Rows stay in their slots; a row whose
/// position does not change keeps its bytes.
///
/// Needs n <= window_at. Keys are read back, rotated in f32 and stored again in their row type.
/// Error on a re-rotated key: 2 ulp(f16) of the pair's norm, or 1.2 steps of its q8_0 scale. A q4_0
/// key is rotated back before and again after (kv_page.h); there, rotated, the error is 1.2 steps
/// of its new scale: half of one, or one where the clamp takes it.
struct KvRebaseOp {
  RopeSpec rope;
};

/// Rows near an important one become important too, in all heads of sequence 0: what a query will
/// read next mostly stands beside what it has found.
///
/// The last_important of row s < counts[h] of head h, if it is not kPinned, becomes the greatest of
/// itself and, over all rows of the head that are not pinned and stand d <= kSpreadMost positions
/// before or after it, of their last_important less d * fade (where it is as much), as they were
/// before the op. Nothing is written where the sequence's fade (step.h) is 0.
struct KvSpreadOp {};

/// Gives rows of all heads of sequence 0 the marks they are ranked by, as its score_by (step.h)
/// says. What the last_important of a row s < counts[h] of head h becomes if it is not kPinned:
///
///   none              it stays.
///   pooled attention  sum of mark(p) / 5, rounded down, over the five positions p up to kPoolMost
///                     from the row's own: mark(p) is the last_important, as it was before the op,
///                     of the head's row at p; 0 where there is none or it is pinned. Exact.
///                     (SnapKV, arXiv 2404.14469: a mean over a kernel of 5.)
///   key difference    kAttentionUnits * (1 - cos(K[s], m)), rounded to an integer: m = the mean of
///                     K[r] / |K[r]| over the rows r < counts[h], K as the cache holds them,
///                     dequantized. The cosine of zeros is 0, and what they add to m. (KeyDiff,
///                     arXiv 2504.15364.)
///   expected attention  kExpectedUnits * x[s] / sum_r x[r], rounded to an integer, over the rows
///                     of the head that are not pinned: x[s] = |V[s]| sum_h softmax_s(z[h,s]), h
///                     over the query heads of the head's group. (Expected Attention, arXiv
///                     2510.00636.) Stays where the statistics count no query (QueryStatsOp); 0
///                     where the sum is.
///
/// z[h,s] = scale mu.K[s] + scale^2 / 2 K[s].C K[s] is the logarithm of what exp(scale q.K[s]) is
/// on average for Gaussian q, and of q the statistics of head h tell: mu = R m and C = R D R^T,
/// with m their means, D of each pair of dimensions (2i, 2i+1) the variances (0 at least) and the
/// covariance, 0 across pairs, and R the mean of RoPE's rotations over the kExpectedPositions
/// positions from position_clock on. For a pair that turns by t a position that is the rotation by
/// t (position_clock + (N-1)/2) times sin(N t/2) / (N sin(t/2)), N = kExpectedPositions.
///
/// Error of a key difference: 1 + kAttentionUnits * 1e-5 / |m|. A backend may leave q4_0 keys
/// rotated, which leaves cosines as they are. Of an expected mark w: 1 + 4 w T, T = 2e-5 (1 + Z),
/// with Z the greatest sum over the terms of a z of their magnitudes, variances before means are
/// taken off.
struct KvScoreOp {
  RopeSpec rope;  // Of the keys, and the attention's scale: for expected attention.
  float scale = 1.0f;
};

/// What attention multiplies products of queries and keys with.
inline float AttentionScale(uint32_t head_dim) {
  return 1.0f / std::sqrt(static_cast<float>(head_dim));
}

using Op =
    std::variant<EmbedOp, RmsNormOp, MatMulOp, ActOp, RopeOp, KvWriteOp, AttendOp, GatherRowsOp,
                 TopKOp, KvAgesOp, KvCompactOp, KvRebaseOp, KvSpreadOp, KvScoreOp, QueryStatsOp>;

/// Positions over which KvSpread looks, either way.
constexpr uint32_t kSpreadMost = 16;

/// Positions over which KvScore pools, either way.
constexpr uint32_t kPoolMost = 2;

/// Most numbers of a row that TopK finds.
constexpr uint32_t kTopKMax = 1024;

/// Ages 0..63 have a bin each, then each octave has 32; the last bin takes all that is older.
constexpr uint32_t kAgeBins = 64 + 32 * 15;

constexpr uint32_t AgeBin(uint32_t age) {
  if (age < 64) return age;
  uint32_t octave = 0;
  while ((age >> (octave + 1)) >= 64) ++octave;  // 64 << octave <= age
  const uint32_t bin = 64 + octave * 32 + ((age >> (octave + 1)) - 32);
  return bin < kAgeBins ? bin : kAgeBins - 1;
}

/// Smallest age that falls into `bin`.
constexpr uint32_t AgeBinStart(uint32_t bin) {
  if (bin < 64) return bin;
  const uint32_t octave = (bin - 64) / 32;
  return (32 + (bin - 64) % 32) << (octave + 1);
}

/// Steps for which a share x >= 1 times the least that counts is remembered longer: reach for each
/// doubling, where log2 is a straight line between powers of two.
inline uint32_t Reach(float x, uint32_t reach) {
  const uint32_t doublings = std::bit_cast<uint32_t>(x) - std::bit_cast<uint32_t>(1.0f);  // * 2^23
  return (std::min(doublings, kDoublingsMost << 23) >> 7) * reach >> 16;
}

/// The bin of an age by rank_by: what is drawn by lot has 512 bins of equal width, attention 16
/// for each halving of it.
constexpr uint32_t AgeBin(RankBy rank_by, uint32_t age) {
  if (rank_by == RankBy::kLastImportant || rank_by == RankBy::kPosition) return AgeBin(age);
  const uint32_t bin = age >> (rank_by == RankBy::kHash ? 23 : 19);
  return bin < kAgeBins ? bin : kAgeBins - 1;
}

/// An age by lot: 32 bits that look random, of a row's head and position.
constexpr uint32_t HashAge(uint32_t head, uint32_t position) {
  uint32_t x = head * 0x9e3779b9u ^ position;  // The finalizer of MurmurHash3.
  x = (x ^ (x >> 16)) * 0x85ebca6bu;
  x = (x ^ (x >> 13)) * 0xc2b2ae35u;
  return x ^ (x >> 16);
}

/// An age that grows by about 2^23 when attention / tokens halves, whatever the two are: the
/// difference of the bits of both as f32 (rounded to nearest even). `tokens` >= 1.
inline uint32_t AttentionAge(uint32_t attention, uint32_t tokens) {
  const auto bits = [](uint32_t x) { return std::bit_cast<uint32_t>(static_cast<float>(x)); };
  return bits(0xffffffffu) - bits(attention) + bits(tokens) - bits(1);
}

/// The age of a row of `head`, as KvAgesOp says. The magnitudes of its value need not be summed
/// where value_reach is 0.
inline uint32_t AgeOf(const StepSequence& sequence, uint32_t head, uint32_t position,
                      uint32_t last_important, float value_sum) {
  const uint32_t tokens = sequence.position_clock - position;
  switch (sequence.rank_by) {
    case RankBy::kLastImportant: {
      const float x = std::max(1.0f, kValueUnits * value_sum);
      return sequence.clock + kDoublingsMost * (sequence.reach + sequence.value_reach) -
             last_important - Reach(x, sequence.value_reach);
    }
    case RankBy::kPosition: return tokens;
    case RankBy::kHash: return HashAge(head, position);
    case RankBy::kAttention: return AttentionAge(last_important, 1);
    case RankBy::kMeanAttention: return AttentionAge(last_important, tokens);
  }
  return 0;
}

enum class Access : uint8_t { kRead, kWrite, kReadWrite };

/// Calls f(tensor, access) for each tensor an op names. Cache and step buffer are not tensors.
template <class OpType, class F>
void ForEachTensor(OpType& op, F&& f) {
  using T = std::remove_const_t<OpType>;
  if constexpr (std::is_same_v<T, EmbedOp>) {
    f(op.table, Access::kRead), f(op.y, Access::kWrite);
  } else if constexpr (std::is_same_v<T, RmsNormOp>) {
    f(op.x, Access::kRead), f(op.w, Access::kRead), f(op.y, Access::kWrite);
  } else if constexpr (std::is_same_v<T, MatMulOp>) {
    f(op.x, Access::kRead), f(op.w, Access::kRead);
    f(op.y, op.accumulate ? Access::kReadWrite : Access::kWrite);
  } else if constexpr (std::is_same_v<T, ActOp>) {
    f(op.gate, Access::kRead), f(op.up, Access::kRead), f(op.y, Access::kWrite);
  } else if constexpr (std::is_same_v<T, RopeOp>) {
    f(op.x, Access::kReadWrite);
    if (op.rope.factors.present()) f(op.rope.factors, Access::kRead);
  } else if constexpr (std::is_same_v<T, KvWriteOp>) {
    f(op.k, Access::kRead), f(op.v, Access::kRead);
  } else if constexpr (std::is_same_v<T, AttendOp>) {
    f(op.q, Access::kRead), f(op.o, Access::kWrite);
  } else if constexpr (std::is_same_v<T, GatherRowsOp>) {
    f(op.x, Access::kRead), f(op.y, Access::kWrite);
  } else if constexpr (std::is_same_v<T, TopKOp>) {
    f(op.x, Access::kRead), f(op.values, Access::kWrite), f(op.indices, Access::kWrite);
  } else if constexpr (std::is_same_v<T, KvAgesOp>) {
    f(op.ages, Access::kWrite);
  } else if constexpr (std::is_same_v<T, QueryStatsOp>) {
    f(op.q, Access::kRead);
  } else if constexpr (std::is_same_v<T, KvRebaseOp> || std::is_same_v<T, KvScoreOp>) {
    if (op.rope.factors.present()) f(op.rope.factors, Access::kRead);
  }
}

}  // namespace cormorant
