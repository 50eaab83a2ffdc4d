// Switching stacks. See fiber.h.
#include "tests/emulator/fiber.h"

#include <cstdint>
#include <cstring>

#if defined(__SANITIZE_ADDRESS__)
#define EMULATOR_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define EMULATOR_ASAN 1
#endif
#endif
#if defined(EMULATOR_ASAN)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#if defined(__x86_64__)
// void SwitchStacks(void** from, void* to): the registers a callee keeps go on the old stack.
extern "C" void cormorant_emulator_switch_stacks(void** from, void* to);
asm(R"(
.pushsection .text
.globl cormorant_emulator_switch_stacks
.hidden cormorant_emulator_switch_stacks
.type cormorant_emulator_switch_stacks,@function
cormorant_emulator_switch_stacks:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size cormorant_emulator_switch_stacks, .-cormorant_emulator_switch_stacks
.popsection
)");
#endif

namespace cormorant::emulator {

void Prepare(Fiber& fiber, void (*entry)()) {
#if defined(EMULATOR_ASAN)
  // What an earlier fiber left on this stack when it ended in the middle.
  __asan_unpoison_memory_region(fiber.stack, fiber.stack_bytes);
#endif
#if defined(__x86_64__)
  // Six registers and the address to return to, so that the stack is aligned as after a call.
  constexpr size_t kSlots = 8;
  const uintptr_t top = reinterpret_cast<uintptr_t>(fiber.stack + fiber.stack_bytes) & ~15ull;
  void** const frame = reinterpret_cast<void**>(top) - kSlots;
  std::memset(frame, 0, kSlots * sizeof(void*));
  frame[6] = reinterpret_cast<void*>(entry);
  fiber.stack_pointer = frame;
#else
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = fiber.stack;
  fiber.context.uc_stack.ss_size = fiber.stack_bytes;
  fiber.context.uc_link = nullptr;
  makecontext(&fiber.context, entry, 0);
#endif
}

void Switch(Fiber& from, Fiber& to, [[maybe_unused]] bool ends) {
#if defined(EMULATOR_ASAN)
  __sanitizer_start_switch_fiber(ends ? nullptr : &from.fake_stack, to.stack, to.stack_bytes);
#endif
#if defined(__x86_64__)
  cormorant_emulator_switch_stacks(&from.stack_pointer, to.stack_pointer);
#else
  swapcontext(&from.context, &to.context);
#endif
#if defined(EMULATOR_ASAN)
  __sanitizer_finish_switch_fiber(from.fake_stack, nullptr, nullptr);
#endif
}

void Arrive([[maybe_unused]] Fiber& from) {
#if defined(EMULATOR_ASAN)
  const void* bottom = nullptr;
  size_t bytes = 0;
  __sanitizer_finish_switch_fiber(nullptr, &bottom, &bytes);
  from.stack = const_cast<std::byte*>(static_cast<const std::byte*>(bottom));
  from.stack_bytes = bytes;
#endif
}

}  // namespace cormorant::emulator
