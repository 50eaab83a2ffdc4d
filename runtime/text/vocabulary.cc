// Metadata to tokens, merges and ids. See vocabulary.h.
#include "runtime/text/vocabulary.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "runtime/base/status.h"
#include "runtime/format/byte_reader.h"
#include "runtime/text/pretokenizer.h"

namespace cormorant {
namespace {

constexpr char kTokensKey[] = "tokenizer.ggml.tokens";
constexpr char kTypesKey[] = "tokenizer.ggml.token_type";
constexpr char kMergesKey[] = "tokenizer.ggml.merges";
constexpr char kScoresKey[] = "tokenizer.ggml.scores";
constexpr char kBosKey[] = "tokenizer.ggml.bos_token_id";
constexpr char kEosKey[] = "tokenizer.ggml.eos_token_id";
constexpr char kAddBosKey[] = "tokenizer.ggml.add_bos_token";
constexpr char kAddEosKey[] = "tokenizer.ggml.add_eos_token";

/// Texts with which models say that they are done, whatever else the file names.
constexpr absl::string_view kEndTexts[] = {
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end|>",
    "<|end_of_turn|>",
    "<end_of_turn>",
    "<|return|>",
    "<|call|>",
    "</s>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "<|eot|>",
    "<turn|>",
    "<eos>",
    "<end_of_utterance>",
    "<|END_OF_TURN_TOKEN|>",
    "<｜end▁of▁sentence｜>",
};

absl::Status Wrong(absl::string_view key, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("metadata ", Quoted(key), ": ", what));
}

absl::Status ReadText(const GgufFile& file, absl::string_view key, std::string* text) {
  if (!file.Has(key)) return absl::OkStatus();
  CORM_ASSIGN_OR_RETURN(const absl::string_view found, file.String(key));
  *text = std::string(found);
  return absl::OkStatus();
}

absl::Status ReadFlag(const GgufFile& file, absl::string_view key, bool* flag) {
  if (!file.Has(key)) return absl::OkStatus();
  CORM_ASSIGN_OR_RETURN(*flag, file.Bool(key));
  return absl::OkStatus();
}

absl::Status ReadId(const GgufFile& file, absl::string_view key, size_t tokens,
                    std::optional<uint32_t>* id) {
  if (!file.Has(key)) return absl::OkStatus();
  CORM_ASSIGN_OR_RETURN(const uint64_t found, file.Unsigned(key));
  if (found >= tokens) {
    return Wrong(key, absl::StrCat("is token ", found, "; the file has ", tokens, " tokens"));
  }
  *id = static_cast<uint32_t>(found);
  return absl::OkStatus();
}

absl::Status ReadTokens(const GgufFile& file, Vocabulary* vocabulary) {
  CORM_ASSIGN_OR_RETURN(const std::vector<absl::string_view> texts, file.Strings(kTokensKey));
  if (texts.empty()) return Wrong(kTokensKey, "has no tokens");
  vocabulary->tokens.reserve(texts.size());
  for (const absl::string_view text : texts) vocabulary->tokens.emplace_back(text);
  vocabulary->types.assign(texts.size(), TokenType::kNormal);
  if (!file.Has(kTypesKey)) return absl::OkStatus();
  CORM_ASSIGN_OR_RETURN(const std::vector<int64_t> types, file.Integers(kTypesKey));
  if (types.size() != texts.size()) {
    return Wrong(kTypesKey, absl::StrCat("has ", types.size(), " types for ", texts.size(),
                                         " tokens of ", kTokensKey));
  }
  for (size_t i = 0; i < types.size(); ++i) {
    if (types[i] < 0 || types[i] > static_cast<int64_t>(TokenType::kByte)) {
      return Wrong(kTypesKey, absl::StrCat("token ", i, " has type ", types[i],
                                           ", expected a type from 0 to 6"));
    }
    vocabulary->types[i] = static_cast<TokenType>(types[i]);
  }
  return absl::OkStatus();
}

absl::Status ReadMerges(const GgufFile& file, Vocabulary* vocabulary) {
  // Other models may do without merges; BPE may not.
  if (!file.Has(kMergesKey) && vocabulary->model != "gpt2") return absl::OkStatus();
  CORM_ASSIGN_OR_RETURN(const std::vector<absl::string_view> lines, file.Strings(kMergesKey));
  absl::flat_hash_map<absl::string_view, uint32_t> ids;
  ids.reserve(vocabulary->tokens.size());
  for (size_t i = 0; i < vocabulary->tokens.size(); ++i) {
    ids.emplace(vocabulary->tokens[i], static_cast<uint32_t>(i));  // Of equal texts the first.
  }
  vocabulary->merges.reserve(lines.size());
  std::string both;
  for (size_t i = 0; i < lines.size(); ++i) {
    const size_t space = lines[i].find(' ');
    const auto where = [&] { return absl::StrCat("merge ", i, " ", Quoted(lines[i]), ": "); };
    if (space == absl::string_view::npos || space == 0 || space + 1 == lines[i].size()) {
      return Wrong(kMergesKey, absl::StrCat(where(), "expected two tokens and a space between"));
    }
    const absl::string_view left = lines[i].substr(0, space);
    const absl::string_view right = lines[i].substr(space + 1);
    both.assign(left.data(), left.size()).append(right.data(), right.size());
    uint32_t found[3];
    const absl::string_view wanted[3] = {left, right, both};
    for (size_t k = 0; k < 3; ++k) {
      const auto id = ids.find(wanted[k]);
      if (id == ids.end()) {
        return Wrong(kMergesKey,
                     absl::StrCat(where(), Quoted(wanted[k]), " is not in ", kTokensKey));
      }
      found[k] = id->second;
    }
    vocabulary->merges.push_back({found[0], found[1], found[2]});
  }
  return absl::OkStatus();
}

absl::Status ReadScores(const GgufFile& file, Vocabulary* vocabulary) {
  if (vocabulary->model != "llama") return absl::OkStatus();
  CORM_ASSIGN_OR_RETURN(vocabulary->scores, file.Floats(kScoresKey));
  const size_t tokens = vocabulary->tokens.size();
  if (vocabulary->scores.size() != tokens) {
    return Wrong(kScoresKey, absl::StrCat("has ", vocabulary->scores.size(), " scores for ", tokens,
                                          " tokens of ", kTokensKey));
  }
  for (size_t i = 0; i < tokens; ++i) {
    if (!std::isnan(vocabulary->scores[i])) continue;
    return Wrong(kScoresKey, absl::StrCat("token ", i, " has a score that is no number"));
  }
  return absl::OkStatus();
}

absl::Status ReadIds(const GgufFile& file, Vocabulary* vocabulary) {
  const size_t tokens = vocabulary->tokens.size();
  CORM_RETURN_IF_ERROR(ReadId(file, kBosKey, tokens, &vocabulary->bos));
  CORM_RETURN_IF_ERROR(ReadId(file, kEosKey, tokens, &vocabulary->eos));
  CORM_RETURN_IF_ERROR(ReadId(file, "tokenizer.ggml.eot_token_id", tokens, &vocabulary->eot));
  CORM_RETURN_IF_ERROR(ReadId(file, "tokenizer.ggml.eom_token_id", tokens, &vocabulary->eom));
  return ReadId(file, "tokenizer.ggml.unknown_token_id", tokens, &vocabulary->unknown);
}

absl::Status ReadFlags(const GgufFile& file, Vocabulary* vocabulary) {
  const bool is_sentencepiece = vocabulary->model == "llama";
  const PreTokenizerRule* rule = FindPreTokenizerRule(vocabulary->pre);
  const bool adds_bos = is_sentencepiece || (rule != nullptr && rule->add_bos);
  vocabulary->add_bos = adds_bos && vocabulary->bos.has_value();
  vocabulary->add_space_prefix = is_sentencepiece;
  CORM_RETURN_IF_ERROR(ReadFlag(file, kAddBosKey, &vocabulary->add_bos));
  CORM_RETURN_IF_ERROR(ReadFlag(file, kAddEosKey, &vocabulary->add_eos));
  CORM_RETURN_IF_ERROR(
      ReadFlag(file, "tokenizer.ggml.add_space_prefix", &vocabulary->add_space_prefix));
  CORM_RETURN_IF_ERROR(ReadFlag(file, "tokenizer.ggml.remove_extra_whitespaces",
                                &vocabulary->remove_extra_whitespaces));
  if (vocabulary->add_bos && !vocabulary->bos) {
    return Wrong(kAddBosKey, absl::StrCat("is true, but ", kBosKey, " is missing"));
  }
  if (vocabulary->add_eos && !vocabulary->eos) {
    return Wrong(kAddEosKey, absl::StrCat("is true, but ", kEosKey, " is missing"));
  }
  return absl::OkStatus();
}

void FindEnds(Vocabulary* vocabulary) {
  std::vector<uint32_t>& ends = vocabulary->end_of_generation;
  for (const auto& id : {vocabulary->eos, vocabulary->eot, vocabulary->eom}) {
    if (id) ends.push_back(*id);
  }
  for (size_t i = 0; i < vocabulary->tokens.size(); ++i) {
    if (vocabulary->types[i] != TokenType::kControl) continue;
    const absl::string_view text = vocabulary->tokens[i];
    if (std::find(std::begin(kEndTexts), std::end(kEndTexts), text) != std::end(kEndTexts)) {
      ends.push_back(static_cast<uint32_t>(i));
    }
  }
  std::sort(ends.begin(), ends.end());
  ends.erase(std::unique(ends.begin(), ends.end()), ends.end());
}

/// GGUF has no key for it: of the models whose tokens drop the white space after them (rstrip in
/// their tokenizer.json), the Phi-3 family is the one with a SentencePiece vocabulary.
absl::Status FindRightStrip(const GgufFile& file, Vocabulary* vocabulary) {
  std::string architecture;
  CORM_RETURN_IF_ERROR(ReadText(file, "general.architecture", &architecture));
  if (vocabulary->model != "llama" || architecture != "phi3") return absl::OkStatus();
  for (size_t i = 0; i < vocabulary->tokens.size(); ++i) {
    const TokenType type = vocabulary->types[i];
    const absl::string_view text = vocabulary->tokens[i];
    if (type != TokenType::kControl && type != TokenType::kUserDefined) continue;
    if (text == "<unk>" || text == "<s>" || text == "<|endoftext|>") continue;
    vocabulary->right_strip.push_back(static_cast<uint32_t>(i));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Vocabulary> ReadVocabulary(const GgufFile& file) {
  Vocabulary vocabulary;
  CORM_ASSIGN_OR_RETURN(const absl::string_view model, file.String("tokenizer.ggml.model"));
  vocabulary.model = std::string(model);
  CORM_RETURN_IF_ERROR(ReadText(file, "tokenizer.ggml.pre", &vocabulary.pre));
  CORM_RETURN_IF_ERROR(ReadText(file, "tokenizer.chat_template", &vocabulary.chat_template));
  CORM_RETURN_IF_ERROR(ReadTokens(file, &vocabulary));
  CORM_RETURN_IF_ERROR(ReadMerges(file, &vocabulary));
  CORM_RETURN_IF_ERROR(ReadScores(file, &vocabulary));
  CORM_RETURN_IF_ERROR(ReadIds(file, &vocabulary));
  CORM_RETURN_IF_ERROR(ReadFlags(file, &vocabulary));
  CORM_RETURN_IF_ERROR(FindRightStrip(file, &vocabulary));
  FindEnds(&vocabulary);
  return vocabulary;
}

absl::Status CheckVocabulary(const Vocabulary& vocabulary) {
  const size_t tokens = vocabulary.tokens.size();
  if (tokens > std::numeric_limits<uint32_t>::max() || vocabulary.types.size() != tokens) {
    return absl::InvalidArgumentError(absl::StrCat("a vocabulary of ", tokens, " tokens and ",
                                                   vocabulary.types.size(), " types of tokens"));
  }
  if (vocabulary.model == "llama" && vocabulary.scores.size() != tokens) {
    return absl::InvalidArgumentError(absl::StrCat("a vocabulary of ", tokens, " tokens and ",
                                                   vocabulary.scores.size(), " scores"));
  }
  for (const float score : vocabulary.scores) {
    if (std::isnan(score)) return absl::InvalidArgumentError("a score that is no number");
  }
  std::vector<uint32_t> ids = vocabulary.end_of_generation;
  ids.insert(ids.end(), vocabulary.right_strip.begin(), vocabulary.right_strip.end());
  for (const auto& id :
       {vocabulary.bos, vocabulary.eos, vocabulary.eot, vocabulary.eom, vocabulary.unknown}) {
    if (id) ids.push_back(*id);
  }
  for (const Merge& merge : vocabulary.merges) {
    ids.push_back(std::max({merge.left, merge.right, merge.merged}));
  }
  for (const uint32_t id : ids) {
    if (id < tokens) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("the vocabulary names token ", id, " and has ", tokens, " tokens"));
  }
  return absl::OkStatus();
}

}  // namespace cormorant
