// SentencePiece's BPE ("llama" in GGUF files): merges characters to the pieces of highest score.
//
// Kudo and Richardson 2018, arXiv 1808.06226. A space is U+2581 in pieces; a text is not cut into
// words first. Of all neighbours whose texts together are a piece, those of the highest score
// merge, at equal scores the leftmost; until none are. A character that ends up in no piece becomes
// the tokens of its bytes, or, where the vocabulary has none, the unknown token: one for a run of
// such characters.
//
// The ways in which two pieces make a third are found once, from the pieces' texts, and then walked
// as the merges of bpe.h. Where no piece goes on with a space after something else (most
// vocabularies), text is cut before such spaces, which changes no result and keeps merging short.
//
// Immutable: any number of threads may use one.
#pragma once
#include <array>
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
#include "runtime/text/vocabulary.h"

namespace cormorant {

/// What stands for a space in the texts of pieces: U+2581.
inline constexpr char kSentencePieceSpace[] = "\xe2\x96\x81";

/// Of one piece. Trained vocabularies stay below a hundred or so; the work to find a piece's merges
/// grows with the square.
inline constexpr size_t kSentencePieceBytesMax = 512;
/// Of one vocabulary; real ones have two or three for each piece.
inline constexpr size_t kSentencePieceMergesMax = size_t{1} << 22;

class SentencePiece {
 public:
  /// The vocabulary has passed CheckVocabulary(). INVALID_ARGUMENT for one that exceeds a limit.
  static absl::StatusOr<std::unique_ptr<const SentencePiece>> Create(const Vocabulary& vocabulary);

  /// What one thread needs.
  struct Scratch {
    Bpe::Scratch bpe;
    std::vector<uint32_t> symbols;
  };
  /// Appends the ids of `text`, with one more space before it if `space_first`. Bytes that are no
  /// UTF-8 become their byte tokens. INVALID_ARGUMENT for a character that has neither a piece nor
  /// bytes nor an unknown token.
  absl::Status Encode(absl::string_view text, bool space_first, Scratch* scratch,
                      std::vector<uint32_t>* ids) const;

 private:
  class Builder;
  SentencePiece() = default;

  absl::Status Push(absl::string_view symbol, Scratch* scratch, std::vector<uint32_t>* ids) const;
  absl::Status AppendMerged(Scratch* scratch, std::vector<uint32_t>* ids) const;
  absl::Status AppendBytes(absl::string_view bytes, std::vector<uint32_t>* ids) const;

  Bpe bpe_;
  // Characters that are pieces or occur in one: the piece's id, or an id past all tokens.
  absl::flat_hash_map<uint32_t, uint32_t> symbols_;  // By PackedChar().
  std::vector<std::string> bare_chars_;              // Those of ids past all tokens, in order.
  uint32_t tokens_ = 0;
  uint32_t space_ = kNoToken;
  std::array<uint32_t, 256> byte_ids_;
  std::optional<uint32_t> unknown_;
  bool cuts_before_spaces_ = true;
};

/// Whether plain text may become this token, by merging.
bool IsSentencePiece(const Vocabulary& vocabulary, uint32_t id);
/// The byte that a token like "<0x0A>" stands for.
std::optional<uint8_t> SentencePieceByte(const Vocabulary& vocabulary, uint32_t id);

}  // namespace cormorant
