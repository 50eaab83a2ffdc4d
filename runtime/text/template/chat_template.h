// A model's chat template: messages in, the text the model is given out.
//
// Templates are written in Jinja, and each comes with a model file, so it is untrusted: work,
// memory, output and depth are bounded, and whatever goes wrong is a Status that names the template
// and the line. Texts are those that jinja2 renders in the environment of Hugging Face
// transformers: trim_blocks and lstrip_blocks on, loop controls, an immutable sandbox, and
// raise_exception, strftime_now and tojson as it defines them.
//
// A ChatTemplate never changes after Parse: any number of threads may render it at once.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"
#include "runtime/text/template/heap.h"

namespace cormorant {

namespace jinja {
struct Template;
}  // namespace jinja

class ChatTemplate {
 public:
  /// `name` stands in messages.
  static absl::StatusOr<std::unique_ptr<ChatTemplate>> Parse(
      absl::string_view source, absl::string_view name = "chat template");
  ~ChatTemplate();

  struct Inputs {
    nlohmann::ordered_json messages;  // As in the OpenAI API.
    nlohmann::ordered_json tools;     // The same; null when there are none.
    bool add_generation_prompt = true;
    std::string bos_token, eos_token;
    nlohmann::ordered_json extra;  // An object of more variables, or null.
    std::optional<int64_t> now;    // Seconds since 1970, for a date in UTC; the clock otherwise.
    jinja::Limits limits;
  };

  /// The text, or FAILED_PRECONDITION with the template's own message when it raised an exception,
  /// INVALID_ARGUMENT when it cannot work on these messages, RESOURCE_EXHAUSTED at a limit.
  absl::StatusOr<std::string> Render(const Inputs& inputs) const;

 private:
  ChatTemplate(std::unique_ptr<jinja::Template> parsed, absl::string_view name);

  const std::unique_ptr<const jinja::Template> template_;
  const std::string name_;
};

}  // namespace cormorant
