// The commands of the executable, one file each.
//
// Each function adds its subcommand with its options to `app`. When the user picks it, what it does
// is left in `chosen`, which main() runs after parsing; it returns the exit code or throws a
// Failure.
#pragma once
#include <functional>

#include "CLI/CLI.hpp"
#include "tools/cormorant/options.h"

namespace cli {

struct Chosen {
  OutputOptions output;
  std::function<int()> run;
};

void AddRun(CLI::App& app, Chosen& chosen);
void AddChat(CLI::App& app, Chosen& chosen);
void AddBench(CLI::App& app, Chosen& chosen);
void AddEval(CLI::App& app, Chosen& chosen);
void AddTune(CLI::App& app, Chosen& chosen);
void AddLogits(CLI::App& app, Chosen& chosen);
void AddTokenize(CLI::App& app, Chosen& chosen);
void AddTemplate(CLI::App& app, Chosen& chosen);
void AddInspect(CLI::App& app, Chosen& chosen);
void AddDevices(CLI::App& app, Chosen& chosen);
void AddPolicies(CLI::App& app, Chosen& chosen);

}  // namespace cli
