// From special tokens over pieces to merges. See tokenizer.h.
#include "runtime/text/tokenizer.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
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

/// Appends the text of a token of SentencePiece: with spaces, or the byte it stands for.
void AppendSentencePiece(const Vocabulary& vocabulary, uint32_t id, std::string* bytes) {
  const std::string& text = vocabulary.tokens[id];
  const TokenType type = vocabulary.types[id];
  if (const auto byte = SentencePieceByte(vocabulary, id)) {
    bytes->push_back(static_cast<char>(*byte));
  } else if (type == TokenType::kControl || type == TokenType::kUnknown) {
    *bytes += text;
  } else {
    *bytes += absl::StrReplaceAll(text, {{kSentencePieceSpace, " "}});
  }
}

/// Appends the bytes the token stands for. False when BPE cannot make it out of bytes: it is no
/// plain token, or one that is not written in the byte-level alphabet and stands for its text.
bool AppendPiece(const Vocabulary& vocabulary, uint32_t id, std::string* bytes) {
  const std::string& text = vocabulary.tokens[id];
  if (IsPlain(vocabulary.types[id]) && AppendByteLevelBytes(text, bytes)) return true;
  *bytes += text;
  return false;
}

/// Bytes of the white space (Unicode's White_Space) that the text begins with.
size_t LeadingSpaceBytes(absl::string_view text) {
  constexpr absl::string_view kWide[] = {"\u0085", "\u00a0", "\u1680", "\u2000", "\u2001",
                                         "\u2002", "\u2003", "\u2004", "\u2005", "\u2006",
                                         "\u2007", "\u2008", "\u2009", "\u200a", "\u2028",
                                         "\u2029", "\u202f", "\u205f", "\u3000"};
  size_t at = 0;
  while (at < text.size()) {
    const absl::string_view rest = text.substr(at);
    const bool is_ascii = rest[0] == ' ' || (rest[0] >= '\t' && rest[0] <= '\r');
    const auto* wide = std::find_if(std::begin(kWide), std::end(kWide),
                                    [&](absl::string_view c) { return absl::StartsWith(rest, c); });
    if (!is_ascii && wide == std::end(kWide)) break;
    at += is_ascii ? 1 : wide->size();
  }
  return at;
}

/// Without spaces at the ends, and with one where there are several.
std::string WithoutExtraSpaces(absl::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c != ' ' || (!out.empty() && out.back() != ' ')) out.push_back(c);
  }
  if (!out.empty() && out.back() == ' ') out.pop_back();
  return out;
}

}  // namespace

struct Tokenizer::Scratch {
  SentencePiece::Scratch sentencepiece;
  PreTokenizer::Scratch pre;
  Bpe::Scratch bpe;
  std::vector<absl::string_view> pieces;
  std::vector<uint32_t> ids;  // Of one piece.
};

absl::StatusOr<std::shared_ptr<const Tokenizer>> Tokenizer::Create(Vocabulary vocabulary) {
  CORM_RETURN_IF_ERROR(CheckVocabulary(vocabulary));
  if (vocabulary.model == "llama") {
    std::shared_ptr<Tokenizer> made(new Tokenizer(std::move(vocabulary)));
    CORM_ASSIGN_OR_RETURN(made->sentencepiece_, SentencePiece::Create(made->vocabulary_));
    made->IndexPieces();
    made->IndexSpecialTokens();
    return std::shared_ptr<const Tokenizer>(std::move(made));
  }
  if (vocabulary.model != "gpt2") {
    return absl::UnimplementedError(
        absl::StrCat("tokenizer model ", Quoted(vocabulary.model),
                     " is not supported; known are byte-level BPE ('gpt2') and SentencePiece's BPE "
                     "('llama')"));
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
  made->IndexReplacement();
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
    if (sentencepiece_ != nullptr) {
      AppendSentencePiece(vocabulary_, id, &bytes_);
    } else if (AppendPiece(vocabulary_, id, &bytes_) && bytes_.size() - piece_begin_[id] == 1) {
      uint32_t& byte_id = byte_ids_[static_cast<uint8_t>(bytes_.back())];
      byte_id = std::min(byte_id, id);
    }
    piece_begin_.push_back(bytes_.size());
  }
  bytes_.shrink_to_fit();
}

void Tokenizer::IndexReplacement() {
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
    when_parsing_.Add(Piece(id), id);
    if (type == TokenType::kUserDefined) always_.Add(Piece(id), id);
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

bool Tokenizer::is_cut_out(uint32_t id) const {
  return id < size() && !IsPlain(vocabulary_.types[id]);
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
  const auto strips = [&](uint32_t id) {
    return std::binary_search(v.right_strip.begin(), v.right_strip.end(), id);
  };
  Scratch scratch;
  size_t at = options.after && strips(*options.after) ? LeadingSpaceBytes(text) : 0;
  bool begins = !options.after || is_cut_out(*options.after);
  while (const auto match = special.Find(text, at)) {
    CORM_RETURN_IF_ERROR(EncodeText(text.substr(at, match->at - at), begins, &scratch, ids));
    ids->push_back(match->id);
    at = match->at + match->bytes;
    if (strips(match->id)) at += LeadingSpaceBytes(text.substr(at));
    begins = true;
  }
  CORM_RETURN_IF_ERROR(EncodeText(text.substr(at), begins, &scratch, ids));
  if (options.add_special && v.add_eos && v.eos) ids->push_back(*v.eos);
  return absl::OkStatus();
}

absl::Status Tokenizer::EncodeText(absl::string_view text, bool begins, Scratch* scratch,
                                   std::vector<uint32_t>* ids) const {
  if (sentencepiece_ == nullptr) return EncodeByteLevel(text, scratch, ids);
  std::string without;
  if (vocabulary_.remove_extra_whitespaces) {
    without = WithoutExtraSpaces(text);
    text = without;
  }
  if (text.empty()) return absl::OkStatus();
  return sentencepiece_->Encode(text, begins && puts_space_first(), &scratch->sentencepiece, ids);
}

absl::Status Tokenizer::EncodeByteLevel(absl::string_view text, Scratch* scratch,
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
