// Variables and messages for the interpreter. See chat_template.h.
#include "runtime/text/template/chat_template.h"

#include <ctime>
#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/base/status.h"
#include "runtime/text/template/interpreter.h"
#include "runtime/text/template/parser.h"
#include "runtime/text/template/text_form.h"

namespace cormorant {
namespace {

void SetClock(const std::optional<int64_t>& now, jinja::Interpreter* run) {
  if (now) return run->SetTime(*now, 0);
  const std::time_t seconds = std::time(nullptr);
  std::tm local = {};
  localtime_r(&seconds, &local);
  run->SetTime(static_cast<int64_t>(seconds), static_cast<int64_t>(local.tm_gmtoff));
}

absl::Status SetVariables(const ChatTemplate::Inputs& inputs, jinja::Interpreter* run) {
  jinja::Heap& heap = run->heap();
  if (!inputs.extra.is_null() && !inputs.extra.is_object()) {
    return absl::InvalidArgumentError("extra variables of a chat template must be an object");
  }
  if (inputs.extra.is_object()) {
    for (auto item = inputs.extra.begin(); item != inputs.extra.end(); ++item) {
      CORM_ASSIGN_OR_RETURN(const jinja::Value value, jinja::FromJson(heap, item.value()));
      run->SetVariable(item.key(), value);
    }
  }
  CORM_ASSIGN_OR_RETURN(const jinja::Value messages, jinja::FromJson(heap, inputs.messages));
  CORM_ASSIGN_OR_RETURN(const jinja::Value tools, jinja::FromJson(heap, inputs.tools));
  CORM_ASSIGN_OR_RETURN(const jinja::Value bos, jinja::FromJson(heap, inputs.bos_token));
  CORM_ASSIGN_OR_RETURN(const jinja::Value eos, jinja::FromJson(heap, inputs.eos_token));
  run->SetVariable("messages", messages);
  run->SetVariable("tools", tools);
  run->SetVariable("bos_token", bos);
  run->SetVariable("eos_token", eos);
  run->SetVariable("add_generation_prompt", jinja::BoolValue(inputs.add_generation_prompt));
  if (inputs.extra.is_null() || !inputs.extra.contains("documents")) {
    run->SetVariable("documents", jinja::NoneValue());
  }
  return absl::OkStatus();
}

}  // namespace

ChatTemplate::ChatTemplate(std::unique_ptr<jinja::Template> parsed, absl::string_view name)
    : template_(std::move(parsed)), name_(name) {}

ChatTemplate::~ChatTemplate() = default;

absl::StatusOr<std::unique_ptr<ChatTemplate>> ChatTemplate::Parse(absl::string_view source,
                                                                  absl::string_view name) {
  absl::StatusOr<std::unique_ptr<jinja::Template>> parsed = jinja::ParseTemplate(source);
  if (!parsed.ok()) return At(name, parsed.status());
  return std::unique_ptr<ChatTemplate>(new ChatTemplate(*std::move(parsed), name));
}

absl::StatusOr<std::string> ChatTemplate::Render(const Inputs& inputs) const {
  jinja::Interpreter run(*template_, inputs.limits);
  if (const absl::Status status = SetVariables(inputs, &run); !status.ok()) {
    return At(name_, status);
  }
  SetClock(inputs.now, &run);
  absl::StatusOr<std::string> text = run.Run();
  if (!text.ok()) return At(absl::StrCat(name_, ", line ", run.line()), text.status());
  return text;
}

}  // namespace cormorant
