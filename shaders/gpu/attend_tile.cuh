// Attention of many rows, with the stamps. See AttendOp in runtime/ops/ops.h.
//
// Prefill: a block (grid: row blocks, groups of heads) takes kQueries queries, the rows of a block
// times the group's query heads, over all pages they see: flash attention (arXiv 2205.14135), page
// by page with a running maximum. A thread has 4 queries by 4 rows of scores and 4 queries by an
// eighth of the dimensions of output. When rows are judged, a second pass over the keys with the
// log-sum-exp known stamps what was important: the newest step that says so wins. A block may hold
// rows of several sequences; they take turns.
#pragma once
#include "shaders/gpu/attend.cuh"
#include "shaders/gpu/hadamard.cuh"

namespace cormorant::GPU_NAMESPACE::kernels {

constexpr uint32_t kSlice = 64;  // Dimensions in shared memory at a time.

/// The rows of a sequence that a block has, and the pages they see.
struct TileRows {
  uint32_t sequence, first, end;  // Rows of the step.
  uint32_t head, table, pages, slots;
};

/// A block's shared memory.
struct TileMemory {
  gpu::SharedPointer<float> query;   // [dimension][query]
  gpu::SharedPointer<float> slice;   // Keys: [dimension][row]; values: [row][dimension].
  gpu::SharedPointer<float> shares;  // [row][query]
  gpu::SharedPointer<float> greatest, total, correction, least;  // [query]
  gpu::SharedPointer<uint32_t> visible;                          // [query]
  gpu::SharedPointer<uint32_t> marks;                            // [row]
};

template <RowType kKeys, RowType kValues, uint32_t kSlices, uint32_t kQueries>
struct Tile {
  static constexpr uint32_t kThreads = 2 * kQueries;
  static constexpr uint32_t kDims = kSlices * kSlice;

  const AttendArguments& a;
  TileMemory memory;
  uint32_t block_rows, first_row;  // Rows of a block, and the first of this one.

  GPU_METHOD bool IsLive(const TileRows& rows, uint32_t query) const {
    const uint32_t row = first_row + query / a.heads;
    return row >= rows.first && row < rows.end && query < block_rows * a.heads;
  }

  GPU_METHOD void LoadQueries(const TileRows& rows) const {
    gpu::Sync();
    for (uint32_t i = gpu::Thread(); i < kQueries * kDims; i += kThreads) {
      const uint32_t d = i % kDims, n = i / kDims, row = first_row + n / a.heads;
      const bool is_live = IsLive(rows, n);
      float value = 0.0f;
      if (is_live && d < a.cache.head_dim) {
        const uint64_t head = uint64_t{FirstHead(a, row)} + n % a.heads;
        value = a.q[head * a.cache.head_dim + d] * a.scale;
      }
      memory.query[d * kQueries + n] = value;
      if (d != 0) continue;
      // A dead query sees one slot: finite sums that nobody reads.
      memory.visible[n] = is_live ? PlaceOf(a.cache.step, row, rows.head).visible : 1u;
      memory.greatest[n] = kLeast;
      memory.total[n] = 0.0f;
    }
    gpu::Sync();
    if constexpr (kKeys == kHalfByteRows) {
      RotateRows(memory.query, {kQueries, 1, a.cache.head_dim, kQueries}, a.cache.rotation_block,
                 a.cache.rotation_scale);
    }
  }

  GPU_METHOD void LoadKeys(uint32_t* page, uint32_t slice, uint32_t live) const {
    for (uint32_t i = gpu::Thread(); i < kSlice / 4 * kPageRows; i += kThreads) {
      const uint32_t row = i % kPageRows, four = i / kPageRows,
                     column = slice * (kSlice / 4) + four;
      gpu::Float4 key = {0.0f, 0.0f, 0.0f, 0.0f};
      if (column * 4 < a.cache.head_dim && row < live) {
        key = Key4<kKeys>(a.cache, page, row, column);
      }
      memory.slice[(four * 4) * kPageRows + row] = key.x;
      memory.slice[(four * 4 + 1) * kPageRows + row] = key.y;
      memory.slice[(four * 4 + 2) * kPageRows + row] = key.z;
      memory.slice[(four * 4 + 3) * kPageRows + row] = key.w;
    }
    gpu::Sync();
  }

