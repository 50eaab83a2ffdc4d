// `cormorant tokenize` and `cormorant detokenize`: text to ids and back.
//
// Only the vocabulary of the model file is read. A file's bytes are taken exactly as they are: no
// newline is added or taken away.
#include <cstdio>

#include "tools/cormorant/commands.h"
#include "tools/cormorant/output.h"

namespace cli {
namespace {

struct TokenizeOptions {
  std::string model;
  std::string text;
  std::string file;
  bool no_bos = false;
  bool parse_special = false;
};

struct DetokenizeOptions {
  std::string model;
  std::vector<std::string> ids;
  std::string file;
  bool special = false;
};

int Tokenize(const TokenizeOptions& options) {
  const std::string text = options.file.empty() ? options.text : ReadFile(options.file);
  const TokenizerPtr tokenizer = OpenTokenizer(options.model);
  uint32_t flags = 0;
  if (!options.no_bos) flags |= CORM_ENCODE_BOS;
  if (options.parse_special) flags |= CORM_ENCODE_PARSE_SPECIAL;
  PrintJson(Json(Encode(tokenizer.get(), text, flags)), -1);
  return kDone;
}

int Detokenize(const DetokenizeOptions& options, const OutputOptions& output) {
  std::string list = options.file.empty() ? "" : ReadFile(options.file);
  for (const std::string& part : options.ids) list += part + " ";
  const std::vector<uint32_t> ids = ParseIds(list);
  const TokenizerPtr tokenizer = OpenTokenizer(options.model);
  char* text = nullptr;
  size_t bytes = 0;
  Check(corm_tokenizer_decode(tokenizer.get(), ids.data(), ids.size(),
                              options.special ? CORM_DECODE_SPECIAL : 0, &text, &bytes));
  const TextPtr owner(text);
  if (output.json) {
    PrintJson(Json{{"text", std::string(text, bytes)}});
  } else {
    WriteStdout(text, bytes);
  }
  return kDone;
}

void AddDetokenize(CLI::App& app, Chosen& chosen) {
  CLI::App* command = app.add_subcommand("detokenize", "Turns token ids into text");
  const auto options = std::make_shared<DetokenizeOptions>();
  AddModelOption(*command, options->model);
  CLI::Option* ids =
      command->add_option("--ids", options->ids, "Ids as 1,2,3 or 1 2 3 or [1, 2, 3]");
  CLI::Option* file =
      command->add_option("-f,--file", options->file, "A file with ids; - is stdin");
  AddChoice(*command, ids->type_name("ID"), file->type_name("FILE"));
  command->add_flag("--special", options->special, "Show special tokens as their text");
  AddOutputOptions(*command, chosen.output);
  command->callback([options, &chosen] {
    chosen.run = [options, &chosen] { return Detokenize(*options, chosen.output); };
  });
}

}  // namespace

void AddTokenize(CLI::App& app, Chosen& chosen) {
  CLI::App* command = app.add_subcommand("tokenize", "Turns text into token ids, one JSON list");
  const auto options = std::make_shared<TokenizeOptions>();
  AddModelOption(*command, options->model);
  CLI::Option* text = command->add_option("-p,--prompt", options->text, "The text");
  CLI::Option* file =
      command->add_option("-f,--file", options->file, "A file with the text; - is stdin");
  AddChoice(*command, text, file->type_name("FILE"));
  command->add_flag("--no-bos", options->no_bos,
                    "Leave out BOS and EOS even where the vocabulary asks for them");
  command->add_flag("--parse-special", options->parse_special,
                    "Text of a special token becomes that token");
  AddOutputOptions(*command, chosen.output);
  command->callback([options, &chosen] { chosen.run = [options] { return Tokenize(*options); }; });
  AddDetokenize(app, chosen);
}

}  // namespace cli
