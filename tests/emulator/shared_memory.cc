// See shared_memory.h.
#include "tests/emulator/shared_memory.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace cormorant::emulator {

void SharedMemory::Clear() {
  std::fill_n(bytes_.begin(), used_, std::byte{0xff});
  std::fill_n(words_.begin(), used_ / 4, Word());
  places_.clear();
  used_ = 0;
  epoch_ = 1;
}

std::byte* SharedMemory::Array(const void* key, size_t bytes) {
  for (const Place& place : places_) {
    if (place.key == key) return bytes_.data() + place.at;
  }
  const size_t padded = (bytes + 15) / 16 * 16;
  if (padded > bytes_.size() - used_) return nullptr;
  places_.push_back({key, used_});
  std::fill_n(bytes_.begin() + static_cast<ptrdiff_t>(used_), padded, std::byte{0xff});
  used_ += padded;
  return bytes_.data() + used_ - padded;
}

Fault SharedMemory::TouchWord(Word& word, Use use, uint16_t thread) {
  const bool was_written = word.write_epoch == epoch_, was_read = word.read_epoch == epoch_;
  if (use == Use::kRead) {
    culprit_ = word.writer;
    if (word.writer == kNobody) return Fault::kReadsNothing;
    if (was_written && word.writer != thread) return Fault::kReadsWritten;
    word.reader = was_read && word.reader != thread ? kMany : thread;
    word.read_epoch = epoch_;
    return Fault::kNone;
  }
  const bool is_atomic = use == Use::kAtomic;
  culprit_ = word.writer;
  if (is_atomic && word.writer == kNobody) return Fault::kChangesNothing;
  const uint16_t writer = is_atomic ? kAtomics : thread;
  if (was_written && word.writer != writer && !(is_atomic && word.writer == thread)) {
    return Fault::kWritesWritten;
  }
  culprit_ = word.reader;
  if (was_read && word.reader != thread) return Fault::kWritesRead;
  word.writer = writer;
  word.write_epoch = epoch_;
  return Fault::kNone;
}

Fault SharedMemory::Touch(const std::byte* at, size_t bytes, Use use, uint32_t thread) {
  Word* word = words_.data() + static_cast<size_t>(at - bytes_.data()) / 4;
  for (Word* const end = word + bytes / 4; word != end; ++word) {
    const Fault fault = TouchWord(*word, use, static_cast<uint16_t>(thread));
    if (fault != Fault::kNone) return fault;
  }
  return Fault::kNone;
}

std::string SharedMemory::Explain(Fault fault) const {
  const std::string who = culprit_ == kAtomics ? "an atomic operation"
                          : culprit_ == kMany  ? "other threads"
                                               : absl::StrCat("thread ", culprit_);
  switch (fault) {
    case Fault::kNone: return "";
    case Fault::kReadsNothing: return "reads shared memory that nobody wrote";
    case Fault::kChangesNothing: return "changes shared memory that nobody wrote";
    case Fault::kReadsWritten:
      return absl::StrCat("race: reads a shared word that ", who, " wrote since the last barrier");
    case Fault::kWritesWritten:
      return absl::StrCat("race: writes a shared word that ", who, " wrote since the last barrier");
    case Fault::kWritesRead:
      return absl::StrCat("race: writes a shared word that ", who, " read since the last barrier");
  }
  return "";
}

}  // namespace cormorant::emulator
