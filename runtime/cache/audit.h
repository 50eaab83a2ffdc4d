// What a session's cache dropped, when and why, and what it was told to keep: positions and causes,
// never text.
//
// A ring: it keeps the newest records, as many as it is made for, and counts those it forgot. It
// outlives resets and lost devices.
//
// Not thread-safe: owned by the engine thread, like the cache it is about.
#pragma once
#include <cstdint>
#include <deque>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"

namespace cormorant {

enum class DropCause : uint8_t {
  kNatural,  // Past the policy's own age.
  kForced,   // Room was needed under the cap, by this session or another.
  kRebase,   // The context ended: heads are cut to half of it.
  // The whole cache was forgotten; what was not purged or reset is read again:
  kRecall,
  kPin,    // What is to stay changed, and was not all there or had moved.
  kPurge,  // Positions are those of the tokens erased, places in the log before.
  kReset,
  kRewind,  // To tokens before; rows had moved since.
  kLost,    // The device was.
  // Nothing was dropped; positions are places in the log:
  kRetain,
  kRelease,
  kRefused,  // To let go of retained tokens.
};
/// "natural" and so on.
absl::string_view ToString(DropCause cause);

class Audit {
 public:
  static constexpr uint32_t kAllHeads = 0xffffffffu;
  struct Record {
    uint32_t step = 0;     // Tokens the session had seen.
    uint64_t rebased = 0;  // Times positions had been moved; until then they are places in the log.
    uint32_t head = kAllHeads;  // layer * G + KV head
    DropCause cause = DropCause::kForced;
    std::vector<std::pair<uint32_t, uint32_t>> positions = {};  // [first, second], both dropped.
  };

  explicit Audit(uint32_t capacity) : capacity_(capacity) {}

  uint32_t capacity() const { return capacity_; }
  /// Adds a record; its positions are these, in any order, as ranges. None: no record.
  void Add(Record record, std::vector<uint32_t> positions);
  void Add(Record record);

  const std::deque<Record>& records() const { return records_; }  // Oldest first.
  uint64_t forgotten() const { return forgotten_; }

 private:
  const uint32_t capacity_;
  std::deque<Record> records_;
  uint64_t forgotten_ = 0;
};

}  // namespace cormorant
