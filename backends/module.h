// How a backend in a shared library of its own is found: libcormorant_<name>.so exports one
// function that hands over a BackendModule.
//
// A module is built with the runtime and shares its C++ types, so it must come from the same build;
// `build` says which, and a module of another is refused.
#pragma once
#include "backends/backend.h"
#include "platform/log.h"

namespace cormorant {

struct BackendModule {
  const char* build;  // ModuleBuild
  const BackendDef* def;
  /// Where the module's messages go: a module has a log of its own.
  void (*set_log)(LogSink sink, void* user, LogLevel level);
};

/// Version, compiler and the sizes that the interface depends on.
inline std::string ModuleBuild(absl::string_view version) {
  return absl::StrCat(version, " ", __VERSION__, " ", sizeof(Op), " ", sizeof(DeviceInfo), " ",
                      sizeof(Bindings), " ", sizeof(KvBinding), " ", sizeof(BackendDef));
}

using BackendModuleFunction = const BackendModule* (*)();
constexpr const char* kBackendModuleSymbol = "cormorant_backend_module";

/// A module that is there and cannot be used.
struct ModuleProblem {
  std::string path, what;
};
std::span<const ModuleProblem> ModuleProblems();

}  // namespace cormorant
