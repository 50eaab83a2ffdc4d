// FNV-1a-64: short enough to write down, so the same on every machine and in every version.
#pragma once
#include <cstdint>

#include "absl/strings/string_view.h"

namespace cormorant {

inline constexpr uint64_t kFnv1aBasis = 0xcbf29ce484222325u;

/// The hash of `bytes`, going on from the hash of what stands before them.
constexpr uint64_t Fnv1a(absl::string_view bytes, uint64_t before = kFnv1aBasis) {
  for (const char byte : bytes) before = (before ^ static_cast<uint8_t>(byte)) * 0x100000001b3u;
  return before;
}

}  // namespace cormorant
