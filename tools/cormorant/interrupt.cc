// The SIGINT handler; see interrupt.h. It touches two lock-free atomics and may call _exit(), both
// of which are safe in a signal handler.
#include "tools/cormorant/interrupt.h"

#include <signal.h>
#include <unistd.h>

#include <atomic>

#include "tools/cormorant/handles.h"

namespace cli {
namespace {

std::atomic<bool> g_interrupted = false;
std::atomic<bool> g_scoped = false;

void OnSignal(int) {
  if (!g_scoped.load() || g_interrupted.exchange(true)) _exit(kInterrupted);
}

}  // namespace

void InstallInterruptHandler() {
  struct sigaction action = {};
  action.sa_handler = &OnSignal;
  sigemptyset(&action.sa_mask);
  // No SA_RESTART: a blocked read of the line editor must notice.
  sigaction(SIGINT, &action, nullptr);
}

bool Interrupted() {
  return g_interrupted.load();
}

InterruptScope::InterruptScope() {
  g_interrupted.store(false);
  g_scoped.store(true);
}

InterruptScope::~InterruptScope() {
  g_scoped.store(false);
}

}  // namespace cli
