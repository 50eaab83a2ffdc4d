// Status, log, text, tokenizer, template and descriptions of the C API. See cormorant.h.
#include "runtime/api/api.h"

#include <cstdlib>

#include "nlohmann/json.hpp"
#include "platform/log.h"
#include "runtime/base/status.h"
#include "runtime/engine/describe.h"
#include "runtime/format/gguf.h"
#include "runtime/text/detokenizer.h"
#include "runtime/text/template/chat_template.h"
#include "runtime/text/vocabulary.h"

namespace cormorant::api {
namespace {

std::string& LastError() {
  static thread_local std::string text;
  return text;
}

}  // namespace

corm_status Finish(const absl::Status& status) {
  LastError().assign(status.message().data(), status.message().size());
  return static_cast<corm_status>(status.code());
}

absl::Status CopyText(absl::string_view text, char** to) {
  if (to == nullptr) return absl::InvalidArgumentError("the place for the text is NULL");
  *to = static_cast<char*>(std::malloc(text.size() + 1));
  if (*to == nullptr) return absl::ResourceExhaustedError("out of host memory");
  std::memcpy(*to, text.data(), text.size());
  (*to)[text.size()] = '\0';
  return absl::OkStatus();
}

namespace {

void FillTokenizer(std::shared_ptr<const Tokenizer> tokenizer, corm_tokenizer* to) {
  const Vocabulary& vocabulary = tokenizer->vocabulary();
  if (vocabulary.bos) to->bos_text = vocabulary.tokens[*vocabulary.bos];
  if (vocabulary.eos) to->eos_text = vocabulary.tokens[*vocabulary.eos];
  to->tokenizer = std::move(tokenizer);
}

absl::StatusOr<nlohmann::ordered_json> ParseJson(const char* text, absl::string_view what) {
  nlohmann::ordered_json json =
      nlohmann::ordered_json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) {
    return absl::InvalidArgumentError(absl::StrCat(what, " is not valid JSON"));
  }
  if (!json.is_array() && !json.is_null()) {
    return absl::InvalidArgumentError(absl::StrCat(what, " is not a JSON list"));
  }
  return json;
}

}  // namespace
}  // namespace cormorant::api

using cormorant::api::CopyText;
using cormorant::api::Guard;
using cormorant::api::OrEmpty;

const char* corm_last_error(void) {
  return cormorant::api::LastError().c_str();
}

const char* corm_status_name(corm_status status) {
  static constexpr const char* kNames[] = {"OK",
                                           "CANCELLED",
                                           "UNKNOWN",
                                           "INVALID_ARGUMENT",
                                           "DEADLINE_EXCEEDED",
                                           "NOT_FOUND",
                                           "ALREADY_EXISTS",
                                           "PERMISSION_DENIED",
                                           "RESOURCE_EXHAUSTED",
                                           "FAILED_PRECONDITION",
                                           "ABORTED",
                                           "OUT_OF_RANGE",
                                           "UNIMPLEMENTED",
                                           "INTERNAL",
                                           "UNAVAILABLE",
                                           "DATA_LOSS"};
  if (status < 0 || status >= static_cast<corm_status>(std::size(kNames))) return "UNKNOWN";
  return kNames[status];
}

const char* corm_version(void) {
  return CORMORANT_VERSION;
}

void corm_text_free(char* text) {
  std::free(text);
}

void corm_set_log(corm_log_fn fn, void* user, int level) {
  cormorant::SetLogSink(fn, user, static_cast<cormorant::LogLevel>(level));
}

corm_status corm_tokenizer_open(const char* model_path, corm_tokenizer** tokenizer) {
  return Guard([&]() -> absl::Status {
    if (model_path == nullptr || tokenizer == nullptr) {
      return absl::InvalidArgumentError("model_path and tokenizer may not be NULL");
    }
    *tokenizer = nullptr;
    CORM_ASSIGN_OR_RETURN(const auto file, cormorant::GgufFile::Open(model_path));
    absl::StatusOr<cormorant::Vocabulary> vocabulary = cormorant::ReadVocabulary(*file);
    if (!vocabulary.ok()) return cormorant::At(model_path, vocabulary.status());
    CORM_ASSIGN_OR_RETURN(auto made, cormorant::Tokenizer::Create(*std::move(vocabulary)));
    auto handle = std::make_unique<corm_tokenizer>();
    cormorant::api::FillTokenizer(std::move(made), handle.get());
    *tokenizer = handle.release();
    return absl::OkStatus();
  });
}

corm_status corm_engine_get_tokenizer(const corm_engine* engine, corm_tokenizer** tokenizer) {
  return Guard([&]() -> absl::Status {
    if (engine == nullptr || tokenizer == nullptr) {
      return absl::InvalidArgumentError("engine and tokenizer may not be NULL");
    }
    auto handle = std::make_unique<corm_tokenizer>();
    cormorant::api::FillTokenizer(engine->engine->tokenizer(), handle.get());
    *tokenizer = handle.release();
    return absl::OkStatus();
  });
}

void corm_tokenizer_destroy(corm_tokenizer* tokenizer) {
  delete tokenizer;
}

