// `cormorant devices`: every backend compiled in, its devices, and why one cannot be used.
#include "tools/cormorant/commands.h"
#include "tools/cormorant/output.h"

namespace cli {
namespace {

int Devices(const OutputOptions& output) {
  char* text = nullptr;
  Check(corm_devices(&text));
  const TextPtr owner(text);
  const Json devices = Json::parse(text);
  if (output.json) {
    PrintJson(devices);
    return kDone;
  }
  std::vector<std::vector<std::string>> table = {
      {"backend", "index", "usable", "memory", "free", "name"}};
  for (const Json& device : devices) {
    const bool usable = device.value("usable", false);
    const std::string reason = device.value("reason", "");
    const std::string details = device.value("details", "");
    table.push_back({device.value("backend", ""), std::to_string(device.value("index", 0)),
                     usable ? "yes" : "no", FormatBytes(device.value("memory_total", uint64_t{0})),
                     FormatBytes(device.value("memory_free", uint64_t{0})),
                     device.value("name", "") + (details.empty() ? "" : " (" + details + ")") +
                         (reason.empty() ? "" : ": " + reason)});
  }
  PrintTable(table);
  return kDone;
}

}  // namespace

void AddDevices(CLI::App& app, Chosen& chosen) {
  CLI::App* command = app.add_subcommand("devices", "Lists backends and devices");
  AddOutputOptions(*command, chosen.output);
  command->callback([&chosen] { chosen.run = [&chosen] { return Devices(chosen.output); }; });
}

}  // namespace cli
