// Recalls by what is to be read next, and drafts that tell whether one made a difference. See
// conversation.h.
#include <algorithm>

#include "runtime/base/status.h"
#include "runtime/engine/conversation.h"
#include "runtime/engine/divergence.h"

namespace cormorant {
namespace {

// Of an answer, to compare: enough to come to its point.
constexpr uint32_t kDraftTokens = 16;
// Drafts that part and are so far apart, in nats: what was dropped is needed. Measured in
// docs/decisions/0023-returns.md.
constexpr double kReturned = 0.06;

}  // namespace

double Draft::DivergenceFrom(const Draft& other) const {
  Divergence divergence;
  const size_t most = std::min(ids.size(), other.ids.size());
  for (size_t i = 0; i < most; ++i) {
    divergence.Add(logits[i].data(), other.logits[i].data(), logits[i].size(), std::nullopt);
    if (ids[i] != other.ids[i]) return divergence.KlMax();
  }
  return 0.0;  // However sure of it each is, they say the same.
}

absl::Status Conversation::Recall(absl::string_view text, const GenerateOptions& options,
                                  Session::Progress on_prompt, GenerateResult* result) {
  const RecallWhen when = session_->options().recall;
  std::vector<uint32_t> question;
  if (when == RecallWhen::kNever || session_->tokens().empty()) return absl::OkStatus();
  CORM_RETURN_IF_ERROR(Encode(text.substr(read_.size()), {}, &question));
  if (question.empty()) return absl::OkStatus();
  Draft without;
  if (when == RecallWhen::kCompared) {
    CORM_ASSIGN_OR_RETURN(without, MakeDraft(text, question.size(), options, on_prompt));
  }
  CORM_RETURN_IF_ERROR(RecallBy(question, on_prompt, result));
  if (without.ids.empty() || result->degraded) return absl::OkStatus();
  CORM_ASSIGN_OR_RETURN(const Draft with, MakeDraft(text, question.size(), options, on_prompt));
  result->draft_divergence = with.DivergenceFrom(without);
  result->returned = result->draft_divergence >= kReturned;
  if (!result->returned) return absl::OkStatus();
  session_->Returned(result->draft_divergence);
  // What the answer has come to looks as well: it finds values where the question found names.
  question.insert(question.end(), with.ids.begin(), with.ids.end());
  return RecallBy(question, on_prompt, result);
}

absl::Status Conversation::RecallBy(std::span<const uint32_t> ids, Session::Progress on_prompt,
                                    GenerateResult* result) {
  CORM_ASSIGN_OR_RETURN(const Session::Recalled recalled, session_->Recall(ids, on_prompt));
  result->recalled_tokens += recalled.tokens_read;
  result->recalled_rows += recalled.found.rows;
  result->degraded = recalled.degraded;
  return absl::OkStatus();
}

absl::StatusOr<Draft> Conversation::MakeDraft(absl::string_view text, size_t tokens,
                                              const GenerateOptions& options,
                                              Session::Progress on_prompt) {
  // Message by message they may be a few more.
  const size_t pieces = messages_.size() + 1 - ends_.size();
  const auto most = static_cast<uint32_t>(tokens + 4 * pieces) + kDraftTokens;
  if (session_->stats().evicted_total == 0 || !session_->Hold(most).ok()) return Draft();
  const std::string read = read_;
  const std::vector<std::optional<End>> ends = ends_;
  const size_t before = session_->tokens().size();
  const absl::Status status = ReadAll(text, on_prompt);
  absl::StatusOr<Draft> draft =
      status.ok() ? session_->Begin(options, kDraftTokens) : absl::StatusOr<Draft>(status);
  read_ = read;
  ends_ = ends;
  const absl::Status rewound = session_->Rewind(before);
  return rewound.ok() ? std::move(draft) : rewound;
}

}  // namespace cormorant
