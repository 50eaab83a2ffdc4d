// Token ids to text that is valid UTF-8 at every moment, as a model generates them.
//
// A character may be spread over several tokens. What comes out ends at the end of a character;
// the rest is held back until the next token or Flush(). Bytes that cannot become a character any
// more come out as U+FFFD, as many as the Unicode standard advises, however the bytes were spread.
//
// Not thread-safe: one Detokenizer, one stream.
#pragma once
#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "runtime/text/tokenizer.h"

namespace cormorant {

class Detokenizer {
 public:
  /// The tokenizer must outlive it. `after`: the token that the stream follows; none: it begins a
  /// text, as it does behind a special token, and the space that encoding put there is left out.
  explicit Detokenizer(const Tokenizer& tokenizer, std::optional<uint32_t> after = std::nullopt)
      : tokenizer_(tokenizer), begins_(!after || tokenizer.is_cut_out(*after)) {}

  /// Appends the text that `id` completes. A special token ends the character before it; its own
  /// text appears only with `show_special`. An id that does not exist is no text.
  void Push(uint32_t id, std::string* out, bool show_special = false);
  /// Appends U+FFFD for a character that is still incomplete. What follows begins a text.
  void Flush(std::string* out);

 private:
  void AppendBytes(absl::string_view bytes, std::string* out);

  const Tokenizer& tokenizer_;
  std::string held_;  // At most 3 bytes: the beginning of a character.
  bool begins_;       // The next text follows a token that is cut out, or nothing.
};

}  // namespace cormorant
