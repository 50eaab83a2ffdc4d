// Records and their ring. See audit.h.
#include "runtime/cache/audit.h"

#include <algorithm>

namespace cormorant {

absl::string_view ToString(DropCause cause) {
  switch (cause) {
    case DropCause::kNatural: return "natural";
    case DropCause::kForced: return "forced";
    case DropCause::kRebase: return "rebase";
    case DropCause::kRecall: return "recall";
    case DropCause::kPin: return "pin";
    case DropCause::kPurge: return "purge";
    case DropCause::kReset: return "reset";
    case DropCause::kRewind: return "rewind";
    case DropCause::kLost: return "lost";
    case DropCause::kRetain: return "retain";
    case DropCause::kRelease: return "release";
    case DropCause::kRefused: return "refused";
  }
  return "unknown";
}

void Audit::Add(Record record, std::vector<uint32_t> positions) {
  std::sort(positions.begin(), positions.end());
  for (uint32_t position : positions) {
    if (!record.positions.empty() && record.positions.back().second + 1 == position) {
      record.positions.back().second = position;
    } else {
      record.positions.emplace_back(position, position);
    }
  }
  Add(std::move(record));
}

void Audit::Add(Record record) {
  if (record.positions.empty()) return;
  records_.push_back(std::move(record));
  if (records_.size() <= capacity_) return;
  records_.pop_front();
  ++forgotten_;
}

}  // namespace cormorant
