// What stays, what is erased and what was dropped, of the C API. See cormorant.h.
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

}  // namespace

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
    if ((flags & ~uint32_t{CORM_MESSAGE_PIN}) != 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("flags are ", flags, "; there is CORM_MESSAGE_PIN (1)"));
    }
    session->conversation->Add(
        {.role = role, .content = content, .is_pinned = (flags & CORM_MESSAGE_PIN) != 0});
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
