// dlopen and dladdr. See library.h.
#include "platform/library.h"

#include <dlfcn.h>

#include <filesystem>

#include "absl/strings/str_cat.h"

namespace cormorant {

absl::StatusOr<Library> Library::Open(const std::string& path) {
  void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    const char* what = dlerror();
    return absl::NotFoundError(what != nullptr ? what : path);
  }
  return Library(handle);
}

void* Library::Symbol(const char* name) const {
  return dlsym(handle_, name);
}

std::string FolderOfCode(const void* address) {
  Dl_info info;
  if (dladdr(address, &info) == 0 || info.dli_fname == nullptr) return "";
  std::error_code error;
  const std::filesystem::path path = std::filesystem::canonical(info.dli_fname, error);
  return error ? "" : path.parent_path().string();
}

}  // namespace cormorant
