// Runs a fuzz target without a fuzzer: over a corpus, then over seeded mutations of it.
//
//     gguf_fuzz_replay CORPUS [MUTATIONS [SECONDS [SEED]]]
//
// CORPUS is a folder or a single file. At most MUTATIONS mutated inputs are run (default 100,000),
// for at most SECONDS (default 5); input number i depends on the corpus, SEED and i alone, so a run
// with the same numbers is the same run. An input that kills the target, or takes longer than ten
// seconds, is left in fuzz-failure.bin in the current folder: replay it by naming it as CORPUS.
// Outside of sanitizers the process is held to 2 GiB of address space, so that an allocation the
// input should not have been able to ask for fails here too.
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
// There when a sanitizer is linked.
extern "C" __attribute__((weak)) void __sanitizer_set_death_callback(void (*callback)());

namespace {

using Input = std::vector<uint8_t>;
using Clock = std::chrono::steady_clock;

constexpr size_t kInputBytesMax = size_t{1} << 20;
constexpr unsigned kSlowestSeconds = 10;

const Input* current = nullptr;  // For the handlers below, which may not allocate.

void SaveCurrent() {
  if (current == nullptr) return;
  const int file = open("fuzz-failure.bin", O_WRONLY | O_CREAT | O_TRUNC, 0644);
  if (file < 0) return;
  bool is_saved = true;
  for (size_t at = 0; at < current->size() && is_saved;) {
    const ssize_t wrote = write(file, current->data() + at, current->size() - at);
    is_saved = wrote > 0;
    if (is_saved) at += static_cast<size_t>(wrote);
  }
  close(file);
  constexpr char kText[] = "the input is in fuzz-failure.bin\n";
  if (is_saved && write(STDERR_FILENO, kText, sizeof(kText) - 1) < 0) return;
}

void OnSignal(int number) {
  SaveCurrent();
  std::signal(number, SIG_DFL);
  std::raise(number);
}

/// Handles it on a stack of its own: a target may die because its stack is full.
void Catch(int number) {
  static uint8_t stack[65536];
  stack_t other = {};
  other.ss_sp = stack;
  other.ss_size = sizeof(stack);
  sigaltstack(&other, nullptr);
  struct sigaction action = {};
  action.sa_handler = OnSignal;
  action.sa_flags = SA_ONSTACK;
  sigaction(number, &action, nullptr);
}

void WatchForDeath() {
  Catch(SIGALRM);
  Catch(SIGABRT);  // A broken invariant aborts past the sanitizers.
  if (__sanitizer_set_death_callback != nullptr) {
    __sanitizer_set_death_callback(SaveCurrent);
    return;
  }
  for (const int number : {SIGSEGV, SIGBUS, SIGFPE, SIGILL}) Catch(number);
  const rlimit limit{rlim_t{2} << 30, rlim_t{2} << 30};
  setrlimit(RLIMIT_AS, &limit);
}

void Run(const Input& input) {
  current = &input;
  alarm(kSlowestSeconds);
  // An allocation of exactly this size, so that ASan sees a read past its end.
  const std::vector<uint8_t> exact(input.begin(), input.end());
  LLVMFuzzerTestOneInput(exact.data(), exact.size());
  alarm(0);
  current = nullptr;
}

std::vector<Input> ReadCorpus(const std::string& path) {
  namespace fs = std::filesystem;
  std::vector<std::string> names;
  if (fs::is_directory(path)) {
    for (const auto& entry : fs::recursive_directory_iterator(path)) {
      if (entry.is_regular_file()) names.push_back(entry.path().string());
    }
  } else if (fs::is_regular_file(path)) {
    names.push_back(path);
  }
  std::sort(names.begin(), names.end());  // Input i must not depend on the folder's order.
  std::vector<Input> corpus;
  for (const std::string& name : names) {
    std::ifstream file(name, std::ios::binary);
    corpus.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  return corpus;
}

class Mutator {
 public:
  Mutator(const std::vector<Input>& corpus, uint64_t seed) : corpus_(corpus), random_(seed) {}

  Input Next() {
    Input input = corpus_[Below(corpus_.size())];
    const uint64_t changes = 1 + Below(Below(4) == 0 ? 16 : 3);
    for (uint64_t i = 0; i < changes; ++i) Change(input);
    if (input.size() > kInputBytesMax) input.resize(kInputBytesMax);
    return input;
  }

 private:
  uint64_t Below(uint64_t limit) { return limit == 0 ? 0 : random_() % limit; }

  void Change(Input& input) {
    switch (input.empty() ? 5 : Below(8)) {
      case 0: input[Below(input.size())] ^= static_cast<uint8_t>(1u << Below(8)); break;
      case 1: input[Below(input.size())] = static_cast<uint8_t>(random_()); break;
      case 2:
      case 3: WriteNumber(input); break;
      case 4: input.resize(Below(input.size())); break;
      case 5: Insert(input); break;
      case 6: Erase(input); break;
      case 7: Splice(input); break;
    }
  }

  /// A number that breaks careless arithmetic, in 1, 2, 4 or 8 bytes.
  void WriteNumber(Input& input) {
    const size_t bytes = size_t{1} << Below(4);
    if (input.size() < bytes) return;
    const uint64_t powers = uint64_t{1} << Below(64);
    const uint64_t small = Below(64);
    const uint64_t near_size = input.size() + small - 32;
    const uint64_t choices[] = {powers, powers - 1, powers + small, ~powers,
                                small,  ~small,     near_size};
    const uint64_t value = choices[Below(std::size(choices))];
    std::memcpy(&input[Below(input.size() - bytes + 1)], &value, bytes);
  }

  /// Some bytes of the input itself once more, or random ones.
  void Insert(Input& input) {
    Input piece(1 + Below(32));
    const uint64_t from = Below(input.size());
    const bool is_copy = Below(2) == 0 && from + piece.size() <= input.size();
    for (size_t i = 0; i < piece.size(); ++i) {
      piece[i] = is_copy ? input[from + i] : static_cast<uint8_t>(random_());
    }
    input.insert(input.begin() + static_cast<ptrdiff_t>(Below(input.size() + 1)), piece.begin(),
                 piece.end());
  }

  void Erase(Input& input) {
    const uint64_t from = Below(input.size());
    const uint64_t bytes = std::min<uint64_t>(1 + Below(32), input.size() - from);
    const auto first = input.begin() + static_cast<ptrdiff_t>(from);
    input.erase(first, first + static_cast<ptrdiff_t>(bytes));
  }

  /// The head of this input and the tail of another.
  void Splice(Input& input) {
    const Input& other = corpus_[Below(corpus_.size())];
    input.resize(Below(input.size() + 1));
    input.insert(input.end(), other.begin() + static_cast<ptrdiff_t>(Below(other.size() + 1)),
                 other.end());
  }

  const std::vector<Input>& corpus_;
  std::mt19937_64 random_;
};

uint64_t NumberOr(int count, char** arguments, int index, uint64_t otherwise) {
  return index < count ? std::strtoull(arguments[index], nullptr, 10) : otherwise;
}

}  // namespace

int main(int count, char** arguments) {
  if (count < 2) {
    std::fprintf(stderr, "usage: %s CORPUS [MUTATIONS [SECONDS [SEED]]]\n", arguments[0]);
    return 2;
  }
  const std::vector<Input> corpus = ReadCorpus(arguments[1]);
  if (corpus.empty()) {
    std::fprintf(stderr, "no file in '%s'\n", arguments[1]);
    return 2;
  }
  const uint64_t mutations = NumberOr(count, arguments, 2, 100'000);
  const uint64_t seconds = NumberOr(count, arguments, 3, 5);
  const uint64_t seed = NumberOr(count, arguments, 4, 1);

  WatchForDeath();
  for (const Input& input : corpus) Run(input);
  const Clock::time_point end = Clock::now() + std::chrono::seconds(seconds);
  uint64_t done = 0;
  for (Mutator mutator(corpus, seed); done < mutations && Clock::now() < end; ++done) {
    Run(mutator.Next());
  }
  std::printf("%zu files and %llu mutations (seed %llu): no failure\n", corpus.size(),
              static_cast<unsigned long long>(done), static_cast<unsigned long long>(seed));
  return 0;
}
