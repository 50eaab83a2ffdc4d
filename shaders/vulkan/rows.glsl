// The resident rows of a head of sequence 0, for the kernels of KvAges, KvCompact and KvRebase.
//
// Each runs a workgroup a head. What invocations tell each other goes through shared memory or a
// coherent scratch of three words a page.
layout(buffer_reference, std430, buffer_reference_align = 4) coherent buffer Scratch { uint v[]; };

struct Head {
  Cache cache;
  uint table, index, count;
};

Head HeadOf(Words step, Slabs slabs, Words tables, uint pages_per_slab, uint pages_per_head) {
  const uint head = gl_WorkGroupID.x;
  return Head(Cache(slabs, tables, pages_per_slab, pages_per_head, step.v[kStepHeads]),
              Sequence(step, 0, kTable), head, Count(step, 0, head));
}

Page PageOfSlot(Head head, uint slot) {
  return PageOf(head.cache, head.table, head.index, slot / kPageRows);
}

/// Age and position of a row, and whether it may be evicted.
struct RowState {
  bool is_evictable;
  uint age, position;
};

RowState StateOf(Words step, Page page, uint row) {
  const uint position = PageWord(page, kPositionsAt + row);
  const uint last_important = PageWord(page, kLastImportantAt + row);
  const bool by_position = Sequence(step, 0, kRankBy) != 0;
  return RowState(last_important != kPinned && position < Sequence(step, 0, kRecentFrom),
                  by_position ? Sequence(step, 0, kPositionClock) - position
                              : Sequence(step, 0, kClock) - last_important,
                  position);
}
