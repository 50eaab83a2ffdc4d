// From special tokens over pieces to merges. See tokenizer.h.
#include "runtime/text/tokenizer.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/base/status.h"
#include "runtime/format/byte_reader.h"
#include "runtime/text/byte_level.h"
#include "runtime/text/utf8.h"

namespace cormorant {
namespace {

/// Whether plain text may become a token of this type.
bool IsPlain(TokenType type) {
  return type != TokenType::kControl && type != TokenType::kUnknown &&
         type != TokenType::kUserDefined;
}

/// Appends the bytes the token stands for. False when BPE cannot make it out of bytes: it is no
/// plain token, or one that is not written in the byte-level alphabet and stands for its text.
bool AppendPiece(const Vocabulary& vocabulary, uint32_t id, std::string* bytes) {
  const std::string& text = vocabulary.tokens[id];
  if (IsPlain(vocabulary.types[id]) && AppendByteLevelBytes(text, bytes)) return true;
  *bytes += text;
  return false;
}

}  // namespace

struct Tokenizer::Scratch {
  PreTokenizer::Scratch pre;
  Bpe::Scratch bpe;
  std::vector<absl::string_view> pieces;
  std::vector<uint32_t> ids;  // Of one piece.
};

absl::StatusOr<std::shared_ptr<const Tokenizer>> Tokenizer::Create(Vocabulary vocabulary) {
  CORM_RETURN_IF_ERROR(CheckVocabulary(vocabulary));
  if (vocabulary.model != "gpt2") {
    return absl::UnimplementedError(absl::StrCat("tokenizer model ", Quoted(vocabulary.model),
                                                 " is not supported; byte-level BPE ('gpt2') is"));
  }
  const PreTokenizerRule* rule = FindPreTokenizerRule(vocabulary.pre);
  if (rule == nullptr) {
    return absl::UnimplementedError(absl::StrCat("pre-tokenizer ", Quoted(vocabulary.pre),
                                                 " is not supported; known are ",
                                                 PreTokenizerRuleNames()));
  }
  std::shared_ptr<Tokenizer> made(new Tokenizer(std::move(vocabulary)));
  CORM_ASSIGN_OR_RETURN(made->pre_tokenizer_, PreTokenizer::Create(*rule));
  made->IndexPieces();
  made->IndexSpecialTokens();
  if (rule->ignore_merges) made->IndexWholePieces();
  return std::shared_ptr<const Tokenizer>(std::move(made));
}

Tokenizer::Tokenizer(Vocabulary vocabulary)
    : vocabulary_(std::move(vocabulary)), bpe_(vocabulary_.merges) {
  vocabulary_.merges = {};
  byte_ids_.fill(kNoToken);
}

void Tokenizer::IndexPieces() {
  piece_begin_.reserve(size() + 1);
  piece_begin_.push_back(0);
  for (uint32_t id = 0; id < size(); ++id) {
    const bool is_made_of_bytes = AppendPiece(vocabulary_, id, &bytes_);
    piece_begin_.push_back(bytes_.size());
    if (!is_made_of_bytes || bytes_.size() - piece_begin_[id] != 1) continue;
    uint32_t& byte_id = byte_ids_[static_cast<uint8_t>(bytes_.back())];
    byte_id = std::min(byte_id, id);
  }
  bytes_.shrink_to_fit();
  for (const char byte : absl::string_view(kReplacementChar)) {
    replacement_ids_.push_back(byte_ids_[static_cast<uint8_t>(byte)]);
  }
  Bpe::Scratch scratch;
  bpe_.Apply(&replacement_ids_, &scratch);
  const auto& ids = replacement_ids_;
  if (std::find(ids.begin(), ids.end(), kNoToken) != ids.end()) replacement_ids_.clear();
}

void Tokenizer::IndexWholePieces() {
  std::string bytes;
  for (uint32_t id = 0; id < size(); ++id) {
    bytes.clear();
    if (AppendPiece(vocabulary_, id, &bytes)) whole_ids_.try_emplace(Piece(id), id);
  }
}

void Tokenizer::IndexSpecialTokens() {
  for (uint32_t id = 0; id < size(); ++id) {
    const TokenType type = vocabulary_.types[id];
    if (IsPlain(type)) continue;
    when_parsing_.Add(vocabulary_.tokens[id], id);
    if (type == TokenType::kUserDefined) always_.Add(vocabulary_.tokens[id], id);
  }
  always_.Seal();
  when_parsing_.Seal();
}

absl::string_view Tokenizer::Piece(uint32_t id) const {
  if (id >= size()) return "";
  return absl::string_view(bytes_).substr(piece_begin_[id],
                                          piece_begin_[id + 1] - piece_begin_[id]);
}

bool Tokenizer::is_special(uint32_t id) const {
  if (id >= size()) return false;
  const TokenType type = vocabulary_.types[id];
  return type == TokenType::kControl || type == TokenType::kUnknown;
}

bool Tokenizer::is_end_of_generation(uint32_t id) const {
  const std::vector<uint32_t>& ends = vocabulary_.end_of_generation;
  return std::find(ends.begin(), ends.end(), id) != ends.end();
}

absl::Status Tokenizer::Encode(absl::string_view text, const EncodeOptions& options,
                               std::vector<uint32_t>* ids) const {
  const size_t before = ids->size();
  absl::Status status = EncodeAll(text, options, ids);
  if (!status.ok()) ids->resize(before);
  return status;
}

absl::Status Tokenizer::EncodeAll(absl::string_view text, const EncodeOptions& options,
                                  std::vector<uint32_t>* ids) const {
  if (text.size() > kEncodeBytesMax) {
    return absl::InvalidArgumentError(absl::StrCat("a text of ", text.size(), " bytes; at most ",
                                                   kEncodeBytesMax, " can be encoded at once"));
  }
  const Vocabulary& v = vocabulary_;
  if (options.add_special && v.add_bos && v.bos) ids->push_back(*v.bos);
  const SpecialTokens& special = options.parse_special ? when_parsing_ : always_;
  Scratch scratch;
  size_t at = 0;
  while (const auto match = special.Find(text, at)) {
    CORM_RETURN_IF_ERROR(EncodeText(text.substr(at, match->at - at), &scratch, ids));
    ids->push_back(match->id);
    at = match->at + match->bytes;
  }
  CORM_RETURN_IF_ERROR(EncodeText(text.substr(at), &scratch, ids));
  if (options.add_special && v.add_eos && v.eos) ids->push_back(*v.eos);
  return absl::OkStatus();
}

absl::Status Tokenizer::EncodeText(absl::string_view text, Scratch* scratch,
                                   std::vector<uint32_t>* ids) const {
  while (!text.empty()) {
    const size_t valid = ValidUtf8Bytes(text);
    CORM_RETURN_IF_ERROR(
        pre_tokenizer_->Split(text.substr(0, valid), &scratch->pre, &scratch->pieces));
    for (const absl::string_view piece : scratch->pieces) {
      CORM_RETURN_IF_ERROR(EncodePiece(piece, scratch, ids));
    }
    text.remove_prefix(valid);
    if (text.empty()) break;
    CORM_RETURN_IF_ERROR(EncodePiece(text.substr(0, 1), scratch, ids));
    text.remove_prefix(1);
  }
  return absl::OkStatus();
}

absl::Status Tokenizer::EncodePiece(absl::string_view piece, Scratch* scratch,
                                    std::vector<uint32_t>* ids) const {
  if (const auto whole = whole_ids_.find(piece); whole != whole_ids_.end()) {
    ids->push_back(whole->second);
    return absl::OkStatus();
  }
  scratch->ids.clear();
  for (const char byte : piece) scratch->ids.push_back(byte_ids_[static_cast<uint8_t>(byte)]);
  bpe_.Apply(&scratch->ids, &scratch->bpe);
  for (const uint32_t id : scratch->ids) {
    if (id != kNoToken) {
      ids->push_back(id);
    } else if (!replacement_ids_.empty()) {
      ids->insert(ids->end(), replacement_ids_.begin(), replacement_ids_.end());
    } else {
      return absl::InvalidArgumentError(
          absl::StrCat("the text ", Quoted(piece),
                       " has a byte without a token, and the vocabulary "
                       "cannot write U+FFFD in its place"));
    }
  }
  return absl::OkStatus();
}

}  // namespace cormorant
