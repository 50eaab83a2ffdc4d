// Byte pair encoding: merges neighbouring tokens, the merge of lowest rank first.
//
// Sennrich et al. 2016, arXiv 1508.07909: of all neighbours that may merge, those of the lowest
// rank do, at equal ranks the leftmost; until none may. O(n log n) in the tokens given, however
// long: a queue of pairs over a linked list.
#pragma once
#include <cstdint>
#include <limits>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "runtime/text/vocabulary.h"

namespace cormorant {

/// No token at all; merges with nothing.
inline constexpr uint32_t kNoToken = std::numeric_limits<uint32_t>::max();

class Bpe {
 public:
  Bpe() = default;  // Without merges.
  /// The first merge has the lowest rank.
  explicit Bpe(const std::vector<Merge>& merges);
  /// Of two merges of the same pair the first counts; different pairs may have the same rank.
  void Add(const Merge& merge, uint32_t rank);

  /// What one thread needs; any number of threads may share a Bpe.
  struct Scratch {
    struct Symbol {
      uint32_t id;
      uint32_t prev;
      uint32_t next;
    };
    std::vector<Symbol> symbols;
    std::vector<uint64_t> queue;  // Rank in the high half, index of the left symbol in the low.
  };
  /// Replaces `ids`, fewer than 2^32 of them, by what they merge to.
  void Apply(std::vector<uint32_t>* ids, Scratch* scratch) const;

 private:
  struct Target {
    uint32_t rank;
    uint32_t merged;
  };
  const Target* Find(uint32_t left, uint32_t right) const;
  void ApplyScanning(std::vector<uint32_t>* ids, Scratch* scratch) const;
  void ApplyQueueing(std::vector<uint32_t>* ids, Scratch* scratch) const;
  void Enqueue(uint32_t left, Scratch* scratch) const;

  absl::flat_hash_map<uint64_t, Target> targets_;  // By left id in the high half, right in the low.
};

}  // namespace cormorant
