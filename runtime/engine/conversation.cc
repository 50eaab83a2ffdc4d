// Templates and turns. See conversation.h.
#include "runtime/engine/conversation.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "platform/clock.h"
#include "runtime/base/status.h"
#include "runtime/text/detokenizer.h"

namespace cormorant {
namespace {

/// What does for tokens of which some are to be used in one way, some in the other.
RowUse Both(RowUse a, RowUse b) {
  if (a == RowUse::kKeep || a == b) return b;
  return b == RowUse::kKeep ? a : RowUse::kRetain;
}

}  // namespace

void Conversation::Reset() {
  session_->Reset();
  messages_.clear();
  Forget();
}

void Conversation::Forget() {
  read_.clear();
  ends_.clear();
  others_.Clear();
  begin_ = end_ = 0;
}

absl::StatusOr<std::string> Conversation::Render(size_t messages, bool add_generation_prompt) {
  const Vocabulary& vocabulary = session_->engine().tokenizer()->vocabulary();
  if (template_ == nullptr) {
    if (vocabulary.chat_template.empty()) {
      return absl::FailedPreconditionError(
          "the model has no chat template; give it plain text instead (--raw)");
    }
    CORM_ASSIGN_OR_RETURN(template_, ChatTemplate::Parse(vocabulary.chat_template));
  }
  ChatTemplate::Inputs inputs;
  inputs.messages = nlohmann::ordered_json::array();
  for (size_t i = 0; i < messages; ++i) {
    inputs.messages.push_back({{"role", messages_[i].role}, {"content", messages_[i].content}});
  }
  inputs.add_generation_prompt = add_generation_prompt;
  if (vocabulary.bos) inputs.bos_token = vocabulary.tokens[*vocabulary.bos];
  if (vocabulary.eos) inputs.eos_token = vocabulary.tokens[*vocabulary.eos];
  return template_->Render(inputs);
}

absl::Status Conversation::Encode(absl::string_view text, std::span<const uint32_t> before,
                                  std::vector<uint32_t>* ids) const {
  const Tokenizer& tokenizer = *session_->engine().tokenizer();
  const Vocabulary& vocabulary = tokenizer.vocabulary();
  ids->clear();
  if (text.empty()) return absl::OkStatus();
  const bool is_first = read_.empty() && before.empty();
  EncodeOptions options;
  options.parse_special = true;
  if (!is_first) options.after = before.empty() ? session_->LastToken() : before.back();
  // Templates that write BOS themselves must not get a second one.
  options.add_special =
      is_first && !(vocabulary.bos && absl::StartsWith(text, vocabulary.tokens[*vocabulary.bos]));
  CORM_RETURN_IF_ERROR(tokenizer.Encode(text, options, ids));
  if (options.add_special && vocabulary.add_eos && vocabulary.eos && !ids->empty() &&
      ids->back() == *vocabulary.eos) {
    ids->pop_back();  // A prompt goes on; it does not end.
  }
  return absl::OkStatus();
}

RowUse Conversation::UseOf(size_t index) const {
  const Message& message = messages_[index];
  const bool is_prompt = index == 0 && message.role == "system";
  const bool is_pinned = is_prompt && session_->options().pin_system_prompt;
  return is_pinned && message.use == RowUse::kKeep ? RowUse::kPin : message.use;
}

std::vector<Conversation::Piece> Conversation::Split(absl::string_view text) {
  std::vector<Piece> pieces;
  size_t at = read_.size();
  RowUse use = RowUse::kKeep;
  for (size_t i = ends_.size(); i < messages_.size(); ++i) {
    const absl::StatusOr<std::string> until = Render(i + 1, false);
    const bool is_apart = until.ok() && absl::StartsWith(text, *until) && until->size() >= at;
    use = Both(use, is_apart ? UseOf(i) : messages_[i].use);
    const absl::string_view own = is_apart ? text.substr(at, until->size() - at) : "";
    pieces.push_back({.text = own,
                      .use = use,
                      .ends_known = is_apart,
                      .is_system = i == 0 && messages_[i].role == "system"});
    at += own.size();
    if (is_apart) use = RowUse::kKeep;
  }
  pieces.push_back({.text = text.substr(at), .use = use});
  return pieces;
}

absl::Status Conversation::CheckUse(const Piece& piece, std::span<const uint32_t> ids) const {
  const EnginePlan& plan = session_->engine().plan();
  if (piece.use == RowUse::kKeep) return absl::OkStatus();
  const size_t from = session_->tokens().size();
  if (!piece.is_system || piece.use != RowUse::kPin) {
    return session_->CanStay(from, from + ids.size(), piece.use);
  }
  const bool has_budget = session_->options().kv_budget_bytes != 0;
  const uint32_t rows =
      std::min(has_budget ? session_->plan().rows_per_head : plan.rows_per_head, plan.context);
  const bool is_capped = has_budget || session_->engine().options().capped();
  if (!is_capped || ids.size() <= rows / 2) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrCat("the system prompt has ", ids.size(), " tokens, a head holds ", rows,
                   " rows under this cap, and a pinned prompt may take half of them; raise the "
                   "cap, shorten the prompt or do not pin it (--pin-prompt off)"));
}