  GPU_METHOD void LoadValues(uint32_t* page, uint32_t slice, uint32_t live) const {
    for (uint32_t i = gpu::Thread(); i < kSlice / 4 * kPageRows; i += kThreads) {
      const uint32_t row = i / (kSlice / 4), four = i % (kSlice / 4);
      const uint32_t column = slice * (kSlice / 4) + four;
      gpu::Float4 value = {0.0f, 0.0f, 0.0f, 0.0f};
      if (column * 4 < a.cache.head_dim && row < live) {
        value = Value4<kValues>(a.cache, page, row, column);
      }
      memory.slice[row * kSlice + four * 4] = value.x;
      memory.slice[row * kSlice + four * 4 + 1] = value.y;
      memory.slice[row * kSlice + four * 4 + 2] = value.z;
      memory.slice[row * kSlice + four * 4 + 3] = value.w;
    }
    gpu::Sync();
  }

  /// Scores of 4 queries [n] by 4 rows of a page.
  GPU_METHOD void Score(uint32_t* page, uint32_t live, float score[4][4]) const {
    const uint32_t n4 = gpu::Thread() / 8 * 4, r4 = gpu::Thread() % 8 * 4;
    for (uint32_t i = 0; i < 16; ++i) score[i / 4][i % 4] = 0.0f;
    for (uint32_t slice = 0; slice < kSlices; ++slice) {
      LoadKeys(page, slice, live);
      for (uint32_t d = 0; d < kSlice; ++d) {
        const gpu::Float4 q4 = gpu::Load4(memory.query, (slice * kSlice + d) * kQueries + n4);
        const gpu::Float4 k4 = gpu::Load4(memory.slice, d * kPageRows + r4);
        const float q[4] = {q4.x, q4.y, q4.z, q4.w}, k[4] = {k4.x, k4.y, k4.z, k4.w};
        for (uint32_t n = 0; n < 4; ++n) {
          for (uint32_t r = 0; r < 4; ++r) score[n][r] += q[n] * k[r];
        }
      }
      gpu::Sync();
    }
  }

  /// Turns the page's scores into shares; sums and the correction of earlier pages follow.
  GPU_METHOD void Softmax(uint32_t page) const {
    const uint32_t n = gpu::Thread();
    if (n < kQueries) {
      const uint32_t visible = memory.visible[n];
      const uint32_t rows = gpu::Min(visible - gpu::Min(page * kPageRows, visible), kPageRows);
      const float before = memory.greatest[n];
      float most = before, sum = 0.0f;
      for (uint32_t r = 0; r < rows; ++r) {
        most = gpu::Max(most, static_cast<float>(memory.shares[r * kQueries + n]));
      }
      for (uint32_t r = 0; r < kPageRows; ++r) {
        const float share = r < rows ? gpu::Exp(memory.shares[r * kQueries + n] - most) : 0.0f;
        memory.shares[r * kQueries + n] = share;
        sum += share;
      }
      const float correction = gpu::Exp(before - most);
      memory.correction[n] = correction;
      memory.total[n] = memory.total[n] * correction + sum;
      memory.greatest[n] = most;
    }
    gpu::Sync();
  }

  /// The place of query n's output.
  GPU_METHOD float* OutputOf(uint32_t n) const {
    const uint64_t head = uint64_t{FirstHead(a, first_row + n / a.heads)} + n % a.heads;
    return a.o + head * a.cache.head_dim;
  }

  /// Writes sums over values, divided by the sums of weights.
  GPU_METHOD void Write(const TileRows& rows, float (*sum)[kSlices * 8]) const {
    const uint32_t n4 = gpu::Thread() / 8 * 4, part = gpu::Thread() % 8;
    GPU_UNROLL
    for (uint32_t n = 0; n < 4; ++n) {
      if (!IsLive(rows, n4 + n)) continue;
      float* const o = OutputOf(n4 + n);
      const float total = memory.total[n4 + n];
      GPU_UNROLL
      for (uint32_t c = 0; c < kSlices * 8; ++c) {
        const uint32_t d = c / 8 * kSlice + part * 8 + c % 8;
        if (d < a.cache.head_dim) o[d] = sum[n][c] / total;
      }
    }
  }

