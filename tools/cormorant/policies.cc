// `cormorant policies`: the eviction policies compiled in, with their options.
#include "tools/cormorant/commands.h"
#include "tools/cormorant/output.h"

namespace cli {
namespace {

int Policies(const OutputOptions& output) {
  char* text = nullptr;
  Check(corm_policies(&text));
  const TextPtr owner(text);
  const Json policies = Json::parse(text);
  if (output.json) {
    PrintJson(policies);
    return kDone;
  }
  std::vector<std::vector<std::string>> table = {{"policy", "option", "what it does"}};
  for (const Json& policy : policies) {
    table.push_back({policy.at("name"), "", policy.at("summary")});
    for (const Json& option : policy.at("options")) {
      table.push_back({"", option.at("name"), option.at("meaning")});
    }
  }
  PrintTable(table);
  return kDone;
}

}  // namespace

void AddPolicies(CLI::App& app, Chosen& chosen) {
  CLI::App* command = app.add_subcommand("policies", "Lists eviction policies");
  AddOutputOptions(*command, chosen.output);
  command->callback([&chosen] { chosen.run = [&chosen] { return Policies(chosen.output); }; });
}

}  // namespace cli
