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

/// log(c / t) of a row: scores at or past log-sum-exp plus this are important.
float LogShare(Words step, RowPlace place) {
  const uint by_step = Sequence(step, place.sequence, kClock) + place.i + 1u;
  const uint basis = Sequence(step, place.sequence, kBasis);
  const uint t = basis == 0 ? by_step : basis == 1 ? place.visible : 1u;
  return Log(uintBitsToFloat(Sequence(step, place.sequence, kImportanceScale)) / float(t));
}

/// The stamp of a row with x times the least share that counts, x >= 1. Reach in runtime/ops/ops.h.
uint StampOf(uint now, float log_x, uint reach) {
  if (reach == 0) return now;
  const uint one = floatBitsToUint(1.0), bits = max(floatBitsToUint(Exp(log_x)), one);
  return now + ((min(bits - one, kDoublingsMost << 23) >> 7) * reach >> 16);
}
bool SumsAttention(Words step, uint sequence) {
  return Sequence(step, sequence, kMarkBy) == kMarkAttention;
}
/// A share of a query's attention, in units of the sums of attention.
uint AttentionUnits(float score, float log_sum_exp) {
  return uint(roundEven(Exp(score - log_sum_exp) * kAttentionUnits));
}
/// Only whole units are added, so sums do not depend on the order of workgroups.
void AddAttention(Page page, uint row, uint units) {
  const uint at = page.at + kLastImportantAt + row;
  if (units > 0u && page.slab.v[at] < kAttentionMost) atomicAdd(page.slab.v[at], units);
}
