// The vocabulary of a model file: its tokens, how they merge, and what some of them mean.
//
// Read from the `tokenizer.*` metadata of a GGUF file, which is not trusted: every id and count is
// checked here, so that what a Vocabulary from ReadVocabulary() names exists. Texts are copied; the
// file may be closed. Whether a tokenizer for it exists is for tokenizer.h to say.
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "runtime/format/gguf.h"

namespace cormorant {

/// The value is the id in the file.
enum class TokenType : uint8_t {
  kUndefined = 0,
  kNormal = 1,
  kUnknown = 2,      // Stands for what has no token.
  kControl = 3,      // Steers the model; no part of the text.
  kUserDefined = 4,  // Found in text before anything else is.
  kUnused = 5,
  kByte = 6,
};

/// Token `left` followed by `right` becomes `merged`.
struct Merge {
  uint32_t left = 0;
  uint32_t right = 0;
  uint32_t merged = 0;
};

struct Vocabulary {
  std::string model;                // "gpt2": byte-level BPE; "llama": SentencePiece's BPE.
  std::string pre = "default";      // See pretokenizer.h.
  std::vector<std::string> tokens;  // By id, as in the file: in "gpt2", bytes as visible letters.
  std::vector<TokenType> types;     // By id.
  std::vector<Merge> merges;        // The first has precedence.
  std::vector<float> scores;        // By id, of "llama": what merges first. Else empty.
  std::optional<uint32_t> bos, eos, eot, eom, unknown;
  std::vector<uint32_t> end_of_generation;  // Ascending.
  bool add_bos = false;
  bool add_eos = false;
  // Of SentencePiece models; byte-level BPE keeps text as it is.
  bool add_space_prefix = false;
  bool remove_extra_whitespaces = false;
  std::vector<uint32_t> right_strip;  // Ascending. White space after these tokens is dropped.
  std::string chat_template;          // Empty: none.
};

/// NOT_FOUND for a key that must be there, INVALID_ARGUMENT for a value that cannot be; the message
/// names the key.
absl::StatusOr<Vocabulary> ReadVocabulary(const GgufFile& file);

/// Whether types, scores, ids and merges fit the tokens, as in every Vocabulary that was read from
/// a file.
absl::Status CheckVocabulary(const Vocabulary& vocabulary);

}  // namespace cormorant
