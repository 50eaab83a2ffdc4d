// Shared libraries opened at run time, and where our own code lies.
#pragma once
#include <string>

#include "absl/status/statusor.h"

namespace cormorant {

/// An open library. It stays open until the process ends: its code may be in use anywhere.
class Library {
 public:
  static absl::StatusOr<Library> Open(const std::string& path);
  /// Null when the library does not export it.
  void* Symbol(const char* name) const;

 private:
  explicit Library(void* handle) : handle_(handle) {}
  void* handle_;
};

/// Folder of the library or program that holds the code at `address`; empty if unknown.
std::string FolderOfCode(const void* address);

}  // namespace cormorant
