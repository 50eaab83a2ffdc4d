// Templates and turns. See conversation.h.
#include "runtime/engine/conversation.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "platform/clock.h"
#include "runtime/base/status.h"
#include "runtime/text/detokenizer.h"

namespace cormorant {

void Conversation::Reset() {
  session_->Reset();
  messages_.clear();
  read_.clear();
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

absl::Status Conversation::Encode(absl::string_view text, std::vector<uint32_t>* ids) const {
  const Tokenizer& tokenizer = *session_->engine().tokenizer();
  const Vocabulary& vocabulary = tokenizer.vocabulary();
  EncodeOptions options;
  options.parse_special = true;
  if (!read_.empty()) options.after = session_->LastToken();
  // Templates that write BOS themselves must not get a second one.
  options.add_special =
      read_.empty() &&
      !(vocabulary.bos && absl::StartsWith(text, vocabulary.tokens[*vocabulary.bos]));
  ids->clear();
  CORM_RETURN_IF_ERROR(tokenizer.Encode(text, options, ids));
  if (options.add_special && vocabulary.add_eos && vocabulary.eos && !ids->empty() &&
      ids->back() == *vocabulary.eos) {
    ids->pop_back();  // A prompt goes on; it does not end.
  }
  return absl::OkStatus();
}

absl::Status Conversation::ReadText(absl::string_view text, bool pin, Session::Progress on_prompt) {
  std::vector<uint32_t> ids;
  CORM_RETURN_IF_ERROR(Encode(text, &ids));
  const size_t before = session_->tokens().size();
  Detokenizer shown(*session_->engine().tokenizer(), session_->LastToken());
  const absl::Status status = session_->Append(ids, pin, on_prompt);
  const size_t done = session_->tokens().size() - before;
  // What was read so far, as text: a cancelled prompt goes on from there.
  if (done == ids.size()) {
    absl::StrAppend(&read_, text);
  } else {
    for (size_t i = 0; i < done; ++i) shown.Push(ids[i], &read_, /*show_special=*/true);
    shown.Flush(&read_);
  }
  return status;
}

absl::Status Conversation::ReadSystemPrompt(absl::string_view text, Session::Progress on_prompt,
                                            size_t* used) {
  *used = 0;
  if (!session_->options().pin_system_prompt || messages_.front().role != "system") {
    return absl::OkStatus();
  }
  CORM_ASSIGN_OR_RETURN(const std::string prompt, Render(1, false));
  if (!absl::StartsWith(text, prompt)) return absl::OkStatus();
  std::vector<uint32_t> ids;
  CORM_RETURN_IF_ERROR(Encode(prompt, &ids));
  const EnginePlan& plan = session_->engine().plan();
  const bool has_budget = session_->options().kv_budget_bytes != 0;
  const uint32_t rows =
      std::min(has_budget ? session_->plan().rows_per_head : plan.rows_per_head, plan.context);
  if ((has_budget || session_->engine().options().capped()) && ids.size() > rows / 2) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the system prompt has ", ids.size(), " tokens, a head holds ", rows,
                     " rows under this cap, and a pinned prompt may take half of them; raise the "
                     "cap, shorten the prompt or do not pin it (--pin-prompt off)"));
  }
  *used = prompt.size();
  return ReadText(prompt, true, on_prompt);
}

absl::Status Conversation::Read(Session::Progress on_prompt, GenerateResult* result) {
  if (messages_.empty())
    return absl::FailedPreconditionError("the conversation has no messages yet");
  CORM_ASSIGN_OR_RETURN(const std::string text, Render(messages_.size(), true));
  if (!absl::StartsWith(text, read_)) {  // The template rewrote what was read: start again.
    session_->Restart();
    read_.clear();
  }
  const double start = Now();
  const size_t before = session_->tokens().size();
  absl::string_view rest = absl::string_view(text).substr(read_.size());
  absl::Status status;
  if (read_.empty()) {
    size_t used = 0;
    status = ReadSystemPrompt(rest, on_prompt, &used);
    if (status.ok()) rest.remove_prefix(used);
  }
  if (status.ok() && !rest.empty()) status = ReadText(rest, false, on_prompt);
  result->prompt_tokens = session_->tokens().size() - before;
  if (status.ok() && session_->options().recalls && result->prompt_tokens > 0) {
    status = session_->Recall(result->prompt_tokens, [&](uint64_t done, uint64_t total) {
      result->recalled_tokens = done;
      return on_prompt(done, total);
    });
  }
  result->prompt_seconds = Now() - start;
  return status;
}

absl::Status Conversation::Reply(const GenerateOptions& options, Session::Progress on_prompt,
                                 Session::OnToken on_token, GenerateResult* result) {
  *result = GenerateResult{};
  CORM_RETURN_IF_ERROR(options.sampler.Validate());
  GenerateResult prompt;
  const absl::Status read = Read(on_prompt, &prompt);
  if (!read.ok()) {
    *result = prompt;
    result->stop_reason = absl::IsCancelled(read) ? StopReason::kCancelled : StopReason::kCap;
    return read;
  }
  const size_t before = session_->tokens().size();
  Detokenizer shown(*session_->engine().tokenizer(), session_->LastToken());
  std::string answer;
  const absl::Status status = session_->Generate(
      options,
      [&](uint32_t id, absl::string_view text) {
        absl::StrAppend(&answer, text);
        return on_token(id, text);
      },
      result);
  result->prompt_tokens = prompt.prompt_tokens;
  result->prompt_seconds = prompt.prompt_seconds;
  result->recalled_tokens = prompt.recalled_tokens;
  if (session_->tokens().size() == before) return status;
  for (size_t i = before; i < session_->tokens().size(); ++i) {
    shown.Push(session_->tokens()[i], &read_, /*show_special=*/true);
  }
  shown.Flush(&read_);
  messages_.push_back({"assistant", answer});
  return status;
}

}  // namespace cormorant
