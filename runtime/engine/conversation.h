// A conversation: messages in, the model's turns out, through its chat template.
//
// The template always renders the whole conversation; what the session has already read is a prefix
// of that text, and only the rest is encoded and read. Where a template rewrites earlier turns, so
// that the prefix no longer matches, the conversation is read again from the start.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "runtime/engine/session.h"
#include "runtime/text/template/chat_template.h"

namespace cormorant {

struct Message {
  std::string role;
  std::string content;
};

class Conversation {
 public:
  explicit Conversation(Session* session) : session_(session) {}

  void Add(Message message) { messages_.push_back(std::move(message)); }
  const std::vector<Message>& messages() const { return messages_; }
  void Reset();

  /// Reads what is new and generates the assistant's turn, which becomes a message. When reading
  /// fails or is cancelled, messages stay and the next call goes on.
  absl::Status Reply(const GenerateOptions& options, Session::Progress on_prompt,
                     Session::OnToken on_token, GenerateResult* result);

 private:
  absl::StatusOr<std::string> Render(size_t messages, bool add_generation_prompt);
  absl::Status Read(Session::Progress on_prompt, GenerateResult* result);
  absl::Status ReadSystemPrompt(absl::string_view text, Session::Progress on_prompt, size_t* used);
  absl::Status RecallBy(absl::string_view text, Session::Progress on_prompt,
                        GenerateResult* result);
  absl::Status ReadText(absl::string_view text, bool pin, Session::Progress on_prompt);
  absl::Status Encode(absl::string_view text, std::vector<uint32_t>* ids) const;

  Session* const session_;
  std::unique_ptr<ChatTemplate> template_;
  std::vector<Message> messages_;
  std::string read_;  // The rendered text that the session has read or generated.
};

}  // namespace cormorant