  /// Rotates sums of rotated values back and writes them: slices with each other in registers, the
  /// dimensions of a slice in shared memory.
  GPU_METHOD void WriteRotated(const TileRows& rows, float (*sum)[kSlices * 8]) const {
    const uint32_t n4 = gpu::Thread() / 8 * 4, part = gpu::Thread() % 8;
    const uint32_t block = a.cache.rotation_block;
    GPU_UNROLL
    for (uint32_t apart = 1; apart < kSlices; apart *= 2) {
      if (block <= apart * kSlice) continue;
      GPU_UNROLL
      for (uint32_t i = 0; i < 4 * kSlices * 8; ++i) {
        const uint32_t n = i / (kSlices * 8), c = i % (kSlices * 8);
        if ((c / 8 & apart) != 0) continue;
        const float first = sum[n][c], second = sum[n][c + apart * 8];
        sum[n][c] = first + second;
        sum[n][c + apart * 8] = first - second;
      }
    }
    GPU_UNROLL
    for (uint32_t slice = 0; slice < kSlices; ++slice) {
      for (uint32_t n = 0; n < 4; ++n) {
        GPU_UNROLL
        for (uint32_t c = 0; c < 8; ++c) {
          memory.slice[(n4 + n) * kSlice + part * 8 + c] =
              sum[n][slice * 8 + c] / memory.total[n4 + n];
        }
      }
      gpu::Sync();
      RotateRows(memory.slice, {kQueries, kSlice, kSlice, 1}, gpu::Min(block, kSlice),
                 a.cache.rotation_scale);
      for (uint32_t i = gpu::Thread(); i < kQueries * kSlice; i += kThreads) {
        const uint32_t n = i / kSlice, d = slice * kSlice + i % kSlice;
        if (IsLive(rows, n) && d < a.cache.head_dim) OutputOf(n)[d] = memory.slice[i];
      }
      gpu::Sync();
    }
  }

