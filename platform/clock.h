// Time that only goes forward.
#pragma once
#include <chrono>

namespace cormorant {

/// Seconds since some fixed moment.
inline double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace cormorant
