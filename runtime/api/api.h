// What the C API's own files share: handles, error text, struct copies, the exception guard.
//
// The only place of the library where exceptions are handled: the standard library may throw
// bad_alloc on any allocation, and none may cross into C.
#pragma once
#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <new>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "cormorant/cormorant.h"
#include "runtime/engine/conversation.h"
#include "runtime/engine/engine.h"
#include "runtime/engine/session.h"
#include "runtime/engine/shadow.h"
#include "runtime/grammar/grammar.h"
#include "runtime/text/tokenizer.h"

struct corm_engine {
  std::shared_ptr<cormorant::Engine> engine;
};

struct corm_tokenizer {
  std::shared_ptr<const cormorant::Tokenizer> tokenizer;
  std::string bos_text, eos_text;
};

struct corm_grammar {
  std::shared_ptr<const cormorant::Grammar> grammar;
};

struct corm_session {
  std::unique_ptr<cormorant::Session> session;
  std::unique_ptr<cormorant::Conversation> conversation;
  mutable std::atomic<bool> is_busy = false;
  mutable std::string observed_ended;  // Lent by corm_session_get_observed().
};

namespace cormorant::api {

/// Remembers the error for corm_last_error() and gives its code.
corm_status Finish(const absl::Status& status);

/// Runs fn, which returns absl::Status, and turns whatever happens into a code.
template <class F>
corm_status Guard(F&& fn) {
  try {
    return Finish(fn());
  } catch (const std::bad_alloc&) {
    return Finish(absl::ResourceExhaustedError("out of host memory"));
  } catch (...) {
    return Finish(absl::InternalError("an unexpected exception; please report it"));
  }
}

/// As Guard, on a session that no other call may be using.
template <class F>
corm_status GuardSession(const corm_session* session, F&& fn) {
  return Guard([&]() -> absl::Status {
    if (session == nullptr) return absl::InvalidArgumentError("the session is NULL");
    if (session->is_busy.exchange(true)) {
      return absl::FailedPreconditionError("another call is using this session");
    }
    struct Release {
      const corm_session* session;
      ~Release() { session->is_busy.store(false); }
    } release{session};
    return fn();
  });
}

/// The caller's struct, as far as it knows it, over the defaults; an error when its size makes no
/// sense.
template <class T>
absl::Status ReadStruct(const T* from, absl::string_view name, T* to) {
  if (from == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat(name, " is NULL"));
  }
  if (from->struct_size < sizeof(size_t)) {
    return absl::InvalidArgumentError(absl::StrCat(name, ".struct_size is ", from->struct_size,
                                                   "; call ", name, "_init() first"));
  }
  std::memcpy(to, from, std::min(from->struct_size, sizeof(T)));
  return absl::OkStatus();
}

/// Fills the caller's struct as far as it knows it; its struct_size stays.
template <class T>
absl::Status WriteStruct(T from, absl::string_view name, T* to) {
  if (to == nullptr || to->struct_size < sizeof(size_t)) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, " is NULL or was not prepared by ", name, "_init()"));
  }
  from.struct_size = to->struct_size;
  std::memcpy(to, &from, std::min(to->struct_size, sizeof(T)));
  return absl::OkStatus();
}

/// Text for the caller, freed by corm_text_free().
absl::Status CopyText(absl::string_view text, char** to);

inline std::string OrEmpty(const char* text) {
  return text == nullptr ? std::string() : std::string(text);
}

/// A progress callback from C as one from C++.
struct ProgressCallback {
  corm_progress_fn fn;
  void* user;
  bool operator()(uint64_t done, uint64_t total) const {
    return fn == nullptr || fn(user, done, total) == 0;
  }
};

/// What becomes of tokens by CORM_APPEND_* and CORM_MESSAGE_*, whose values are the same.
absl::StatusOr<RowUse> ToRowUse(uint32_t flags);

absl::StatusOr<EngineOptions> ToEngineOptions(const corm_engine_options* options);

}  // namespace cormorant::api
