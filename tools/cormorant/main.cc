// The command line of Cormorant: parses arguments, runs one command, turns failures into messages
// and exit codes.
//
// It stands on cormorant.h alone, as any other application does. Exit codes: 0 done, 1 failed, 2
// bad usage, 3 the cap cannot hold the model, 130 interrupted.
#include <algorithm>
#include <cstdio>
#include <exception>

#include "tools/cormorant/commands.h"
#include "tools/cormorant/interrupt.h"
#include "tools/cormorant/output.h"

namespace cli {
namespace {

constexpr char kFooter[] =
    "\nExit codes: 0 done; 1 failed; 2 bad usage; 3 the cap cannot hold this model; "
    "130 interrupted.\nOptions of a command: cormorant COMMAND --help";

/// Number of single-character changes that make `a` into `b`.
size_t EditDistance(const std::string& a, const std::string& b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t change = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, change});
    }
  }
  return row[b.size()];
}

/// " Did you mean 'x'?" for the name closest to `word`, or nothing when none is close.
std::string Suggestion(const std::string& word, const std::vector<std::string>& names) {
  std::string best;
  size_t best_distance = 1 + word.size() / 3;
  for (const std::string& name : names) {
    const size_t distance = EditDistance(word, name);
    if (distance > best_distance || (distance == best_distance && !best.empty())) continue;
    best = name;
    best_distance = distance;
  }
  return best.empty() ? "" : " Did you mean '" + best + "'?";
}

std::vector<std::string> CommandNames(const CLI::App& app) {
  std::vector<std::string> names = {"help"};
  for (const CLI::App* command : app.get_subcommands({})) names.push_back(command->get_name());
  return names;
}

std::vector<std::string> OptionNames(const CLI::App& command) {
  std::vector<std::string> names;
  for (const CLI::Option* option : command.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  return names;
}

/// Prints what is wrong with the arguments and how to find out what is right.
int BadUsage(const CLI::App& app, const CLI::ParseError& error,
             const std::vector<std::string>& args) {
  const std::vector<CLI::App*> chosen = app.get_subcommands();
  const std::string command = chosen.empty() ? "" : chosen[0]->get_name();
  std::string hint;
  const bool is_extra = error.get_exit_code() == static_cast<int>(CLI::ExitCodes::ExtrasError);
  if (is_extra && !chosen.empty()) {
    const std::vector<std::string> known = OptionNames(*chosen[0]);
    for (const std::string& arg : args) {
      const std::string name = arg.substr(0, arg.find('='));
      if (name.rfind("--", 0) != 0) continue;
      if (std::find(known.begin(), known.end(), name) == known.end())
        hint = Suggestion(name, known);
    }
  }
  std::fprintf(stderr, "cormorant%s%s: %s.%s\nSee: cormorant %s%s--help\n",
               command.empty() ? "" : " ", command.c_str(), error.what(), hint.c_str(),
               command.c_str(), command.empty() ? "" : " ");
  return kBadUsage;
}

/// `cormorant help` and `cormorant help COMMAND`.
int Help(CLI::App& app, const std::vector<std::string>& args) {
  if (args.size() < 2) {
    std::fputs(app.help().c_str(), stdout);
    return kDone;
  }
  for (CLI::App* command : app.get_subcommands({})) {
    if (command->get_name() != args[1]) continue;
    std::fputs(command->help("cormorant").c_str(), stdout);
    return kDone;
  }
  std::fprintf(stderr, "cormorant help: there is no command '%s'.%s\n", args[1].c_str(),
               Suggestion(args[1], CommandNames(app)).c_str());
  return kBadUsage;
}

int RunChosen(const Chosen& chosen) {
  try {
    InstallLog(chosen.output);
    const int code = chosen.run();
    if (std::fflush(stdout) != 0) throw Failure(kFailed, "cannot write to stdout");
    return code;
  } catch (const Failure& failure) {
    std::fflush(stdout);
    std::fprintf(stderr, "cormorant: %s\n", failure.what());
    return failure.code();
  } catch (const CLI::Error& error) {
    std::fprintf(stderr, "cormorant: %s\n", error.what());
    return kBadUsage;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "cormorant: %s\n", error.what());
    return kFailed;
  }
}

void AddCommands(CLI::App& app, Chosen& chosen) {
  AddRun(app, chosen);
  AddChat(app, chosen);
  AddBench(app, chosen);
  AddEval(app, chosen);
  AddTune(app, chosen);
  AddLogits(app, chosen);
  AddTokenize(app, chosen);
  AddTemplate(app, chosen);
  AddInspect(app, chosen);
  AddDevices(app, chosen);
  AddPolicies(app, chosen);
}

int Main(int argc, char** argv) {
  InstallInterruptHandler();
  CLI::App app("Cormorant: language models whose conversations stay inside a byte cap",
               "cormorant");
  app.footer(kFooter);
  app.set_version_flag("--version", std::string("cormorant ") + corm_version());
  app.require_subcommand(1);
  Chosen chosen;
  AddCommands(app, chosen);
  const std::vector<std::string> args(argv + 1, argv + argc);
  if (!args.empty() && args[0] == "help") return Help(app, args);
  if (!args.empty() && args[0].rfind('-', 0) != 0) {
    const std::vector<std::string> names = CommandNames(app);
    if (std::find(names.begin(), names.end(), args[0]) == names.end()) {
      std::fprintf(stderr, "cormorant: there is no command '%s'.%s\nSee: cormorant --help\n",
                   args[0].c_str(), Suggestion(args[0], names).c_str());
      return kBadUsage;
    }
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& help) {
    return app.exit(help);
  } catch (const CLI::ParseError& error) {
    return BadUsage(app, error, args);
  }
  return RunChosen(chosen);
}

}  // namespace
}  // namespace cli

int main(int argc, char** argv) {
  return cli::Main(argc, argv);
}