absl::Status Conversation::ReadPieces(std::span<const Piece>* pieces, Session::Progress on_prompt) {
  const RowUse use = pieces->front().use;
  const size_t before = session_->tokens().size(), text_before = read_.size();
  std::vector<uint32_t> ids, more;
  std::string text;
  std::vector<std::optional<End>> ends;
  while (!pieces->empty() && pieces->front().use == use) {
    const Piece& piece = pieces->front();
    CORM_RETURN_IF_ERROR(Encode(piece.text, ids, &more));
    ids.insert(ids.end(), more.begin(), more.end());
    CORM_RETURN_IF_ERROR(CheckUse(piece, ids));
    absl::StrAppend(&text, piece.text);
    ends.push_back(std::nullopt);
    if (piece.ends_known) ends.back() = {text_before + text.size(), before + ids.size()};
    *pieces = pieces->subspan(1);
  }
  Detokenizer shown(*session_->engine().tokenizer(), session_->LastToken());
  const absl::Status status = session_->Append(ids, use, on_prompt);
  const size_t done = session_->tokens().size() - before;
  // What was read so far, as text: a cancelled prompt goes on from there.
  if (done == ids.size()) {
    absl::StrAppend(&read_, text);
  } else {
    for (size_t i = 0; i < done; ++i) shown.Push(ids[i], &read_, /*show_special=*/true);
    shown.Flush(&read_);
    // Messages that are not read to their known ends are begun anew.
    while (!ends.empty() && !(ends.back() && ends.back()->token <= before + done)) ends.pop_back();
  }
  ends_.insert(ends_.end(), ends.begin(), ends.end());
  ends_.resize(std::min(ends_.size(), messages_.size()));  // The prompt for an answer is none.
  return status;
}

absl::Status Conversation::ReadAll(absl::string_view text, Session::Progress on_prompt) {
  const std::vector<Piece> all = Split(text);
  for (std::span<const Piece> pieces = all; !pieces.empty();) {
    CORM_RETURN_IF_ERROR(ReadPieces(&pieces, on_prompt));
  }
  return absl::OkStatus();
}

absl::Status Conversation::Read(const GenerateOptions& options, Session::Progress on_prompt,
                                GenerateResult* result) {
  if (messages_.empty())
    return absl::FailedPreconditionError("the conversation has no messages yet");
  CORM_ASSIGN_OR_RETURN(const std::string text, Render(messages_.size(), true));
  others_.Add(end_, session_->tokens().size());
  end_ = session_->tokens().size();
  if (!absl::StartsWith(text, read_)) {  // The template rewrote what was read: start again.
    CORM_RETURN_IF_ERROR(CanBeginAnew());
    session_->Restart();
    Forget();
  }
  const size_t before = session_->tokens().size();
  if (read_.empty()) begin_ = before;
  absl::Status status = Recall(text, options, on_prompt, result);
  if (status.ok()) status = ReadAll(text, on_prompt);
  end_ = session_->tokens().size();
  result->prompt_tokens = end_ - before;
  return status;
}

absl::Status Conversation::Reply(const GenerateOptions& options, Session::Progress on_prompt,
                                 Session::OnToken on_token, GenerateResult* result) {
  *result = GenerateResult{};
  CORM_RETURN_IF_ERROR(options.sampler.Validate());
  const double start = Now();
  const absl::Status read = Read(options, on_prompt, result);
  result->prompt_seconds = Now() - start;
  if (!read.ok()) {
    result->stop_reason = absl::IsCancelled(read) ? StopReason::kCancelled : StopReason::kCap;
    return read;
  }
  const size_t before = session_->tokens().size();
  Detokenizer shown(*session_->engine().tokenizer(), session_->LastToken());
  std::string answer;
  GenerateResult generated;
  const absl::Status status = session_->Generate(
      options,
      [&](uint32_t id, absl::string_view text) {
        absl::StrAppend(&answer, text);
        return on_token(id, text);
      },
      &generated);
  result->generated_tokens = generated.generated_tokens;
  result->decode_seconds = generated.decode_seconds;
  result->stop_reason = generated.stop_reason;
  end_ = session_->tokens().size();
  if (end_ == before) return status;
  for (size_t i = before; i < session_->tokens().size(); ++i) {
    shown.Push(session_->tokens()[i], &read_, /*show_special=*/true);
  }
  shown.Flush(&read_);
  messages_.push_back({.role = "assistant", .content = answer});
  return status;
}

}  // namespace cormorant