  GPU_METHOD void Attend(const TileRows& rows) const {
    const uint32_t n4 = gpu::Thread() / 8 * 4, part = gpu::Thread() % 8;
    float sum[4][kSlices * 8];  // Dimensions slice * 64 + part * 8 + 0..7 of 4 queries.
    GPU_UNROLL
    for (uint32_t n = 0; n < 4; ++n) {
      GPU_UNROLL
      for (uint32_t c = 0; c < kSlices * 8; ++c) sum[n][c] = 0.0f;
    }
    for (uint32_t p = 0; p < rows.pages; ++p) {
      uint32_t* const page = PageOf(a.cache, rows.table, rows.head, p);
      const uint32_t live = gpu::Min(rows.slots - p * kPageRows, kPageRows);
      float score[4][4];
      Score(page, live, score);
      for (uint32_t r = 0; r < 4; ++r) {
        for (uint32_t n = 0; n < 4; ++n) {
          memory.shares[(part * 4 + r) * kQueries + n4 + n] = score[n][r];
        }
      }
      gpu::Sync();
      Softmax(p);
      for (uint32_t n = 0; n < 4; ++n) {
        const float correction = memory.correction[n4 + n];
        GPU_UNROLL
        for (uint32_t c = 0; c < kSlices * 8; ++c) sum[n][c] *= correction;
      }
      // The sums of a slice are registers of their own.
      GPU_UNROLL
      for (uint32_t slice = 0; slice < kSlices; ++slice) {
        LoadValues(page, slice, live);
        for (uint32_t r = 0; r < kPageRows; ++r) {
          const gpu::Float4 s4 = gpu::Load4(memory.shares, r * kQueries + n4);
          const gpu::Float4 low = gpu::Load4(memory.slice, r * kSlice + part * 8);
          const gpu::Float4 high = gpu::Load4(memory.slice, r * kSlice + part * 8 + 4);
          const float s[4] = {s4.x, s4.y, s4.z, s4.w};
          const float v[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
          for (uint32_t n = 0; n < 4; ++n) {
            for (uint32_t c = 0; c < 8; ++c) sum[n][slice * 8 + c] += s[n] * v[c];
          }
        }
        gpu::Sync();
      }
    }
    if constexpr (kValues == kHalfByteRows) {
      WriteRotated(rows, sum);
    } else {
      Write(rows, sum);
    }
  }

  /// The score from which on a query finds a row important, or the log-sum-exp where attention is
  /// summed; above all scores if it is not judged.
  GPU_METHOD float LeastOf(const TileRows& rows, uint32_t n) const {
    if (!IsLive(rows, n)) return -kLeast;
    const RowPlace place = PlaceOf(a.cache.step, first_row + n / a.heads, rows.head);
    if (place.i < Sequence(a.cache.step, place.sequence, kJudgedFrom)) return -kLeast;
    return memory.greatest[n] + gpu::Log(memory.total[n]) +
           LogShare(a.cache.step, place, MarkingOf(a.cache.step, place.sequence));
  }

  GPU_METHOD void Mark(const TileRows& rows) const {
    const uint32_t thread = gpu::Thread(), n4 = thread / 8 * 4, r4 = thread % 8 * 4;
    if (thread < kQueries) memory.least[thread] = LeastOf(rows, thread);
    for (uint32_t r = thread; r < kPageRows; r += kThreads) memory.marks[r] = 0u;
    gpu::Sync();
    const Marking marking = MarkingOf(a.cache.step, rows.sequence);
    const uint32_t clock = Sequence(a.cache.step, rows.sequence, kClock) + 1 -
                           Sequence(a.cache.step, rows.sequence, kFirstRow);
    for (uint32_t p = 0; p < rows.pages; ++p) {
      uint32_t* const page = PageOf(a.cache, rows.table, rows.head, p);
      const uint32_t live = gpu::Min(rows.slots - p * kPageRows, kPageRows);
      float score[4][4];
      Score(page, live, score);
      for (uint32_t r = 0; r < 4; ++r) {
        uint32_t mark = 0;
        for (uint32_t n = 0; n < 4; ++n) {
          if (p * kPageRows + r4 + r >= memory.visible[n4 + n]) continue;
          const uint32_t now = clock + first_row + (n4 + n) / a.heads;
          mark = MarkWith(marking, mark, now, score[n][r], memory.least[n4 + n]);
        }
        if (marking.sums) {
          gpu::AtomicAdd(memory.marks, r4 + r, mark);
        } else if (mark > 0) {
          gpu::AtomicMax(memory.marks, r4 + r, mark);
        }
      }
      gpu::Sync();
      for (uint32_t r = thread; r < kPageRows; r += kThreads) {
        LeaveMark(marking, page + a.cache.last_important_at + r, memory.marks[r]);
        memory.marks[r] = 0u;
      }
      gpu::Sync();
    }
  }
};

/// Blocks have 2 * kQueries threads.
template <RowType kKeys, RowType kValues, uint32_t kSlices, uint32_t kQueries>
GPU_KERNEL(2 * kQueries)
AttendTile(const AttendArguments a) {
  GPU_SHARED(float, query, kSlices* kSlice* kQueries);
  GPU_SHARED(float, slice, kSlice* kPageRows);
  GPU_SHARED(float, shares, kPageRows* kQueries);
  GPU_SHARED(float, greatest, kQueries);
  GPU_SHARED(float, total, kQueries);
  GPU_SHARED(float, correction, kQueries);
  GPU_SHARED(float, least, kQueries);
  GPU_SHARED(uint32_t, visible, kQueries);
  GPU_SHARED(uint32_t, marks, kPageRows);
  const uint32_t* const step = a.cache.step;
  const uint32_t block_rows = kQueries / a.heads, first_row = gpu::Block() * block_rows;
  if (first_row >= step[kStepRows]) return;
  const Tile<kKeys, kValues, kSlices, kQueries> tile = {
      a,
      {query, slice, shares, greatest, total, correction, least, visible, marks},
      block_rows,
      first_row};
  TileRows rows;
  rows.head = a.cache.layer * a.cache.kv_heads + KvHeadOf(a);
  const uint32_t sequences = step[kStepSequences];
  for (uint32_t s = 0; s < sequences; ++s) {
    const uint32_t first = Sequence(step, s, kFirstRow), end = first + Sequence(step, s, kRows);
    rows.sequence = s;
    rows.first = gpu::Max(first, first_row);
    rows.end = gpu::Min(end, first_row + block_rows);
    if (rows.first >= rows.end) continue;
    rows.table = Sequence(step, s, kTable);
    rows.slots = Count(step, s, rows.head) + end - first;
    rows.pages = (Count(step, s, rows.head) + rows.end - first + kPageRows - 1) / kPageRows;
    tile.LoadQueries(rows);
    tile.Attend(rows);
    if (rows.end - first > Sequence(step, s, kJudgedFrom)) tile.Mark(rows);
  }
}

}  // namespace cormorant::GPU_NAMESPACE::kernels
