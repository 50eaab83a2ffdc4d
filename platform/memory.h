// Large aligned blocks of zeroed memory, counted, for buffers, weights and scratch.
//
// Each block is mapped from the system: pages that nobody touches cost nothing, and freed bytes go
// back at once. Blocks of 2 MiB and more ask for huge pages. Every byte asked for is counted, so a
// test can compare what a part claims to take with what it takes; and a test can make the n-th
// allocation fail, to walk every path that runs out of memory.
//
// Thread-safe but for FailAllocation, which is for tests with one thread allocating.
#pragma once
#include <cstddef>
#include <cstdint>
#include <utility>

#include "absl/status/statusor.h"

namespace cormorant {

class AlignedMemory {
 public:
  static constexpr uint64_t kAlignment = 4096;

  AlignedMemory() = default;
  AlignedMemory(AlignedMemory&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  AlignedMemory& operator=(AlignedMemory&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~AlignedMemory();

  /// Zeroed bytes that begin at a multiple of kAlignment, or RESOURCE_EXHAUSTED. Zero bytes are
  /// given without asking the system; data() is null then.
  static absl::StatusOr<AlignedMemory> Allocate(uint64_t bytes);

  std::byte* data() const { return data_; }
  uint64_t bytes() const { return bytes_; }

 private:
  AlignedMemory(std::byte* data, uint64_t bytes) : data_(data), bytes_(bytes) {}
  std::byte* data_ = nullptr;
  uint64_t bytes_ = 0;
};

/// Bytes that live blocks were asked for, in the whole process.
uint64_t AlignedMemoryBytes();

/// For tests: the nth Allocate from now on fails, once; 0 takes a pending failure back.
void FailAllocation(uint64_t nth);

/// Bytes of the machine's memory, and those that could be had without swapping. Zero if unknown.
struct SystemMemory {
  uint64_t total_bytes = 0;
  uint64_t free_bytes = 0;
};
SystemMemory ReadSystemMemory();

}  // namespace cormorant
