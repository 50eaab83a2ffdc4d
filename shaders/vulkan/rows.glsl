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

uint HashAge(uint head, uint position) {
  uint x = head * 0x9e3779b9u ^ position;
  x = (x ^ (x >> 16)) * 0x85ebca6bu;
  x = (x ^ (x >> 13)) * 0xc2b2ae35u;
  return x ^ (x >> 16);
}
uint FloatBits(uint x) {
  return floatBitsToUint(float(x));
}
uint AttentionAge(uint attention, uint tokens) {
  return FloatBits(0xffffffffu) - FloatBits(attention) + FloatBits(tokens) - FloatBits(1u);
}

/// Four dimensions of a value: halves exactly, which Value4 leaves to the device.
vec4 ExactValue4(Page page, uint row, uint i) {
  if (kValueType != kHalfRows) return Value4(page, row, i);
  const uint word = kValuesAt + row * (kHeadDim / 2u) + i * 2u;
  return vec4(Halves(PageWord(page, word)), Halves(PageWord(page, word + 1u)));
}
/// Steps by which a row is younger for the size of its value. Magnitudes are summed in the order
/// of KvAgesOp.
uint ValueReach(Page page, uint row, uint reach) {
  precise vec4 sum = vec4(0.0);
  [[dont_unroll]] for (uint i = 0; i < kHeadDim / 4u; ++i) sum += abs(ExactValue4(page, row, i));
  precise const float total = (sum.x + sum.y) + (sum.z + sum.w);
  return Reach(kValueUnits * total, reach);
}

/// As KvAgesOp in runtime/ops/ops.h.
RowState StateOf(Words step, uint head, Page page, uint row) {
  const uint position = PageWord(page, kPositionsAt + row);
  const uint mark = PageWord(page, kLastImportantAt + row);
  const uint tokens = Sequence(step, 0, kPositionClock) - position;
  const uint rank_by = Sequence(step, 0, kRankBy);
  uint age = tokens;
  if (rank_by == kByLastImportant) {
    const uint value_reach = Sequence(step, 0, kValueReach);
    const uint lead = kDoublingsMost * (Sequence(step, 0, kReach) + value_reach);
    age = Sequence(step, 0, kClock) + lead - mark;
    if (value_reach != 0u) age -= ValueReach(page, row, value_reach);
  } else if (rank_by == kByHash) {
    age = HashAge(head, position);
  } else if (rank_by != kByPosition) {
    age = AttentionAge(mark, rank_by == kByAttention ? 1u : tokens);
  }
  return RowState(mark != kPinned && position < Sequence(step, 0, kRecentFrom), age, position);
}
