// The shared memory of a block, and who used which word of it since the last barrier.
//
// A word remembers the thread that wrote it last and the one that read it, each with the number of
// barriers passed by then. Two threads that use a word between the same two barriers race if one of
// them writes, unless both do so atomically. Waves are no exception: the dialect knows no order
// among the lanes of a wave but that of barriers.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "tests/emulator/emulator.h"

namespace cormorant::emulator {

enum class Fault : uint8_t {
  kNone,
  kReadsNothing,
  kChangesNothing,
  kReadsWritten,
  kWritesWritten,
  kWritesRead
};

class SharedMemory {
 public:
  SharedMemory() : bytes_(kSharedBytesMax), words_(kSharedBytesMax / 4) {}

  /// For a new block: no arrays, all NaN.
  void Clear();
  /// A barrier was passed.
  void NextEpoch() { ++epoch_; }
  uint32_t epoch() const { return epoch_; }
  /// The array of this key; null when there is no room for a new one.
  std::byte* Array(const void* key, size_t bytes);
  /// What is wrong with a use, if anything. Hot: called for every word that a kernel uses.
  Fault Touch(const std::byte* at, size_t bytes, Use use, uint32_t thread);
  /// A fault of Touch in words, just after it.
  std::string Explain(Fault fault) const;

 private:
  static constexpr uint16_t kNobody = 0xffff, kMany = 0xfffe, kAtomics = 0xfffd;
  struct Word {
    uint32_t write_epoch = 0, read_epoch = 0;  // 0: never.
    uint16_t writer = kNobody, reader = kNobody;
  };
  struct Place {
    const void* key;
    size_t at;
  };
  Fault TouchWord(Word& word, Use use, uint16_t thread);

  std::vector<std::byte> bytes_;
  std::vector<Word> words_;
  std::vector<Place> places_;
  size_t used_ = 0;
  uint16_t culprit_ = kNobody;  // Of the last fault: who wrote or read the word.
  uint32_t epoch_ = 1;
};

}  // namespace cormorant::emulator
