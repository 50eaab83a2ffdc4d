// The sorted list and its narrowing. See special_tokens.h.
#include "runtime/text/special_tokens.h"

#include <algorithm>

namespace cormorant {

void SpecialTokens::Add(absl::string_view text, uint32_t id) {
  if (text.empty()) return;
  entries_.emplace_back(text, id);
  begins_[static_cast<uint8_t>(text[0])] = true;
}

void SpecialTokens::Seal() {
  std::sort(entries_.begin(), entries_.end());
  const auto same = [](const Entry& a, const Entry& b) { return a.first == b.first; };
  entries_.erase(std::unique(entries_.begin(), entries_.end(), same), entries_.end());
  entries_.shrink_to_fit();
}

std::optional<SpecialTokens::Match> SpecialTokens::Find(absl::string_view text, size_t from) const {
  if (entries_.empty()) return std::nullopt;
  for (size_t at = from; at < text.size(); ++at) {
    if (!begins_[static_cast<uint8_t>(text[at])]) continue;
    if (const Match match = LongestAt(text, at); match.bytes > 0) return match;
  }
  return std::nullopt;
}

SpecialTokens::Match SpecialTokens::LongestAt(absl::string_view text, size_t at) const {
  Match longest;
  auto first = entries_.begin();
  auto last = entries_.end();
  // All of [first, last) begin with the `bytes` bytes of text at `at`.
  for (size_t bytes = 0; first != last; ++bytes) {
    if (first->first.size() == bytes) {
      longest = {at, bytes, first->second};
      ++first;
    }
    if (at + bytes == text.size()) break;
    const uint8_t next = static_cast<uint8_t>(text[at + bytes]);
    const auto byte = [&](const Entry& entry) { return static_cast<uint8_t>(entry.first[bytes]); };
    first = std::partition_point(first, last, [&](const Entry& e) { return byte(e) < next; });
    last = std::partition_point(first, last, [&](const Entry& e) { return byte(e) == next; });
  }
  return longest;
}

}  // namespace cormorant
