// Text to token ids and back to bytes, as the model was trained with.
//
// First the texts of special tokens are cut out: user-defined ones always, control tokens when the
// caller trusts the text (parse_special). The leftmost first, at one place the longest. White space
// around them is kept, but after tokens that drop it (Vocabulary::right_strip). Then, for what lies
// between:
//   Byte-level BPE ("gpt2" in GGUF files): a byte that is no part of valid UTF-8 is a piece of its
//   own, so no text is refused and its bytes come back from Piece(); text on either side is cut as
//   if it stood alone. The rest is cut into pieces by the model's pre-tokenizer, and each piece is
//   merged. A byte without a token (some vocabularies leave out what UTF-8 never uses, or control
//   characters) becomes U+FFFD.
//   SentencePiece's BPE ("llama"): a space is put before the text where the model wants one, and
//   runs of spaces become one where it says so; then see sentencepiece.h.
// Text is not normalized.
//
// Immutable: any number of threads may use one Tokenizer.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "runtime/text/bpe.h"
#include "runtime/text/pretokenizer.h"
#include "runtime/text/sentencepiece.h"
#include "runtime/text/special_tokens.h"
#include "runtime/text/vocabulary.h"

namespace cormorant {

/// Of one call of Encode().
inline constexpr uint64_t kEncodeBytesMax = uint64_t{1} << 30;

struct EncodeOptions {
  bool add_special = false;    // BOS and EOS, as the vocabulary asks for.
  bool parse_special = false;  // The text of a control token becomes the token.
  // What the text follows, which decides about white space at its beginning. Nothing: it begins.
  std::optional<uint32_t> after = std::nullopt;
};

class Tokenizer {
 public:
  /// UNIMPLEMENTED for a model or pre-tokenizer that is not known, naming it and those that are;
  /// the errors of CheckVocabulary().
  static absl::StatusOr<std::shared_ptr<const Tokenizer>> Create(Vocabulary vocabulary);

  /// Number of tokens; ids are below it.
  size_t size() const { return vocabulary_.tokens.size(); }
  /// As given, without the merges: they are kept in the form in which they are looked up.
  const Vocabulary& vocabulary() const { return vocabulary_; }

  /// Appends the ids of `text`; appends none on failure. INVALID_ARGUMENT for more than
  /// kEncodeBytesMax bytes, or a byte that neither has a token nor can become U+FFFD.
  absl::Status Encode(absl::string_view text, const EncodeOptions& options,
                      std::vector<uint32_t>* ids) const;

  /// The bytes a token stands for, or the text of a special token. Not UTF-8 by itself: characters
  /// may be spread over tokens (see detokenizer.h). "" for an id that does not exist, as do those
  /// below. Valid while the tokenizer lives.
  absl::string_view Piece(uint32_t id) const;
  /// Steers the model and is no part of the text: control and unknown tokens.
  bool is_special(uint32_t id) const;
  /// Found in text as a whole, not made by merging: special and user-defined tokens. What follows
  /// is encoded as if it began a text.
  bool is_cut_out(uint32_t id) const;
  bool is_end_of_generation(uint32_t id) const;
  /// Encoding puts a space before text that begins anew.
  bool puts_space_first() const {
    return sentencepiece_ != nullptr && vocabulary_.add_space_prefix;
  }

 private:
  struct Scratch;
  explicit Tokenizer(Vocabulary vocabulary);

  void IndexPieces();
  void IndexReplacement();
  void IndexWholePieces();
  void IndexSpecialTokens();
  absl::Status EncodeAll(absl::string_view text, const EncodeOptions& options,
                         std::vector<uint32_t>* ids) const;
  /// Text without tokens to cut out. `begins`: it follows such a token, or nothing.
  absl::Status EncodeText(absl::string_view text, bool begins, Scratch* scratch,
                          std::vector<uint32_t>* ids) const;
  absl::Status EncodeByteLevel(absl::string_view text, Scratch* scratch,
                               std::vector<uint32_t>* ids) const;
  absl::Status EncodePiece(absl::string_view piece, Scratch* scratch,
                           std::vector<uint32_t>* ids) const;

  Vocabulary vocabulary_;
  // Either these two, or SentencePiece's.
  Bpe bpe_;
  std::unique_ptr<const PreTokenizer> pre_tokenizer_;
  std::unique_ptr<const SentencePiece> sentencepiece_;
  std::string bytes_;                  // Of all pieces, one behind the other.
  std::vector<uint64_t> piece_begin_;  // In bytes_, by id; one more for the end of the last.
  std::array<uint32_t, 256> byte_ids_;
  std::vector<uint32_t> replacement_ids_;  // Of U+FFFD; empty where it has none.
  // Tokens by their bytes, where the rule is to look for the whole piece first; else empty.
  absl::flat_hash_map<absl::string_view, uint32_t> whole_ids_;
  SpecialTokens always_;
  SpecialTokens when_parsing_;  // `always_` among them.
};

}  // namespace cormorant
