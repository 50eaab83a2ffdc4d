// `cormorant devices`: every backend found, its devices, and why one cannot be used; with --verbose
// also what kernels were chosen by.
#include <cstdio>

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
    table.push_back({device.value("backend", ""), std::to_string(device.value("index", 0)),
                     !usable                               ? "no"
                     : device.value("by_name_only", false) ? "by name"
                                                           : "yes",
                     FormatBytes(device.value("memory_total", uint64_t{0})),
                     FormatBytes(device.value("memory_free", uint64_t{0})),
                     device.value("name", "") + (reason.empty() ? "" : ": " + reason)});
  }
  PrintTable(table);
  if (!output.verbose) return kDone;
  // What kernels were chosen by, and which.
  for (const Json& device : devices) {
    const std::string details = device.value("details", "");
    if (details.empty()) continue;
    std::printf("\n%s %d: %s\n", device.value("backend", "").c_str(), device.value("index", 0),
                details.c_str());
  }
  return kDone;
}

}  // namespace

void AddDevices(CLI::App& app, Chosen& chosen) {
  CLI::App* command = app.add_subcommand("devices", "Lists backends and devices");
  AddOutputOptions(*command, chosen.output);
  command->callback([&chosen] { chosen.run = [&chosen] { return Devices(chosen.output); }; });
}

}  // namespace cli
