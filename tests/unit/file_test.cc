// MappedFile: bytes as on disk, refusals that name the path, and pages that really leave memory.
//
// Method: files in a fresh temporary folder. Whether dropped pages are gone is asked from the
// kernel: /proc/self/smaps tells the resident bytes of each mapping.
#include "platform/file.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <optional>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace cormorant {
namespace {

using ::testing::HasSubstr;

class MappedFileTest : public ::testing::Test {
 protected:
  MappedFileTest() {
    std::string pattern = ::testing::TempDir() + "/mapped_file_XXXXXX";
    folder_ = mkdtemp(pattern.data());
  }
  ~MappedFileTest() override { std::filesystem::remove_all(folder_); }

  std::string Write(const std::string& name, const std::string& text) {
    std::ofstream(folder_ + "/" + name, std::ios::binary) << text;
    return folder_ + "/" + name;
  }

  std::string folder_;
};

void ExpectRefused(const std::string& path, absl::StatusCode code, const std::string& part) {
  const auto file = MappedFile::Open(path);
  ASSERT_FALSE(file.ok());
  EXPECT_EQ(file.status().code(), code) << file.status();
  EXPECT_THAT(std::string(file.status().message()), HasSubstr(path));
  EXPECT_THAT(std::string(file.status().message()), HasSubstr(part));
}

/// Resident bytes of the mapping that begins at `start`, or nothing where the system does not tell.
std::optional<uint64_t> ResidentBytes(const void* start) {
  std::ifstream maps("/proc/self/smaps");
  bool is_ours = false;
  for (std::string line; std::getline(maps, line);) {
    uint64_t first = 0, last = 0, kilobytes = 0;
    if (std::sscanf(line.c_str(), "%" SCNx64 "-%" SCNx64, &first, &last) == 2) {
      is_ours = first == reinterpret_cast<uintptr_t>(start);
    } else if (is_ours && std::sscanf(line.c_str(), "Rss: %" SCNu64, &kilobytes) == 1) {
      return kilobytes * 1024;
    }
  }
  return std::nullopt;
}

TEST_F(MappedFileTest, HoldsTheBytesOfTheFile) {
  const std::string text("one\0two\xff", 8);
  const std::string path = Write("small", text);
  const auto file = MappedFile::Open(path);
  ASSERT_TRUE(file.ok()) << file.status();
  ASSERT_EQ((*file)->bytes().size(), text.size());
  EXPECT_EQ(std::string(reinterpret_cast<const char*>((*file)->bytes().data()), text.size()), text);
  std::filesystem::remove(path);  // The mapping outlives the name.
  EXPECT_EQ((*file)->bytes()[0], std::byte{'o'});
}

TEST_F(MappedFileTest, WhatIsNoReadableFileIsRefused) {
  ExpectRefused(folder_ + "/absent", absl::StatusCode::kNotFound, "does not exist");
  ExpectRefused(Write("file", "x") + "/below", absl::StatusCode::kNotFound, "does not exist");
  ExpectRefused("", absl::StatusCode::kNotFound, "does not exist");
  ExpectRefused(folder_, absl::StatusCode::kInvalidArgument, "folder");
  ExpectRefused(Write("empty", ""), absl::StatusCode::kInvalidArgument, "empty");
  const std::string pipe = folder_ + "/pipe";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  ExpectRefused(pipe, absl::StatusCode::kInvalidArgument, "not a regular file");  // And no hang.
}

TEST_F(MappedFileTest, FileWithoutPermissionIsRefused) {
  if (geteuid() == 0) GTEST_SKIP() << "root may read everything";
  const std::string path = Write("locked", "x");
  ASSERT_EQ(chmod(path.c_str(), 0), 0);
  ExpectRefused(path, absl::StatusCode::kPermissionDenied, "permissions");
}

TEST_F(MappedFileTest, DroppedPagesLeaveMemoryAndComeBack) {
  const uint64_t page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  const uint64_t size = 64 * page + 100;
  std::string text(size, '\0');
  for (size_t i = 0; i < size; ++i) text[i] = static_cast<char>(i * 31 + i / page);
  const auto file = MappedFile::Open(Write("pages", text));
  ASSERT_TRUE(file.ok()) << file.status();
  const std::byte* data = (*file)->bytes().data();
  const auto is_same = [&] { return std::memcmp(data, text.data(), size) == 0; };
  EXPECT_TRUE(is_same());
  const std::optional<uint64_t> all = ResidentBytes(data);
  if (all.value_or(0) == 0) GTEST_SKIP() << "/proc/self/smaps does not tell";
  ASSERT_EQ(*all, 65 * page);

  const auto dropped = [&](uint64_t offset, uint64_t bytes) {
    EXPECT_TRUE(is_same());  // Touches every page.
    (*file)->DropPages(offset, bytes);
    return (*all - *ResidentBytes(data)) / page;
  };
  EXPECT_EQ(dropped(0, 4 * page), 4u);
  EXPECT_EQ(dropped(1, 4 * page), 3u);            // The first and the last are not whole.
  EXPECT_EQ(dropped(page + 1, page - 1), 0u);     // No whole page inside.
  EXPECT_EQ(dropped(63 * page, page + 100), 2u);  // To the end of the file.
  EXPECT_EQ(dropped(63 * page, page + 99), 1u);   // One byte less.
  EXPECT_EQ(dropped(0, 0), 0u);
  EXPECT_EQ(dropped(size, 10), 0u);
  EXPECT_EQ(dropped(std::numeric_limits<uint64_t>::max(), 10), 0u);
  EXPECT_EQ(dropped(60 * page, std::numeric_limits<uint64_t>::max()), 5u);
  EXPECT_EQ(dropped(0, std::numeric_limits<uint64_t>::max()), 65u);
  EXPECT_TRUE(is_same());
}

}  // namespace
}  // namespace cormorant
