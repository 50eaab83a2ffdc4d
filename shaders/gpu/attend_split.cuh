// Attention of few rows. See AttendOp in runtime/ops/ops.h.
//
// Decode reads the whole cache for one row, so the pages of a KV head are split over blocks, and
// the query heads of a group share each read. A thread scores a whole row (keys lie transposed for
// that), so scoring needs no exchange. Scores go to memory: once their maximum is known the values
// are weighed, and AttendFinish needs them for the stamps. Each split leaves its greatest score,
// its sum of shares and its weighted values.
#pragma once
#include "shaders/gpu/attend.cuh"
#include "shaders/gpu/hadamard.cuh"

namespace cormorant::GPU_NAMESPACE::kernels {

constexpr uint32_t kSplitThreads = 128;
constexpr uint32_t kPagesAtOnce = kSplitThreads / kPageRows;
constexpr uint32_t kHeadDimMost = 256;
constexpr uint32_t kSplitsMost = 64;
constexpr uint32_t kSplitHeadsMost = 8;

/// The pages of a split, and whose they are.
struct Split {
  uint32_t head, table, visible, first_page, last_page;
};

GPU_FN Split SplitOf(const AttendArguments& a, const RowPlace& place) {
  const uint32_t pages = (place.visible + kPageRows - 1) / kPageRows;
  const uint32_t each = (pages + a.splits - 1) / a.splits;
  const uint32_t first = gpu::Min(gpu::Block() * each, pages);
  return {a.cache.layer * a.cache.kv_heads + KvHeadOf(a),
          Sequence(a.cache.step, place.sequence, kTable), place.visible, first,
          gpu::Min(first + each, pages)};
}

/// Scores of one row of a page with kHeads queries.
template <RowType kKeys, uint32_t kHeads>
GPU_FN void ScoreRow(const AttendArguments& a, gpu::SharedPointer<float> query, uint32_t* page,
                     uint32_t row, float* scores) {
  for (uint32_t g = 0; g < kHeads; ++g) scores[g] = 0.0f;
  for (uint32_t i = 0; i < a.cache.head_dim / 4; ++i) {
    const gpu::Float4 key = Key4<kKeys>(a.cache, page, row, i);
    for (uint32_t g = 0; g < kHeads; ++g) {
      const gpu::Float4 q = gpu::Load4(query, g * kHeadDimMost + i * 4);
      scores[g] += key.x * q.x + key.y * q.y + key.z * q.z + key.w * q.w;
    }
  }
}

/// The block's queries, scaled, and rotated as keys are; those past its heads are 0.
template <RowType kKeys, uint32_t kHeads>
GPU_FN void LoadQuery(const AttendArguments& a, uint32_t first_head,
                      gpu::SharedPointer<float> query) {
  const uint32_t dims = a.cache.head_dim;
  for (uint32_t i = gpu::Thread(); i < kHeads * dims; i += kSplitThreads) {
    const uint32_t g = i / dims, d = i % dims;
    query[g * kHeadDimMost + d] =
        g < a.heads ? a.q[(uint64_t{first_head} + g) * dims + d] * a.scale : 0.0f;
  }
  gpu::Sync();
  if constexpr (kKeys == kHalfByteRows) {
    RotateRows(query, {kHeads, kHeadDimMost, dims, 1}, a.cache.rotation_block,
               a.cache.rotation_scale);
  }
}

/// Adds the split's values, weighed by their shares, to `sum`: of four dimensions of each head, and
/// of every kParts-th row. `total` gets the shares of this thread's rows.
template <RowType kValues, uint32_t kHeads>
GPU_FN void WeighValues(const AttendArguments& a, const Split& split, uint32_t first_head,
                        const float* greatest, float* total, gpu::Float4* sum) {
  GPU_SHARED(float, shares, kPagesAtOnce* kPageRows* kHeads);
  const uint32_t thread = gpu::Thread(), slots = a.cache.pages_per_head * kPageRows;
  const uint32_t columns = a.cache.head_dim / 4, parts = kSplitThreads / columns;
  const uint32_t part = thread / columns, column = thread % columns;
  for (uint32_t first = split.first_page; first < split.last_page; first += kPagesAtOnce) {
    gpu::Sync();
    const uint32_t slot = first * kPageRows + thread;
    const bool is_live = slot < split.last_page * kPageRows && slot < split.visible;
    for (uint32_t g = 0; g < kHeads; ++g) {
      float share = 0.0f;
      if (is_live && g < a.heads) {
        share = gpu::Exp(a.scores[(uint64_t{first_head} + g) * slots + slot] - greatest[g]);
      }
      total[g] += share;
      shares[thread * kHeads + g] = share;
    }
    gpu::Sync();
    if (part >= parts) continue;  // No barrier is skipped: the next is at the loop's head.
    const uint32_t count = gpu::Min(kPagesAtOnce, split.last_page - first);
    for (uint32_t p = 0; p < count; ++p) {
      uint32_t* const page = PageOf(a.cache, split.table, split.head, first + p);
      const uint32_t rows = gpu::Min(split.visible - (first + p) * kPageRows, kPageRows);
      for (uint32_t r = part; r < rows; r += parts) {
        const gpu::Float4 value = Value4<kValues>(a.cache, page, r, column);
        for (uint32_t g = 0; g < kHeads; ++g) {
          const float share = shares[(p * kPageRows + r) * kHeads + g];
          sum[g].x += share * value.x;
          sum[g].y += share * value.y;
          sum[g].z += share * value.z;
          sum[g].w += share * value.w;
        }
      }
    }
  }
}

/// Grid: splits, KV heads by parts of their groups, rows.
template <RowType kKeys, RowType kValues, uint32_t kHeads>
GPU_KERNEL(kSplitThreads)
AttendSplit(const AttendArguments a) {
  GPU_SHARED(float, query, kHeads* kHeadDimMost);
  GPU_SHARED(gpu::Float4, part_sums, kSplitThreads);
  const uint32_t thread = gpu::Thread(), row = gpu::BlockZ(), dims = a.cache.head_dim;
  if (row >= a.cache.step[kStepRows]) return;
  const RowPlace place = PlaceOf(a.cache.step, row, a.cache.layer * a.cache.kv_heads + KvHeadOf(a));
  const Split split = SplitOf(a, place);
  const uint32_t first_head = FirstHead(a, row), slots = a.cache.pages_per_head * kPageRows;
  const uint64_t partial_stride = uint64_t{dims} + 2;
  float* const partials =
      a.partials + (uint64_t{first_head} * a.splits + gpu::Block()) * partial_stride;
  if (split.first_page >= split.last_page) {
    if (thread < a.heads) partials[thread * a.splits * partial_stride + 1] = 0.0f;
    return;
  }
  LoadQuery<kKeys, kHeads>(a, first_head, query);
  float greatest[kHeads], total[kHeads];
  gpu::Float4 sum[kHeads];
  for (uint32_t g = 0; g < kHeads; ++g) {
    greatest[g] = kLeast;
    total[g] = 0.0f;
    sum[g] = {0.0f, 0.0f, 0.0f, 0.0f};
  }
  for (uint32_t p = split.first_page + thread / kPageRows; p < split.last_page; p += kPagesAtOnce) {
    const uint32_t slot = p * kPageRows + thread % kPageRows;
    if (slot >= split.visible) continue;
    float scores[kHeads];
    ScoreRow<kKeys, kHeads>(a, query, PageOf(a.cache, split.table, split.head, p),
                            thread % kPageRows, scores);
    for (uint32_t g = 0; g < kHeads && g < a.heads; ++g) {
      a.scores[(uint64_t{first_head} + g) * slots + slot] = scores[g];
      greatest[g] = gpu::Max(greatest[g], scores[g]);
    }
  }
  for (uint32_t g = 0; g < kHeads; ++g) greatest[g] = gpu::BlockMax(greatest[g]);
  WeighValues<kValues, kHeads>(a, split, first_head, greatest, total, sum);

  const uint32_t columns = dims / 4, parts = kSplitThreads / columns;
  for (uint32_t g = 0; g < kHeads; ++g) {
    const float all = gpu::BlockSum(total[g]);
    part_sums[thread] = sum[g];
    gpu::Sync();
    float* const to = partials + g * a.splits * partial_stride;
    if (g < a.heads && thread < columns) {
      gpu::Float4 value = {0.0f, 0.0f, 0.0f, 0.0f};
      for (uint32_t w = 0; w < parts; ++w) {
        const gpu::Float4 one = part_sums[w * columns + thread];
        value = {value.x + one.x, value.y + one.y, value.z + one.z, value.w + one.w};
      }
      to[2 + thread * 4] = value.x;
      to[3 + thread * 4] = value.y;
      to[4 + thread * 4] = value.z;
      to[5 + thread * 4] = value.w;
    }
    if (g < a.heads && thread == 0) {
      to[0] = greatest[g];
      to[1] = all;
    }
    gpu::Sync();
  }
}

/// Weights of each split's sums in the output, and the log-sum-exp of each head.
GPU_FN void WeighSplits(const AttendArguments& a, uint32_t first_head,
                        gpu::SharedPointer<float> weights, gpu::SharedPointer<float> log_sum_exp) {
  const uint64_t stride = uint64_t{a.cache.head_dim} + 2;
  for (uint32_t g = gpu::Thread(); g < a.heads; g += gpu::BlockThreads()) {
    const float* const at = a.partials + (uint64_t{first_head} + g) * a.splits * stride;
    float most = kLeast, sum = 0.0f;
    for (uint32_t s = 0; s < a.splits; ++s) {
      if (at[s * stride + 1] > 0.0f) most = gpu::Max(most, at[s * stride]);
    }
    for (uint32_t s = 0; s < a.splits; ++s) {
      const float total = at[s * stride + 1];
      if (total > 0.0f) sum += gpu::Exp(at[s * stride] - most) * total;
    }
    for (uint32_t s = 0; s < a.splits; ++s) {
      const float total = at[s * stride + 1];
      weights[g * kSplitsMost + s] = total > 0.0f ? gpu::Exp(at[s * stride] - most) / sum : 0.0f;
    }
    log_sum_exp[g] = most + gpu::Log(sum);
  }
  gpu::Sync();
}

/// Adds up what the splits left for each head, and rotates it back where values are rotated.
GPU_FN void WriteOutput(const AttendArguments& a, uint32_t first_head,
                        gpu::SharedPointer<float> weights) {
  GPU_SHARED(float, output, kSplitHeadsMost* kHeadDimMost);
  const uint32_t dims = a.cache.head_dim, count = a.heads * dims;
  const bool is_rotated = a.cache.value_type == kHalfByteRows;
  for (uint32_t i = gpu::Thread(); i < count; i += kSplitThreads) {
    const uint32_t g = i / dims, d = i % dims;
    float sum = 0.0f;
    for (uint32_t s = 0; s < a.splits; ++s) {
      const float weight = weights[g * kSplitsMost + s];  // 0 where a split left no sums.
      const uint64_t at = ((uint64_t{first_head} + g) * a.splits + s) * (uint64_t{dims} + 2);
      if (weight > 0.0f) sum += weight * a.partials[at + 2 + d];
    }
    if (is_rotated) {
      output[i] = sum;
    } else {
      a.o[uint64_t{first_head} * dims + i] = sum;
    }
  }
  if (!is_rotated) return;
  gpu::Sync();
  RotateRows(output, {a.heads, dims, dims, 1}, a.cache.rotation_block, a.cache.rotation_scale);
  for (uint32_t i = gpu::Thread(); i < count; i += kSplitThreads) {
    a.o[uint64_t{first_head} * dims + i] = output[i];
  }
}

/// Every block of a row and group adds up what the splits left; the first writes the output, and
/// each marks the slots of its own split. Grid: as AttendSplit.
GPU_KERNEL(kSplitThreads) AttendFinish(const AttendArguments a) {
  GPU_SHARED(float, weights, kSplitHeadsMost* kSplitsMost);
  GPU_SHARED(float, log_sum_exp, kSplitHeadsMost);
  const uint32_t thread = gpu::Thread(), row = gpu::BlockZ();
  const uint32_t* const step = a.cache.step;
  if (row >= step[kStepRows]) return;
  const RowPlace place = PlaceOf(step, row, a.cache.layer * a.cache.kv_heads + KvHeadOf(a));
  const bool is_judged = place.i >= Sequence(step, place.sequence, kJudgedFrom);
  if (gpu::Block() != 0 && !is_judged) return;
  const uint32_t first_head = FirstHead(a, row), slots = a.cache.pages_per_head * kPageRows;
  WeighSplits(a, first_head, weights, log_sum_exp);
  if (gpu::Block() == 0) WriteOutput(a, first_head, weights);
  if (!is_judged) return;
  const Split split = SplitOf(a, place);
  const uint32_t now = Sequence(step, place.sequence, kClock) + place.i + 1;
  const Marking marking = MarkingOf(step, place.sequence);
  const float log_share = LogShare(step, place, marking);
  const uint32_t last_slot = gpu::Min(split.last_page * kPageRows, split.visible);
  for (uint32_t slot = split.first_page * kPageRows + thread; slot < last_slot;
       slot += kSplitThreads) {
    uint32_t mark = 0;
    for (uint32_t g = 0; g < a.heads; ++g) {
      const float score = a.scores[(uint64_t{first_head} + g) * slots + slot];
      mark = MarkWith(marking, mark, now, score, log_sum_exp[g] + log_share);
    }
    uint32_t* const page = PageOf(a.cache, split.table, split.head, slot / kPageRows);
    LeaveMark(marking, page + a.cache.last_important_at + slot % kPageRows, mark);
  }
}

}  // namespace cormorant::GPU_NAMESPACE::kernels
