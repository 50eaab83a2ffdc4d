// `cormorant template`: renders a chat template and prints the text, nothing else.
#include <cstdio>

#include "tools/cormorant/commands.h"
#include "tools/cormorant/output.h"

namespace cli {
namespace {

struct TemplateOptions {
  std::string model;
  std::string messages;
  std::string tools;
  std::string source;
  std::string bos;
  std::string eos;
  bool bos_given = false;
  bool eos_given = false;
  bool no_generation_prompt = false;
};

/// Takes what the command line does not give from the model: the template, and the texts of BOS and
/// EOS.
void FillFromModel(TemplateOptions& options, std::string& source) {
  const TokenizerPtr tokenizer = OpenTokenizer(options.model);
  if (options.source.empty()) source = corm_tokenizer_chat_template(tokenizer.get());
  if (source.empty()) {
    throw Failure(kFailed, "'" + options.model + "' has no chat template; give --template FILE");
  }
  if (!options.bos_given) options.bos = corm_tokenizer_bos_text(tokenizer.get());
  if (!options.eos_given) options.eos = corm_tokenizer_eos_text(tokenizer.get());
}

int Template(TemplateOptions options) {
  if (options.model.empty() && options.source.empty()) {
    throw Failure(kBadUsage, "template: give --model FILE or --template FILE");
  }
  std::string source = options.source.empty() ? "" : ReadFile(options.source);
  if (!options.model.empty()) FillFromModel(options, source);
  const std::string messages = ReadFile(options.messages);
  const std::string tools = options.tools.empty() ? "" : ReadFile(options.tools);
  corm_template_options api;
  corm_template_options_init(&api);
  api.source = source.c_str();
  api.messages_json = messages.c_str();
  api.tools_json = options.tools.empty() ? nullptr : tools.c_str();
  api.bos_text = options.bos.c_str();
  api.eos_text = options.eos.c_str();
  api.add_generation_prompt = options.no_generation_prompt ? 0 : 1;
  char* text = nullptr;
  Check(corm_template_render(&api, &text));
  const TextPtr owner(text);
  WriteStdout(text, std::string(text).size());
  return kDone;
}

}  // namespace

void AddTemplate(CLI::App& app, Chosen& chosen) {
  CLI::App* command = app.add_subcommand("template", "Renders a chat template");
  const auto options = std::make_shared<TemplateOptions>();
  AddModelOption(*command, options->model, /*required=*/false);
  command->add_option("--messages", options->messages, "Messages as in the OpenAI API; - is stdin")
      ->type_name("FILE.json")
      ->required();
  command->add_option("--tools", options->tools, "Tools as in the OpenAI API")
      ->type_name("FILE.json");
  command
      ->add_option("--template", options->source,
                   "A Jinja template instead of the model's own; needs no model then")
      ->type_name("FILE.jinja");
  const auto add_text = [command](const std::string& name, std::string& text, bool& given,
                                  const std::string& help) {
    command
        ->add_option_function<std::string>(
            name,
            [&text, &given](const std::string& value) {
              text = value;
              given = true;
            },
            help)
        ->type_name("TEXT");
  };
  add_text("--bos", options->bos, options->bos_given, "Text of BOS; default: the model's, or none");
  add_text("--eos", options->eos, options->eos_given, "Text of EOS; default: the model's, or none");
  command->add_flag("--no-generation-prompt", options->no_generation_prompt,
                    "Do not open the assistant's turn at the end");
  AddOutputOptions(*command, chosen.output);
  command->callback([options, &chosen] { chosen.run = [options] { return Template(*options); }; });
}

}  // namespace cli
