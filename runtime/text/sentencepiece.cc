// Pieces to merges, text to pieces. See sentencepiece.h.
#include "runtime/text/sentencepiece.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "runtime/base/status.h"
#include "runtime/format/byte_reader.h"
#include "runtime/text/utf8.h"

namespace cormorant {
namespace {

/// At most four bytes as a number. No character of UTF-8 begins with a zero but U+0000 itself.
uint32_t PackedChar(absl::string_view bytes) {
  uint32_t packed = 0;
  for (const char byte : bytes) packed = packed << 8 | static_cast<uint8_t>(byte);
  return packed;
}

}  // namespace

bool IsSentencePiece(const Vocabulary& vocabulary, uint32_t id) {
  const TokenType type = vocabulary.types[id];
  const std::string& text = vocabulary.tokens[id];
  return (type == TokenType::kNormal || type == TokenType::kUndefined) && !text.empty() &&
         ValidUtf8Bytes(text) == text.size();
}

std::optional<uint8_t> SentencePieceByte(const Vocabulary& vocabulary, uint32_t id) {
  const absl::string_view text = vocabulary.tokens[id];
  uint32_t byte = 0;
  if (vocabulary.types[id] != TokenType::kByte || text.size() != 6 || text.substr(0, 3) != "<0x" ||
      text[5] != '>' || !absl::ascii_isxdigit(static_cast<uint8_t>(text[3])) ||
      !absl::SimpleHexAtoi(text.substr(3, 2), &byte)) {
    return std::nullopt;
  }
  return static_cast<uint8_t>(byte);
}

/// Finds every way in which two symbols, pieces or characters, make a piece.
class SentencePiece::Builder {
 public:
  Builder(const Vocabulary& vocabulary, SentencePiece* made)
      : vocabulary_(vocabulary), made_(*made) {}

  absl::Status Run() {
    made_.tokens_ = static_cast<uint32_t>(vocabulary_.tokens.size());
    made_.unknown_ = vocabulary_.unknown;
    made_.byte_ids_.fill(kNoToken);
    CORM_RETURN_IF_ERROR(IndexPieces());
    IndexChars();
    RankScores();
    for (const uint32_t id : pieces_) CORM_RETURN_IF_ERROR(AddMergesOf(id));
    return absl::OkStatus();
  }

 private:
  absl::Status IndexPieces() {
    for (uint32_t id = 0; id < made_.tokens_; ++id) {
      if (const auto byte = SentencePieceByte(vocabulary_, id)) {
        made_.byte_ids_[*byte] = std::min(made_.byte_ids_[*byte], id);
      }
      if (!IsSentencePiece(vocabulary_, id)) continue;
      const absl::string_view text = vocabulary_.tokens[id];
      if (text.size() > kSentencePieceBytesMax) {
        return absl::InvalidArgumentError(
            absl::StrCat("token ", id, " ", Quoted(text), " has ", text.size(),
                         " bytes; pieces of SentencePiece may have ", kSentencePieceBytesMax));
      }
      if (ids_.try_emplace(text, id).second) pieces_.push_back(id);
    }
    return absl::OkStatus();
  }

  void IndexChars() {
    for (const uint32_t id : pieces_) {
      absl::string_view rest = vocabulary_.tokens[id];
      bool was_other = false;
      while (!rest.empty()) {
        const absl::string_view first = rest.substr(0, FirstUtf8Part(rest).bytes);
        AddChar(first);
        const bool is_space = first == kSentencePieceSpace;
        if (is_space && was_other) made_.cuts_before_spaces_ = false;
        was_other = !is_space;
        rest.remove_prefix(first.size());
      }
    }
    const auto space = made_.symbols_.find(PackedChar(kSentencePieceSpace));
    if (space != made_.symbols_.end()) made_.space_ = space->second;
  }

  void AddChar(absl::string_view bytes) {
    const auto [entry, is_new] = made_.symbols_.try_emplace(PackedChar(bytes), 0);
    if (!is_new) return;
    const auto next = made_.tokens_ + static_cast<uint32_t>(made_.bare_chars_.size());
    const auto [id, is_bare] = ids_.try_emplace(bytes, next);
    if (is_bare) made_.bare_chars_.emplace_back(bytes);
    entry->second = id->second;
  }

  void RankScores() {
    for (const uint32_t id : pieces_) scores_.push_back(vocabulary_.scores[id]);
    std::sort(scores_.begin(), scores_.end(), std::greater<>());
    scores_.erase(std::unique(scores_.begin(), scores_.end()), scores_.end());
  }

