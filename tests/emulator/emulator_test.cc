// The emulator finds what it says it finds, and leaves good kernels alone.
//
// Method: each diagnosis is shown on a kernel with that one fault, at waves of 8, 32 and 64 lanes
// and in several orders; next to it stands the same kernel without the fault, which must be clean
// and compute the same in every order.
#define GPU_NAMESPACE emulator_test
#define GPU_DIALECT "tests/emulator/dialect.h"
#include "tests/emulator/emulator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>
#include <vector>

#include "shaders/gpu/gpu.h"

namespace cormorant::emulator_test {
namespace {

using emulator::Schedule;
using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr Schedule kSchedules[] = {{Schedule::Order::kInOrder, 0},
                                   {Schedule::Order::kReversed, 0},
                                   {Schedule::Order::kRandom, 1},
                                   {Schedule::Order::kRandom, 2},
                                   {Schedule::Order::kRandom, 3}};

/// What a kernel over plain numbers gets.
struct Arguments {
  const uint32_t* in = nullptr;
  uint32_t* out = nullptr;
  bool is_broken = false;
};

using KernelFunction = void (*)(const Arguments&);

template <KernelFunction kFunction>
emulator::Launch LaunchOf(uint32_t wave, const Arguments& arguments, uint32_t blocks = 3,
                          uint32_t threads = 128) {
  emulator::Launch launch;
  launch.name = "kernel";
  launch.grid = {blocks, 1, 1};
  launch.threads = threads;
  launch.entry = {[](const void* a) { kFunction(*static_cast<const Arguments*>(a)); }, wave};
  launch.arguments = &arguments;
  return launch;
}

/// Runs at every wave and in every order: the broken kernel must be found out, the whole one must
/// be clean and leave `want`.
template <KernelFunction kFunction>
void Check(const testing::Matcher<std::string>& found, const std::vector<uint32_t>& in,
           const std::vector<uint32_t>& want) {
  for (const uint32_t wave : {8u, 32u, 64u}) {
    for (const Schedule& schedule : kSchedules) {
      std::vector<uint32_t> out(want.size(), 77);
      Arguments arguments = {in.data(), out.data(), false};
      EXPECT_THAT(emulator::Run(LaunchOf<kFunction>(wave, arguments), schedule), IsEmpty());
      EXPECT_EQ(out, want) << "wave " << wave;
      arguments.is_broken = true;
      EXPECT_THAT(emulator::Run(LaunchOf<kFunction>(wave, arguments), schedule), found)
          << "wave " << wave;
    }
  }
}

std::vector<uint32_t> Numbers(size_t count) {
  std::vector<uint32_t> numbers(count);
  std::iota(numbers.begin(), numbers.end(), 1u);
  return numbers;
}

/// Each thread hands its number to the one across the block.
void MissingBarrier(const Arguments& a) {
  GPU_SHARED(uint32_t, numbers, 128);
  const uint32_t thread = gpu::Thread(), at = gpu::Block() * 128;
  numbers[thread] = a.in[at + thread];
  if (!a.is_broken) gpu::Sync();
  a.out[at + thread] = numbers[127 - thread];
}

TEST(Emulator, FindsAMissingBarrier) {
  const std::vector<uint32_t> in = Numbers(384);
  std::vector<uint32_t> want;
  for (uint32_t i = 0; i < 384; ++i) want.push_back(in[i / 128 * 128 + 127 - i % 128]);
  // Who comes first finds the word empty; in other orders the other thread has just written it.
  Check<MissingBarrier>(
      AllOf(HasSubstr("kernel, block "), HasSubstr("thread "), HasSubstr("emulator_test.cc:"),
            testing::AnyOf(HasSubstr("race: reads"), HasSubstr("nobody wrote"))),
      in, want);
}

/// All threads write one word.
void WriteWrite(const Arguments& a) {
  GPU_SHARED(uint32_t, number, 1);
  if (gpu::Thread() == 0 || a.is_broken) number[0] = a.in[0];
  gpu::Sync();
  if (gpu::Thread() == 0) a.out[gpu::Block()] = number[0];
}

TEST(Emulator, FindsTwoWriters) {
  Check<WriteWrite>(HasSubstr("race: writes a shared word that thread"), {5}, {5, 5, 5});
}

/// A word is read, then written again without a barrier between.
void ReadWrite(const Arguments& a) {
  GPU_SHARED(uint32_t, number, 1);
  if (gpu::Thread() == 0) number[0] = a.in[0];
  gpu::Sync();
  const uint32_t seen = number[0];
  if (!a.is_broken) gpu::Sync();
  if (gpu::Thread() == 64) number[0] = seen + 1;
  gpu::Sync();
  if (gpu::Thread() == 0) a.out[gpu::Block()] = number[0];
}

TEST(Emulator, FindsAWriteAfterARead) {
  Check<ReadWrite>(HasSubstr("race: "), {5}, {6, 6, 6});
}

/// Atomic sums do not race with each other, but with plain reads.
void AtomicSum(const Arguments& a) {
  GPU_SHARED(uint32_t, sum, 1);
  if (gpu::Thread() == 0) sum[0] = 0u;
  gpu::Sync();
  gpu::AtomicAdd(sum, 0, a.in[gpu::Thread()]);
  if (!a.is_broken) gpu::Sync();
  if (gpu::Thread() == 5) a.out[gpu::Block()] = sum[0];
}

TEST(Emulator, KnowsAtomics) {
  Check<AtomicSum>(HasSubstr("race: "), Numbers(128), {8256, 8256, 8256});
}

/// Half of a block stays away from a barrier.
void HalfABarrier(const Arguments& a) {
  if (a.is_broken && gpu::Thread() >= 64) return;
  gpu::Sync();
  if (gpu::Thread() == 0) a.out[gpu::Block()] = 1;
}

TEST(Emulator, FindsABarrierThatNotAllReach) {
  Check<HalfABarrier>(AllOf(HasSubstr("nobody can go on"), HasSubstr("64 threads at a barrier"),
                            HasSubstr("64 threads ended")),
                      {}, {1, 1, 1});
}

/// Halves of a block are at different barriers.
void TwoBarriers(const Arguments& a) {
  if (a.is_broken && gpu::Thread() >= 64) {
    gpu::Sync();
  } else {
    gpu::Sync();
  }
  if (gpu::Thread() == 0) a.out[gpu::Block()] = 1;
}

TEST(Emulator, FindsDifferentBarriers) {
  Check<TwoBarriers>(HasSubstr("divergent barrier"), {}, {1, 1, 1});
}

/// Some lanes of a wave stay away from its collective.
void HalfAWave(const Arguments& a) {
  const bool is_away = a.is_broken && gpu::Thread() % 8 >= 4;
  if (is_away) gpu::Sync();
  const uint64_t lanes = gpu::Ballot(true);
  if (!is_away) gpu::Sync();
  if (gpu::Thread() == 0) a.out[gpu::Block()] = lanes != 0 ? 1 : 0;
}

TEST(Emulator, FindsACollectiveThatNotAllLanesReach) {
  Check<HalfAWave>(HasSubstr("nobody can go on"), {}, {1, 1, 1});
}

void EndedLane(const Arguments& a) {
  if (a.is_broken && gpu::Thread() == 3) return;
  const uint32_t sum = gpu::ShuffleXor(1u, 1) + 1;
  if (gpu::Thread() == 0) a.out[gpu::Block()] = sum;
}

TEST(Emulator, FindsALaneThatHasEnded) {
  Check<EndedLane>(testing::AnyOf(HasSubstr("has ended"), HasSubstr("nobody can go on")), {},
                   {2, 2, 2});
}

/// Lanes of a wave are at different collectives.
void TwoCollectives(const Arguments& a) {
  uint32_t value = 0;
  if (a.is_broken && gpu::Thread() % 2 == 1) {
    value = gpu::ShuffleXor(1u, 1);
  } else {
    value = gpu::ShuffleXor(1u, 1);
  }
  if (gpu::Thread() == 0) a.out[gpu::Block()] = value;
}

TEST(Emulator, FindsDifferentCollectives) {
  Check<TwoCollectives>(HasSubstr("divergent collective"), {}, {1, 1, 1});
}

void OutOfBounds(const Arguments& a) {
  GPU_SHARED(uint32_t, numbers, 128);
  numbers[gpu::Thread() + (a.is_broken ? 1 : 0)] = 1u;
  gpu::Sync();
  if (gpu::Thread() == 0) a.out[gpu::Block()] = numbers[127];
}

TEST(Emulator, FindsAnIndexPastTheEnd) {
  Check<OutOfBounds>(HasSubstr("past the end"), {}, {1, 1, 1});
}

/// Shared memory of one block is not there for the next.
void LeftOver(const Arguments& a) {
  GPU_SHARED(uint32_t, numbers, 128);
  if (!a.is_broken || gpu::Block() == 0) numbers[gpu::Thread()] = 4u;
  gpu::Sync();
  a.out[gpu::Block()] = numbers[0];
}

TEST(Emulator, FindsSharedMemoryThatNobodyWrote) {
  Check<LeftOver>(HasSubstr("nobody wrote"), {}, {4, 4, 4});
}

void TooMuch(const Arguments& a) {
  GPU_SHARED(float, most, 8 * 1024);
  most[gpu::Thread()] = 1.0f;
  if (a.is_broken) {
    GPU_SHARED(float, more, 1);
    more[0] = 1.0f;
  }
  if (gpu::Thread() == 0) a.out[gpu::Block()] = 1;
}

TEST(Emulator, FindsTooMuchSharedMemory) {
  Check<TooMuch>(HasSubstr("more than 32768 bytes"), {}, {1, 1, 1});
}

/// The sum of a block by a tree in shared memory and by the dialect's own collectives.
void Sums(const Arguments& a) {
  GPU_SHARED(uint32_t, sums, 128);
  const uint32_t thread = gpu::Thread();
  const uint32_t own = a.in[gpu::Block() * 128 + thread];
  sums[thread] = own;
  gpu::Sync();
  for (uint32_t n = 64; n > 0; n /= 2) {
    if (thread < n) sums[thread] += sums[thread + n];
    gpu::Sync();
  }
  const uint32_t lane = thread % gpu::kWave;
  const uint32_t across = gpu::Shuffle(own, gpu::kWave - 1 - lane);
  const bool is_right = across == own + gpu::kWave - 1 - 2 * lane &&
                        gpu::BlockSum(own) == sums[0] && gpu::BlockMax(own) == own + 127 - thread;
  a.out[gpu::Block() * 128 + thread] = is_right ? sums[0] : 0;
}

TEST(Emulator, RunsGoodKernelsInEveryOrder) {
  const std::vector<uint32_t> in = Numbers(384);
  for (const Schedule& schedule : kSchedules) {
    std::vector<uint32_t> out(384, 77);
    const Arguments arguments = {in.data(), out.data(), false};
    EXPECT_THAT(emulator::Run(LaunchOf<Sums>(gpu::kWave, arguments), schedule), IsEmpty());
    for (uint32_t i = 0; i < 384; ++i) {
      EXPECT_EQ(out[i], 128 * (i / 128 * 128) + 8256) << i;
    }
  }
}

/// A copy to shared memory is used before it ends.
void EarlyUse(const Arguments& a) {
  GPU_SHARED(gpu::Quad, quads, 32);
  const uint32_t thread = gpu::Thread();
  gpu::Transit transit;
  if (thread < 32) {
    gpu::StartCopy(reinterpret_cast<const gpu::Quad*>(a.in) + thread, quads, thread, &transit);
  }
  const gpu::Quad early = a.is_broken && thread == 64 ? quads[7] : gpu::Quad{};
  if (thread < 32) gpu::EndCopy(quads, thread, &transit);
  gpu::Sync();
  const gpu::Quad quad = quads[thread / 4];
  const uint32_t words[4] = {quad.x, quad.y, quad.z, quad.w};
  a.out[gpu::Block() * 128 + thread] = words[thread % 4] + early.x;
}

TEST(Emulator, FindsUseOfACopyOnItsWay) {
  const std::vector<uint32_t> in = Numbers(128);  // Of 512 bytes: aligned to 16.
  std::vector<uint32_t> want;
  for (uint32_t i = 0; i < 384; ++i) want.push_back(in[i % 128]);
  Check<EarlyUse>(testing::AnyOf(HasSubstr("race: "), HasSubstr("nobody wrote")), in, want);
}

/// What is copied changes before the copy ends.
void ChangedSource(const Arguments& a) {
  GPU_SHARED(gpu::Quad, quads, 1);
  alignas(16) uint32_t source[4] = {1, 2, 3, 4};
  gpu::Transit transit;
  if (gpu::Thread() == 0) {
    gpu::StartCopy(reinterpret_cast<const gpu::Quad*>(source), quads, 0, &transit);
    if (a.is_broken) source[2] = 5;
    gpu::EndCopy(quads, 0, &transit);
  }
  gpu::Sync();
  const gpu::Quad quad = quads[0];
  if (gpu::Thread() == 5) a.out[gpu::Block()] = quad.z;
}

TEST(Emulator, FindsAChangeOfWhatIsCopied) {
  Check<ChangedSource>(HasSubstr("changed on its way"), {}, {3, 3, 3});
}

TEST(Emulator, RefusesEmptyAndHugeBlocks) {
  const Arguments arguments;
  for (const uint32_t threads : {0u, 1025u}) {
    EXPECT_THAT(emulator::Run(LaunchOf<HalfABarrier>(32, arguments, 1, threads), {}),
                HasSubstr("threads"));
  }
}

}  // namespace
}  // namespace cormorant::emulator_test
