// One pool of threads that lives as long as the engine, and how its threads wait for each other.
//
// A step wakes the pool once; inside, threads wait by spinning, because an op of a small model
// takes microseconds and a wake-up costs tens of them. Waiting threads spin for a short while and
// then sleep (pool) or yield (SpinWait): an idle pool costs nothing, and a machine with more
// threads than cores still gets on.
#pragma once
#include <pthread.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"

namespace cormorant {

class ThreadPool {
 public:
  static constexpr uint32_t kThreadsMax = 1024;

  /// A pool of `threads`, the caller of Run among them. INVALID_ARGUMENT unless 1..kThreadsMax;
  /// RESOURCE_EXHAUSTED when the system gives no thread.
  static absl::StatusOr<std::unique_ptr<ThreadPool>> Create(uint32_t threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  uint32_t threads() const { return threads_; }

  /// Calls fn(context, thread) once for each thread in 0..threads()-1, 0 on the caller, at the same
  /// time; returns when all have. What the caller wrote before is seen by all, and the reverse. One
  /// Run at a time; fn may not call Run.
  void Run(void (*fn)(void* context, uint32_t thread), void* context);

 private:
  struct Worker {
    ThreadPool* pool;
    uint32_t thread;
    pthread_t handle;
  };
  explicit ThreadPool(uint32_t threads) : threads_(threads) {}
  static void* WorkerMain(void* worker);
  void Serve(uint32_t thread);

  const uint32_t threads_;
  std::vector<std::unique_ptr<Worker>> workers_;
  void (*fn_)(void*, uint32_t) = nullptr;  // Null tells workers to end.
  void* context_ = nullptr;
  alignas(64) std::atomic<uint32_t> round_{0};
  alignas(64) std::atomic<uint32_t> busy_{0};
};

/// Waiting for another thread, a look at a time: pauses first, gives the core away after a while.
class SpinWait {
 public:
  void Once();

 private:
  uint32_t spins_ = 0;
};

}  // namespace cormorant