  uint32_t RankOf(uint32_t id) const {
    return static_cast<uint32_t>(
        std::lower_bound(scores_.begin(), scores_.end(), vocabulary_.scores[id], std::greater<>()) -
        scores_.begin());
  }

  absl::Status AddMergesOf(uint32_t id) {
    const absl::string_view text = vocabulary_.tokens[id];
    const uint32_t rank = RankOf(id);
    for (size_t at = FirstUtf8Part(text).bytes; at < text.size();
         at += FirstUtf8Part(text.substr(at)).bytes) {
      const auto left = ids_.find(text.substr(0, at));
      if (left == ids_.end()) continue;
      const auto right = ids_.find(text.substr(at));
      if (right == ids_.end()) continue;
      if (++merges_ > kSentencePieceMergesMax) {
        return absl::InvalidArgumentError(
            absl::StrCat("the tokens merge in more than ", kSentencePieceMergesMax,
                         " ways; this is no vocabulary of SentencePiece"));
      }
      made_.bpe_.Add({left->second, right->second, id}, rank);
    }
    return absl::OkStatus();
  }

  const Vocabulary& vocabulary_;
  SentencePiece& made_;
  absl::flat_hash_map<absl::string_view, uint32_t> ids_;  // Of pieces and bare characters.
  std::vector<uint32_t> pieces_;                          // Of equal texts the lowest id.
  std::vector<float> scores_;                             // Descending, each once.
  size_t merges_ = 0;
};

absl::StatusOr<std::unique_ptr<const SentencePiece>> SentencePiece::Create(
    const Vocabulary& vocabulary) {
  std::unique_ptr<SentencePiece> made(new SentencePiece());
  CORM_RETURN_IF_ERROR(Builder(vocabulary, made.get()).Run());
  return std::unique_ptr<const SentencePiece>(std::move(made));
}

absl::Status SentencePiece::Encode(absl::string_view text, bool space_first, Scratch* scratch,
                                   std::vector<uint32_t>* ids) const {
  scratch->symbols.clear();
  if (space_first) CORM_RETURN_IF_ERROR(Push(kSentencePieceSpace, scratch, ids));
  while (!text.empty()) {
    const Utf8Part part = FirstUtf8Part(text);
    // Of what is no character, one byte at a time.
    const size_t bytes = part.kind == Utf8Part::Kind::kChar ? part.bytes : 1;
    const absl::string_view first = text.substr(0, bytes);
    CORM_RETURN_IF_ERROR(Push(first == " " ? kSentencePieceSpace : first, scratch, ids));
    text.remove_prefix(bytes);
  }
  return AppendMerged(scratch, ids);
}

absl::Status SentencePiece::Push(absl::string_view symbol, Scratch* scratch,
                                 std::vector<uint32_t>* ids) const {
  std::vector<uint32_t>& symbols = scratch->symbols;
  const auto found = symbols_.find(PackedChar(symbol));
  if (found == symbols_.end()) {  // It merges with nothing.
    CORM_RETURN_IF_ERROR(AppendMerged(scratch, ids));
    return AppendBytes(symbol == kSentencePieceSpace ? " " : symbol, ids);
  }
  const uint32_t id = found->second;
  if (cuts_before_spaces_ && id == space_ && !symbols.empty() && symbols.back() != space_) {
    CORM_RETURN_IF_ERROR(AppendMerged(scratch, ids));
  }
  symbols.push_back(id);
  return absl::OkStatus();
}

absl::Status SentencePiece::AppendMerged(Scratch* scratch, std::vector<uint32_t>* ids) const {
  std::vector<uint32_t>& symbols = scratch->symbols;
  bpe_.Apply(&symbols, &scratch->bpe);
  for (const uint32_t id : symbols) {
    if (id < tokens_) {
      ids->push_back(id);
    } else {
      CORM_RETURN_IF_ERROR(AppendBytes(bare_chars_[id - tokens_], ids));
    }
  }
  symbols.clear();
  return absl::OkStatus();
}

absl::Status SentencePiece::AppendBytes(absl::string_view bytes, std::vector<uint32_t>* ids) const {
  const auto id_of = [this](char byte) { return byte_ids_[static_cast<uint8_t>(byte)]; };
  if (std::none_of(bytes.begin(), bytes.end(), [&](char b) { return id_of(b) == kNoToken; })) {
    for (const char byte : bytes) ids->push_back(id_of(byte));
    return absl::OkStatus();
  }
  if (!unknown_) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the text has ", Quoted(bytes),
        ", for which the vocabulary has no token, and neither a token for what is unknown"));
  }
  if (ids->empty() || ids->back() != *unknown_) ids->push_back(*unknown_);
  return absl::OkStatus();
}

}  // namespace cormorant
