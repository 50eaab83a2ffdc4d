// Spinning first, sleeping after. See threads.h.
#include "platform/threads.h"

#include <sched.h>

#include <cstring>

#include "absl/strings/str_cat.h"

namespace cormorant {
namespace {

// A pause takes 10 to 140 cycles, so these are of the order of 50 microseconds: longer than what
// lies between two steps of a small model, short enough that nobody notices an idle engine.
constexpr uint32_t kSpinsBeforeSleep = 2000;
constexpr uint32_t kSpinsBeforeYield = 1000;

inline void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("isb" ::: "memory");  // `yield` is a no-op on most cores.
#endif
}

}  // namespace

absl::StatusOr<std::unique_ptr<ThreadPool>> ThreadPool::Create(uint32_t threads) {
  if (threads == 0 || threads > kThreadsMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("a pool of ", threads, " threads was asked for; expected 1 to ", kThreadsMax));
  }
  std::unique_ptr<ThreadPool> pool(new ThreadPool(threads));
  for (uint32_t thread = 1; thread < threads; ++thread) {
    auto worker = std::make_unique<Worker>(Worker{pool.get(), thread, {}});
    const int error = pthread_create(&worker->handle, nullptr, WorkerMain, worker.get());
    if (error != 0) {
      return absl::ResourceExhaustedError(absl::StrCat("the system gives no thread ", thread + 1,
                                                       " of ", threads, " (", std::strerror(error),
                                                       "); use fewer with --threads"));
    }
    pool->workers_.push_back(std::move(worker));
  }
  return pool;
}

ThreadPool::~ThreadPool() {
  fn_ = nullptr;
  round_.fetch_add(1, std::memory_order_release);
  round_.notify_all();
  for (const auto& worker : workers_) pthread_join(worker->handle, nullptr);
}

void ThreadPool::Run(void (*fn)(void*, uint32_t), void* context) {
  if (threads_ > 1) {
    fn_ = fn;
    context_ = context;
    busy_.store(threads_ - 1, std::memory_order_relaxed);
    round_.fetch_add(1, std::memory_order_release);
    round_.notify_all();
  }
  fn(context, 0);
  SpinWait wait;
  while (threads_ > 1 && busy_.load(std::memory_order_acquire) != 0) wait.Once();
}

void* ThreadPool::WorkerMain(void* worker) {
  const Worker& self = *static_cast<const Worker*>(worker);
  self.pool->Serve(self.thread);
  return nullptr;
}

void ThreadPool::Serve(uint32_t thread) {
  for (uint32_t seen = 0;; ++seen) {
    uint32_t spins = 0;
    while (round_.load(std::memory_order_acquire) == seen) {
      if (++spins < kSpinsBeforeSleep) {
        Pause();
      } else {
        round_.wait(seen, std::memory_order_acquire);
      }
    }
    if (fn_ == nullptr) return;
    fn_(context_, thread);
    busy_.fetch_sub(1, std::memory_order_release);
  }
}

void SpinWait::Once() {
  if (spins_ < kSpinsBeforeYield) {
    ++spins_;
    Pause();
  } else {
    sched_yield();
  }
}

}  // namespace cormorant
