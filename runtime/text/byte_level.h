// The alphabet of byte-level BPE: every byte as one visible character (Radford et al. 2019, GPT-2).
//
// Printable Latin-1 stands for itself; the 68 other bytes, in order, are U+0100 to U+0143. So a
// space is "Ġ" in the tokens of a file, and no token contains white space.
#pragma once
#include <string>

#include "absl/strings/string_view.h"

namespace cormorant {

/// Appends the bytes that `text` stands for; false, and appends nothing, when it is not written in
/// the alphabet.
bool AppendByteLevelBytes(absl::string_view text, std::string* bytes);

}  // namespace cormorant
