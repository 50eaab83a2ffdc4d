// Splits a template into text, tags and the tokens inside tags.
//
// All white space rules live here: the signs in {%- and -%}, lstrip_blocks (white space between the
// start of a line and a tag goes) and trim_blocks (the newline after a tag goes), and the newline
// at the end of the template, which goes too. Line statements are off.
#pragma once
#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "runtime/text/template/ast.h"

namespace cormorant::jinja {

enum class TokenKind : uint8_t {
  kData,         // Text between tags.
  kOutputBegin,  // {{
  kOutputEnd,
  kTagBegin,  // {%
  kTagEnd,
  kName,
  kText,  // A string, its escapes resolved.
  kInteger,
  kFloat,
  kOperator,  // text says which.
  kEnd,
};

struct Token {
  TokenKind kind = TokenKind::kEnd;
  uint32_t line = 0;
  absl::string_view text;
  Value value;  // Of strings and numbers.

  bool IsOperator(absl::string_view which) const {
    return kind == TokenKind::kOperator && text == which;
  }
  bool IsName(absl::string_view which) const { return kind == TokenKind::kName && text == which; }
};

/// Replaces every kind of newline by \n and drops the last one.
std::string NormalizedSource(absl::string_view source);

/// The tokens of out->source, ended by kEnd. Texts are kept in out->constants.
absl::StatusOr<std::vector<Token>> Tokenize(Template* out);

}  // namespace cormorant::jinja
