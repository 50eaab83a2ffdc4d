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

std::string SharedMemory::Touch(const std::byte* at, size_t bytes, Use use, uint32_t thread) {
  const size_t first = static_cast<size_t>(at - bytes_.data()) / 4;
  for (size_t i = first; i < first + bytes / 4; ++i) {
    Word& word = words_[i];
    const bool was_written = word.write_epoch == epoch_, was_read = word.read_epoch == epoch_;
    if (use == Use::kRead) {
      if (word.writer == kNobody) return "reads shared memory that nobody wrote";
      if (was_written && word.writer != thread) {
        return absl::StrCat(
            "race: reads a shared word that ",
            word.writer == kAtomics ? "an atomic operation" : absl::StrCat("thread ", word.writer),
            " wrote since the last barrier");
      }
      word.reader = was_read && word.reader != thread ? kMany : static_cast<uint16_t>(thread);
      word.read_epoch = epoch_;
      continue;
    }
    const bool is_atomic = use == Use::kAtomic;
    if (is_atomic && word.writer == kNobody) return "changes shared memory that nobody wrote";
    const uint16_t writer = is_atomic ? kAtomics : static_cast<uint16_t>(thread);
    if (was_written && word.writer != writer &&
        !(is_atomic && word.writer == static_cast<uint16_t>(thread))) {
      return absl::StrCat(
          "race: writes a shared word that ",
          word.writer == kAtomics ? "an atomic operation" : absl::StrCat("thread ", word.writer),
          " wrote since the last barrier");
    }
    if (was_read && word.reader != thread) {
      return absl::StrCat(
          "race: writes a shared word that ",
          word.reader == kMany ? "other threads" : absl::StrCat("thread ", word.reader),
          " read since the last barrier");
    }
    word.writer = writer;
    word.write_epoch = epoch_;
  }
  return "";
}

}  // namespace cormorant::emulator
