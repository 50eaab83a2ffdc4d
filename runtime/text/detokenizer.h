// Token ids to text that is valid UTF-8 at every moment, as a model generates them.
//
// A character may be spread over several tokens. What comes out ends at the end of a character;
// the rest is held back until the next token or Flush(). Bytes that cannot become a character any
// more come out as U+FFFD, as many as the Unicode standard advises, however the bytes were spread.
//
// Not thread-safe: one Detokenizer, one stream.
#pragma once
#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "runtime/text/tokenizer.h"

namespace cormorant {

class Detokenizer {
 public:
  /// The tokenizer must outlive it.
  explicit Detokenizer(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}

  /// Appends the text that `id` completes. A special token ends the character before it; its own
  /// text appears only with `show_special`. An id that does not exist is no text.
  void Push(uint32_t id, std::string* out, bool show_special = false);
  /// Appends U+FFFD for a character that is still incomplete. Ready for a new stream.
  void Flush(std::string* out);

 private:
  void AppendBytes(absl::string_view bytes, std::string* out);

  const Tokenizer& tokenizer_;
  std::string held_;  // At most 3 bytes: the beginning of a character.
};

}  // namespace cormorant
