// Marks by position: what KvSpread and KvScore look at around each row.
//
// Include after rows.glsl. Marks go to a window over positions in shared memory; windows follow
// each other in ascending order, so that marks ahead are still as they were, and those behind are
// carried.
const uint kMarkWindow = 2048;
const uint kMarksBeside = 16;  // Positions seen on either side of a row's own.
shared uint marks[kMarkWindow + 2 * kMarksBeside];

/// The kernel's: the new mark of the row at `place`. marks[place + d] is the mark of the row d
/// positions behind it, as it was; 0 where there is none.
uint NewMark(uint place);

/// Gives each row of a head that is not pinned its new mark. All invocations come together.
void RewriteMarks(Words step, Head head) {
  const uint thread = gl_LocalInvocationID.x;
  const uint end = Sequence(step, 0, kPositionClock);
  [[dont_unroll]] for (uint at = 0; at < end; at += kMarkWindow) {
    [[dont_unroll]] for (uint i = thread; i < kMarksBeside; i += kThreads) {
      marks[i] = at == 0u ? 0u : marks[kMarkWindow + i];
    }
    barrier();
    [[dont_unroll]] for (uint i = kMarksBeside + thread; i < kMarkWindow + 2 * kMarksBeside;
                         i += kThreads) {
      marks[i] = 0u;
    }
    barrier();
    [[dont_unroll]] for (uint slot = thread; slot < head.count; slot += kThreads) {
      Page page = PageOfSlot(head, slot);
      const uint position = PageWord(page, kPositionsAt + slot % kPageRows);
      const uint mark = PageWord(page, kLastImportantAt + slot % kPageRows);
      if (position < at || position - at >= kMarkWindow + kMarksBeside) continue;
      if (mark != kPinned) marks[kMarksBeside + position - at] = mark;
    }
    barrier();
    [[dont_unroll]] for (uint slot = thread; slot < head.count; slot += kThreads) {
      Page page = PageOfSlot(head, slot);
      const uint position = PageWord(page, kPositionsAt + slot % kPageRows);
      const uint word = page.at + kLastImportantAt + slot % kPageRows;
      if (position < at || position - at >= kMarkWindow || page.slab.v[word] == kPinned) continue;
      page.slab.v[word] = NewMark(kMarksBeside + position - at);
    }
    barrier();
  }
}
