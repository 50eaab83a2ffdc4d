// What stays, what is erased and what was dropped, of the C API. See retention.h.
#include "nlohmann/json.hpp"
#include "runtime/api/api.h"
#include "runtime/base/status.h"

using cormorant::api::CopyText;
using cormorant::api::GuardSession;
using cormorant::api::ProgressCallback;

namespace {

nlohmann::ordered_json RecordJson(const cormorant::Audit::Record& record, uint32_t kv_heads) {
  nlohmann::ordered_json json{{"step", record.step}};
  if (record.head != cormorant::Audit::kAllHeads) {
    json["layer"] = record.head / kv_heads;
    json["kv_head"] = record.head % kv_heads;
  }
  json["cause"] = cormorant::ToString(record.cause);
  json["rebased"] = record.rebased;
  json["positions"] = record.positions;
  return json;
}

nlohmann::ordered_json RangesJson(const cormorant::TokenRanges& ranges) {
  const auto list = ranges.list();
  return std::vector<cormorant::TokenRanges::Range>(list.begin(), list.end());
}

}  // namespace

absl::StatusOr<cormorant::RowUse> cormorant::api::ToRowUse(uint32_t flags) {
  static_assert(int{CORM_APPEND_PIN} == int{CORM_MESSAGE_PIN});
  static_assert(int{CORM_APPEND_RETAIN} == int{CORM_MESSAGE_RETAIN});
  static_assert(int{CORM_APPEND_RETAIN_ON_HOST} == int{CORM_MESSAGE_RETAIN_ON_HOST});
  switch (flags) {
    case 0: return RowUse::kKeep;
    case CORM_MESSAGE_PIN: return RowUse::kPin;
    case CORM_MESSAGE_RETAIN: return RowUse::kRetain;
    case CORM_MESSAGE_RETAIN_ON_HOST: return RowUse::kRetainOnHost;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("flags are ", flags,
                   "; expected 0, _PIN (1), _RETAIN (2) or _RETAIN_ON_HOST "
                   "(4), one of them"));
}

corm_status corm_session_pin(corm_session* session, size_t from, size_t to,
                             corm_progress_fn on_progress, void* user) {
  return GuardSession(session, [&] {
    session->session->ClearCancel();
    return session->conversation->Pin(from, to, ProgressCallback{on_progress, user});
  });
}

corm_status corm_session_unpin(corm_session* session, size_t from, size_t to,
                               corm_progress_fn on_progress, void* user) {
  return GuardSession(session, [&] {
    session->session->ClearCancel();
    return session->conversation->Unpin(from, to, ProgressCallback{on_progress, user});
  });
}

corm_status corm_session_retain(corm_session* session, size_t from, size_t to, int32_t how,
                                corm_progress_fn on_progress, void* user) {
  return GuardSession(session, [&]() -> absl::Status {
    if (how != CORM_RETAIN_RESIDENT && how != CORM_RETAIN_ON_HOST) {
      return absl::InvalidArgumentError(absl::StrCat(
          "how is ", how, "; there are CORM_RETAIN_RESIDENT (1) and CORM_RETAIN_ON_HOST (2)"));
    }
    const auto use =
        how == CORM_RETAIN_ON_HOST ? cormorant::RowUse::kRetainOnHost : cormorant::RowUse::kRetain;
    session->session->ClearCancel();
    return session->conversation->Retain(from, to, use, ProgressCallback{on_progress, user});
  });
}

corm_status corm_session_release(corm_session* session, size_t from, size_t to,
                                 corm_progress_fn on_progress, void* user) {
  return GuardSession(session, [&] {
    session->session->ClearCancel();
    return session->conversation->Release(from, to, ProgressCallback{on_progress, user});
  });
}

corm_status corm_session_get_retained(const corm_session* session, char** json) {
  return GuardSession(session, [&] {
    const cormorant::Session& s = *session->session;
    cormorant::TokenRanges pinned = s.pins();
    for (const auto& [from, to] : s.retained().list()) pinned.Remove(from, to);
    const nlohmann::ordered_json all{{"resident", RangesJson(s.retained())},
                                     {"on_host", RangesJson(s.retained_on_host())},
                                     {"pinned", RangesJson(pinned)}};
    return CopyText(all.dump(), json);
  });
}

corm_status corm_session_rewind(corm_session* session, size_t to, corm_progress_fn on_progress,
                                void* user) {
  return GuardSession(session, [&] {
    session->session->ClearCancel();
    return session->conversation->Rewind(to, ProgressCallback{on_progress, user});
  });
}

corm_status corm_session_purge(corm_session* session, size_t from, size_t to,
                               corm_progress_fn on_progress, void* user) {
  return GuardSession(session, [&] {
    session->session->ClearCancel();
    return session->conversation->Purge(from, to, ProgressCallback{on_progress, user});
  });
}

corm_status corm_session_purge_message(corm_session* session, size_t index,
                                       corm_progress_fn on_progress, void* user) {
  return GuardSession(session, [&] {
    session->session->ClearCancel();
    return session->conversation->PurgeMessage(index, ProgressCallback{on_progress, user});
  });
}

corm_status corm_session_add_message_with(corm_session* session, const char* role,
                                          const char* content, uint32_t flags) {
  return GuardSession(session, [&]() -> absl::Status {
    if (role == nullptr || content == nullptr) {
      return absl::InvalidArgumentError("role and content may not be NULL");
    }
    CORM_ASSIGN_OR_RETURN(const cormorant::RowUse use, cormorant::api::ToRowUse(flags));
    session->conversation->Add({.role = role, .content = content, .use = use});
    return absl::OkStatus();
  });
}

corm_status corm_session_get_message_range(const corm_session* session, size_t index, size_t* from,
                                           size_t* to) {
  return GuardSession(session, [&]() -> absl::Status {
    if (from == nullptr || to == nullptr) {
      return absl::InvalidArgumentError("from and to may not be NULL");
    }
    CORM_ASSIGN_OR_RETURN(const auto range, session->conversation->RangeOf(index));
    *from = range.first;
    *to = range.second;
    return absl::OkStatus();
  });
}

corm_status corm_session_get_audit(const corm_session* session, char** json) {
  return GuardSession(session, [&] {
    const uint32_t kv_heads = session->session->engine().plan().geometry.kv_heads;
    nlohmann::ordered_json all, records = nlohmann::ordered_json::array();
    session->session->ReadAudit([&](const cormorant::Audit& audit) {
      all["capacity"] = audit.capacity();
      all["forgotten"] = audit.forgotten();
      for (const cormorant::Audit::Record& record : audit.records()) {
        records.push_back(RecordJson(record, kv_heads));
      }
    });
    all["records"] = std::move(records);
    return CopyText(all.dump(), json);
  });
}
