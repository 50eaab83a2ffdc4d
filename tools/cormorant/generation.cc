// Streams and measures one answer; see generation.h.
#include "tools/cormorant/generation.h"

#include "tools/cormorant/interrupt.h"

namespace cli {
namespace {

/// What both callbacks of a generating call see. `progress` comes first: OnPrompt() hands it on.
struct Stream {
  Progress progress;
  std::string text;
  FILE* to;
};

int OnPrompt(void* user, uint64_t done, uint64_t total) {
  return Progress::OnProgress(&static_cast<Stream*>(user)->progress, done, total);
}

int OnToken(void* user, const corm_token_event* event) {
  Stream& stream = *static_cast<Stream*>(user);
  stream.progress.Clear();
  stream.text.append(event->text, event->text_bytes);
  if (stream.to != nullptr && event->text_bytes > 0) {
    std::fwrite(event->text, 1, event->text_bytes, stream.to);
    std::fflush(stream.to);
  }
  return Interrupted() ? 1 : 0;
}

using GenerateCall = decltype(&corm_session_reply);

Answer Generate(GenerateCall call, corm_session* session, const SamplingOptions& sampling,
                const Streaming& streaming) {
  corm_generate_options options = GenerateOptionsFor(sampling);
  options.on_prompt = &OnPrompt;
  options.grammar = streaming.grammar;
  Stream stream{Progress(*streaming.output, "reading the prompt"), "", streaming.to};
  Answer answer;
  corm_generate_result_init(&answer.result);
  {
    const InterruptScope scope;
    answer.status = call(session, &options, &OnToken, &stream, &answer.result);
    answer.interrupted = Interrupted();
  }
  if (answer.status != CORM_OK) answer.error = corm_last_error();
  stream.progress.Clear();
  answer.text = std::move(stream.text);
  return answer;
}

}  // namespace

Answer Reply(corm_session* session, const SamplingOptions& sampling, const Streaming& streaming) {
  return Generate(&corm_session_reply, session, sampling, streaming);
}

Answer Continue(corm_session* session, const SamplingOptions& sampling,
                const Streaming& streaming) {
  return Generate(&corm_session_generate, session, sampling, streaming);
}

const char* StopReason(const Answer& answer) {
  if (answer.interrupted || answer.status == CORM_CANCELLED) return "cancelled";
  const bool is_full =
      answer.status == CORM_RESOURCE_EXHAUSTED || answer.status == CORM_OUT_OF_RANGE;
  if (answer.status != CORM_OK) return is_full ? "cap" : "failed";
  static const char* const kNames[] = {"end", "length", "cancelled", "cap"};
  const int32_t reason = answer.result.stop_reason;
  return reason >= 0 && reason < 4 ? kNames[reason] : "unknown";
}

Json AnswerJson(const Answer& answer, const corm_engine* engine, const corm_session* session) {
  const corm_generate_result& result = answer.result;
  Json json{
      {"text", answer.text},
      {"prompt_tokens", result.prompt_tokens},
      {"recalled_tokens", result.recalled_tokens},
      {"recalled_rows", result.recalled_rows},
      {"draft_divergence", result.draft_divergence},
      {"returned", result.returned != 0},
      {"degraded", result.degraded != 0},
      {"generated_tokens", result.generated_tokens},
      {"prompt_seconds", result.prompt_seconds},
      {"decode_seconds", result.decode_seconds},
      {"prompt_tok_s", Rate(result.prompt_tokens + result.recalled_tokens, result.prompt_seconds)},
      {"decode_tok_s", Rate(result.generated_tokens, result.decode_seconds)},
      {"stop_reason", StopReason(answer)},
      {"memory", MemoryJson(engine)},
      {"kv", KvJson(session, EngineInfo(engine).layers)}};
  Json audit = AuditJson(session);
  if (audit["capacity"] > 0) json["audit"] = std::move(audit);
  if (json["kv"]["mode"] == "observe") json["observed"] = ObservedJson(session);
  if (!answer.error.empty()) json["error"] = answer.error;
  return json;
}

}  // namespace cli
