// Every backend: those linked in, and the modules found beside the library at the first question.
//
// Folders: CORMORANT_MODULE_DIR if it is set; else that of the code itself, and lib/ beside it (for
// programs that link everything statically).
#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "absl/strings/match.h"
#include "backends/module.h"
#include "platform/library.h"

namespace cormorant {

/// Generated from folder names.
std::span<const BackendDef* const> AllBuiltInBackendDefs();

namespace {

struct Registry {
  std::vector<const BackendDef*> defs;
  std::vector<ModuleProblem> problems;
};

std::vector<std::string> ModuleFolders() {
  if (const char* folder = std::getenv("CORMORANT_MODULE_DIR"); folder != nullptr) {
    return {folder};
  }
  const std::string own = FolderOfCode(reinterpret_cast<const void*>(&AllBackendDefs));
  return {own, own + "/../lib"};
}

/// Adds the backend of a module, or what is wrong with it.
void AddModule(const std::string& path, Registry* registry) {
  const auto fail = [&](absl::string_view what) {
    registry->problems.push_back({path, std::string(what)});
  };
  const absl::StatusOr<Library> library = Library::Open(path);
  if (!library.ok()) return fail(library.status().message());
  void* const symbol = library->Symbol(kBackendModuleSymbol);
  if (symbol == nullptr) return fail("it is not a backend module");
  const BackendModule* module = reinterpret_cast<BackendModuleFunction>(symbol)();
  if (module->build != ModuleBuild(CORMORANT_VERSION)) {
    return fail(absl::StrCat("it was built as '", module->build, "', this library as '",
                             ModuleBuild(CORMORANT_VERSION), "'; install both from one build"));
  }
  module->set_log(
      [](void*, int level, const char* text) { Log(static_cast<LogLevel>(level), text); }, nullptr,
      LogLevel::kDebug);
  registry->defs.push_back(module->def);
}

Registry MakeRegistry() {
  Registry registry;
  const std::span<const BackendDef* const> built_in = AllBuiltInBackendDefs();
  registry.defs.assign(built_in.begin(), built_in.end());
  std::vector<std::string> seen;
  for (const std::string& folder : ModuleFolders()) {
    std::error_code error;  // A folder that is not there, or not readable to its end, has no more.
    std::vector<std::string> paths;
    std::filesystem::directory_iterator entry(folder, error);
    for (; !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
      const std::string name = entry->path().filename().string();
      const bool is_module = absl::StartsWith(name, "libcormorant_") && absl::EndsWith(name, ".so");
      if (!is_module || std::find(seen.begin(), seen.end(), name) != seen.end()) continue;
      seen.push_back(name);
      paths.push_back(entry->path().string());
    }
    std::sort(paths.begin(), paths.end());
    for (const std::string& path : paths) AddModule(path, &registry);
  }
  return registry;
}

const Registry& TheRegistry() {
  static const Registry* const registry = new Registry(MakeRegistry());
  return *registry;
}

}  // namespace

std::span<const BackendDef* const> AllBackendDefs() {
  return TheRegistry().defs;
}

std::span<const ModuleProblem> ModuleProblems() {
  return TheRegistry().problems;
}

}  // namespace cormorant
