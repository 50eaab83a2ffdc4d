// Blocks from mmap. See memory.h.
#include "platform/memory.h"

#include <sys/mman.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <limits>
#include <string>

#include "runtime/base/status.h"
#include "runtime/base/units.h"

namespace cormorant {
namespace {

constexpr uint64_t kHugePage = 2u << 20;

std::atomic<uint64_t> held_bytes{0};
std::atomic<uint64_t> fails_in{0};

bool TakePendingFailure() {
  uint64_t left = fails_in.load(std::memory_order_relaxed);
  if (left == 0) return false;
  fails_in.store(left - 1, std::memory_order_relaxed);
  return left == 1;
}

absl::Status Refused(uint64_t bytes, absl::string_view why) {
  return absl::ResourceExhaustedError(
      absl::StrCat("the system gives no block of ", bytes, " bytes (", why, "); ",
                   AlignedMemoryBytes(), " bytes are held; lower the memory cap or free memory"));
}

/// Maps `bytes` so that they begin at a multiple of the huge page size: maps one huge page more
/// and gives the ends back.
void* MapHuge(uint64_t bytes) {
  const uint64_t mapped = bytes + kHugePage;
  void* const start = mmap(nullptr, mapped, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (start == MAP_FAILED) return MAP_FAILED;
  char* const first = static_cast<char*>(start);
  char* const aligned = first + (RoundUp(reinterpret_cast<uintptr_t>(first), kHugePage) -
                                 reinterpret_cast<uintptr_t>(first));
  if (aligned != first) munmap(first, static_cast<size_t>(aligned - first));
  char* const end = aligned + bytes;
  if (end != first + mapped) munmap(end, static_cast<size_t>(first + mapped - end));
  madvise(aligned, bytes, MADV_HUGEPAGE);  // A wish: without it the block is only slower.
  return aligned;
}

}  // namespace

absl::StatusOr<AlignedMemory> AlignedMemory::Allocate(uint64_t bytes) {
  if (TakePendingFailure()) return Refused(bytes, "failure asked for by a test");
  if (bytes == 0) return AlignedMemory();
  if (bytes > std::numeric_limits<uint64_t>::max() / 4)
    return Refused(bytes, "no machine has that");
  const uint64_t mapped = RoundUp(bytes, kAlignment);
  void* const data = mapped >= kHugePage ? MapHuge(mapped)
                                         : mmap(nullptr, mapped, PROT_READ | PROT_WRITE,
                                                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) return Refused(bytes, std::strerror(errno));
  held_bytes.fetch_add(bytes, std::memory_order_relaxed);
  return AlignedMemory(static_cast<std::byte*>(data), bytes);
}

AlignedMemory::~AlignedMemory() {
  if (data_ == nullptr) return;
  munmap(data_, RoundUp(bytes_, kAlignment));
  held_bytes.fetch_sub(bytes_, std::memory_order_relaxed);
}

uint64_t AlignedMemoryBytes() {
  return held_bytes.load(std::memory_order_relaxed);
}

void FailAllocation(uint64_t nth) {
  fails_in.store(nth, std::memory_order_relaxed);
}

SystemMemory ReadSystemMemory() {
  SystemMemory memory;
  std::ifstream file("/proc/meminfo");
  std::string name, unit;
  for (uint64_t kibibytes; file >> name >> kibibytes;) {
    if (name == "MemTotal:") memory.total_bytes = kibibytes << 10;
    if (name == "MemAvailable:") memory.free_bytes = kibibytes << 10;
    std::getline(file, unit);
  }
  return memory;
}

}  // namespace cormorant
