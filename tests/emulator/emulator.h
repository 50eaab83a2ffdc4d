// Runs GPU kernels on the host, thread by thread, and says what is wrong with them.
//
// The kernels are those that CUDA and HIP compile (shaders/gpu), through dialect.h. Each thread of
// a block is a fiber; fibers switch at collectives only, in an order that a schedule chooses: what
// depends on the order shows up as a wrong result. Blocks run one after another. Found and said,
// with block, thread and line:
//
//   * a barrier that not every thread of the block reaches, or reaches at the same place
//   * a collective of a wave that a lane does not take part in, or that reads a lane that is not
//   * shared memory that is read before it is written, out of bounds, too large, or that two
//   threads
//     use between the same two barriers, one of them writing
//
// It says nothing about speed, registers, or the order in which a device's threads see each other's
// writes to global memory; blocks that race with each other show only as wrong results.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <source_location>
#include <string>

namespace cormorant::emulator {

constexpr uint32_t kThreadsMax = 1024;
constexpr size_t kSharedBytesMax = 32 * 1024;  // What the dialect promises to stay below.

/// What a Kernel's entry points to here (shaders/gpu/kernel.h).
struct Entry {
  void (*run)(const void* arguments);  // One thread's work.
  uint32_t wave;
  size_t argument_bytes = 0;
  const char* name = "";
};

struct Launch {
  const char* name = "";
  std::array<uint32_t, 3> grid = {1, 1, 1};
  uint32_t threads = 64;  // Of a block.
  Entry entry = {nullptr, 32};
  const void* arguments = nullptr;
};

/// The order in which fibers, and blocks, take turns.
struct Schedule {
  enum class Order : uint8_t { kInOrder, kReversed, kRandom };
  Order order = Order::kInOrder;
  uint32_t seed = 0;  // Of kRandom.
};

/// Runs all blocks. Empty, or the first thing found wrong, at which the launch ended.
std::string Run(const Launch& launch, const Schedule& schedule);

// What a running kernel calls, through dialect.h.

using Site = std::source_location;
enum class WaveOp : uint8_t { kShuffle, kShuffleXor, kBallot, kTogether };
enum class Use : uint8_t { kRead, kWrite, kAtomic };

uint32_t ThreadIndex();
uint32_t BlockIndex(uint32_t dimension);
uint32_t GridSize(uint32_t dimension);
uint32_t ThreadCount();
uint32_t Barriers();  // That the block has passed.
void Sync(Site site);
/// All lanes of the wave bring a value; each gets that of lane `operand`, or of its own xor that,
/// or the ballot.
uint64_t WaveCollective(WaveOp op, uint64_t value, uint32_t operand, Site site);
/// What a lane brings to Together.
struct WaveWork {
  void (*run)(WaveWork* const* lanes, uint32_t count, Site site);
};
/// All lanes of the wave bring work of one kind; the last to come does it for all.
void Together(WaveWork* own, Site site);
/// The block's shared array of this key, of NaN until written.
std::byte* SharedArray(const void* key, size_t bytes, Site site);
/// Tells that this thread uses bytes of shared memory.
void UseShared(const std::byte* at, size_t bytes, Use use, Site site);
/// That all lanes of this thread's wave read them.
void ReadSharedByWave(const std::byte* at, size_t bytes, Site site);
[[noreturn]] void Fail(std::string what, Site site);

}  // namespace cormorant::emulator
