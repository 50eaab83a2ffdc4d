// Fuzzes the chat template interpreter: the input is a template, the conversation is fixed.
//
// Whatever the template, rendering ends within its limits with a text or a Status. Limits are small
// so that the fuzzer meets them often and each run is short.
#include <cstddef>
#include <cstdint>

#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"
#include "runtime/text/template/chat_template.h"

namespace {

cormorant::ChatTemplate::Inputs Conversation() {
  using Json = nlohmann::ordered_json;
  cormorant::ChatTemplate::Inputs inputs;
  inputs.messages = Json::array();
  inputs.messages.push_back({{"role", "system"}, {"content", " Be kind. "}});
  inputs.messages.push_back({{"role", "user"}, {"content", "Gr\xc3\xbc\xc3\x9f \xf0\x9f\x98\x80"}});
  inputs.messages.push_back(
      {{"role", "assistant"},
       {"content", nullptr},
       {"tool_calls",
        {{{"function", {{"name", "f"}, {"arguments", {{"a", 1}, {"b", {1.5, true}}}}}}}}}});
  inputs.messages.push_back({{"role", "tool"}, {"content", "{\"a\": 1}"}, {"tool_call_id", "c"}});
  inputs.messages.push_back({{"role", "assistant"},
                             {"content", {{{"type", "text"}, {"text", "Yes.\n"}}}},
                             {"reasoning_content", "<think>\nHm.\n</think>"}});
  inputs.extra = {{"enable_thinking", false}, {"reasoning_effort", "low"}};
  inputs.tools = Json::array({{{"type", "function"}, {"function", {{"name", "f"}}}}});
  inputs.bos_token = "<s>";
  inputs.eos_token = "</s>";
  inputs.now = 1'700'000'000;
  inputs.limits.steps = 100'000;
  inputs.limits.bytes = 4 << 20;
  inputs.limits.output_bytes = 1 << 20;
  return inputs;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const auto& inputs = *new cormorant::ChatTemplate::Inputs(Conversation());
  const auto parsed =
      cormorant::ChatTemplate::Parse(absl::string_view(reinterpret_cast<const char*>(data), size));
  if (!parsed.ok()) return 0;
  const auto text = (*parsed)->Render(inputs);
  if (text.ok() && text->size() > inputs.limits.output_bytes) __builtin_trap();
  return 0;
}
