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
  const uint t = Sequence(step, place.sequence, kBasis) == 0 ? by_step : place.visible;
  return Log(uintBitsToFloat(Sequence(step, place.sequence, kImportanceScale)) / float(t));
}
