// Blocks, waves and their collectives. See emulator.h.
#include "tests/emulator/emulator.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <numeric>
#include <random>
#include <vector>

#include "absl/strings/str_cat.h"
#include "runtime/base/check.h"
#include "tests/emulator/fiber.h"
#include "tests/emulator/shared_memory.h"

namespace cormorant::emulator {
namespace {

constexpr size_t kStackBytes = 128 * 1024;

enum class State : uint8_t { kReady, kAtSync, kAtWave, kDone };

struct Thread {
  Fiber fiber;
  State state = State::kReady;
  Site site;  // Where it waits.
  WaveOp op = WaveOp::kShuffle;
  uint64_t value = 0;  // What it brings to a collective, then what it gets.
  uint32_t operand = 0;
};

/// The block that runs, and the stacks of its threads, which the next block has again.
struct Machine {
  Machine() : threads(kThreadsMax), order(kThreadsMax) {
    void* const stacks = mmap(nullptr, kThreadsMax * kStackBytes, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CORM_CHECK(stacks != MAP_FAILED);
    for (size_t t = 0; t < kThreadsMax; ++t) {
      threads[t].fiber.stack = static_cast<std::byte*>(stacks) + t * kStackBytes;
      threads[t].fiber.stack_bytes = kStackBytes;
    }
  }

  const Launch* launch = nullptr;
  std::array<uint32_t, 3> block = {0, 0, 0};
  std::vector<Thread> threads;
  std::vector<uint32_t> order;
  SharedMemory shared;
  Fiber main;
  uint32_t current = 0;
  uint32_t at_sync = 0, done = 0;
  std::string error;
};

Machine& TheMachine() {
  thread_local const auto machine = std::make_unique<Machine>();
  return *machine;
}

std::string ToString(Site site) {
  const char* const slash = std::strrchr(site.file_name(), '/');
  return absl::StrCat(slash == nullptr ? site.file_name() : slash + 1, ":", site.line());
}

bool IsSame(Site a, Site b) {
  if (a.line() != b.line()) return false;
  return a.file_name() == b.file_name() || std::strcmp(a.file_name(), b.file_name()) == 0;
}

std::string Where(const Machine& m, uint32_t thread) {
  return absl::StrCat(m.launch->name, ", block ", m.block[0], ",", m.block[1], ",", m.block[2],
                      ", thread ", thread);
}

/// Back to the scheduler until it is this thread's turn again.
void Yield(Machine& m) {
  Switch(m.threads[m.current].fiber, m.main);
}

void ThreadMain() {
  Machine& m = TheMachine();
  Arrive(m.main);
  m.launch->entry.run(m.launch->arguments);
  m.threads[m.current].state = State::kDone;
  ++m.done;
  Switch(m.threads[m.current].fiber, m.main, /*ends=*/true);
}

/// Lanes of a wave: threads [first, last).
struct Wave {
  uint32_t first, last;
};
Wave WaveOf(const Machine& m, uint32_t thread) {
  const uint32_t first = thread / m.launch->entry.wave * m.launch->entry.wave;
  return {first, std::min(first + m.launch->entry.wave, m.launch->threads)};
}

/// All lanes have brought a value: sets what each gets.
void Finish(Machine& m, Wave wave, Site site) {
  if (m.threads[wave.first].op == WaveOp::kTogether) {
    std::array<WaveWork*, 64> lanes;
    for (uint32_t t = wave.first; t < wave.last; ++t) {
      lanes[t - wave.first] = reinterpret_cast<WaveWork*>(m.threads[t].value);
    }
    return lanes[0]->run(lanes.data(), wave.last - wave.first, site);
  }
  std::array<uint64_t, 64> brought;
  uint64_t ballot = 0;
  for (uint32_t t = wave.first; t < wave.last; ++t) {
    brought[t - wave.first] = m.threads[t].value;
    if (m.threads[t].value != 0) ballot |= uint64_t{1} << (t - wave.first);
  }
  for (uint32_t t = wave.first; t < wave.last; ++t) {
    Thread& thread = m.threads[t];
    if (thread.op == WaveOp::kBallot) {
      thread.value = ballot;
      continue;
    }
    const uint32_t lane =
        thread.op == WaveOp::kShuffle ? thread.operand : (t - wave.first) ^ thread.operand;
    if (lane >= wave.last - wave.first) {
      Fail(absl::StrCat("lane ", t - wave.first, " reads lane ", lane, " of a wave that has ",
                        wave.last - wave.first),
           site);
    }
    thread.value = brought[lane];
  }
}

/// Nobody can go on: says who waits for whom.
std::string Deadlock(const Machine& m) {
  std::string what;
  for (const State state : {State::kAtSync, State::kAtWave, State::kDone}) {
    uint32_t count = 0, first = 0;
    for (uint32_t t = m.launch->threads; t-- > 0;) {
      if (m.threads[t].state == state) ++count, first = t;
    }
    if (count == 0) continue;
    const char* const does = state == State::kAtSync   ? "at a barrier"
                             : state == State::kAtWave ? "at a collective of their wave"
                                                       : "ended";
    absl::StrAppend(&what, what.empty() ? "" : "; ", count, " threads ", does, ", the first ",
                    first);
    if (state != State::kDone) absl::StrAppend(&what, " at ", ToString(m.threads[first].site));
  }
  return absl::StrCat("nobody can go on: ", what);
}

/// Every thread is at a barrier: frees them, or says that they are not at the same one.
void ReleaseSync(Machine& m) {
  const Site site = m.threads[0].site;
  for (uint32_t t = 0; t < m.launch->threads; ++t) {
    Thread& thread = m.threads[t];
    if (!IsSame(thread.site, site)) {
      m.error = absl::StrCat(Where(m, t), ": divergent barrier: thread 0 is at ", ToString(site),
                             ", this one at ", ToString(thread.site));
      return;
    }
    thread.state = State::kReady;
  }
  m.at_sync = 0;
  m.shared.NextEpoch();
}

void RunBlock(Machine& m, const Schedule& schedule, std::mt19937& random) {
  const uint32_t count = m.launch->threads;
  m.shared.Clear();
  m.at_sync = m.done = 0;
  for (uint32_t t = 0; t < count; ++t) {
    m.threads[t].state = State::kReady;
    Prepare(m.threads[t].fiber, ThreadMain);
  }
  const auto begin = m.order.begin(), end = begin + count;
  std::iota(begin, end, 0u);
  if (schedule.order == Schedule::Order::kReversed) std::reverse(begin, end);
  while (m.done < count && m.error.empty()) {
    if (schedule.order == Schedule::Order::kRandom) std::shuffle(begin, end, random);
    bool went_on = false;
    for (auto t = begin; t != end && m.error.empty(); ++t) {
      if (m.threads[*t].state != State::kReady) continue;
      went_on = true;
      m.current = *t;
      Switch(m.main, m.threads[*t].fiber);
    }
    if (!m.error.empty()) return;
    if (m.at_sync == count) {
      ReleaseSync(m);
    } else if (!went_on) {
      m.error = absl::StrCat(m.launch->name, ", block ", m.block[0], ",", m.block[1], ",",
                             m.block[2], ": ", Deadlock(m));
    }
  }
}

}  // namespace

void Fail(std::string what, Site site) {
  Machine& m = TheMachine();
  m.error = absl::StrCat(Where(m, m.current), " at ", ToString(site), ": ", what);
  // The fiber is left as it is: kernels hold nothing that must be released, and this is emptied.
  std::string().swap(what);
  Switch(m.threads[m.current].fiber, m.main, /*ends=*/true);
  CORM_CHECK(false);
}

uint32_t ThreadIndex() {
  return TheMachine().current;
}
uint32_t BlockIndex(uint32_t dimension) {
  return TheMachine().block[dimension];
}
uint32_t GridSize(uint32_t dimension) {
  return TheMachine().launch->grid[dimension];
}
uint32_t ThreadCount() {
  return TheMachine().launch->threads;
}

uint32_t Barriers() {
  return TheMachine().shared.epoch();
}

void Sync(Site site) {
  Machine& m = TheMachine();
  Thread& own = m.threads[m.current];
  own.state = State::kAtSync;
  own.site = site;
  ++m.at_sync;
  Yield(m);
}

uint64_t WaveCollective(WaveOp op, uint64_t value, uint32_t operand, Site site) {
  Machine& m = TheMachine();
  Thread& own = m.threads[m.current];
  const uint32_t self = m.current;
  own.value = value;
  own.operand = operand;
  own.op = op;
  own.site = site;
  const Wave wave = WaveOf(m, self);
  bool all_here = true;
  for (uint32_t t = wave.first; t < wave.last; ++t) {
    const Thread& other = m.threads[t];
    if (t == self) continue;
    if (other.state == State::kDone) {
      Fail(absl::StrCat("a collective of a wave whose thread ", t, " has ended"), site);
    }
    all_here = all_here && other.state == State::kAtWave;
    if (other.state == State::kAtWave && (other.op != op || !IsSame(other.site, site))) {
      std::string what =
          absl::StrCat("divergent collective: thread ", t, " is at ", ToString(other.site));
      Fail(std::move(what), site);  // Temporaries of the call would be left behind.
    }
  }
  if (!all_here) {
    own.state = State::kAtWave;
    Yield(m);
    return own.value;
  }
  Finish(m, wave, site);
  for (uint32_t t = wave.first; t < wave.last; ++t) m.threads[t].state = State::kReady;
  return own.value;
}

void Together(WaveWork* own, Site site) {
  WaveCollective(WaveOp::kTogether, reinterpret_cast<uintptr_t>(own), 0, site);
}

std::byte* SharedArray(const void* key, size_t bytes, Site site) {
  Machine& m = TheMachine();
  std::byte* const array = m.shared.Array(key, bytes);
  if (array == nullptr) {
    Fail(absl::StrCat("more than ", kSharedBytesMax, " bytes of shared memory"), site);
  }
  return array;
}

void UseShared(const std::byte* at, size_t bytes, Use use, Site site) {
  Machine& m = TheMachine();
  const Fault fault = m.shared.Touch(at, bytes, use, m.current);
  if (fault != Fault::kNone) Fail(m.shared.Explain(fault), site);
}

void ReadSharedByWave(const std::byte* at, size_t bytes, Site site) {
  Machine& m = TheMachine();
  const Wave wave = WaveOf(m, m.current);
  // Two of them stand for all: whoever wrote a word is another thread than one of the two.
  for (const uint32_t thread : {wave.first, wave.last - 1}) {
    const Fault fault = m.shared.Touch(at, bytes, Use::kRead, thread);
    if (fault != Fault::kNone) Fail(m.shared.Explain(fault), site);
  }
}

std::string Run(const Launch& launch, const Schedule& schedule) {
  Machine& m = TheMachine();
  const uint64_t blocks = uint64_t{launch.grid[0]} * launch.grid[1] * launch.grid[2];
  if (launch.threads == 0 || launch.threads > kThreadsMax || blocks == 0) {
    return absl::StrCat(launch.name, ": ", blocks, " blocks of ", launch.threads, " threads");
  }
  m.launch = &launch;
  m.error.clear();
  std::mt19937 random(schedule.seed);
  std::vector<uint64_t> order(blocks);
  std::iota(order.begin(), order.end(), uint64_t{0});
  if (schedule.order == Schedule::Order::kReversed) std::reverse(order.begin(), order.end());
  if (schedule.order == Schedule::Order::kRandom) std::shuffle(order.begin(), order.end(), random);
  for (const uint64_t index : order) {
    m.block = {static_cast<uint32_t>(index % launch.grid[0]),
               static_cast<uint32_t>(index / launch.grid[0] % launch.grid[1]),
               static_cast<uint32_t>(index / launch.grid[0] / launch.grid[1])};
    RunBlock(m, schedule, random);
    if (!m.error.empty()) return m.error;
  }
  return "";
}

}  // namespace cormorant::emulator
