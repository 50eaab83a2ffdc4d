// One generated answer, streamed and measured: what `run` and `chat` share.
#pragma once
#include <cstdio>
#include <string>

#include "tools/cormorant/output.h"

namespace cli {

/// An answer, whole or broken off.
struct Answer {
  std::string text;
  corm_generate_result result;
  corm_status status = CORM_OK;
  std::string error;         // The library's message when status is not CORM_OK.
  bool interrupted = false;  // By Ctrl-C.
};

/// Where an answer goes while it is made.
struct Streaming {
  FILE* to = nullptr;  // Null: nowhere.
  const OutputOptions* output = nullptr;
  const corm_grammar* grammar = nullptr;  // Of the answer; null: any text.
};

/// Answers the messages added to the session. Ctrl-C ends the answer, not the process.
Answer Reply(corm_session* session, const SamplingOptions& sampling, const Streaming& streaming);
/// Goes on from the session's last token.
Answer Continue(corm_session* session, const SamplingOptions& sampling, const Streaming& streaming);

/// "end", "length", "cancelled", "cap", or "failed" for any other error.
const char* StopReason(const Answer& answer);

/// The fields of `run --json`. `error` is there only when the answer failed on the way.
Json AnswerJson(const Answer& answer, const corm_engine* engine, const corm_session* session);

}  // namespace cli
