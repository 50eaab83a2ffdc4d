// A read-only file in memory, mapped and not copied.
//
// The bytes are those of the file on disk: whoever shortens the file while it is open makes reads
// past its new end fault. Replace a model file by renaming another over it, never in place.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "absl/status/statusor.h"

namespace cormorant {

class MappedFile {
 public:
  /// NOT_FOUND, PERMISSION_DENIED or INVALID_ARGUMENT (a folder, a device, an empty file), naming
  /// the path. Never waits: a pipe is refused, not opened.
  static absl::StatusOr<std::unique_ptr<MappedFile>> Open(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  /// Starts at a page boundary.
  std::span<const std::byte> bytes() const { return bytes_; }

  /// Tells the system that the whole pages inside this range are not wanted soon. They stop
  /// counting as memory of the process; the bytes stay valid and come back from the disk when read.
  /// What of the range lies past the end of the file is ignored.
  void DropPages(uint64_t offset, uint64_t bytes) const;

 private:
  explicit MappedFile(std::span<const std::byte> bytes) : bytes_(bytes) {}
  std::span<const std::byte> bytes_;
};

}  // namespace cormorant
