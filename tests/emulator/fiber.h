// Stacks that take turns on one thread: what a thread of a GPU's block is here.
//
// A switch saves the registers a function must keep and takes another stack: a few nanoseconds in
// our own code on x86-64, ucontext elsewhere. AddressSanitizer is told of every switch.
#pragma once
#include <cstddef>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace cormorant::emulator {

struct Fiber {
  std::byte* stack = nullptr;  // Its lowest byte; null for the thread's own stack.
  size_t stack_bytes = 0;
#if defined(__x86_64__)
  void* stack_pointer = nullptr;
#else
  ucontext_t context;
#endif
  void* fake_stack = nullptr;  // AddressSanitizer's.
};

/// The next switch to `fiber` begins `entry` on its stack. `entry` must not return.
void Prepare(Fiber& fiber, void (*entry)());

/// Goes on with `to`; returns when something switches to `from`, which it never may if it `ends`.
void Switch(Fiber& from, Fiber& to, bool ends = false);

/// What `entry` calls first; `from` is what switched to it.
void Arrive(Fiber& from);

}  // namespace cormorant::emulator
