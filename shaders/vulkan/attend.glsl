// What the kernels of AttendOp share: their query heads, and a row's threshold.
//
// A workgroup has kGroup query heads of one KV head: all H / G of them, or a part where they are
// too many for its shared memory. Dimension y of the grid is KV heads by parts.
layout(constant_id = 5) const uint kGroup = 1;

uint KvHead() {
  return gl_WorkGroupID.y / (gl_NumWorkGroups.y / kKvHeads);
}
/// The first of the workgroup's query heads in a row of q.
uint FirstHead(uint row) {
  return (row * gl_NumWorkGroups.y + gl_WorkGroupID.y) * kGroup;
}

/// What attention leaves at rows: StepSequence's mark_by and reach.
struct Marking {
  bool sums;
  uint reach;
};
Marking MarkingOf(Words step, uint sequence) {
  return Marking(Sequence(step, sequence, kMarkBy) == kMarkAttention,
                 Sequence(step, sequence, kReach));
}

/// log(c / t) of a row: scores at or past log-sum-exp plus this are important. 0 where attention is
/// summed.
float LogShare(Words step, RowPlace place, Marking marking) {
  if (marking.sums) return 0.0;
  const uint by_step = Sequence(step, place.sequence, kClock) + place.i + 1u;
  const uint basis = Sequence(step, place.sequence, kBasis);
  const uint t = basis == 0 ? by_step : basis == 1 ? place.visible : 1u;
  return Log(uintBitsToFloat(Sequence(step, place.sequence, kImportanceScale)) / float(t));
}

/// The stamp of a row with x times the least share that counts, x >= 1.
uint StampOf(uint now, float log_x, uint reach) {
  return reach == 0 ? now : now + Reach(Exp(log_x), reach);
}

/// What a query in step `now` makes of a row's mark; `least` is log-sum-exp plus LogShare.
uint MarkWith(Marking marking, uint mark, uint now, float score, float least) {
  const float log_x = score - least;
  if (marking.sums) return mark + uint(roundEven(Exp(log_x) * kAttentionUnits));
  return log_x >= 0.0 ? max(mark, StampOf(now, log_x, marking.reach)) : mark;
}
/// Leaves a mark in a page. Sums are whole units, so they do not depend on the order of workgroups.
void LeaveMark(Marking marking, Page page, uint row, uint mark) {
  const uint at = page.at + kLastImportantAt + row;
  if (mark == 0u) return;
  if (!marking.sums) {
    atomicMax(page.slab.v[at], mark);
  } else if (page.slab.v[at] < kAttentionMost) {
    atomicAdd(page.slab.v[at], mark);
  }
}
