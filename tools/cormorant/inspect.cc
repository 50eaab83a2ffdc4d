// `cormorant inspect`: what is in a model file, and what would run on this machine at this cap.
//
// Weights are not loaded. A file that cannot be computed is still described, with the reasons.
#include "tools/cormorant/commands.h"
#include "tools/cormorant/output.h"

namespace cli {
namespace {

int Inspect(const EngineOptions& options, const OutputOptions& output) {
  const corm_engine_options api = EngineOptionsFor(options);
  char* text = nullptr;
  Check(corm_inspect(&api, &text));
  const TextPtr owner(text);
  const Json description = Json::parse(text);
  if (output.json) {
    PrintJson(description);
  } else {
    PrintTree(description);
  }
  return kDone;
}

}  // namespace

void AddInspect(CLI::App& app, Chosen& chosen) {
  CLI::App* command = app.add_subcommand("inspect", "Describes a model file and how it would run");
  const auto options = std::make_shared<EngineOptions>();
  AddEngineOptions(*command, *options);
  AddOutputOptions(*command, chosen.output);
  command->callback([options, &chosen] {
    chosen.run = [options, &chosen] { return Inspect(*options, chosen.output); };
  });
}

}  // namespace cli
