// Checks of what the code itself must get right. No input and no lack of memory may reach one.
//
// CORM_CHECK stays in release builds; CORM_DCHECK guards hot paths in debug builds only.
#pragma once
#include <cstdio>
#include <cstdlib>

namespace cormorant {

[[noreturn]] inline void CheckFailed(const char* file, int line, const char* what) {
  std::fprintf(stderr, "cormorant: %s:%d: broken invariant: %s\n", file, line, what);
  std::abort();
}

}  // namespace cormorant

#define CORM_CHECK(cond) \
  ((cond) ? static_cast<void>(0) : ::cormorant::CheckFailed(__FILE__, __LINE__, #cond))
#ifdef NDEBUG
#define CORM_DCHECK(cond) static_cast<void>(sizeof((cond) ? 1 : 0))
#else
#define CORM_DCHECK(cond) CORM_CHECK(cond)
#endif
