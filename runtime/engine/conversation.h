// A conversation: messages in, the model's turns out, through its chat template.
//
// The template always renders the whole conversation; what the session has already read is a prefix
// of that text, and only the rest is encoded and read. Where a template rewrites earlier turns, so
// that the prefix no longer matches, the conversation is read again from the start. Text is encoded
// message by message, so that each is known by its tokens: they can be pinned and purged.
#pragma once
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "runtime/engine/session.h"
#include "runtime/text/template/chat_template.h"

namespace cormorant {

struct Message {
  std::string role;
  std::string content;
  RowUse use = RowUse::kKeep;  // What becomes of its tokens.
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

  /// Tokens [first, second) of the session that a message became, with what the template puts
  /// around it. FAILED_PRECONDITION while nothing of it is read, or when the template renders it in
  /// one piece with the next.
  absl::StatusOr<std::pair<size_t, size_t>> RangeOf(size_t index) const;
  /// As Session's. Messages that a pin touches stay pinned when the conversation is read anew, and
  /// those of which some is retained are.
  absl::Status Pin(size_t from, size_t to, Session::Progress progress);
  absl::Status Unpin(size_t from, size_t to, Session::Progress progress);
  absl::Status Retain(size_t from, size_t to, RowUse how, Session::Progress progress);
  absl::Status Release(size_t from, size_t to, Session::Progress progress);
  /// As Session::Purge(), and erases the messages in [from, to). FAILED_PRECONDITION when a message
  /// is in it by a part, for then its text would stay, and when some of it is retained. Where the
  /// template renders the messages that are left in another way than they were read, the next
  /// Reply() reads them all.
  absl::Status Purge(size_t from, size_t to, Session::Progress progress);
  /// As Session::Rewind(), and erases the messages from there on, so that the next Reply() goes on
  /// from those that are left. FAILED_PRECONDITION when `to` is within a message, or something
  /// after it is retained.
  absl::Status Rewind(size_t to, Session::Progress progress);
  /// Erases a message, and the tokens that it became.
  absl::Status PurgeMessage(size_t index, Session::Progress progress);

 private:
  /// Where a message ends, in read_ and in the session's tokens.
  struct End {
    size_t text = 0, token = 0;
  };
  /// Messages that are rendered in one piece: all but the last one's ends are unknown.
  struct Unit {
    size_t first = 0, last = 0;  // Messages, both in it.
    End begin = {}, end = {};
  };
  /// Text to be read, up to where one more message ends.
  struct Piece {
    absl::string_view text;
    RowUse use = RowUse::kKeep;
    bool ends_known = false;  // Whether the message ends where the text does.
    bool is_system = false;
  };
  /// All messages of which anything is read.
  std::vector<Unit> Units() const;
  absl::Status CheckIndex(size_t index) const;
  void NoteUses();
  /// FAILED_PRECONDITION when tokens of no message are retained: they would not be read anew.
  absl::Status CanBeginAnew() const;
  /// Messages that tokens [from, to) are; FAILED_PRECONDITION when one is in it by a part.
  absl::StatusOr<std::vector<Unit>> Within(size_t from, size_t to) const;
  /// Nothing is read any more.
  void Forget();
  void Erase(const Unit& unit);
  absl::StatusOr<std::string> Render(size_t messages, bool add_generation_prompt);
  absl::Status Read(const GenerateOptions& options, Session::Progress on_prompt,
                    GenerateResult* result);
  RowUse UseOf(size_t index) const;
  /// What of the whole text is not read yet; the last piece prompts for an answer.
  std::vector<Piece> Split(absl::string_view text);
  /// Reads pieces from the first on, as many as are used alike, and takes them off.
  absl::Status ReadPieces(std::span<const Piece>* pieces, Session::Progress on_prompt);
  /// Reads what of the whole text is not read yet.
  absl::Status ReadAll(absl::string_view text, Session::Progress on_prompt);
  absl::Status CheckUse(const Piece& piece, std::span<const uint32_t> ids) const;
  /// Brings back what the part of `text` that is not read needs of what was dropped, where options
  /// say so. What is compared are the beginnings of answers before and after; where they are far
  /// apart, the second looks as well.
  absl::Status Recall(absl::string_view text, const GenerateOptions& options,
                      Session::Progress on_prompt, GenerateResult* result);
  absl::Status RecallBy(std::span<const uint32_t> ids, Session::Progress on_prompt,
                        GenerateResult* result);
  /// How the answer to `text`, of which about so many tokens are not read, would begin now; nothing
  /// is kept of it. Empty where nothing was dropped yet, or there is not room for all of it at
  /// once.
  absl::StatusOr<Draft> MakeDraft(absl::string_view text, size_t tokens,
                                  const GenerateOptions& options, Session::Progress on_prompt);
  /// Encodes text that follows `before`, on top of what is read.
  absl::Status Encode(absl::string_view text, std::span<const uint32_t> before,
                      std::vector<uint32_t>* ids) const;

  Session* const session_;
  std::unique_ptr<ChatTemplate> template_;
  std::vector<Message> messages_;
  std::string read_;    // The rendered text that the session has read or generated.
  size_t begin_ = 0;    // Tokens that the session had before it.
  size_t end_ = 0;      // Tokens that it has when no one else adds any.
  TokenRanges others_;  // Tokens that someone else has added.
  std::vector<std::optional<End>> ends_;  // Of the first messages, those that are read as a whole.
};

}  // namespace cormorant
