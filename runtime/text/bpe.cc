// The merge table and the two ways to walk it. See bpe.h.
#include "runtime/text/bpe.h"

#include <algorithm>
#include <functional>

#include "runtime/base/check.h"

namespace cormorant {
namespace {

constexpr uint32_t kEnd = std::numeric_limits<uint32_t>::max();

// Up to here the next merge is found by looking at all pairs, which costs n^2 / 2 at worst but no
// queue. Words of natural text are shorter.
constexpr size_t kScannedIdsMax = 24;

uint64_t Pair(uint32_t high, uint32_t low) {
  return uint64_t{high} << 32 | low;
}

}  // namespace

Bpe::Bpe(const std::vector<Merge>& merges) {
  CORM_CHECK(merges.size() < kEnd);
  targets_.reserve(merges.size());
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    Add(merges[rank], static_cast<uint32_t>(rank));
  }
}

void Bpe::Add(const Merge& merge, uint32_t rank) {
  targets_.try_emplace(Pair(merge.left, merge.right), Target{rank, merge.merged});
}

const Bpe::Target* Bpe::Find(uint32_t left, uint32_t right) const {
  const auto found = targets_.find(Pair(left, right));
  return found == targets_.end() ? nullptr : &found->second;
}

void Bpe::Apply(std::vector<uint32_t>* ids, Scratch* scratch) const {
  CORM_CHECK(ids->size() < kEnd);
  if (ids->size() < 2) return;
  if (ids->size() <= kScannedIdsMax) {
    ApplyScanning(ids, scratch);
  } else {
    ApplyQueueing(ids, scratch);
  }
}

void Bpe::ApplyScanning(std::vector<uint32_t>* ids, Scratch* scratch) const {
  // The pair that begins at each id: its rank, and what it merges to. Room for both is in `queue`.
  std::vector<uint64_t>& pairs = scratch->queue;
  const auto pair_at = [&](size_t i) {
    const Target* target = Find((*ids)[i], (*ids)[i + 1]);
    return target == nullptr ? Pair(kEnd, 0) : Pair(target->rank, target->merged);
  };
  pairs.clear();
  for (size_t i = 0; i + 1 < ids->size(); ++i) pairs.push_back(pair_at(i));
  while (!pairs.empty()) {
    const auto best = std::min_element(  // The first of those of equal rank.
        pairs.begin(), pairs.end(), [](uint64_t a, uint64_t b) { return a >> 32 < b >> 32; });
    if (*best >> 32 == kEnd) break;
    const size_t at = static_cast<size_t>(best - pairs.begin());
    (*ids)[at] = static_cast<uint32_t>(*best);
    ids->erase(ids->begin() + static_cast<ptrdiff_t>(at) + 1);
    pairs.erase(best);
    if (at > 0) pairs[at - 1] = pair_at(at - 1);
    if (at < pairs.size()) pairs[at] = pair_at(at);
  }
}

void Bpe::Enqueue(uint32_t left, Scratch* scratch) const {
  const Scratch::Symbol& symbol = scratch->symbols[left];
  if (symbol.next == kEnd) return;
  const Target* target = Find(symbol.id, scratch->symbols[symbol.next].id);
  if (target == nullptr) return;
  scratch->queue.push_back(Pair(target->rank, left));
  std::push_heap(scratch->queue.begin(), scratch->queue.end(), std::greater<>());
}

void Bpe::ApplyQueueing(std::vector<uint32_t>* ids, Scratch* scratch) const {
  std::vector<Scratch::Symbol>& symbols = scratch->symbols;
  std::vector<uint64_t>& queue = scratch->queue;
  const uint32_t count = static_cast<uint32_t>(ids->size());
  symbols.resize(count);
  for (uint32_t i = 0; i < count; ++i) {
    symbols[i] = {(*ids)[i], i == 0 ? kEnd : i - 1, i + 1 == count ? kEnd : i + 1};
  }
  queue.clear();
  for (uint32_t i = 0; i < count; ++i) Enqueue(i, scratch);
  while (!queue.empty()) {
    std::pop_heap(queue.begin(), queue.end(), std::greater<>());
    const uint64_t entry = queue.back();
    queue.pop_back();
    // The entry may be about tokens that have merged since. If the pair that is there now has its
    // rank too, it is the pair's turn, whichever of the two the entry was made for.
    const uint32_t left = static_cast<uint32_t>(entry);
    const uint32_t right = symbols[left].next;
    if (right == kEnd) continue;
    const Target* target = Find(symbols[left].id, symbols[right].id);
    if (target == nullptr || target->rank != entry >> 32) continue;
    symbols[left].id = target->merged;
    symbols[left].next = symbols[right].next;
    symbols[right].id = kNoToken;  // Gone: entries that name it find nothing.
    if (symbols[left].next != kEnd) symbols[symbols[left].next].prev = left;
    Enqueue(left, scratch);
    if (symbols[left].prev != kEnd) Enqueue(symbols[left].prev, scratch);
  }
  ids->clear();
  for (uint32_t i = 0; i != kEnd; i = symbols[i].next) ids->push_back(symbols[i].id);
}

}  // namespace cormorant
