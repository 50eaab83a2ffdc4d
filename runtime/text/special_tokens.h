// Finds the texts of special tokens in a text: the leftmost, at one place the longest.
//
// A sorted list, narrowed byte by byte: no tree to build, and a place where none begins costs one
// look. Texts are views; whoever owns them keeps them. Immutable once sealed.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"

namespace cormorant {

class SpecialTokens {
 public:
  struct Match {
    size_t at = 0;
    size_t bytes = 0;
    uint32_t id = 0;
  };

  /// An empty text is never found and not kept.
  void Add(absl::string_view text, uint32_t id);
  /// After the last Add(), before the first Find(). Of equal texts the lowest id stays.
  void Seal();

  /// The first match that begins at or after `from`.
  std::optional<Match> Find(absl::string_view text, size_t from) const;

 private:
  using Entry = std::pair<absl::string_view, uint32_t>;
  Match LongestAt(absl::string_view text, size_t at) const;  // Of 0 bytes when there is none.

  std::vector<Entry> entries_;
  std::array<bool, 256> begins_{};  // By first byte of a text.
};

}  // namespace cormorant
