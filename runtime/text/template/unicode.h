// Python's view of text: code points, white space, character classes and case.
//
// All text of the interpreter is valid UTF-8: what comes from outside is repaired on entry
// (Repaired), and every operation cuts between code points. Lengths and places in the template
// language count code points; here they are named `chars`, bytes are `bytes` or plain offsets.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace cormorant::jinja {

/// The code point at `*at`, which moves past it. Reads no byte beyond the text.
uint32_t NextChar(absl::string_view text, size_t* at);
/// Bytes of the code point that begins with this byte.
size_t CharBytes(char lead);
void AppendChar(uint32_t code, std::string* out);

size_t CountChars(absl::string_view text);
/// The byte at which the char-th code point begins; text.size() when there are fewer.
size_t ByteOfChar(absl::string_view text, size_t chars);

bool IsUtf8(absl::string_view text);
/// The same text with every byte that is not UTF-8 replaced by U+FFFD.
std::string Repaired(absl::string_view text);

/// What str.isspace() and str.strip() take for white space.
bool IsSpace(uint32_t code);
absl::string_view StripSpaceLeft(absl::string_view text);
absl::string_view StripSpaceRight(absl::string_view text);

bool IsPrintable(uint32_t code);
bool IsAlpha(uint32_t code);
bool IsDecimal(uint32_t code);
bool IsDigit(uint32_t code);
bool IsNumeric(uint32_t code);
bool IsUpper(uint32_t code);
bool IsLower(uint32_t code);

void AppendLower(uint32_t code, std::string* out);
void AppendUpper(uint32_t code, std::string* out);
/// Title case, for the first letter of a word.
void AppendTitle(uint32_t code, std::string* out);
std::string Lower(absl::string_view text);
std::string Upper(absl::string_view text);
/// First character in title case, the rest in lower case: str.capitalize().
std::string Capitalized(absl::string_view text);
/// str.title(): a word is a run of letters.
std::string Titled(absl::string_view text);

/// The first place of `needle` at or after `from`, or npos. Linear in the text however periodic the
/// needle, so that no template can make a search slow.
size_t FindText(absl::string_view text, absl::string_view needle, size_t from = 0);

}  // namespace cormorant::jinja
