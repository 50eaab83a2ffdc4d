// Which tokens are which message's, and messages that stay or are erased. See conversation.h.
#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "runtime/base/status.h"
#include "runtime/base/wipe.h"
#include "runtime/engine/conversation.h"

namespace cormorant {

std::vector<Conversation::Unit> Conversation::Units() const {
  std::vector<Unit> units;
  Unit unit{.begin = {0, begin_}};
  for (size_t i = 0; i < ends_.size(); ++i) {
    unit.last = i;
    if (!ends_[i].has_value()) continue;
    unit.end = *ends_[i];
    units.push_back(unit);
    unit = {.first = i + 1, .begin = unit.end};
  }
  // The message that is being read, the answer that was given last, or the prompt for it.
  unit.last = ends_.size();
  unit.end = {read_.size(), session_->tokens().size()};
  if (unit.end.text > unit.begin.text) units.push_back(unit);
  return units;
}

absl::Status Conversation::CheckIndex(size_t index) const {
  if (index < messages_.size()) return absl::OkStatus();
  return absl::OutOfRangeError(absl::StrCat("message ", index, ", counted from 0; there are ",
                                            messages_.size(), " in the conversation"));
}

absl::StatusOr<std::pair<size_t, size_t>> Conversation::RangeOf(size_t index) const {
  CORM_RETURN_IF_ERROR(CheckIndex(index));
  for (const Unit& unit : Units()) {
    if (index < unit.first || index > unit.last) continue;
    if (unit.first == unit.last) return std::pair(unit.begin.token, unit.end.token);
    return absl::FailedPreconditionError(
        absl::StrCat("the chat template renders messages ", unit.first, " to ", unit.last,
                     " in one piece, tokens from ", unit.begin.token, " up to ", unit.end.token));
  }
  return absl::FailedPreconditionError(absl::StrCat(
      "message ", index, " is not read yet; corm_session_reply() reads it and answers"));
}

void Conversation::NoteUses() {
  for (const Unit& unit : Units()) {
    const RowUse use = session_->UseOf(unit.begin.token, unit.end.token);
    for (size_t i = unit.first; i <= unit.last && i < messages_.size(); ++i) {
      messages_[i].use = use;
    }
  }
}

absl::Status Conversation::CanBeginAnew() const {
  for (const auto& [from, to] : others_.list()) {
    if (session_->UseOf(from, to) <= RowUse::kPin) continue;
    return absl::FailedPreconditionError(absl::StrCat(
        "the chat template renders the messages in another way than they were read, and to read "
        "them anew would erase retained tokens among those from ",
        from, " up to ", to, ", which are of no message; corm_session_release() them first"));
  }
  return absl::OkStatus();
}

absl::Status Conversation::Pin(size_t from, size_t to, Session::Progress progress) {
  const absl::Status status = session_->Pin(from, to, progress);
  NoteUses();
  return status;
}

absl::Status Conversation::Unpin(size_t from, size_t to, Session::Progress progress) {
  const absl::Status status = session_->Unpin(from, to, progress);
  NoteUses();
  return status;
}

absl::Status Conversation::Retain(size_t from, size_t to, RowUse how, Session::Progress progress) {
  const absl::Status status = session_->Retain(from, to, how, progress);
  NoteUses();
  return status;
}

absl::Status Conversation::Release(size_t from, size_t to, Session::Progress progress) {
  const absl::Status status = session_->Release(from, to, progress);
  NoteUses();
  return status;
}

void Conversation::Erase(const Unit& unit) {
  for (size_t i = unit.first; i <= unit.last && i < messages_.size(); ++i) {
    WipeAll(&messages_[i].role);
    WipeAll(&messages_[i].content);
  }
  const auto range = [&](auto& list) {
    const auto at = [&](size_t i) {
      return list.begin() + static_cast<ptrdiff_t>(std::min(i, list.size()));
    };
    list.erase(at(unit.first), at(unit.last + 1));
  };
  range(messages_);
  range(ends_);
  WipeRange(&read_, unit.begin.text, unit.end.text);
  for (size_t i = unit.first; i < ends_.size(); ++i) {
    if (ends_[i].has_value()) ends_[i]->text -= unit.end.text - unit.begin.text;
  }
}

absl::StatusOr<std::vector<Conversation::Unit>> Conversation::Within(size_t from, size_t to) const {
  std::vector<Unit> units;
  for (const Unit& unit : Units()) {
    if (unit.end.token <= from || to <= unit.begin.token) continue;
    if (unit.begin.token < from || to < unit.end.token) {
      return absl::FailedPreconditionError(
          absl::StrCat("tokens from ", from, " up to ", to, " are a part of message ", unit.first,
                       ", which has those from ", unit.begin.token, " up to ", unit.end.token,
                       ": its text would stay; name all of them"));
    }
    units.push_back(unit);
  }
  return units;
}

absl::Status Conversation::Rewind(size_t to, Session::Progress progress) {
  const size_t end = session_->tokens().size();
  CORM_ASSIGN_OR_RETURN(const std::vector<Unit> erased, Within(to, std::max(to, end)));
  CORM_RETURN_IF_ERROR(session_->MayGo(to, std::max(to, end)));
  CORM_RETURN_IF_ERROR(session_->Rewind(to));
  for (auto unit = erased.rbegin(); unit != erased.rend(); ++unit) Erase(*unit);
  begin_ = std::min(begin_, to);
  others_.Add(end_, end);
  others_.Remove(to, end);
  end_ = std::min(to, end);
  return session_->ReadRest(progress);
}

absl::Status Conversation::Purge(size_t from, size_t to, Session::Progress progress) {
  CORM_RETURN_IF_ERROR(session_->CheckRange(from, to));
  CORM_RETURN_IF_ERROR(session_->MayGo(from, to));
  CORM_ASSIGN_OR_RETURN(const std::vector<Unit> erased, Within(from, to));
  others_.Add(end_, session_->tokens().size());
  others_.Cut(from, to);
  // The last first: places before it stay what they are.
  for (auto unit = erased.rbegin(); unit != erased.rend(); ++unit) Erase(*unit);
  const auto move = [&](size_t& token) { token -= std::min(std::max(token, from), to) - from; };
  end_ = session_->tokens().size() - (to - from);
  move(begin_);
  for (std::optional<End>& end : ends_) {
    if (end.has_value()) move(end->token);
  }
  const absl::StatusOr<std::string> text = Render(messages_.size(), true);
  const bool is_prefix = !text.ok() || absl::StartsWith(*text, read_);
  if (erased.empty() || is_prefix || !CanBeginAnew().ok()) {
    return session_->Purge(from, to, progress);
  }
  // To read it as it was would be in vain.
  WipeAll(&read_);
  Forget();
  return session_->Purge(0, session_->tokens().size(), progress);
}

absl::Status Conversation::PurgeMessage(size_t index, Session::Progress progress) {
  CORM_RETURN_IF_ERROR(CheckIndex(index));
  const std::vector<Unit> units = Units();
  const bool is_read = !units.empty() && index <= units.back().last;
  std::pair<size_t, size_t> range;
  if (is_read) {
    CORM_ASSIGN_OR_RETURN(range, RangeOf(index));
  }
  if (range.first < range.second) return Purge(range.first, range.second, progress);
  Erase({.first = index, .last = index});  // The template rendered it to nothing, or will not.
  return absl::OkStatus();
}

}  // namespace cormorant