uint32_t corm_tokenizer_size(const corm_tokenizer* tokenizer) {
  return tokenizer == nullptr ? 0 : static_cast<uint32_t>(tokenizer->tokenizer->size());
}

corm_status corm_tokenizer_encode(const corm_tokenizer* tokenizer, const char* text,
                                  size_t text_bytes, uint32_t flags, uint32_t* ids, size_t capacity,
                                  size_t* count) {
  return Guard([&]() -> absl::Status {
    if (tokenizer == nullptr || count == nullptr || (text == nullptr && text_bytes != 0) ||
        (ids == nullptr && capacity != 0)) {
      return absl::InvalidArgumentError("tokenizer, text, ids and count may not be NULL");
    }
    cormorant::EncodeOptions options;
    options.add_special = (flags & CORM_ENCODE_BOS) != 0;
    options.parse_special = (flags & CORM_ENCODE_PARSE_SPECIAL) != 0;
    std::vector<uint32_t> out;
    CORM_RETURN_IF_ERROR(
        tokenizer->tokenizer->Encode(absl::string_view(text, text_bytes), options, &out));
    *count = out.size();
    if (out.size() > capacity) {
      return absl::OutOfRangeError(
          absl::StrCat("the text has ", out.size(), " tokens, there is room for ", capacity));
    }
    std::copy(out.begin(), out.end(), ids);
    return absl::OkStatus();
  });
}

corm_status corm_tokenizer_decode(const corm_tokenizer* tokenizer, const uint32_t* ids,
                                  size_t count, uint32_t flags, char** text, size_t* text_bytes) {
  return Guard([&]() -> absl::Status {
    if (tokenizer == nullptr || (ids == nullptr && count != 0)) {
      return absl::InvalidArgumentError("tokenizer and ids may not be NULL");
    }
    std::string out;
    cormorant::Detokenizer detokenizer(*tokenizer->tokenizer);
    for (size_t i = 0; i < count; ++i) {
      if (ids[i] >= tokenizer->tokenizer->size()) {
        return absl::InvalidArgumentError(absl::StrCat("token id ", ids[i], " at place ", i,
                                                       "; the vocabulary has ",
                                                       tokenizer->tokenizer->size(), " tokens"));
      }
      detokenizer.Push(ids[i], &out, (flags & CORM_DECODE_SPECIAL) != 0);
    }
    detokenizer.Flush(&out);
    if (text_bytes != nullptr) *text_bytes = out.size();
    return CopyText(out, text);
  });
}

const char* corm_tokenizer_chat_template(const corm_tokenizer* tokenizer) {
  return tokenizer == nullptr ? "" : tokenizer->tokenizer->vocabulary().chat_template.c_str();
}

const char* corm_tokenizer_bos_text(const corm_tokenizer* tokenizer) {
  return tokenizer == nullptr ? "" : tokenizer->bos_text.c_str();
}

const char* corm_tokenizer_eos_text(const corm_tokenizer* tokenizer) {
  return tokenizer == nullptr ? "" : tokenizer->eos_text.c_str();
}

void corm_template_options_init(corm_template_options* options) {
  *options = {};
  options->struct_size = sizeof(*options);
  options->add_generation_prompt = 1;
}

corm_status corm_template_render(const corm_template_options* options, char** text) {
  return Guard([&]() -> absl::Status {
    corm_template_options read;
    corm_template_options_init(&read);
    CORM_RETURN_IF_ERROR(cormorant::api::ReadStruct(options, "corm_template_options", &read));
    if (read.source == nullptr || read.messages_json == nullptr) {
      return absl::InvalidArgumentError("source and messages_json may not be NULL");
    }
    CORM_ASSIGN_OR_RETURN(const auto chat_template, cormorant::ChatTemplate::Parse(read.source));
    cormorant::ChatTemplate::Inputs inputs;
    CORM_ASSIGN_OR_RETURN(inputs.messages,
                          cormorant::api::ParseJson(read.messages_json, "messages"));
    if (read.tools_json != nullptr) {
      CORM_ASSIGN_OR_RETURN(inputs.tools, cormorant::api::ParseJson(read.tools_json, "tools"));
    }
    inputs.bos_token = OrEmpty(read.bos_text);
    inputs.eos_token = OrEmpty(read.eos_text);
    inputs.add_generation_prompt = read.add_generation_prompt != 0;
    CORM_ASSIGN_OR_RETURN(const std::string rendered, chat_template->Render(inputs));
    return CopyText(rendered, text);
  });
}

corm_status corm_inspect(const corm_engine_options* options, char** json) {
  return Guard([&]() -> absl::Status {
    CORM_ASSIGN_OR_RETURN(const cormorant::EngineOptions read,
                          cormorant::api::ToEngineOptions(options));
    CORM_ASSIGN_OR_RETURN(const std::string text, cormorant::DescribeModel(read));
    return CopyText(text, json);
  });
}

corm_status corm_devices(char** json) {
  return Guard([&] { return CopyText(cormorant::DescribeDevices(), json); });
}

corm_status corm_policies(char** json) {
  return Guard([&] { return CopyText(cormorant::DescribePolicies(), json); });
}
